"""Tries every way of changing a volume: attempts.py ROOT KEY [OPENED].

Prints a JSON object: what was tried -> "OK", or the name of the error. KEY has to be a key of the
volume. Run by tests as root, as another user, or with the root of a volume reached by other ways.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from typing import Callable


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "OK"


def write_to(path: str, flags: int = 0) -> None:
    """Opening may succeed where writing does not."""
    fd = os.open(path, os.O_WRONLY | flags)
    try:
        os.write(fd, b"written")
    finally:
        os.close(fd)


def shorten(path: str) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def attempts(root: str, key: str) -> dict[str, Callable[[], object]]:
    file, new = f"{root}/{key}", f"{root}/new"
    generation = f"{root}/{os.readlink(f'{root}/..data')}"
    no_follow = {"follow_symlinks": False}
    return {
        "write": lambda: write_to(file),
        "append": lambda: write_to(file, os.O_APPEND),
        "open with O_TRUNC": lambda: write_to(file, os.O_TRUNC),
        "truncate": lambda: os.truncate(file, 1),
        "ftruncate": lambda: shorten(file),
        "create": lambda: write_to(new, os.O_CREAT),
        "create in generation": lambda: write_to(f"{generation}/new", os.O_CREAT),
        "mkdir": lambda: os.mkdir(new),
        "mkfifo": lambda: os.mkfifo(new),
        "symlink": lambda: os.symlink("target", new),
        "link": lambda: os.link(f"{generation}/{key}", new),
        "rename key": lambda: os.rename(file, new),
        "rename data": lambda: os.rename(f"{root}/..data", new),
        "rename generation": lambda: os.rename(generation, new),
        "unlink key": lambda: os.unlink(file),
        "unlink data": lambda: os.unlink(f"{root}/..data"),
        "unlink in generation": lambda: os.unlink(f"{generation}/{key}"),
        "rmdir generation": lambda: os.rmdir(generation),
        "chmod root": lambda: os.chmod(root, 0o700),
        "chmod file": lambda: os.chmod(file, 0o600),
        "chown file": lambda: os.chown(file, os.getuid(), os.getgid()),
        "chown link": lambda: os.chown(file, os.getuid(), os.getgid(), **no_follow),
        "utimes file": lambda: os.utime(file, (1, 1)),
        "utimes root": lambda: os.utime(root),
        "setxattr": lambda: os.setxattr(file, "user.test", b"1"),
        "removexattr": lambda: os.removexattr(file, "user.test"),
    }


def main() -> None:
    root, key = sys.argv[1], sys.argv[2]
    print(json.dumps({name: outcome(do) for name, do in attempts(root, key).items()}))


if __name__ == "__main__":
    main()
