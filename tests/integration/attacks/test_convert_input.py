"""Manifests that are meant to cost `secretfs convert` its memory or its time, or to mislead it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lib import program

POD = b"kind: Pod\napiVersion: v1\nspec:\n"


def convert(area: Path, text: bytes) -> subprocess.CompletedProcess[str]:
    path = area / "manifest"
    path.write_bytes(text)
    return program.run([program.binary(), "convert", "-f", path], home=area)


def laughs() -> bytes:
    lines = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [b"a%d: &a%d [%s]" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 9)]
    return POD + b"  volumes: []\n" + b"\n".join(lines)


MOUNTED = b"  containers: [{volumeMounts: [{name: a}]}]\n"
REFUSED = {
    "size": (b"#" * (16 << 20) + b"\n", "too large"),
    "depth": (POD + b"  volumes: " + b"[" * 300 + b"]" * 300, "nests deeper"),
    "depth of JSON": (b'{"kind":"Pod","spec":' + b"[" * 300 + b"]" * 300 + b"}", "nests deeper"),
    "copies": (laughs(), "its aliases copy more than"),
    "values": (POD + b"  volumes: [" + b"a," * 500_000 + b"]", "more than 400000 values"),
    "duplicate key": (POD + b"  volumes: []\n  volumes: []\n", 'duplicate key "volumes"'),
    "duplicate key of JSON": (b'{"kind":"Pod","spec":{"a":1,"a":2}}', 'duplicate key "a"'),
    "alias of itself": (POD + b"  volumes: &v [*v]\n", "an alias (*) refers to itself"),
    "bytes": (POD + b"  \xff: 1\n", "UTF-8"),
    "NUL": (POD + b"  \0: 1\n", "NUL"),
    "name that ends the line": (
        POD + b"  containers: []\n  volumes: [{name: \"a\\n- b\", secret: {}}]\n",
        "invalid name of a volume",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(area: Path, case: str) -> None:
    """With an error that names the file, and no output."""
    text, message = REFUSED[case]
    done = convert(area, text)
    assert done.returncode == 1 and done.stdout == "", done.stderr
    assert "manifest" in done.stderr and message.lower() in done.stderr.lower(), done.stderr


def test_no_value_is_shown(area: Path) -> None:
    """An invalid Secret in front of the pods."""
    done = convert(area, b"kind: Secret\nstringData:\n  password: *dummy-1\n")
    assert done.returncode == 1 and "dummy-1" not in done.stderr


@pytest.mark.parametrize("is_flow", [False, True], ids=["block", "flow"])
def test_many_volumes(area: Path, is_flow: bool) -> None:
    """Each name is compared with each other one, which is done in order."""
    names = [b"v%d" % number for number in range(10_000)]
    mounts = b", ".join(b"{name: %s}" % name for name in names)
    entries = [b"{name: %s, secret: {}}" % name for name in names]
    text = POD + b"  containers: [{volumeMounts: [" + mounts + b"]}]\n"
    if is_flow:
        text += b"  volumes: [" + b",\n    ".join(entries) + b"]\n"
    else:
        text += b"  volumes:\n" + b"".join(b"  - %s\n" % entry for entry in entries)
    done = convert(area, text)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("podVolume") == len(names)


def test_deep_indentation(area: Path) -> None:
    """It is not repeated for each volume of others."""
    entries = b"".join(b"{name: v%d, secret: {}}, " % number for number in range(1000))
    mounts = b", ".join(b"{name: v%d}" % number for number in range(1000))
    text = POD + b"  containers: [{volumeMounts: [" + mounts + b"]}]\n"
    text += b"  volumes: [" + entries + b"\n" + b" " * (4 << 20) + b"{name: e, emptyDir: {}}]\n"
    done = convert(area, text)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("podVolume") == 1000 and len(done.stdout) < len(text) + (1 << 20)
