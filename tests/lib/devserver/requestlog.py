"""What the server was asked: one entry per request, in order of arrival, to wait for and count.

An entry appears when the request has been read and authenticated, before any fault or answer; its
`code` is filled in just before the answer's first byte is written, and stays None for a request
that was dropped or is still held.
"""

from __future__ import annotations

import threading
import time as clock
from dataclasses import dataclass, field
from typing import Callable, Iterator


@dataclass(eq=False)
class Request:
    """A request and what became of it.

    verb: get, list, watch, create, update, patch, delete, deletecollection; for paths that are no
    resource the HTTP method in lower case. name: from the path, or from a field selector that
    fixes metadata.name, as the real server's authorization sees it.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    connection: int
    user: str | None
    verb: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    body: bytes = field(default=b"", repr=False)
    time: float = field(default_factory=clock.time)
    monotonic: float = field(default_factory=clock.monotonic)
    code: int | None = None


Predicate = Callable[[Request], bool]


def match(where: Predicate | None = None, **wanted: object) -> Predicate:
    """A predicate: `where` holds and each attribute named has the value given."""
    unknown = wanted.keys() - Request.__dataclass_fields__.keys()
    if unknown:
        raise TypeError(f"a request has no {', '.join(sorted(unknown))}")

    def test(request: Request) -> bool:
        if where is not None and not where(request):
            return False
        return all(getattr(request, key) == value for key, value in wanted.items())

    return test


class RequestLog:
    """Thread: any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: list[Request] = []

    def append(self, request: Request) -> None:
        with self._changed:
            self._entries.append(request)
            self._changed.notify_all()

    def answered(self, request: Request, code: int) -> None:
        with self._changed:
            request.code = code
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._entries.clear()

    def select(self, where: Predicate | None = None, **wanted: object) -> list[Request]:
        test = match(where, **wanted)
        return [request for request in self if test(request)]

    def wait(self, test: Predicate, timeout: float, count: int = 1, after: int = 0) -> Request:
        """The `count`-th entry from index `after` on that fulfils `test`; TimeoutError if none."""
        found: list[Request] = []

        def enough() -> bool:
            found[:] = [entry for entry in self._entries[after:] if test(entry)]
            return len(found) >= count

        with self._changed:
            if not self._changed.wait_for(enough, timeout):
                raise TimeoutError(
                    f"{len(found)} of {count} awaited requests in {timeout} s; log:\n{self._text()}"
                )
        return found[count - 1]

    def _text(self) -> str:
        return "\n".join(
            f"  {r.method} {r.path} {r.query} user={r.user} code={r.code}" for r in self._entries
        )

    def __iter__(self) -> Iterator[Request]:
        with self._changed:
            return iter(list(self._entries))

    def __len__(self) -> int:
        with self._changed:
            return len(self._entries)

    def __getitem__(self, index: int) -> Request:
        with self._changed:
            return self._entries[index]
