"""A process that lists a directory into memory which does not become available.

The kernel holds the directory's lock meanwhile: each process that changes the directory waits, in a state that no signal ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import platform
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from lib.process import die_with_parent
from lib.waiting import until

# userfaultfd(2), getdents64(2)
_NUMBERS = {"x86_64": (323, 217), "aarch64": (282, 61), "riscv64": (282, 61)}

_UFFDIO_API = 0xC018AA3F
_UFFDIO_REGISTER = 0xC020AA00
_UFFD_API = 0xAA
_REGISTER_MODE_MISSING = 1


def _numbers() -> tuple[int, int]:
    if platform.machine() not in _NUMBERS:
        pytest.skip(f"no system call numbers for {platform.machine()}")
    return _NUMBERS[platform.machine()]


def _need_userfaultfd() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_numbers()[0], os.O_CLOEXEC)
    if fd < 0:
        pytest.skip(f"userfaultfd: {errno.errorcode[ctypes.get_errno()]}")
    os.close(fd)


def _list_for_ever(path: str) -> None:
    userfaultfd, getdents64 = _numbers()
    libc = ctypes.CDLL(None, use_errno=True)
    fault = libc.syscall(userfaultfd, os.O_CLOEXEC)
    fcntl.ioctl(fault, _UFFDIO_API, struct.pack("QQQ", _UFFD_API, 0, 0))
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(
        fault,
        _UFFDIO_REGISTER,
        struct.pack("QQQQ", address, mmap.PAGESIZE, _REGISTER_MODE_MISSING, 0),
    )
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    libc.syscall(getdents64, directory, ctypes.c_void_p(address), mmap.PAGESIZE)


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """The directory is held while it is entered."""
    _need_userfaultfd()
    with subprocess.Popen(
        [sys.executable, "-m", "lib.held_directory", str(path)],
        cwd=Path(__file__).parent.parent,
        preexec_fn=die_with_parent(signal.SIGKILL),
    ) as process:
        try:
            waits_in = Path(f"/proc/{process.pid}/wchan")
            until(lambda: "userfault" in waits_in.read_text(), f"{path} is held")
            yield
        finally:
            process.kill()


if __name__ == "__main__":
    _list_for_ever(sys.argv[1])
