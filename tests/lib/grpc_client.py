"""A gRPC client that can do everything wrong: HTTP/2 by frames on a UNIX socket."""

from __future__ import annotations

import socket
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

from lib.waiting import PATIENCE_SECONDS

Headers = list[tuple[str, str]]


def framed(message: bytes, *, flag: int = 0, announced: int | None = None) -> bytes:
    length = len(message) if announced is None else announced
    return bytes([flag]) + length.to_bytes(4, "big") + message


@dataclass
class Answer:
    """What came back on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_over: bool = False
    reset: int | None = None  # the code of a RST_STREAM

    @property
    def code(self) -> int | None:
        found = self.trailers.get("grpc-status", self.headers.get("grpc-status"))
        return None if found is None else int(found)

    @property
    def text(self) -> str:
        found = self.trailers.get("grpc-message", self.headers.get("grpc-message", ""))
        return urllib.parse.unquote(found)

    @property
    def message(self) -> bytes:
        assert self.code == 0, (self.code, self.text)
        assert self.body[0] == 0 and int.from_bytes(self.body[1:5], "big") == len(self.body) - 5
        return self.body[5:]


class Gone(Exception):
    """The server has closed the connection."""


class Connection:
    """One connection; each method that waits gives up after a long time."""

    def __init__(self, path: Path, *, window: int | None = None) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_SECONDS)
        self._connect(path)
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.answers: dict[int, Answer] = {}
        self.goaway: int | None = None
        self.pongs = 0
        if window is not None:
            self.h2.local_settings = h2.settings.Settings(
                client=True,
                initial_values={
                    h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
                    h2.settings.SettingCodes.ENABLE_PUSH: 0,
                },
            )
        self.h2.initiate_connection()  # what it says goes out with what comes next

    def _connect(self, path: Path) -> None:
        """A queue that is full is tried again, as a kubelet's dialer does."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.socket.connect(str(path))
                return
            except BlockingIOError:
                assert time.monotonic() < deadline, "the queue of the socket stays full"
                time.sleep(0.002)

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- sending

    def flush(self) -> None:
        data = self.h2.data_to_send()
        try:
            if data:
                self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Gone from error

    @staticmethod
    def headers_of(path: str, *, authority: str | None = "localhost", **more: str) -> Headers:
        pseudo = [(":method", "POST"), (":scheme", "http"), (":path", path)]
        if authority is not None:
            pseudo.append((":authority", authority))
        fields = {"content-type": "application/grpc", "te": "trailers", "user-agent": "test"}
        fields.update({key.replace("_", "-"): value for key, value in more.items()})
        return pseudo + list(fields.items())

    def begin(self, headers: Headers, *, end: bool = False, flush: bool = True) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, headers, end_stream=end)
        if flush:
            self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = True) -> None:
        """All of it, waiting for the server's windows; less if it answers before."""
        while True:
            room = min(
                self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size
            )
            if len(data) <= room:
                break
            if room > 0:
                self.h2.send_data(stream, data[:room])
                data = data[room:]
                self.flush()
            else:
                self.receive()
            if self.answers[stream].is_over:
                return
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    def start(self, path: str, message: bytes = b"", **headers: str | None) -> int:
        """A whole request, in one piece if it is small."""
        stream = self.begin(self.headers_of(path, **headers), flush=False)  # type: ignore[arg-type]
        self.send(stream, framed(message))
        return stream

    # ---- receiving

    def receive(self) -> None:
        """Takes in what comes next."""
        self.flush()
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Gone
        for event in self.h2.receive_data(data):
            self._take(event)
        try:
            self.flush()
        except Gone:
            pass  # it has said all that it wanted to; if not, the next one finds that out

    def _take(self, event: h2.events.Event) -> None:
        answer = self.answers.get(getattr(event, "stream_id", 0) or 0, Answer())
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers = dict(event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            answer.is_over = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = int(event.error_code)
            answer.is_over = True
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = int(event.error_code)
        elif isinstance(event, h2.events.PingAckReceived):
            self.pongs += 1

    def finish(self, stream: int) -> Answer:
        """The answer, once it is whole."""
        while not self.answers[stream].is_over:
            self.receive()
        return self.answers[stream]

    def call(self, path: str, message: bytes = b"", **headers: str | None) -> Answer:
        return self.finish(self.start(path, message, **headers))

    def wait_gone(self) -> None:
        """Until the server has closed the connection."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                self.receive()
            except Gone:
                return
        raise AssertionError("the connection is still open")


def call(socket_path: Path, path: str, message: bytes = b"", **headers: str | None) -> Answer:
    """As the kubelet does: a connection for one call."""
    with Connection(socket_path) as connection:
        return connection.call(path, message, **headers)
