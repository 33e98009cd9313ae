"""Reads files in a tight loop the ways programs do, and judges what it sees: hunter.py PATH...

Values are "NUMBER CHECKSUM FILLING". Each file is read
  whole:  open, fstat, one read of just that size; nothing may be missing or left over,
  piece:  open, and small reads until the end,
  again:  open, read to the end, and once more from the start through the same descriptor.
Numbers of one file never go back. Ends when its standard input does, then prints a JSON object:
rounds, misses (open failed with ENOENT), versions seen, and the faults found.

An old generation stays for 10 ms after an update, so a miss is right only after an open that took as
long, of a reader that lost its processor on the way.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
import zlib

FAULTS_MAX = 10
PIECE_BYTES = 700
GENERATION_STAYS_SEC = 0.010


def number_of(value: bytes) -> int:
    number, checksum, filling = value.split(b" ", 2)
    if zlib.crc32(filling) != int(checksum):
        raise ValueError(f"torn value of {len(value)} bytes")
    return int(number)


def read_whole(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    value = os.read(fd, size)
    if len(value) != size:
        raise ValueError(f"{len(value)} bytes where fstat said {size}")
    if os.read(fd, 1) != b"":
        raise ValueError(f"more than the {size} bytes that fstat said")
    return value


def read_pieces(fd: int) -> bytes:
    pieces = []
    while piece := os.read(fd, PIECE_BYTES):
        pieces.append(piece)
    return b"".join(pieces)


def read_again(fd: int) -> bytes:
    first = read_pieces(fd)
    os.lseek(fd, 0, os.SEEK_SET)
    if read_pieces(fd) != first:
        raise ValueError("another content through the same descriptor")
    return first


WAYS = (read_whole, read_pieces, read_again)


def main() -> None:
    paths = sys.argv[1:]
    rounds, misses, faults = 0, 0, []
    last = dict.fromkeys(paths, -1)
    versions = set()
    print("reading", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0] and len(faults) < FAULTS_MAX:
        way = WAYS[rounds % len(WAYS)]
        rounds += 1
        for path in paths:
            began = time.monotonic()
            try:
                fd = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                misses += 1
                took = time.monotonic() - began
                if took < GENERATION_STAYS_SEC:
                    faults.append(f"{path}: missing after {took * 1000:.3f} ms")
                continue
            try:
                number = number_of(way(fd))
                if number < last[path]:
                    raise ValueError(f"version {number} after {last[path]}")
                last[path] = number
                versions.add(number)
            except (OSError, ValueError) as error:
                faults.append(f"{path}: {way.__name__}: {type(error).__name__}: {error}")
            finally:
                os.close(fd)
    result = {"rounds": rounds, "misses": misses, "versions": len(versions), "faults": faults}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
