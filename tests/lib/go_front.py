"""HTTP/2 by Go's own server in front of a DevServer: GOAWAY as kube-apiserver sends it."""

from __future__ import annotations

from pathlib import Path

from lib import go
from lib.devserver import DevServer
from lib.process import Process
from lib.waiting import until

SOURCE = Path(__file__).parent / "programs" / "go_front"


def build(directory: Path) -> Path:
    return go.build(SOURCE, directory / "go-front")


class GoFront:
    """A running proxy; kubeconfig() leads through it. `every`: GOAWAY with each n-th response, and
    with each 401; 0: with each 401 only."""

    def __init__(self, program: Path, server: DevServer, every: int = 0) -> None:
        self._server = server
        pair = server.authority.server_pair()
        command = [program, "-certificate", pair.certificate, "-key", pair.key]
        command += ["-backend", server.url, "-every", str(every)]
        self._process = Process("go-front", command, server.directory / "go-front.log")
        until(lambda: self._lines() != [], "the port")
        self.port = int(self._lines()[0])

    def kubeconfig(self, user: str = "admin", **options: object) -> str:
        server = f"https://127.0.0.1:{self.port}"
        return self._server.kubeconfig(user, server=server, **options)  # type: ignore[arg-type]

    def opened(self) -> int:
        """Connections, ever."""
        return self._lines().count("opened")

    def closed(self) -> int:
        return self._lines().count("closed")

    def stop(self) -> None:
        self._process.stop()

    def _lines(self) -> list[str]:
        return self._process.log.read_text().splitlines()
