"""Mounts with an id map, as the kubelet's runtime makes them for pods with a user namespace."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from pathlib import Path
from typing import Sequence

from lib.mountinfo import mounts_at
from lib.volume import unmount
from lib.waiting import until

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same on all architectures
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_ATTR_IDMAP = 0x00100000

_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


class UserNamespace:
    """Its ids from 0 on are those from `first` on outside."""

    def __init__(self, first: int = 100_000, count: int = 65536) -> None:
        self.first = first
        self._process = subprocess.Popen(["unshare", "--user", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/user")
        until(lambda: os.readlink(self._path("ns/user")) != own, "the user namespace")
        for file in ("uid_map", "gid_map"):
            Path(self._path(file)).write_text(f"0 {first} {count}")

    def _path(self, file: str) -> str:
        return f"/proc/{self._process.pid}/{file}"

    def command(self, *, uid: int = 0, gid: int = 0, groups: Sequence[int] = ()) -> list[str]:
        """What to put before a command to have it run in the namespace, as a user there."""
        enter = ["nsenter", "--user", f"--target={self._process.pid}", "--setuid=0", "--setgid=0"]
        own = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
        return [*enter, "setpriv", f"--reuid={uid}", f"--regid={gid}", own]

    def mount(self, source: Path, target: Path) -> None:
        """Mounts a clone of `source` with the namespace's ids; OSError (EINVAL) where the kernel or
        the file system has no id maps."""
        tree = _call(
            _OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | os.O_CLOEXEC
        )
        namespace = os.open(self._path("ns/user"), os.O_RDONLY)
        try:
            attributes = struct.pack("QQQQ", _ATTR_IDMAP, 0, 0, namespace)
            _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, attributes, len(attributes))
            _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
        finally:
            os.close(namespace)
            os.close(tree)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class IdMapped:
    """Mounts beside others, with an id map."""

    def __init__(self, directory: Path, users: UserNamespace) -> None:
        self._directory = directory
        self._users = users
        self._made: list[Path] = []
        directory.mkdir()

    def __call__(self, source: Path) -> Path:
        target = self._directory / str(len(self._made))
        if source.is_dir():
            target.mkdir()
        else:
            target.touch()
        self._users.mount(source, target)
        self._made.append(target)
        return target

    def close(self) -> None:
        for target in self._made:
            for _ in mounts_at(target):
                unmount(target, lazily=True)
