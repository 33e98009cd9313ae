"""A TCP relay in front of a server: what stands between a client and the server can be cut.

The server itself goes on, so that others can change things behind the client's back.
"""

from __future__ import annotations

import socket
import threading

from lib.waiting import PATIENCE_SECONDS


class Relay:
    def __init__(self, port: int, target: tuple[str, int], host: str = "127.0.0.1") -> None:
        """port: to listen on; 0 for any free one."""
        self.port = port
        self._host = host
        self._target = target
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener: socket.socket | None = None
        self.resume()

    def resume(self) -> None:
        """Let connections through (again)."""
        listener = socket.create_server((self._host, self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """End all connections and refuse new ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            # close() alone would leave the thread that accepts, and the port with it
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.disconnect()

    def disconnect(self) -> None:
        """End all connections; new ones are welcome."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair)

    close = cut

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if self._listener is not listener:
                client.close()
                return
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, timeout=PATIENCE_SECONDS)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        pair = (client, server)
        with self._lock:
            self._pairs.add(pair)
        for source, sink in (pair, pair[::-1]):
            threading.Thread(target=self._pump, args=(source, sink, pair), daemon=True).start()

    def _pump(
        self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        self._end(pair)

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.remove(pair)
        for end in pair:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()
