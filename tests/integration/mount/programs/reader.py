"""Reads a volume in a tight loop and judges what it sees: reader.py ROOT HOW.

Values are "GENERATION CHECKSUM FILLING". HOW is
  keys:  both keys by their paths; each value has to be whole.
  pair:  both keys through one descriptor of realpath(..data); they have to be of one generation.
Ends when its standard input does, then prints a JSON object: rounds, generations seen, how often
there was no such file (as the generation was gone between two steps), and the faults found.
"""

from __future__ import annotations

import json
import os
import select
import sys
import zlib

KEYS = ("first", "second")
FAULTS_MAX = 10


def generation_of(value: bytes) -> int:
    """The generation that a value belongs to; ValueError if it is torn."""
    number, checksum, filling = value.split(b" ", 2)
    if zlib.crc32(filling) != int(checksum):
        raise ValueError(f"torn value of {len(value)} bytes")
    return int(number)


def read(name: str, directory: int | None = None) -> bytes:
    fd = os.open(name, os.O_RDONLY, dir_fd=directory)
    try:
        pieces = []
        while piece := os.read(fd, 1 << 20):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(fd)


def read_keys(root: str) -> list[int]:
    return [generation_of(read(f"{root}/{key}")) for key in KEYS]


def read_pair(root: str) -> list[int]:
    directory = os.open(os.path.realpath(f"{root}/..data"), os.O_RDONLY | os.O_DIRECTORY)
    try:
        numbers = [generation_of(read(key, directory)) for key in KEYS]
    finally:
        os.close(directory)
    if len(set(numbers)) != 1:
        raise ValueError(f"a mix of generations {numbers}")
    return numbers


def is_stopped() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def main() -> None:
    root, how = sys.argv[1:]
    rounds, misses, seen, faults = 0, 0, set(), []
    is_last = False
    # the first round comes before the updates and the last one after them, however busy the machine
    while not is_last and len(faults) < FAULTS_MAX:
        is_last = is_stopped()
        rounds += 1
        try:
            seen.update(read_keys(root) if how == "keys" else read_pair(root))
        except FileNotFoundError:
            misses += 1
        except (OSError, ValueError) as error:
            faults.append(f"{type(error).__name__}: {error}")
        if rounds == 1:
            print("reading", flush=True)
    result = {"rounds": rounds, "misses": misses, "generations": len(seen), "faults": faults}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
