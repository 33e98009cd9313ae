"""A private mount namespace in which an ordinary user may open /dev/fuse.

On many machines, and in most containers, /dev/fuse is root's alone. Here a device node with mode
0666 is bound over it, which is invisible outside. What the user mounts is visible in here only.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Sequence

import pytest

from lib import program
from lib.volume import Volume, VolumeMaker

USER = 65534
PYTHON = "/usr/bin/python3"  # one that the user can run, wherever the tests' own lies
_FUSE_DEVICE = os.makedev(10, 229)


class Cell:
    """`user` is a command prefix that runs a command in here as the user, `root` as root."""

    def __init__(self, area: Path) -> None:
        node = area / "fuse"
        self.home = area / "user"
        self.home.mkdir()
        os.chown(self.home, USER, USER)
        _make_device(node)
        script = f"mount --bind {node} /dev/fuse && echo ready && exec sleep infinity"
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            self.close()
            pytest.skip("no private mount namespace can be made here")
        self.root = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt"]
        ids = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        self.user = [*self.root, "setpriv", *ids]
        self.binary = self._reachable_binary(area)
        _check_access(self.user)

    @property
    def pid(self) -> int:
        """Of a process in here, for its mountinfo."""
        return self._holder.pid

    def directory(self, name: str) -> Path:
        """A directory of the user's."""
        path = self.home / name
        path.mkdir()
        os.chown(path, USER, USER)
        return path

    def start_mount(
        self, start_mount: VolumeMaker, *arguments: str | Path, env: dict[str, str] | None = None
    ) -> Volume:
        """A mount of the user's, of secret/app."""
        return start_mount(
            *arguments,
            "secret/app",
            path=self.directory("volume"),
            prefix=self.user,
            binary=self.binary,
            # leaks are found by ptrace, which is denied to a user's program
            env={"ASAN_OPTIONS": "detect_leaks=0", **(env or {})},
        )

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Runs a command in here as the user."""
        return program.run([*self.user, *command], home=self.home)

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()

    def _reachable_binary(self, area: Path) -> Path:
        """The user may not be allowed into the tree that was built in."""
        for name in ("secretfs", "secretfs-keeper"):
            shutil.copy(program.binary().with_name(name), area / name)
            (area / name).chmod(0o755)
        return area / "secretfs"


def _make_device(node: Path) -> None:
    try:
        os.mknod(node, stat.S_IFCHR | 0o666, _FUSE_DEVICE)
    except PermissionError:
        pytest.skip("no device node can be made here")
    os.chmod(node, 0o666)


def _check_access(user: Sequence[str]) -> None:
    opens = subprocess.run([*user, "sh", "-c", "exec 3<>/dev/fuse"], capture_output=True, text=True)
    if opens.returncode != 0:
        pytest.skip(f"a user cannot open /dev/fuse here: {opens.stderr.strip()}")
    if shutil.which("fusermount3") is None:
        pytest.skip("there is no fusermount3 (package fuse3)")
