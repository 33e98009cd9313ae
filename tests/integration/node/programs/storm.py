"""Reads a file in a loop through Python and other programs, as storm.c does: storm.py HABIT PATH.

Versions look as storm.c says. The number of the last one comes by standard input; then one line of
JSON tells what was counted.
"""

from __future__ import annotations

import json
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Callable

HEADER_LEN = 28
PAUSE_SECONDS_MAX = 0.2
LATE_SECONDS = 60
FAULTS_MAX = 5


def number_of(content: bytes) -> int:
    """The version that a content is."""
    number, length, checksum = content[:HEADER_LEN].split()
    filling = content[HEADER_LEN:]
    if len(content) != int(length):
        raise ValueError(f"{len(content)} bytes of {int(length)} of version {int(number)}")
    if zlib.crc32(filling) != int(checksum, 16):
        raise ValueError(f"torn version {int(number)}, {len(content)} bytes")
    return int(number)


def python(path: Path, copy: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def copyfile(path: Path, copy: Path) -> bytes:
    shutil.copyfile(path, copy)
    return copy.read_bytes()


def cp(path: Path, copy: Path) -> bytes:
    subprocess.run(["cp", path, copy], check=True)
    return copy.read_bytes()


def cat(path: Path, copy: Path) -> bytes:
    return subprocess.run(["cat", path], stdout=subprocess.PIPE, check=True).stdout


HABITS: dict[str, Callable[[Path, Path], bytes]] = {
    "python": python,
    "copyfile": copyfile,
    "cp": cp,
    "cat": cat,
}


def main() -> None:
    work, path = HABITS[sys.argv[1]], Path(sys.argv[2])
    counts = {"rounds": 0, "versions": 0, "empty": 0, "torn": 0, "back": 0, "errors": 0, "late": 0}
    faults: list[str] = []
    last, final, deadline = -1, None, 0.0
    with tempfile.TemporaryDirectory(prefix="secretfs-storm-") as directory:
        copy = Path(directory) / "copy"
        print("reading", flush=True)
        while final is None or last < final:
            if final is None and select.select([sys.stdin], [], [], 0)[0]:
                final = int(sys.stdin.readline())
                deadline = time.monotonic() + LATE_SECONDS
            if final is not None and time.monotonic() > deadline:
                counts["late"] += 1
                faults.append(f"version {final} was never seen, but {last}")
                break
            counts["rounds"] += 1
            try:
                content = work(path, copy)
                number = number_of(content) if content else last
                counts["empty"] += not content
            except ValueError as error:
                counts["torn"] += 1
                faults.append(str(error))
                continue
            except (OSError, subprocess.CalledProcessError) as error:
                counts["errors"] += 1
                faults.append(str(error))
                continue
            if number < last:
                counts["back"] += 1
                faults.append(f"version {number} after {last}")
            counts["versions"] += number != last
            last = number
            time.sleep(random.uniform(0, PAUSE_SECONDS_MAX))
    print(json.dumps({**counts, "faults": faults[:FAULTS_MAX]}))


if __name__ == "__main__":
    main()
