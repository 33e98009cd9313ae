"""Debian's chromium without a window, driven through its DevTools protocol on a pair of pipes."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from lib.process import die_with_parent
from lib.waiting import PATIENCE_SECONDS

PROGRAM = "chromium"
_OPTIONS = (
    "--headless",
    "--no-sandbox",  # which it refuses to do without for root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-pipe",
)
# It reads commands from descriptor 3 and writes to 4.
_SCRIPT = 'in=$1 out=$2; shift 2; exec "$@" 3<&"$in" 4>&"$out"'


def is_installed() -> bool:
    return shutil.which(PROGRAM) is not None


class Browser:
    """One with one page."""

    def __init__(self, directory: Path) -> None:
        """`directory`: for its profile and its log."""
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        self._buffer = b""
        self._last_id = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        command = [PROGRAM, *_OPTIONS, f"--user-data-dir={directory / 'profile'}", "about:blank"]
        with open(directory / "browser.log", "wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", _SCRIPT, "bash", str(commands), str(answers), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": str(directory)},
                pass_fds=(commands, answers),
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        os.close(commands)
        os.close(answers)

    def open(self, url: str) -> None:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self._call("Log.enable")
        self._call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def errors(self) -> list[str]:
        """What the page could not load or do, such as violations of its policy."""
        entries = [e["params"]["entry"] for e in self._events if e["method"] == "Log.entryAdded"]
        return [entry["text"] for entry in entries if entry["level"] == "error"]

    def finish(self) -> None:
        os.close(self._commands)  # which ends it
        os.close(self._answers)
        try:
            self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()

    # ---- the protocol: JSON, each message followed by a NUL

    def _call(self, method: str, **params: Any) -> Any:
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._last_id:
            self._events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], PATIENCE_SECONDS)
            assert ready, "the browser does not answer"
            received = os.read(self._answers, 65536)
            assert received, f"the browser ended with {self._process.wait()}"
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed
