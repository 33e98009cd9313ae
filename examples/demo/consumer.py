#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A program that uses a secret and picks up a new one while it runs.

inotify alone notifies it of changes: it never polls, and is never restarted or
signalled. It does what is right for every volume in the kubelet's layout, this one included: watch
the directory, and act when "..data" is renamed (a change of bytes alone says nothing about the
file's own name).

    consumer.py FILE     prints "PID NANOSECONDS VALUE" at first and after each change; the time
                         is CLOCK_MONOTONIC, taken right after the file was read
"""

import ctypes
import os
import struct
import sys
import time

IN_MOVED_TO = 0x80
EVENT = struct.Struct("iIII")


def watch(directory):
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(directory), IN_MOVED_TO) < 0:
        raise OSError(ctypes.get_errno(), f"cannot watch {directory}")
    return fd


def moved_names(fd):
    events = os.read(fd, 4096)
    offset = 0
    while offset < len(events):
        *_, length = EVENT.unpack_from(events, offset)
        offset += EVENT.size
        yield events[offset : offset + length].rstrip(b"\0")
        offset += length


def show(path):
    with open(path, encoding="utf-8") as f:
        value = f.read()
    print(os.getpid(), time.monotonic_ns(), value, flush=True)


def main():
    path = sys.argv[1]
    fd = watch(os.path.dirname(path))
    show(path)
    while True:
        if b"..data" in moved_names(fd):
            show(path)


if __name__ == "__main__":
    main()
