"""A service manager's end of NOTIFY_SOCKET."""

from __future__ import annotations

import select
import socket
import threading
from pathlib import Path

from lib.waiting import until


class Manager:
    """Records what a program notifies.

    A thread reads it: the kernel keeps ten messages (net.unix.max_dgram_qlen), and a program waits
    with the next one.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._lock = threading.Lock()
        self._heard: list[str] = []
        self.env = {"NOTIFY_SOCKET": str(path)}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            select.select([self._socket], [], [])
            self.lines()

    def lines(self) -> list[str]:
        """All that was notified until now."""
        with self._lock:
            while True:
                try:
                    self._heard += self._socket.recv(4096).decode().splitlines()
                except BlockingIOError:
                    return list(self._heard)

    def wait(self, line: str, count: int = 1) -> None:
        until(lambda: self.lines().count(line) >= count, line)
