"""Searching a process's memory for bytes that should not be there."""

from __future__ import annotations

import base64
import os
import re
import secrets
from pathlib import Path
from typing import Iterator, NamedTuple

import pytest

from lib import program
from lib.waiting import until

_CHUNK = 1 << 22
_PIECE = 16  # bytes; what is shorter would be found by chance


class Mapping(NamedTuple):
    start: int
    end: int
    mode: str
    name: str


def mappings(pid: int) -> list[Mapping]:
    """Everything readable that a program's data may be in: not its files' own pages."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+)\s*(.*)", line)
        assert match is not None
        start, end, mode, inode, name = match.groups()
        is_file = inode != "0" and "w" not in mode
        if "r" in mode and not is_file and name not in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
            found.append(Mapping(int(start, 16), int(end, 16), mode, name))
    return found


def needles(marker: bytes) -> list[bytes]:
    """Pieces of a marker as it stands, and as it looks amid base64 at each alignment."""
    found = [marker[:_PIECE], marker[-_PIECE:]]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + marker)
        inner = encoded[4 : len(encoded) - 4]  # what does not depend on the neighbours
        found += [inner[:_PIECE], inner[-_PIECE:]]
    return found


def find(pid: int, marker: bytes) -> list[str]:
    """Where a marker, or half of it, is in a process's memory."""
    wanted = needles(marker)
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for mapping in mappings(pid):
            for start, data in _chunks(memory.fileno(), mapping):
                for needle in wanted:
                    at = data.find(needle)
                    if at >= 0:
                        where = f"{start + at:#x} in {mapping.mode} {mapping.name}"
                        found.append(f"{where}: {needle!r}")
    return found


def _chunks(fd: int, mapping: Mapping) -> Iterator[tuple[int, bytes]]:
    """The mapping's bytes, in chunks that overlap by what a needle may be cut into."""
    start = mapping.start
    while start < mapping.end:
        length = min(_CHUNK + _PIECE, mapping.end - start)
        try:
            yield start, os.pread(fd, length, start)
        except OSError:  # unmapped meanwhile, or a guard
            return
        start += _CHUNK


def wait_gone(pid: int, marker: bytes) -> None:
    """The kernel forgets the nodes of an old generation in its own time."""
    try:
        until(lambda: not find(pid, marker), f"no {marker!r} in the memory of process {pid}")
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *find(pid, marker)])) from None


not_asan = pytest.mark.skipif(
    program.binary().exists() and program.has_sanitizer(),
    reason="AddressSanitizer keeps freed memory in quarantine, and makes mlock() do nothing",
)


def new_marker() -> bytes:
    """Letters and digits only, so that JSON and YAML leave them as they are; 48 of them."""
    return secrets.token_hex(24).encode()
