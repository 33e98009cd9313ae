"""A small HTTP client for the tests of this package: requests, and watches read event by event."""

from __future__ import annotations

import http.client
import json
import socket as sockets
import ssl
from typing import Any, Iterator, NamedTuple

from lib.waiting import PATIENCE_SECONDS

from .pki import KeyPair
from .server import DevServer


class Answer(NamedTuple):
    code: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection to a server; the admin's token unless told otherwise."""

    def __init__(
        self, server: DevServer, token: str | None = None, certificate: KeyPair | None = None
    ) -> None:
        if certificate is None and token is None:
            token = server.admin_token
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection = _connection(server, certificate)

    def start(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> http.client.HTTPResponse:
        """Sends a request; a body that is not bytes is sent as JSON."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if sent is not None:
            named.setdefault("Content-Type", "application/json")
        self._connection.request(method, path, sent, {**self._headers, **named})
        return self._connection.getresponse()

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        response = self.start(method, path, body, **headers)
        return Answer(response.status, response.headers, response.read())

    def patch(self, path: str, body: Any, kind: str = "merge-patch") -> Answer:
        return self("PATCH", path, body, Content_Type=f"application/{kind}+json")

    def watch(self, path: str) -> Stream:
        return Stream(self.start("GET", path))

    @property
    def socket(self) -> sockets.socket:
        return self._connection.sock

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stream:
    """The events of one watch."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.code = response.status
        self._response = response

    def line(self) -> bytes:
        return self._response.readline()

    def event(self) -> Any:
        line = self.line()
        if not line:
            raise EOFError("the watch ended")
        return json.loads(line)

    def summary(self) -> tuple[str, str, int]:
        """Type, name and revision of the next event."""
        event = self.event()
        metadata = event["object"]["metadata"]
        return event["type"], metadata.get("name", ""), int(metadata["resourceVersion"])

    def rest(self) -> list[Any]:
        """All events up to a clean end."""
        return list(self._lines())

    def _lines(self) -> Iterator[Any]:
        while line := self.line():
            yield json.loads(line)


def _connection(server: DevServer, certificate: KeyPair | None) -> http.client.HTTPConnection:
    if server.url.startswith("http:"):
        return http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
    context = ssl.create_default_context(cafile=server.ca_file)
    if certificate is not None:
        context.load_cert_chain(certificate.certificate, certificate.key)
    return http.client.HTTPSConnection(
        "127.0.0.1", server.port, context=context, timeout=PATIENCE_SECONDS
    )
