"""Control groups that divide the processors between processes, as a kubelet has them for its pods."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

_NAME = "secretfs-bench"
_SHARES_OF_ALL = 1024  # of the groups together, as one process has: the rest of the machine goes on
_SHARES_MIN = 2


def shares(milli_cpu: int) -> int:
    """As the kubelet converts a request."""
    return max(_SHARES_MIN, milli_cpu * 1024 // 1000)


def _weight(of_shares: int) -> int:
    """As container runtimes convert shares for cgroup v2."""
    return 1 + (of_shares - _SHARES_MIN) * 9999 // 262142


class Hierarchy:
    """Where the machine has the cpu controller."""

    def __init__(self, root: Path, is_v2: bool) -> None:
        self.root = root
        self._is_v2 = is_v2

    def make(self, path: Path, of_shares: int) -> None:
        path.mkdir(exist_ok=True)
        if self._is_v2:
            (path / "cpu.weight").write_text(str(_weight(of_shares)))
        else:
            (path / "cpu.shares").write_text(str(of_shares))

    def permit_below(self, path: Path) -> None:
        if self._is_v2:
            (path / "cgroup.subtree_control").write_text("+cpu")


def find() -> Hierarchy | None:
    """None: this process can make no such groups."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, (kind, _, options) = Path(before.split()[4]), after.split()[:3]
        if kind == "cgroup" and "cpu" in options.split(","):
            return Hierarchy(root, is_v2=False)
        controllers = root / "cgroup.controllers"
        if kind == "cgroup2" and controllers.is_file():
            if re.search(r"\bcpu\b", controllers.read_text()):
                return Hierarchy(root, is_v2=True)
    return None


class Group:
    """Processes that share what the group gets."""

    def __init__(self, hierarchy: Hierarchy, path: Path) -> None:
        self._hierarchy = hierarchy
        self._path = path

    def set_request(self, milli_cpu: int) -> None:
        self._hierarchy.make(self._path, shares(milli_cpu))

    @contextmanager
    def holding(self, pid: int) -> Iterator[None]:
        """With the process in this group, and what it starts meanwhile; then it goes to the root."""
        (self._path / "cgroup.procs").write_text(str(pid))
        try:
            yield
        finally:
            (self._hierarchy.root / "cgroup.procs").write_text(str(pid))


@contextmanager
def made(hierarchy: Hierarchy, *names: str) -> Iterator[list[Group]]:
    """Groups beside one another, which have to be empty at the end."""
    parent = hierarchy.root / _NAME
    paths = [parent / name for name in names]
    try:
        hierarchy.permit_below(hierarchy.root)
        hierarchy.make(parent, _SHARES_OF_ALL)
        hierarchy.permit_below(parent)
        for path in paths:
            hierarchy.make(path, shares(1000))
        yield [Group(hierarchy, path) for path in paths]
    finally:
        for path in (*paths, parent):
            if path.exists():
                path.rmdir()
