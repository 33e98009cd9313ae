"""One `secretfs exec`: started, watched through what its command notes, and always ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Sequence

from lib import program
from lib.daemon_process import DaemonLog, wait_end
from lib.waiting import until

PYTHON = sys.executable
WORKER = str(Path(__file__).parent / "programs" / "worker.py")


class Record:
    """What a worker has noted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        notes = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [note for note in notes if not kinds or note["event"] in kinds]

    def wait(self, kind: str, count: int = 1) -> dict[str, Any]:
        """Waits for the count-th event of a kind and returns it."""
        until(lambda: len(self.events(kind)) >= count, f"{count} x {kind} in {self.events()}")
        return self.events(kind)[count - 1]

    def environment(self, count: int = 1) -> dict[str, str]:
        """What the command was started with, the count-th time."""
        return self.wait("start", count)["environment"]


class Execution(DaemonLog):
    """`secretfs exec ARGUMENTS`; a "@worker" among them stands for a worker of this execution.

    secrets: words that must be found neither in its log nor in its own arguments or environment.
    """

    def __init__(
        self,
        area: Path,
        number: int,
        arguments: Sequence[str],
        *,
        env: dict[str, str] | None = None,
        secrets: Sequence[str] = ("dummy",),
        **options: Any,
    ) -> None:
        super().__init__(area / f"log{number}")
        self.record = Record(area / f"record{number}")
        self.secrets = secrets
        self._output = area / f"output{number}"
        command = [str(program.binary()), "exec"]
        for part in arguments:
            is_worker = part == "@worker"
            command += [PYTHON, WORKER, str(self.record.path)] if is_worker else [part]
        with open(self._log, "ab") as log, open(self._output, "ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=program.environment(area / "home", **(env or {})),
                **{"start_new_session": True, **options},
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_end(self) -> int:
        """Its exit status; a negative number is a signal's."""
        return wait_end(self.process, self)

    def output(self) -> str:
        """All of the command's output, once it has ended with success."""
        status = self.wait_end()
        assert status == 0, f"exit status {status}; log:\n{self.log()}"
        return self._output.read_text()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def check_shows_nothing(self) -> None:
        """No value is in the arguments and the environment of the program itself."""
        for name in ("cmdline", "environ"):
            shown = Path(f"/proc/{self.pid}/{name}").read_bytes()
            for secret in self.secrets:
                assert secret.encode() not in shown, name

    def finish(self) -> None:
        """Ends it if it still runs, and finds fault with what it said."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.wait_end()
            finally:
                self._kill_all()
        log = self.log()
        for secret in self.secrets:
            assert secret not in log, f"{secret} in:\n{log}"
        self.check_log()

    def _kill_all(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for note in self.record.events("start"):
            try:
                os.killpg(note["group"], signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass


ExecutionMaker = Callable[..., Execution]
