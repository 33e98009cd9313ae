"""Mounts with an id map, as the kubelet's runtime makes them for pods with a user namespace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Sequence

from lib.clone import IDMAP, mount_clone
from lib.mountinfo import mounts_at
from lib.volume import unmount
from lib.waiting import until


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
        namespace = os.open(self._path("ns/user"), os.O_RDONLY)
        try:
            mount_clone(source, target, IDMAP, users=namespace)
        finally:
            os.close(namespace)

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
