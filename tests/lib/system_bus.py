"""A system bus with a systemd on it, of which the test says when jobs end."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE = range(1, 9)
_TYPES = {PATH: "o", REPLY_SERIAL: "u", SIGNATURE: "g"}
SYSTEMD = "org.freedesktop.systemd1"
MANAGER = f"{SYSTEMD}.Manager"


def _padded(data: bytes, alignment: int) -> bytes:
    return data + bytes(-len(data) % alignment)


def _value(kind: str, value: str | int) -> bytes:
    if kind == "u":
        return struct.pack("<I", value)
    text = str(value).encode()
    return struct.pack("<B" if kind == "g" else "<I", len(text)) + text + b"\0"


def _body(*values: tuple[str, str | int]) -> bytes:
    body = b""
    for kind, value in values:
        body = _padded(body, 4) + _value(kind, value)
    return body


def _message(
    kind: int, serial: int, fields: dict[int, str | int], *values: tuple[str, str | int]
) -> bytes:
    body = _body(*values)
    if values:
        fields = {**fields, SIGNATURE: "".join(each for each, _ in values)}
    array = b""
    for code, value in fields.items():
        letter = _TYPES.get(code, "s")
        array = _padded(array, 8) + struct.pack("<BB", code, 1) + letter.encode() + b"\0"
        array = (_padded(array, 4) if letter != "g" else array) + _value(letter, value)
    header = struct.pack("<BBBBIII", ord("l"), kind, 0, 1, len(body), serial, len(array))
    return _padded(header + array, 8) + body


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data, at)
    return data[at + 4 : at + 4 + length].decode(), at + 4 + length + 1


class _Call:
    """A message of a client: `member`, `serial` and, of strings, `body`."""

    def __init__(self, header: bytes, array: bytes, body: bytes) -> None:
        assert header[0] == ord("l"), "a message of a big-endian machine"
        self.kind = header[1]
        (self.serial,) = struct.unpack_from("<I", header, 8)
        self.member = ""
        at = 0
        while at < len(array):
            at += -at % 8
            code, letter = array[at], chr(array[at + 2])
            at += 4
            if letter == "g":
                at += array[at] + 2
            elif letter == "u":
                at += -at % 4 + 4
            else:
                text, at = _text(array, at + -at % 4)
                self.member = text if code == MEMBER else self.member
        self.body = body


class SystemBus:
    """`environment` has a daemon connect to it. `reloads` are the units that it had reloaded.

    answers: False: systemd does not answer a ReloadUnit.
    ends: False: the job that it begins does not end.
    """

    def __init__(self, path: Path) -> None:
        self.environment = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={path}"}
        self.reloads: list[str] = []
        self.answers = True
        self.ends = True
        self._lock = threading.Lock()
        self._serial = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the client has ended
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            try:
                self._authenticate(connection, stream)
                while call := self._read(stream):
                    self._handle(connection, call)
            except OSError:
                pass  # the client was killed

    def _authenticate(self, connection: socket.socket, stream: object) -> None:
        while (line := stream.readline().lstrip(b"\0").rstrip()) != b"BEGIN":  # type: ignore[attr-defined]
            if not line:
                raise OSError("the client has ended")
            if line == b"AUTH EXTERNAL":
                connection.sendall(b"DATA\r\n")
            elif line == b"NEGOTIATE_UNIX_FD":
                connection.sendall(b"AGREE_UNIX_FD\r\n")
            else:
                connection.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")

    def _read(self, stream: object) -> _Call | None:
        header = stream.read(16)  # type: ignore[attr-defined]
        if len(header) < 16:
            return None
        body_len, _, array_len = struct.unpack_from("<III", header, 4)
        padded = array_len + -array_len % 8
        array = stream.read(padded)  # type: ignore[attr-defined]
        return _Call(header, array[:array_len], stream.read(body_len))  # type: ignore[attr-defined]

    def _send(self, connection: socket.socket, kind: int, fields: dict[int, str | int], *values: tuple[str, str | int]) -> None:
        with self._lock:
            self._serial += 1
            serial = self._serial
        connection.sendall(_message(kind, serial, fields, *values))

    def _handle(self, connection: socket.socket, call: _Call) -> None:
        if call.kind != CALL:
            return
        reply: dict[int, str | int] = {REPLY_SERIAL: call.serial, SENDER: "org.freedesktop.DBus"}
        if call.member == "Hello":
            self._send(connection, RETURN, reply, ("s", f":1.{os.getpid()}"))
        elif call.member == "ReloadUnit":
            self._reload(connection, reply, _text(call.body, 0)[0])
        else:
            self._send(connection, RETURN, reply)

    def _reload(self, connection: socket.socket, reply: dict[int, str | int], unit: str) -> None:
        answers, ends = self.answers, self.ends
        with self._lock:
            self.reloads.append(unit)
            job = f"/org/freedesktop/systemd1/job/{len(self.reloads)}"
        if answers:
            self._send(connection, RETURN, {**reply, SENDER: SYSTEMD}, ("o", job))
        if answers and ends:
            fields: dict[int, str | int] = {
                PATH: "/org/freedesktop/systemd1",
                INTERFACE: MANAGER,
                MEMBER: "JobRemoved",
                SENDER: SYSTEMD,
            }
            values = (("u", 1), ("o", job), ("s", unit), ("s", "done"))
            self._send(connection, SIGNAL, fields, *values)
