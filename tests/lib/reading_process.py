"""A process that opens, maps and reads a file when it is asked to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Reads a command a line, and answers "done": open, map, close, unmap, read.
_PROGRAM = """
import mmap, os, sys
path, fd, mapping = sys.argv[1], -1, None
for line in sys.stdin:
    command = line.strip()
    if command == "open":
        fd = os.open(path, os.O_RDONLY)
    elif command == "map":
        mapping = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    elif command == "close":
        os.close(fd)
    elif command == "unmap":
        mapping.close()
    elif command == "read":
        open(path, "rb").read()
    print("done", flush=True)
"""


class ReadingProcess:
    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> ReadingProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def do(self, *commands: str) -> None:
        """Returns when it has done them."""
        assert self._process.stdin is not None and self._process.stdout is not None
        for command in commands:
            print(command, file=self._process.stdin, flush=True)
            assert self._process.stdout.readline() == "done\n"
