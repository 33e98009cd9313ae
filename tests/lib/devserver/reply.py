"""An ordinary answer: everything but the stream of a watch."""

from __future__ import annotations

import gzip
import uuid
from email.utils import formatdate
from typing import Any, Mapping, NamedTuple

from .http11 import response_head
from .objects import encode
from .status import ApiError

JSON = "application/json"
GZIP_MIN_BYTES = 128 << 10  # from this size on the real server compresses for who accepts it


class Reply(NamedTuple):
    code: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    def with_headers(self, headers: Mapping[str, str]) -> Reply:
        """Other headers than it had; Content-Type among them replaces its own."""
        others = tuple(pair for pair in headers.items() if pair[0].lower() != "content-type")
        types = [value for name, value in headers.items() if name.lower() == "content-type"]
        return self._replace(headers=others, content_type=(types or [self.content_type])[0])

    def compressed(self, accept_encoding: str) -> Reply:
        if len(self.body) < GZIP_MIN_BYTES or "gzip" not in accept_encoding:
            return self
        headers = (*self.headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
        return self._replace(body=gzip.compress(self.body, 1), headers=headers)

    def head(self) -> bytes:
        length = ("Content-Length", str(len(self.body)))
        return response_head(
            self.code, (*common_headers(self.content_type), *self.headers, length)
        )


def json_reply(value: Any, code: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    return Reply(code, encode(value) + b"\n", JSON, headers)


def error_reply(error: ApiError) -> Reply:
    return Reply(error.code, error.encoded() + b"\n", JSON, tuple(error.headers))


def text_reply(text: str, code: int = 200) -> Reply:
    return Reply(code, text.encode(), "text/plain; charset=utf-8")


def stream_head(content_type: str = JSON) -> bytes:
    chunked = ("Transfer-Encoding", "chunked")
    return response_head(200, (*common_headers(content_type), chunked))


def common_headers(content_type: str) -> tuple[tuple[str, str], ...]:
    return (
        ("Audit-Id", str(uuid.uuid4())),
        ("Cache-Control", "no-cache, private"),
        ("Content-Type", content_type),
        ("Date", formatdate(usegmt=True)),
    )
