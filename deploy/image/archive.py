#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""archive.py ROOT ARCHIVE NAME:TAG [LABEL=VALUE]...: put a root directory into a container image, an
archive in the OCI image layout that `ctr images import`, `podman load` and `skopeo copy` read.

Labels, entry point and arguments are those of the Containerfile beside this program. The same files
make the same bytes: SOURCE_DATE_EPOCH is the time of all of them, owner and group are root.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import sys
import tarfile
from typing import Any

MEDIA_TYPE = "application/vnd.oci.image"
CONTAINERFILE = pathlib.Path(__file__).with_name("Containerfile")
# e_machine of the ELF header, see elf(5)
ARCHITECTURES = {62: "amd64", 183: "arm64"}


def build_time() -> int:
    return int(os.environ.get("SOURCE_DATE_EPOCH", "0"))


def architecture_of(program: pathlib.Path) -> str:
    with open(program, "rb") as file:
        machine = int.from_bytes(file.read(20)[18:20], "little")
    return ARCHITECTURES[machine]


def layer_of(root: pathlib.Path) -> bytes:
    """The directory as a tar archive, sorted by path."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            member = tar.gettarinfo(path, str(path.relative_to(root)))
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = build_time()
            with open(path, "rb") if member.isreg() else io.BytesIO() as file:
                tar.addfile(member, file)
    return output.getvalue()


def containerfile_config() -> dict[str, Any]:
    """What the last stage of the Containerfile says of the image."""
    stage = CONTAINERFILE.read_text().rpartition("\nFROM ")[2]
    entrypoint, command = (re.search(rf"^{word} (\[.*\])$", stage, re.M) for word in ("ENTRYPOINT", "CMD"))
    assert entrypoint is not None and command is not None
    return {
        "Entrypoint": json.loads(entrypoint[1]),
        "Cmd": json.loads(command[1]),
        "Env": ["PATH=/usr/bin"],
        "Labels": dict(re.findall(r'(org\.opencontainers\.[\w.]+)="([^"]*)"', stage)),
    }


def digest_of(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def json_of(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def descriptor(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": f"{MEDIA_TYPE}.{kind}", "digest": digest_of(blob), "size": len(blob)}


def add_file(tar: tarfile.TarFile, path: str, data: bytes) -> None:
    member = tarfile.TarInfo(path)
    member.size, member.mode, member.mtime = len(data), 0o644, build_time()
    tar.addfile(member, io.BytesIO(data))


def write_archive(
    archive: pathlib.Path, name: str, layer: bytes, architecture: str, config: dict[str, Any]
) -> None:
    """An image `name` of one layer, a tar archive. `config` is the OCI configuration's `config`."""
    created = datetime.datetime.fromtimestamp(build_time(), datetime.timezone.utc)
    packed = gzip.compress(layer, mtime=0)
    image = json_of(
        {
            "created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
        }
    )
    manifest = json_of(
        {
            "schemaVersion": 2,
            "mediaType": f"{MEDIA_TYPE}.manifest.v1+json",
            "config": descriptor("config.v1+json", image),
            "layers": [descriptor("layer.v1.tar+gzip", packed)],
            "annotations": config.get("Labels", {}),
        }
    )
    annotations = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    entry = {**descriptor("manifest.v1+json", manifest), "annotations": annotations}
    with tarfile.open(archive, "w") as tar:
        add_file(tar, "oci-layout", json_of({"imageLayoutVersion": "1.0.0"}))
        add_file(tar, "index.json", json_of({"schemaVersion": 2, "manifests": [entry]}))
        for blob in (packed, image, manifest):
            add_file(tar, f"blobs/sha256/{digest_of(blob).partition(':')[2]}", blob)


def main() -> None:
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    root, archive, name = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    config = containerfile_config()
    config["Labels"].update(label.split("=", 1) for label in sys.argv[4:])
    architecture = architecture_of(root / config["Entrypoint"][0].lstrip("/"))
    layer = layer_of(root)
    write_archive(archive, name, layer, architecture, config)
    size, unpacked = (round(n / 1e6, 1) for n in (archive.stat().st_size, len(layer)))
    print(f"{archive}: {name}, {architecture}, {size} MB ({unpacked} MB unpacked)")


if __name__ == "__main__":
    main()
