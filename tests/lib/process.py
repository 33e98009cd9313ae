"""A program that runs beside the tests, with its log in a file."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Callable, Mapping, Sequence

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: signal.Signals) -> Callable[[], None]:
    """For preexec_fn: when the test run ends in any way, nothing of it stays behind."""

    def prepare() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, number)

    return prepare


def close_devices() -> None:
    """
    For a child of the test that reads a mount: a descriptor of /dev/fuse, which it has from the store of the
    test, would keep the connection open, and with it the child's own wait for an answer.
    """
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == "/dev/fuse":
                os.close(int(name))
        except FileNotFoundError:  # of the listing itself
            continue


def thread_states(pid: int) -> str:
    """Where the threads of a process that does not end are: a line for each, and the kernel's stack."""

    def line(task: Path) -> str:
        fields = [_text(task / name) for name in ("comm", "wchan", "syscall")]
        return f"{task.name} {' '.join(fields)}\n{_text(task / 'stack')}"

    return "\n".join(line(task) for task in sorted(Path(f"/proc/{pid}/task").glob("*")))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        return str(error)


class Process:
    """Start it from the main thread: the kernel ends the child with the thread that made it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        env: Mapping[str, str] | None = None,
        death: signal.Signals = signal.SIGKILL,
        inside: AbstractContextManager[Callable[[], None]] | None = None,
    ) -> None:
        """`death`: what it gets if the test run is gone all at once. `inside`: what is entered while
        it is made, and gives what the child does first."""
        self.name = name
        self.log = log

        def prepare() -> None:
            enter()
            die_with_parent(death)()

        with open(log, "ab") as output, inside or nullcontext(lambda: None) as enter:
            self._popen = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                preexec_fn=prepare,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def exit_code(self) -> int | None:
        return self._popen.poll()

    def wait(self, seconds: float) -> int:
        return self._popen.wait(seconds)

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 90) -> int:
        """Returns the exit code. A program that does not heed the signal is killed, and said so."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
            raise AssertionError(f"{self.name} did not end {seconds:g} s after {number.name}")

    def log_tail(self, n_bytes: int = 4000) -> str:
        return self.log.read_bytes()[-n_bytes:].decode(errors="replace")
