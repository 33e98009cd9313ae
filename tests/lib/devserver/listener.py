"""Sockets and threads: one thread accepts, one thread serves each connection.

The port belongs to the server for its whole life: a socket that is bound to it and never listens
keeps it reserved, so that after stop_listening() clients are refused and no other process can take the
port before start_listening(). Both sockets are bound with SO_REUSEPORT to make that possible.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from typing import Callable

from lib.waiting import PATIENCE_SECONDS

from .http11 import Connection, Disconnected

HOST = "127.0.0.1"
_BACKLOG = 1024


class Listener:
    """Accepts on one port of the loopback and hands each connection to `serve` in a new thread."""

    def __init__(self, port: int, serve: Callable[[Connection], None]) -> None:
        self.tls: ssl.SSLContext | None = None
        self.silent = False  # new connections are accepted and never read nor answered
        self._serve = serve
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._numbers = itertools.count(1)
        self._threads: dict[Connection, threading.Thread] = {}
        self._listening: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._reservation = _bound_socket(port)
        self.port: int = self._reservation.getsockname()[1]

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._threads)

    def wait_connections(self, at_most: int, timeout: float) -> int:
        with self._ended:
            if not self._ended.wait_for(lambda: len(self._threads) <= at_most, timeout):
                raise TimeoutError(f"{len(self._threads)} connections after {timeout} s")
            return len(self._threads)

    def start_listening(self) -> None:
        if self._listening is not None:
            return
        self._listening = _bound_socket(self.port)
        self._listening.listen(_BACKLOG)
        self._acceptor = threading.Thread(
            target=self._accept, args=(self._listening,), name="acceptor", daemon=True
        )
        self._acceptor.start()

    def stop_listening(self) -> None:
        """New connections are refused; those that are open stay."""
        if self._listening is None:
            return
        assert self._acceptor is not None
        self._listening.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listening.close()
        self._listening = self._acceptor = None

    def end_connections(self, reset: bool = False) -> None:
        """Ends every connection and waits for their threads."""
        with self._lock:
            threads = dict(self._threads)
        for connection in threads:
            connection.hang_up(reset)
        for connection, thread in threads.items():
            if thread is not threading.current_thread():
                thread.join(PATIENCE_SECONDS)
            if thread.is_alive():
                raise RuntimeError(f"connection {connection.number} does not end")

    def close(self) -> None:
        self.stop_listening()
        self.end_connections(reset=True)
        self._reservation.close()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            connection = Connection(accepted, next(self._numbers))
            thread = threading.Thread(
                target=self._run, args=(connection,), name=f"conn-{connection.number}", daemon=True
            )
            with self._lock:
                self._threads[connection] = thread
                thread.start()

    def _run(self, connection: Connection) -> None:
        try:
            if self.silent:
                connection.hung_up.wait()
                raise Disconnected
            if self.tls is not None:
                connection.start_tls(self.tls)
            self._serve(connection)
        except Disconnected:
            connection.close()
        finally:
            with self._ended:
                del self._threads[connection]
                self._ended.notify_all()


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((HOST, port))
    return bound
