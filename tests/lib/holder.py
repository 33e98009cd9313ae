"""secretfs-keeper --socket, and a client of it."""

from __future__ import annotations

import os
import select
import signal
import socket
from pathlib import Path

from lib import keeper, program
from lib.process import Process
from lib.waiting import PATIENCE_SECONDS, until

FDS_MAX = 253


class Client:
    """What handover/fd_store.c does, message by message."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.socket.connect(str(path))

    def take(self) -> dict[str, list[str]]:
        """The keeper's message: contents by name."""
        text, fds, flags, _ = socket.recv_fds(self.socket, 100_000, FDS_MAX)
        assert flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) == 0
        count, names = text.decode().split("\n")
        assert count == f"LISTEN_FDS={len(fds)}"
        found: dict[str, list[str]] = {}
        for name, fd in zip(names.removeprefix("LISTEN_FDNAMES=").split(":"), fds):
            found.setdefault(name, []).append(os.pread(fd, 100, 0).decode())
            os.close(fd)
        return found

    def has_message(self) -> bool:
        return bool(select.select([self.socket], [], [], 0)[0])

    def send(self, text: str, *fds: int) -> None:
        socket.send_fds(self.socket, [text.encode()], list(fds))

    def store(self, name: str, content: str) -> None:
        fd = os.memfd_create("kept")
        os.write(fd, content.encode())
        self.send(f"FDSTORE=1\nFDNAME={name}", fd)
        os.close(fd)

    def barrier(self) -> None:
        read, write = os.pipe()
        self.send("BARRIER=1", write)
        os.close(write)
        assert os.read(read, 1) == b""
        os.close(read)

    def close(self) -> None:
        self.socket.close()


class Holder:
    def __init__(self, area: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.path = area / "keeper.socket"
        self._log = area / "keeper.log"
        self._log.unlink(missing_ok=True)
        self._clients: list[Client] = []
        self.process = Process(
            "secretfs-keeper",
            [keeper.binary(), *options, "--socket", self.path],
            self._log,
            program.environment(area, **(env or {})),
        )
        self.wait_log(f"behind {self.path}")

    def wait_log(self, text: str) -> None:
        until(lambda: text in self._log.read_text(), f"{text} in the keeper's log")

    def client(self) -> Client:
        self._clients.append(Client(self.path))
        return self._clients[-1]

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def close(self) -> None:
        for client in self._clients:
            client.close()
        if self.process.exit_code() is None:
            self.process.stop(signal.SIGKILL)
        assert not program.SUSPICIOUS.search(self._log.read_text())
