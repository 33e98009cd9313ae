// SPDX-License-Identifier: Apache-2.0

// HTTP/2 over TLS in front of a plain HTTP server, by Go's own server, which is that of kube-apiserver.
// A response with "Connection: close" makes it send GOAWAY and end the connection after its streams.
// As kube-apiserver does, it does so to each request that is not authenticated; with -every N also to
// each N-th other one (kube-apiserver --goaway-chance).
//
// Prints its port, and then a line for each connection: "opened" and "closed".
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
)

var (
	certificate = flag.String("certificate", "", "file of the server's certificate")
	key         = flag.String("key", "", "file of its key")
	backend     = flag.String("backend", "", "URL of the server behind it")
	every       = flag.Uint64("every", 0, "GOAWAY with each N-th response; 0: never")
)

func main() {
	flag.Parse()
	target, err := url.Parse(*backend)
	if err != nil {
		log.Fatal(err)
	}
	var requests atomic.Uint64
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1 // events of a watch at once
	proxy.ErrorLog = log.New(os.Stderr, "", 0)
	proxy.ModifyResponse = func(response *http.Response) error {
		n := requests.Add(1)
		if response.StatusCode == http.StatusUnauthorized || (*every > 0 && n%*every == 0) {
			response.Header.Set("Connection", "close")
		}
		return nil
	}
	server := &http.Server{
		Handler:   proxy,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				fmt.Println("opened")
			case http.StateClosed:
				fmt.Println("closed")
			}
		},
		ErrorLog: log.New(os.Stderr, "", 0),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(server.ServeTLS(listener, *certificate, *key))
}
