"""Container images of one layer, made of programs: archives in the OCI image layout."""

from __future__ import annotations

import io
import platform
import re
import runpy
import subprocess
import tarfile
from pathlib import Path
from typing import Mapping, Sequence

from lib.deploy import DEPLOY

_WRITER = runpy.run_path(str(DEPLOY / "image" / "archive.py"))
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIRECTORIES = ("bin", "dev", "etc", "proc", "sys", "tmp", "var")


def write_image(
    archive: Path,
    name: str,
    entrypoint: Sequence[str],
    programs: Mapping[str, Path],
    links: Mapping[str, str] | None = None,
) -> Path:
    """An image `name` with `programs`, by their paths in it, and symbolic `links`."""
    machine = platform.machine()
    config = {"Entrypoint": list(entrypoint), "Env": ["PATH=/bin"]}
    layer = _layer(programs, links or {})
    _WRITER["write_archive"](archive, name, layer, _ARCHITECTURES.get(machine, machine), config)
    return archive


def with_libraries(program: Path) -> dict[str, Path]:
    """Files by their paths in an image: a program of this machine, in /bin, with its libraries."""
    listed = subprocess.run(["ldd", program], capture_output=True, check=True, text=True).stdout
    libraries = re.findall(r"(/\S+) \(0x", listed)
    return {f"/bin/{program.name}": program, **{path: Path(path) for path in libraries}}


def _layer(programs: Mapping[str, Path], links: Mapping[str, str]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for directory in _DIRECTORIES:
            member = tarfile.TarInfo(directory)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for path, program in programs.items():
            data = program.read_bytes()
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
        for path, target in links.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return output.getvalue()
