"""Kills a program before one of its system calls, so that a test can end it at each of them in turn."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Callable, Iterable

from lib.ptrace import AT_ENTRY, EVENT_EXEC, INTERRUPT, O_TRACECLONE, O_TRACEEXEC, O_TRACESYSGOOD
from lib.ptrace import SEIZE, SYSCALL, SYSCALL_STOP, WALL, WNOTHREAD, ptrace, system_call
from lib.storm import number_of, read
from lib.waiting import until

# of each test: evenly spread; 0 for all
POINTS = int(os.environ.get("SECRETFS_TEST_KILL_POINTS", "12"))

_OPTIONS = O_TRACESYSGOOD | O_TRACECLONE | O_TRACEEXEC

# read, readlink, openat, fstatat of x86-64 and of arm64, in /proc/PID/syscall
_WAITING = {"0", "89", "257", "262", "63", "78", "56", "79"}


def points_of(count: int, first: int = 1) -> Iterable[int]:
    """Numbers of system calls, from the first one on, of a program that makes so many."""
    step = max(1, (count - first + 1) // POINTS) if POINTS > 0 else 1
    return range(first, count + 1, step)


class KillPoint:
    """Counts the system calls of all threads of a program, and kills it before the one with a number.

    A thread of the test traces the program until it has ended. A program that has stopped itself
    before it runs another one is counted from there, else from now on.

    number: from 1 on; 0 counts only.
    at_kill: called before the kill. The program's threads stop at their next system call by then.
    """

    def __init__(self, pid: int, number: int, at_kill: Callable[[], None] = lambda: None) -> None:
        self.count = 0
        self.has_killed = False
        self._pid = pid
        self._number = number
        self._at_kill = at_kill
        self._is_attached = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._is_attached.wait()

    def join(self) -> None:
        """Once the program has ended as a whole."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._attach()
            self._is_attached.set()
            while self._handle_event():
                pass
        except ChildProcessError:
            pass  # it has ended, and its parent has waited for it
        except Exception as error:  # noqa: BLE001 (raised again by join())
            self._failure = error
        finally:
            self._is_attached.set()

    def _attach(self) -> None:
        """Threads that start meanwhile are found, or are traced already as one that is traced has made them."""
        attached: set[int] = set()
        while new := self._threads() - attached:
            attached |= new
            for thread in new:
                try:
                    ptrace(SEIZE, thread, data=_OPTIONS)
                    ptrace(INTERRUPT, thread)
                except (PermissionError, ProcessLookupError):
                    pass  # traced already, or has ended
        os.kill(self._pid, signal.SIGCONT)

    def _threads(self) -> set[int]:
        return {int(name) for name in os.listdir(f"/proc/{self._pid}/task")}

    def _handle_event(self) -> bool:
        """False when the program has ended; its parent waits for it."""
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WSTOPPED | os.WNOWAIT | WALL | WNOTHREAD)
        assert found is not None
        thread = found.si_pid
        if found.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED) and thread == self._pid:
            return False
        # a thread that was killed since is none to wait for: the first one ends after all others
        pid, status = os.waitpid(thread, WALL | WNOTHREAD | os.WNOHANG)
        if pid == thread and os.WIFSTOPPED(status):
            self._handle_stop(thread, status)
        return True

    def _handle_stop(self, thread: int, status: int) -> None:
        event, number = status >> 16, os.WSTOPSIG(status)
        if event == EVENT_EXEC:
            self.count = 0
        try:
            if number == SYSCALL_STOP and system_call(thread)[0] == AT_ENTRY:
                self._count_call()
            is_signal = event == 0 and number != SYSCALL_STOP
            ptrace(SYSCALL, thread, data=number if is_signal else 0)
        except ProcessLookupError:
            pass  # killed

    def _count_call(self) -> None:
        self.count += 1
        if self.count == self._number:
            self._at_kill()
            os.kill(self._pid, signal.SIGKILL)
            self.has_killed = True


def is_stopped(pid: int) -> bool:
    """Whether a program has stopped itself."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


class Glance:
    """A reader that begins when the process is about to be killed: it is answered by it or by the next one.

    Where the kernel cannot send requests again it may fail once, and then reads again.
    """

    def __init__(self, path: Path, *, may_be_aborted: bool = False) -> None:
        self._path = path
        self._may_be_aborted = may_be_aborted
        self._numbers: list[int] = []
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        try:
            content = read(self._path / "password")
        except ConnectionAbortedError:
            if not self._may_be_aborted:
                raise
            content = read(self._path / "password")
        self._numbers.append(number_of(content))

    def begin(self) -> None:
        self._thread.start()
        until(self._has_got_as_far_as_it_can, "a reader that has read, or waits")

    def _has_got_as_far_as_it_can(self) -> bool:
        try:
            call = Path(f"/proc/self/task/{self._thread.native_id}/syscall").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
        return not self._thread.is_alive() or call.split()[0] in _WAITING

    def number(self) -> int:
        """0 if it never began."""
        if self._thread.ident is not None:
            self._thread.join()
            assert self._numbers, "the reader has failed"
        return self._numbers[0] if self._numbers else 0
