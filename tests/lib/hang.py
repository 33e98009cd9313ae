"""Threads of a program that hang: stopped one by one, as a SIGSTOP stops the whole program."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Iterator

_PTRACE_DETACH = 17
_PTRACE_SEIZE = 0x4206
_PTRACE_INTERRUPT = 0x4207
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, thread: int) -> None:
    if _libc.ptrace(request, thread, None, None) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def threads_named(pid: int, name: str) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(task.name) for task in tasks if (task / "comm").read_text().strip() == name]


@contextlib.contextmanager
def hanging(pid: int, name: str) -> Iterator[None]:
    """While it is entered, no thread of that name runs."""
    threads = threads_named(pid, name)
    assert threads, f"no thread is called {name}"
    stopped: list[int] = []
    try:
        for thread in threads:
            _ptrace(_PTRACE_SEIZE, thread)
            _ptrace(_PTRACE_INTERRUPT, thread)
            os.waitpid(thread, _WALL)
            stopped.append(thread)
        yield
    finally:
        for thread in stopped:
            _ptrace(_PTRACE_DETACH, thread)
