"""HTTP/2 over TLS in front of a plain-HTTP DevServer, by nghttpx.

nghttpx terminates TLS with ALPN h2 and passes each stream on as an HTTP/1.1 request. All timeouts
that could end a quiet watch are lifted, and it neither caches nor touches Authorization. A client
that cancels a stream closes the connection behind it, which the server sees as usual.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time

from lib.waiting import PATIENCE_SECONDS

from .listener import HOST
from .server import DevServer

_FOREVER = "24h"
_ATTEMPTS = 3  # another process may take the port between its choice and nghttpx's bind
_STREAMS = 1000  # a real API server allows 250 on a connection; watches of one test may be more


class H2Proxy:
    """A running nghttpx; `url` and kubeconfig() lead through it."""

    def __init__(self, server: DevServer, *, max_streams: int = _STREAMS) -> None:
        self._server = server
        self._max_streams = max_streams
        self._process: subprocess.Popen[bytes] | None = None
        self._log = server.directory / "nghttpx.log"
        self.port = 0

    @staticmethod
    def available() -> bool:
        return shutil.which("nghttpx") is not None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> str:
        return self._server.ca_file

    def kubeconfig(self, user: str = "admin", **options: object) -> str:
        """As DevServer.kubeconfig(), for the address of the proxy."""
        return self._server.kubeconfig(user, server=self.url, **options)  # type: ignore[arg-type]

    def start(self) -> H2Proxy:
        for _ in range(_ATTEMPTS):
            self.port = _free_port()
            if self._listens():
                return self
            self.stop()
        raise RuntimeError(f"nghttpx does not listen:\n{self._log.read_text()}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def __enter__(self) -> H2Proxy:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _command(self) -> list[str]:
        pair = self._server.authority.server_pair()
        return [
            "nghttpx",
            "--conf=/dev/null",
            f"--frontend={HOST},{self.port}",
            f"--backend={HOST},{self._server.port}",
            f"--frontend-http2-max-concurrent-streams={self._max_streams}",
            f"--frontend-http2-read-timeout={_FOREVER}",
            f"--frontend-write-timeout={_FOREVER}",
            "--stream-read-timeout=0",
            "--stream-write-timeout=0",
            f"--backend-read-timeout={_FOREVER}",
            f"--backend-write-timeout={_FOREVER}",
            "--npn-list=h2,http/1.1",
            "--no-via",
            "--no-server-rewrite",
            "--no-add-x-forwarded-proto",
            "--no-ocsp",
            "--single-process",
            "--log-level=WARN",
            str(pair.key),
            str(pair.certificate),
        ]

    def _listens(self) -> bool:
        """Starts nghttpx and waits until it accepts; False if it cannot, on a taken port say."""
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if _accepts(self.port):
                return True
            time.sleep(0.005)
        return False


def _accepts(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((HOST, port)) == 0


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
