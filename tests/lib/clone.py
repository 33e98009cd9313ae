"""Mounts as a container's runtime makes them: a clone of another mount, with attributes of its own."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same on all architectures
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4

RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
IDMAP = 0x00100000

_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def mount_clone(
    source: Path, target: Path, attributes: int, *, is_recursive: bool = False, users: int = 0
) -> None:
    """`users`: a descriptor of a user namespace, for IDMAP."""
    recursive = _AT_RECURSIVE if is_recursive else 0
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | recursive
    tree = _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags)
    try:
        given = struct.pack("QQQQ", attributes, 0, 0, users)
        _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | recursive, given, len(given))
        _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)
