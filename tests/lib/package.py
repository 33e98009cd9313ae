"""Another version of the Debian package, made of one that `make deb` made."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from pathlib import Path

from lib.deploy import TOP

VERSION = (TOP / "VERSION").read_text().strip()
PROGRAMS = ("usr/bin/secretfs", "usr/bin/secretfs-keeper")


def other_version() -> str:
    """Newer if there can be one of the same length."""
    last = int(VERSION[-1])
    return f"{VERSION[:-1]}{last + 1 if last < 9 else last - 1}"


def _replace_version(path: Path, other: str) -> None:
    """In a program it is a text of its own."""
    content = path.read_bytes()
    before, after = VERSION.encode() + b"\0", other.encode() + b"\0"
    assert len(before) == len(after) and before in content
    path.write_bytes(content.replace(before, after))


def _write_sums(tree: Path) -> None:
    sums = tree / "DEBIAN" / "md5sums"
    names = [line.split("  ", 1)[1] for line in sums.read_text().splitlines()]
    lines = [f"{hashlib.md5((tree / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    sums.write_text("".join(lines))


def make_other_version(package: Path, to: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="secretfs-package-", dir="/var/tmp") as directory:
        tree = Path(directory) / "tree"
        subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
        for program in PROGRAMS:
            _replace_version(tree / program, other_version())
        control = tree / "DEBIAN" / "control"
        text = control.read_text()
        assert f"\nVersion: {VERSION}" in text
        control.write_text(text.replace(f"\nVersion: {VERSION}", f"\nVersion: {other_version()}"))
        _write_sums(tree)
        build = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, to]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
