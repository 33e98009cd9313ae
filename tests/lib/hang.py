"""Threads of a program that hang: stopped one by one, as a SIGSTOP stops the whole program.

A thread can also be stopped after one of its system calls, so that a test decides what happens
before the next one.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Iterator

from lib.ptrace import AT_ENTRY, AT_EXIT, DETACH, INTERRUPT, O_TRACESYSGOOD, SEIZE, SYSCALL
from lib.ptrace import SYSCALL_STOP, WALL, ptrace, system_call
from lib.waiting import until


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
            ptrace(SEIZE, thread)
            ptrace(INTERRUPT, thread)
            os.waitpid(thread, WALL)
            stopped.append(thread)
        yield
    finally:
        for thread in stopped:
            _let_go(thread)


def _is_own_child(thread: int) -> bool:
    """Its first thread: the others are waited for by their tracer alone."""
    status = Path(f"/proc/{thread}/status").read_text()
    return all(f"\n{line}\n" in status for line in (f"Tgid:\t{thread}", f"PPid:\t{os.getpid()}"))


def _let_go(thread: int) -> None:
    """A killed program ends when its tracer has waited for its threads, and then its parent for it."""
    try:
        ptrace(DETACH, thread)
    except ProcessLookupError:
        if not _is_own_child(thread):
            os.waitpid(thread, WALL)


# calls in which a thread waits for work: futex, poll and ppoll, epoll_wait and epoll_pwait of x86-64,
# and of arm64, in /proc/PID/syscall
FUTEX = {"202", "98"}
POLL = {"7", "271", "73"}
EPOLL = {"232", "281", "22"}


def _is_in(thread: int, calls: set[str]) -> bool:
    return Path(f"/proc/{thread}/syscall").read_text().split()[0] in calls


@contextlib.contextmanager
def hanging_idle(pid: int, name: str, calls: set[str]) -> Iterator[None]:
    """The same, of threads that wait in one of these calls, and so hold no lock."""
    with contextlib.ExitStack() as stack:

        def hang() -> bool:
            stack.enter_context(hanging(pid, name))
            if all(_is_in(thread, calls) for thread in threads_named(pid, name)):
                return True
            stack.close()
            return False

        until(hang, f"threads called {name} that wait for work")
        yield


class Tracer:
    """Stops one thread after system calls. To be used by the thread of the test that made it."""

    def __init__(self, thread: int) -> None:
        self._thread = thread
        ptrace(SEIZE, thread, data=O_TRACESYSGOOD)
        ptrace(INTERRUPT, thread)
        os.waitpid(thread, WALL)

    def _next_stop(self) -> tuple[int, int]:
        """At the entry or the exit of a system call. Returns which, and the number at an entry."""
        signals = 0
        while True:
            ptrace(SYSCALL, self._thread, data=signals)
            _, status = os.waitpid(self._thread, WALL)
            assert os.WIFSTOPPED(status), f"the thread ended with {status}"
            if os.WSTOPSIG(status) == SYSCALL_STOP:
                break
            is_event = status >> 16 != 0
            signals = 0 if is_event else os.WSTOPSIG(status)
        return system_call(self._thread)

    def run_until_after(self, *numbers: int) -> None:
        """Until the thread has made one of these system calls, and no other one after it."""
        while True:
            at, number = self._next_stop()
            if at == AT_ENTRY and number in numbers:
                break
        at, _ = self._next_stop()
        assert at == AT_EXIT

    def detach(self) -> None:
        ptrace(DETACH, self._thread)


@contextlib.contextmanager
def traced(pid: int, thread: int | None = None) -> Iterator[Tracer]:
    """thread: its id; without it, the program's first one. It runs on at the end."""
    tracer = Tracer(pid if thread is None else thread)
    try:
        yield tracer
    finally:
        tracer.detach()
