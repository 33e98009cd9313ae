"""One HTTP/1.1 connection, close enough to the socket to misbehave on purpose.

A connection belongs to one thread, which alone reads and writes it. Other threads may only ask it
to end: hang_up() wakes the owner, which then closes the socket, with a RST if so asked. The order
matters: a close() from another thread would not wake a thread blocked in recv.

A peer that goes away while the owner waits for something else than the socket is noticed by
HangupMonitor, which waits for EPOLLRDHUP, so without reading what may be TLS.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
from http import HTTPStatus
from typing import Callable, Iterable, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

HEAD_MAX_BYTES = 1 << 20  # net/http's DefaultMaxHeaderBytes
BODY_MAX_BYTES = 3 << 20  # the API server's limit on a request
_RECEIVE_BYTES = 256 << 10
_LINGER_RESET = struct.pack("ii", 1, 0)

Headers = Iterable[tuple[str, str]]


class Disconnected(Exception):
    """The connection ended, or was asked to end."""


class BadRequest(Exception):
    """What arrived is not HTTP; `code` is the answer it deserves."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class RawRequest(NamedTuple):
    """A request as it came; header names are in lower case."""

    method: str
    target: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def keep_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


class Connection:
    """A TCP or TLS connection accepted from a client."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.number = number
        self.hung_up = threading.Event()
        self._socket = sock
        self._buffer = bytearray()
        self._reset = False
        self._sending = False
        self._on_hangup: Callable[[], None] | None = None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        return self._socket.fileno()

    def start_tls(self, context: ssl.SSLContext) -> None:
        self._socket = context.wrap_socket(
            self._socket, server_side=True, do_handshake_on_connect=False
        )
        if self.hung_up.is_set():  # asked while the socket changed hands
            raise Disconnected
        try:
            self._socket.do_handshake()
        except OSError as error:
            raise Disconnected from error

    def peer_certificate(self) -> dict[str, object] | None:
        if isinstance(self._socket, ssl.SSLSocket):
            return self._socket.getpeercert()
        return None

    def read_request(self) -> RawRequest | None:
        """The next request, or None when the client closed instead of sending one."""
        head = self._read_head()
        if head is None:
            return None
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise BadRequest(400, "malformed request line")
        headers = _parse_headers(lines[1:])
        if headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._read_body(headers)
        parts = urlsplit(words[1])
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return RawRequest(words[0], words[1], unquote(parts.path), query, headers, body)

    def send(self, data: bytes) -> None:
        if self.hung_up.is_set():
            raise Disconnected
        self._sending = True
        try:
            self._socket.sendall(data)
        except (OSError, ValueError) as error:
            raise Disconnected from error
        finally:
            self._sending = False

    def send_chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def send_last_chunk(self) -> None:
        self.send(b"0\r\n\r\n")

    def on_hangup(self, callback: Callable[[], None] | None) -> None:
        """The callback for the end of the connection; called from any thread."""
        self._on_hangup = callback
        if callback is not None and self.hung_up.is_set():
            callback()

    def hang_up(self, reset: bool = False) -> None:
        """Thread: any. Makes the owner close the connection, with a RST if `reset`."""
        self._reset = self._reset or reset
        self.hung_up.set()
        # SHUT_RD tells the peer nothing and wakes recv; a blocked send needs SHUT_WR too
        how = socket.SHUT_RDWR if self._sending else socket.SHUT_RD
        try:
            # not SSLSocket.shutdown(), which would take the TLS state from under the owner
            socket.socket.shutdown(self._socket, how)
        except OSError:
            pass
        if self._on_hangup is not None:
            self._on_hangup()

    def close(self) -> None:
        """Thread: the owner. Says goodbye in TLS before the FIN, or sends the RST asked for."""
        try:
            if self._reset:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            elif isinstance(self._socket, ssl.SSLSocket):
                self._socket.settimeout(0)
                self._socket.unwrap()
        except (OSError, ValueError):
            pass
        finally:
            self._socket.close()

    def _read_head(self) -> bytes | None:
        searched = 0
        while (end := self._buffer.find(b"\r\n\r\n", searched)) < 0:
            if len(self._buffer) > HEAD_MAX_BYTES:
                raise BadRequest(431, "request header too large")
            searched = max(0, len(self._buffer) - 3)
            if not self._receive():
                return None
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        return head

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return self._read_chunks()
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise BadRequest(400, "malformed Content-Length")
        return self._read_exactly(int(length))

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while True:
            size = _parse_chunk_size(self._read_line())
            if size == 0:
                break
            if len(body) + size > BODY_MAX_BYTES:
                raise BadRequest(413, "request body too large")
            body += self._read_exactly(size)
            self._read_line()
        while self._read_line():
            pass
        return bytes(body)

    def _read_line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if not self._receive():
                raise Disconnected
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _read_exactly(self, length: int) -> bytes:
        if length > BODY_MAX_BYTES:
            self._discard(length)
            raise BadRequest(413, "request body too large")
        while len(self._buffer) < length:
            if not self._receive():
                raise Disconnected
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _discard(self, length: int) -> None:
        """Reads past a body which will be refused, as who still writes does not read the answer."""
        while len(self._buffer) < length:
            length -= len(self._buffer)
            self._buffer.clear()
            if not self._receive():
                raise Disconnected

    def _receive(self) -> bool:
        if self.hung_up.is_set():
            raise Disconnected
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except (OSError, ValueError) as error:
            raise Disconnected from error
        self._buffer += data
        return bool(data)


class HangupMonitor:
    """A thread that hangs up connections whose peer has gone while their owner looks elsewhere."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._lock = threading.Lock()
        self._stop_reader, self._stop_writer = socket.socketpair()
        self._epoll.register(self._stop_reader, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="hangup-monitor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop_writer.close()
        self._thread.join()
        self._epoll.close()
        self._stop_reader.close()

    def add(self, connection: Connection) -> None:
        with self._lock:
            self._connections[connection.fileno()] = connection
            self._epoll.register(connection.fileno(), select.EPOLLRDHUP | select.EPOLLONESHOT)

    def remove(self, connection: Connection) -> None:
        with self._lock:
            if self._connections.pop(connection.fileno(), None):
                self._epoll.unregister(connection.fileno())

    def _run(self) -> None:
        while True:
            for descriptor, _ in self._epoll.poll():
                if descriptor == self._stop_reader.fileno():
                    return
                with self._lock:
                    connection = self._connections.get(descriptor)
                if connection is not None:
                    connection.hang_up()


def response_head(code: int, headers: Headers) -> bytes:
    try:
        phrase = HTTPStatus(code).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {code} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _parse_chunk_size(line: bytes) -> int:
    try:
        return int(line.split(b";")[0], 16)
    except ValueError as error:
        raise BadRequest(400, "malformed chunk size") from error


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest(400, "malformed header line")
        key, text = name.lower(), value.strip()
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers
