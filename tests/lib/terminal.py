"""A terminal with bash on it, as a person would sit at."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time
from pathlib import Path

from lib import program
from lib.waiting import PATIENCE_SECONDS

PROMPT = "ready> "


class Terminal:
    """`type` writes what a person types; `expect` waits for what the screen shows next."""

    def __init__(self, area: Path) -> None:
        self.screen = ""
        self._seen = 0
        env = program.environment(area / "home", PS1=PROMPT, TERM="dumb", HISTFILE="")
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], env)
        self.expect(re.escape(PROMPT))

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def expect(self, pattern: str) -> str:
        """Waits until the screen shows this after what was expected before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = re.search(pattern, self.screen[self._seen :])
            if found:
                self._seen += found.end()
                return found.group()
            if time.monotonic() > deadline:
                raise AssertionError(f"waited in vain for {pattern!r} on:\n{self.screen}")
            if select.select([self._fd], [], [], 0.1)[0]:
                self._read()

    def expect_prompt(self) -> None:
        self.expect(re.escape(PROMPT))

    def foreground(self) -> int:
        """The process group that has the terminal."""
        return os.tcgetpgrp(self._fd)

    def close(self) -> None:
        group = self.foreground()
        if group not in (0, self.pid):
            os.killpg(group, signal.SIGKILL)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)

    def _read(self) -> None:
        try:
            self.screen += os.read(self._fd, 65536).decode(errors="replace").replace("\r", "")
        except OSError:
            raise AssertionError(f"the shell ended:\n{self.screen}") from None
