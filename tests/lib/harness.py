"""The plug-in with a test for its program: requests come as events, the test answers them."""

from __future__ import annotations

import functools
import json
import os
import queue
import resource
import subprocess
import threading
from pathlib import Path
from typing import Any, Callable

from lib.waiting import PATIENCE_SECONDS

_DEFAULT = Path(__file__).resolve().parents[2] / "build" / "debug" / "tests" / "csi-harness"

Event = dict[str, Any]


def binary() -> Path:
    return Path(os.environ.get("CSI_HARNESS", _DEFAULT)).resolve()


def _limit_descriptors(number: int | None) -> None:
    if number is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


class Harness:
    def __init__(
        self,
        area: Path,
        *,
        registration: bool = True,
        descriptors: int | None = None,
        **limits: int,
    ) -> None:
        self.endpoint = area / "plugins" / "csi.secretfs.io" / "csi.sock"
        self.registration = area / "plugins_registry" / "csi.secretfs.io-reg.sock"
        arguments = [str(self.endpoint), str(self.registration) if registration else "-"]
        arguments += [f"{name}={number}" for name, number in limits.items()]
        self._process = subprocess.Popen(
            [str(binary()), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=functools.partial(_limit_descriptors, descriptors),
        )
        self._events: queue.Queue[Event] = queue.Queue()
        self._kept: list[Event] = []
        self._errors = ""
        self.has_refused = False
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_events(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._events.put(json.loads(line))
        self._events.put({"event": "ended"})

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors = self._process.stderr.read()

    def started(self) -> Harness:
        self.wait("started")
        return self

    def wait(self, event: str, **fields: object) -> Event:
        """The next event that is like this; others are kept for later."""

        def is_like(found: Event) -> bool:
            return found["event"] == event and all(found.get(k) == v for k, v in fields.items())

        for kept in self._kept:
            if is_like(kept):
                self._kept.remove(kept)
                return kept
        while True:
            try:
                found = self._events.get(timeout=PATIENCE_SECONDS)
            except queue.Empty:
                raise AssertionError(f"no {event} {fields}; there were: {self._kept}") from None
            if is_like(found):
                return found
            self._kept.append(found)
            if found["event"] == "ended":
                raise AssertionError(f"the plug-in ended: {self._errors}")

    def seen(self, event: str) -> list[Event]:
        """Events of a kind that have come and not been waited for."""
        while not self._events.empty():
            self._kept.append(self._events.get())
        return [kept for kept in self._kept if kept["event"] == event]

    def _command(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def reply(self, volume_id: str, code: int = 0, text: str = "") -> None:
        self._command(f"reply {volume_id} {code} {text}")

    def set_ready(self, ready: bool) -> None:
        self._command(f"ready {'yes' if ready else 'no'}")

    def quit(self) -> None:
        self._command("quit")

    def kill(self) -> None:
        """As the kernel does: nothing is cleaned up."""
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def refused(self) -> str:
        """It does not start. Why."""
        status, errors = self.finish()
        assert status == 1, (status, errors)
        self.has_refused = True
        return errors

    def finish(self) -> tuple[int, str]:
        """Ends it in order. Its exit status, and what it wrote to standard error."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass
        status = self._process.wait(timeout=PATIENCE_SECONDS)
        for reader in self._readers:
            reader.join()
        return status, self._errors

HarnessMaker = Callable[..., Harness]
