"""Watches a link as systemd's path.c does for PathChanged=.

It watches the link and what the link leads to, reads all queued events at once, and is triggered
when one of them is of the target. After any event it adds both watches again. It writes `triggered`,
and `watching` with the target's inode number.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

# ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF
PATH_CHANGED = 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
DONT_FOLLOW = 0x02000000
HEADER = struct.Struct("iIII")

libc = ctypes.CDLL(None, use_errno=True)


def watch(path: bytes) -> tuple[int, int]:
    """Return: an inotify descriptor, and the watch of what the link leads to."""
    fd = libc.inotify_init1(os.O_CLOEXEC)
    libc.inotify_add_watch(fd, path, ctypes.c_uint32(PATH_CHANGED | DONT_FOLLOW))
    target = os.open(path, os.O_PATH)
    link = b"/proc/self/fd/%d" % target
    wd = libc.inotify_add_watch(fd, link, ctypes.c_uint32(PATH_CHANGED))
    print("watching", os.fstat(target).st_ino, flush=True)
    os.close(target)
    return fd, wd


def has_event_of(fd: int, wanted: int) -> bool:
    data, at, found = os.read(fd, 1 << 16), 0, False
    while at < len(data):
        wd, _, _, length = HEADER.unpack_from(data, at)
        at += HEADER.size + length
        found = found or wd == wanted
    return found


def main() -> None:
    path = os.fsencode(sys.argv[1])
    fd, target = watch(path)
    while True:
        if has_event_of(fd, target):
            print("triggered", flush=True)
        os.close(fd)
        fd, target = watch(path)


main()
