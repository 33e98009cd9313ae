"""How the kernel's scheduler treats threads."""

from __future__ import annotations

import ctypes
import os
import struct

_SCHED_GETATTR = {"x86_64": 315, "aarch64": 275, "riscv64": 275}
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")  # struct sched_attr in its first size
_RUNTIME = 5

_libc = ctypes.CDLL(None, use_errno=True)


def slice_ns(thread: int) -> int:
    """The slice of processor time that an ordinary thread has asked for; 0 before Linux 6.12."""
    buffer = ctypes.create_string_buffer(_ATTRIBUTES.size)
    number = _SCHED_GETATTR[os.uname().machine]
    if _libc.syscall(number, thread, buffer, len(buffer), 0) != 0:
        raise OSError(ctypes.get_errno(), "sched_getattr")
    return int(_ATTRIBUTES.unpack(buffer.raw)[_RUNTIME])
