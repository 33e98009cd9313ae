"""Threads of a program that hang: stopped one by one, as a SIGSTOP stops the whole program.

A thread can also be stopped after one of its system calls, so that a test decides what happens
before the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
from pathlib import Path
from typing import Iterator

_PTRACE_DETACH = 17
_PTRACE_SYSCALL = 24
_PTRACE_SEIZE = 0x4206
_PTRACE_INTERRUPT = 0x4207
_PTRACE_GET_SYSCALL_INFO = 0x420E
_PTRACE_O_TRACESYSGOOD = 1
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_AT_ENTRY, _AT_EXIT = 1, 2
_WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, thread: int, address: int | None = None, data: object = None) -> None:
    if _libc.ptrace(request, thread, address, data) < 0:
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


class Tracer:
    """Stops one thread after system calls. To be used by the thread of the test that made it."""

    def __init__(self, thread: int) -> None:
        self._thread = thread
        _ptrace(_PTRACE_SEIZE, thread, data=ctypes.c_void_p(_PTRACE_O_TRACESYSGOOD))
        _ptrace(_PTRACE_INTERRUPT, thread)
        os.waitpid(thread, _WALL)

    def _next_stop(self) -> tuple[int, int]:
        """At the entry or the exit of a system call. Returns which, and the number at an entry."""
        info = ctypes.create_string_buffer(88)
        signals = 0
        while True:
            _ptrace(_PTRACE_SYSCALL, self._thread, data=ctypes.c_void_p(signals))
            _, status = os.waitpid(self._thread, _WALL)
            assert os.WIFSTOPPED(status), f"the thread ended with {status}"
            if os.WSTOPSIG(status) == _SYSCALL_STOP:
                break
            is_event = status >> 16 != 0
            signals = 0 if is_event else os.WSTOPSIG(status)
        _ptrace(_PTRACE_GET_SYSCALL_INFO, self._thread, len(info), ctypes.addressof(info))
        return info.raw[0], struct.unpack_from("Q", info.raw, 24)[0]

    def run_until_after(self, *numbers: int) -> None:
        """Until the thread has made one of these system calls, and no other one after it."""
        while True:
            at, number = self._next_stop()
            if at == _AT_ENTRY and number in numbers:
                break
        at, _ = self._next_stop()
        assert at == _AT_EXIT

    def detach(self) -> None:
        _ptrace(_PTRACE_DETACH, self._thread)


@contextlib.contextmanager
def traced(pid: int, thread: int | None = None) -> Iterator[Tracer]:
    """thread: its id; without it, the program's first one. It runs on at the end."""
    tracer = Tracer(pid if thread is None else thread)
    try:
        yield tracer
    finally:
        tracer.detach()
