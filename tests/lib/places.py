"""Where a daemon listens, and clients that connect to it without end."""

from __future__ import annotations

import os
import socket
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

from lib.waiting import PATIENCE_SECONDS

_PACE_SECONDS = 0.001  # of clients, so that they leave processor time to the daemon


@dataclass
class Place:
    """Where a daemon listens."""

    name: str
    address: Path | tuple[str, int]

    def connect(self) -> socket.socket:
        kind = socket.AF_UNIX if isinstance(self.address, Path) else socket.AF_INET
        client = socket.socket(kind, socket.SOCK_STREAM)
        # not settimeout(), with which a full queue fails at once
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            client.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(PATIENCE_SECONDS), 0))
        client.connect(str(self.address) if isinstance(self.address, Path) else self.address)
        return client

    def check_served(self, client: socket.socket) -> None:
        """Closes it."""
        if self.name == "metrics":
            client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            assert client.recv(9).startswith(b"HTTP/1.")
        elif self.name in ("csi", "registration"):
            assert client.recv(9)[3] == 4  # SETTINGS, a server's first frame
        else:
            assert client.recv(1) == b"{"
        client.close()


def status_path(mountpoint: Path) -> Path:
    device = os.stat(mountpoint).st_dev
    return Path(f"/run/secretfs/{os.major(device)}:{os.minor(device)}.sock")


class Clients:
    """They connect to a place in a loop until stop()."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.n = 0
        self.errors: list[str] = []
        self._thread.start()

    def _run(self) -> None:
        while not self._is_over.wait(_PACE_SECONDS):
            try:
                self._place.connect().close()
                self.n += 1
            except OSError as error:
                self.errors.append(f"{self._place.name}: {error!r}")

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()
