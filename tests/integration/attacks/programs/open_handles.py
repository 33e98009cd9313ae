"""A container with CAP_DAC_READ_SEARCH alone and one volume: it opens nodes of the file system by handle.

Usage: open_handles.py ROOT VOLUME MAX

Prints the node ids, up to MAX, that it could open, and what it could read below them, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys

_CLONE_NEWNS = 0x00020000
_FILEID_INO64_GEN = 0x81
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def enter(root: str, volume: str) -> None:
    _check(_libc.unshare(_CLONE_NEWNS))
    for command in (
        ["mount", "--make-rprivate", "/"],
        ["mount", "-t", "tmpfs", "tmpfs", root],
        ["mkdir", f"{root}/volume"],
        ["mount", "--bind", volume, f"{root}/volume"],
    ):
        subprocess.run(command, check=True)
    os.chroot(root)
    os.chdir("/")


def keep_one_capability() -> None:
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    one = struct.pack("III", 1 << _CAP_DAC_READ_SEARCH, 1 << _CAP_DAC_READ_SEARCH, 0)
    _check(_libc.capset(header, one + bytes(12)))


def open_handle(mount: int, node: int) -> int:
    handle = struct.pack("IiIII", 12, _FILEID_INO64_GEN, node >> 32, node & 0xFFFFFFFF, 0)
    return _check(_libc.open_by_handle_at(mount, handle, os.O_RDONLY | os.O_CLOEXEC))


def try_to_open(mount: int, node: int) -> str | None:
    try:
        fd = open_handle(mount, node)
    except OSError:
        return None
    try:
        return ",".join(os.listdir(fd))
    except OSError:
        return os.read(fd, 64).decode(errors="replace")
    finally:
        os.close(fd)


def main() -> None:
    root, volume, maximum = sys.argv[1:]
    enter(root, volume)
    mount = os.open("/volume", os.O_RDONLY | os.O_DIRECTORY)
    os.listdir("/volume")
    keep_one_capability()
    found = {node: try_to_open(mount, node) for node in range(1, int(maximum) + 1)}
    print(json.dumps({node: what for node, what in found.items() if what is not None}))


main()
