"""A process of the program under test: started, signalled, waited for, and its log checked."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import Any, Mapping, Sequence

from lib import program
from lib.process import die_with_parent, thread_states
from lib.waiting import PATIENCE_SECONDS, until


class DaemonLog:
    """What a program logs to the file `path`.

    expected_words: a pattern of suspicious lines that the test expects.
    """

    def __init__(self, path: Path) -> None:
        self._log = path
        self.expected_words: str | None = None

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def log_lines(self, pattern: str) -> list[str]:
        return [line for line in self.log().splitlines() if re.search(pattern, line)]

    def wait_log(self, pattern: str, count: int = 1) -> None:
        until(lambda: len(self.log_lines(pattern)) >= count, f"{pattern} in the log")

    def check_log(self) -> None:
        for line in filter(program.SUSPICIOUS.search, self.log().splitlines()):
            if self.expected_words is None or not re.search(self.expected_words, line):
                raise AssertionError(f"suspicious: {line}\nin:\n{self.log()}")


class DaemonProcess(DaemonLog):
    """A process that logs to `log`, in a session of its own; it ends with the process of the test.

    env: added to the bare environment of the home directory `home`.
    expected_exit: the status with which it has to end; a negative number is a signal's.
    """

    def __init__(
        self, command: Sequence[str], *, home: Path, log: Path, env: Mapping[str, str] | None
    ) -> None:
        super().__init__(log)
        self.home = home
        self.command = list(command)
        self.expected_exit = 0
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=program.environment(home, **(env or {})),
                preexec_fn=die_with_parent(signal.SIGTERM),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait_until(self, line: str, what: str) -> Any:
        """Waits for this text in the log; returns the process itself."""
        until(lambda: line in self.log() or self.exit_status is not None, what)
        assert self.exit_status is None, f"the program ended:\n{self.log()}"
        return self

    def wait_end(self) -> int:
        """Waits until the program has ended by itself and returns its exit status."""
        return wait_end(self._process, self)

    def end(self) -> None:
        """SIGTERM if it still runs; checks its exit status."""
        if self.exit_status is None:
            self.signal(signal.SIGTERM)
        status = self.wait_end()
        assert status == self.expected_exit, f"exit status {status}; log:\n{self.log()}"


def wait_end(process: subprocess.Popen[bytes], log: DaemonLog) -> int:
    """The exit status of a process that ends by itself; a negative number is a signal's."""
    try:
        return process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        threads = thread_states(process.pid)
        raise AssertionError(f"it does not end: {threads}\nlog:\n{log.log()}") from None
