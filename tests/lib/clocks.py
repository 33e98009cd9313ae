"""The clocks of a program: set forwards and backwards, and ahead as after a suspend."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).parent / "programs" / "clocks.c"


class Clocks:
    """`env` starts a program with clocks of its own, which show the kernel's time at first."""

    def __init__(self, area: Path) -> None:
        library, self._file = area / "clocks.so", area / "clocks"
        command = ["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-pthread"]
        subprocess.run(
            [*command, "-shared", "-fPIC", "-o", str(library), str(_SOURCE)], check=True
        )
        self._wall = self._boot = 0
        self._file.write_bytes(struct.pack("qq", 0, 0))
        self.env = {"LD_PRELOAD": str(library), "CLOCKS_FILE": str(self._file)}

    def set_forward(self, seconds: int) -> None:
        """CLOCK_REALTIME alone, as when an administrator sets it; negative: backwards."""
        self._wall += seconds
        self._write()

    def suspend(self, seconds: int) -> None:
        """All clocks but CLOCK_MONOTONIC go on for this time."""
        self._wall += seconds
        self._boot += seconds
        self._write()

    def _write(self) -> None:
        fd = os.open(self._file, os.O_WRONLY)
        try:
            os.pwrite(fd, struct.pack("qq", self._wall, self._boot), 0)
        finally:
            os.close(fd)
