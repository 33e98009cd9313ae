// SPDX-License-Identifier: Apache-2.0

// Prints the documents of standard input as JSON, one a line, as kubectl decodes them; "error" ends
// the output at one that it refuses.
package main

import (
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

func main() {
	decoder := yaml.NewYAMLOrJSONDecoder(os.Stdin, 4096)
	for {
		var document runtime.RawExtension
		err := decoder.Decode(&document)
		if err == io.EOF {
			return
		}
		if err != nil {
			fmt.Println("error")
			return
		}
		fmt.Println(string(document.Raw))
	}
}
