#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""index.py ARCHIVE IMAGE...: put images of several architectures, each an archive that archive.py made,
into one archive under their one name: `skopeo copy --all` pushes all of them, `ctr images import` takes
the one for its machine. The same images make the same bytes.
"""

from __future__ import annotations

import json
import sys
import tarfile
from typing import Any

from archive import add_file, digest_of, json_of

INDEX = "application/vnd.oci.image.index.v1+json"


def contents(path: str) -> dict[str, bytes]:
    """The files of an archive by their names."""
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in files.items() if file is not None}


def blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def manifest_of(files: dict[str, bytes]) -> tuple[dict[str, Any], dict[str, str]]:
    """The descriptor of an archive's one image, with its platform; and what annotates it: its name."""
    (descriptor,) = json.loads(files["index.json"])["manifests"]
    config = json.loads(files[blob_path(descriptor["digest"])])["config"]["digest"]
    image = json.loads(files[blob_path(config)])
    annotations: dict[str, str] = descriptor.pop("annotations")
    descriptor["platform"] = {"architecture": image["architecture"], "os": image["os"]}
    return descriptor, annotations


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    archive, images = sys.argv[1], [contents(path) for path in sys.argv[2:]]
    found = sorted((manifest_of(files) for files in images), key=lambda one: one[0]["platform"]["architecture"])
    names = {annotations["io.containerd.image.name"] for _, annotations in found}
    if len(names) != 1:
        raise SystemExit(f"index.py: the images have different names: {', '.join(sorted(names))}")
    index = json_of({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry for entry, _ in found]})
    entry = {"mediaType": INDEX, "digest": digest_of(index), "size": len(index), "annotations": found[0][1]}
    blobs = {name: data for files in images for name, data in files.items() if name.startswith("blobs/")}
    with tarfile.open(archive, "w") as tar:
        add_file(tar, "oci-layout", images[0]["oci-layout"])
        add_file(tar, "index.json", json_of({"schemaVersion": 2, "manifests": [entry]}))
        for name, data in sorted({**blobs, blob_path(entry["digest"]): index}.items()):
            add_file(tar, name, data)
    print(f"{archive}: {names.pop()} for {', '.join(entry['platform']['architecture'] for entry, _ in found)}")


if __name__ == "__main__":
    main()
