"""A service manager's end of NOTIFY_SOCKET."""

from __future__ import annotations

import socket
from pathlib import Path

from lib.waiting import until


class Manager:
    """Records what a program notifies."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._heard: list[str] = []
        self.env = {"NOTIFY_SOCKET": str(path)}

    def lines(self) -> list[str]:
        while True:
            try:
                self._heard += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self._heard

    def wait(self, line: str, count: int = 1) -> None:
        until(lambda: self.lines().count(line) >= count, line)
