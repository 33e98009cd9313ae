#!/usr/bin/python3
"""Makes mounts in mount namespaces of other processes, where containers have theirs.

`foreign_mounts.py DIR COUNT` is such a process: it makes COUNT mounts, says so in a line, and waits
for the end of its input. The kernel takes them away with it.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator

import processes

PER_GROUP = 1000
PER_NAMESPACE = 50_000  # fs.mount-max is 100,000, and each namespace begins with a copy of ours


def make(directory: Path, count: int) -> None:
    """Bind mounts of a directory of a tmpfs, in groups.

    A group is made one by one and then bound with all that is mounted below it, as the kernel takes
    the longer for a mount the more there are. The mount points are on the tmpfs as well, so that
    nothing is left of them.
    """
    processes.isolate()
    processes.mount_tmpfs(directory)
    group = directory / "group"
    group.mkdir()
    processes.mount_tmpfs(group)
    (group / "source").mkdir()
    for i in range(1, min(count, PER_GROUP)):
        processes.bind(group / "source", _made(group / str(i)))
    for i in range(1, count // PER_GROUP):
        processes.bind_all(group, _made(directory / str(i)))


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


@contextmanager
def made(directory: Path, count: int) -> Iterator[None]:
    """So many of them for as long as the context lasts.

    directory: an existing one
    count: a multiple of PER_GROUP
    """
    with ExitStack() as stack:
        makers = []
        while count > 0:
            part = min(count, PER_NAMESPACE)
            command: list[object] = [sys.executable, Path(__file__).resolve(), directory, part]
            makers.append(processes.Obedient(command, directory.with_suffix(".log")))
            stack.callback(makers[-1].end)
            count -= part
        for maker in makers:
            maker.hear()
        yield


def main() -> None:
    make(Path(sys.argv[1]), int(sys.argv[2]))
    print("made", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
