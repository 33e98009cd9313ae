"""Control groups of a test's own: processes in it can be frozen, and have a limit of memory."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import Iterator

import pytest

from lib.waiting import until


def roots(kind: str) -> list[Path]:
    """Where hierarchies of this file system are mounted."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(fields[1]) for fields in lines if fields[2] == kind]


class Cgroup:
    """Its processes are the tests' own: it is removed when they have ended."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, pid: int) -> None:
        (self.path / "cgroup.procs").write_text(str(pid))

    def freeze(self) -> None:
        """Does not wait: a thread that has a request to a frozen one never counts as frozen."""
        (self.path / "cgroup.freeze").write_text("1")

    def thaw(self) -> None:
        (self.path / "cgroup.freeze").write_text("0")

    def limit_memory(self, n_bytes: int) -> None:
        """memory.max, or what cgroup v1 has for it."""
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (self.path / name).exists():
                (self.path / name).write_text(str(n_bytes))

    def kills_together(self) -> bool:
        """Whether the end of one process for want of memory can end all of them (cgroup v2)."""
        group = self.path / "memory.oom.group"
        if group.exists():
            group.write_text("1")
        return group.exists()


@contextlib.contextmanager
def _made(root: Path, needed: str) -> Iterator[Cgroup]:
    path = root / f"secretfs-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        if not (path / needed).exists():
            pytest.skip(f"control groups have no {needed} here")
        yield Cgroup(path)
    finally:
        until(lambda: (path / "cgroup.procs").read_text() == "", "its processes to end")
        path.rmdir()


def freezer() -> contextlib.AbstractContextManager[Cgroup]:
    """Skips the test where there is no cgroup v2."""
    found = roots("cgroup2")
    if not found:
        pytest.skip("no cgroup v2 is mounted")
    return _made(found[0], "cgroup.freeze")


def memory() -> contextlib.AbstractContextManager[Cgroup]:
    """Skips the test where the memory of processes cannot be limited."""
    for root in roots("cgroup2"):
        controllers = (root / "cgroup.subtree_control").read_text().split()
        if "memory" in controllers:
            return _made(root, "memory.max")
    for root in roots("cgroup"):
        if (root / "memory.limit_in_bytes").exists():
            return _made(root, "memory.limit_in_bytes")
    pytest.skip("the memory of processes cannot be limited here")
