"""secretfs-keeper, with a child that does what the test says."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from pathlib import Path
from signal import Signals
from typing import Any

from lib import program
from lib.process import Process
from lib.waiting import PATIENCE_SECONDS, until

CHILD = Path(__file__).parent / "programs" / "kept_child.py"


def binary() -> Path:
    return program.binary().with_name("secretfs-keeper")


class Child:
    """The keeper's child that has connected; `hello` is what it found at its start."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        control.settimeout(PATIENCE_SECONDS)
        self.hello: dict[str, Any] = self._receive()
        self.pid: int = self.hello["pid"]

    def _receive(self) -> Any:
        received = self._control.recv(65536)
        if not received:
            raise ConnectionResetError("the child has ended")
        return json.loads(received)

    def do(self, name: str, *arguments: object) -> Any:
        self._control.send(json.dumps([name, *arguments]).encode())
        return self._receive()

    def end(self, name: str, *arguments: object) -> None:
        """A command with which the child ends."""
        self._control.send(json.dumps([name, *arguments]).encode())
        self.wait_end()

    def begin(self, name: str, *arguments: object) -> None:
        """A command that has no answer."""
        self._control.send(json.dumps([name, *arguments]).encode())

    def close(self) -> None:
        self._control.close()

    def wait_end(self) -> None:
        """Also when the last answer came before the end."""
        while self._control.recv(65536):
            pass

    def store(self, name: str, content: str, more: str = "") -> None:
        self.do("store", name, content, more)

    def ready(self) -> None:
        self.do("notify", "READY=1")
        self.do("barrier")

    @property
    def names(self) -> list[str]:
        names = self.hello["LISTEN_FDNAMES"]
        return [] if names is None else names.split(":")


class Keeper:
    def __init__(self, area: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = area / "control"
        path.unlink(missing_ok=True)
        self._listening.bind(str(path))
        self._listening.listen(8)
        self._listening.settimeout(PATIENCE_SECONDS)
        self._children: list[Child] = []
        self._area = area
        environment = program.environment(area, CONTROL_SOCKET=str(path), **(env or {}))
        self.process = Process(
            "secretfs-keeper",
            [binary(), *options, "--", sys.executable, CHILD],
            area / "keeper.log",
            environment,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def child(self) -> Child:
        """The next child that starts."""
        connection, _ = self._listening.accept()
        self._children.append(Child(connection))
        return self._children[-1]

    def log(self) -> str:
        return (self._area / "keeper.log").read_text(errors="replace")

    def wait_log(self, pattern: str, count: int = 1) -> None:
        until(lambda: len(re.findall(pattern, self.log())) >= count, f"{pattern} in the keeper's log")

    def send(self, number: Signals) -> None:
        self.process.send(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def close(self) -> None:
        if self.process.exit_code() is None:
            self.process.stop(Signals.SIGKILL)
        for child in self._children:  # a child ends when its control socket is closed
            child.close()
        self._listening.close()
