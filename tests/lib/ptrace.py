"""ptrace(2): what the helpers that stop a program's threads have in common."""

from __future__ import annotations

import ctypes
import os
import signal
import struct

DETACH = 17
SYSCALL = 24
SEIZE = 0x4206
INTERRUPT = 0x4207
_GET_SYSCALL_INFO = 0x420E

O_TRACESYSGOOD = 1
O_TRACECLONE = 1 << 3
O_TRACEEXEC = 1 << 4

EVENT_EXEC = 4

SYSCALL_STOP = signal.SIGTRAP | 0x80
AT_ENTRY, AT_EXIT = 1, 2

WALL = 0x40000000
WNOTHREAD = 0x20000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def ptrace(request: int, thread: int, address: int | None = None, data: int = 0) -> None:
    if _libc.ptrace(request, thread, address, ctypes.c_void_p(data)) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def system_call(thread: int) -> tuple[int, int]:
    """Of a thread that has stopped at one: AT_ENTRY or AT_EXIT, and the number at an entry."""
    info = ctypes.create_string_buffer(88)
    ptrace(_GET_SYSCALL_INFO, thread, len(info), ctypes.addressof(info))
    return info.raw[0], struct.unpack_from("Q", info.raw, 24)[0]
