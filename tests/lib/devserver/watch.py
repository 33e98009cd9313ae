"""An open watch: from changes in the store to chunks on a connection.

The store calls offer() under its lock, in revision order; what the watch's selectors let through is
encoded and queued. The connection's own thread waits on the queue and writes, so the next event is
on its way as soon as that thread runs, and a slow reader delays no other.

Every other write goes through the same queue, which fixes its place in the
order: bookmarks (queued under the store's lock, so never ahead of an event they cover), bytes a
test injects, and the end. Holding a watch keeps back events and bookmarks only: injected bytes and
the end still go out.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any, Callable

from .http11 import Connection, Disconnected
from .objects import (
    Kind,
    Object,
    Stored,
    encode,
    encode_bookmark,
    encode_event,
    encode_object_event,
)
from .requestlog import Predicate, Request
from .selector import Selector
from .status import ApiError
from .store import Change, Store
from .table import table


class End(Enum):
    """How a watch ends: last chunk and a reusable connection, FIN without last chunk, or RST."""

    CLEAN = "clean"
    TRUNCATE = "truncate"
    RESET = "reset"


@dataclass
class Shape:
    """How queued events become chunks.

    cut: splits the bytes of one write into the chunks to send. coalesce: all events that wait are
    one write. gap_seconds: pause between two chunks of one write.
    """

    cut: Callable[[bytes], list[bytes]] | None = None
    coalesce: bool = False
    gap_seconds: float = 0.0

    def chunks(self, data: bytes) -> list[bytes]:
        pieces = [data] if self.cut is None else self.cut(data)
        return [piece for piece in pieces if piece]


@dataclass
class WatchOptions:
    """What the request asked of the stream."""

    bookmarks: bool = False
    as_table: bool = False
    timeout_seconds: float = 1800.0


class Watch:
    """One watch request being served; tests steer it through its methods, from any thread."""

    def __init__(
        self,
        store: Store,
        request: Request,
        kind: Kind,
        selector: Selector,
        options: WatchOptions,
        shape: Callable[[], Shape],
        bookmark_interval: float,
    ) -> None:
        self.request = request
        self.kind = kind
        self.start_revision = 0
        self._store = store
        self._selector = selector
        self._options = options
        self._shape = shape
        self._bookmark_interval = bookmark_interval
        self._changed = threading.Condition()
        self._held = False
        self._allowance = 0
        self._queue: deque[tuple[bool, bytes | End]] = deque()
        self._tables = itertools.count()
        self._over = False

    @property
    def namespace(self) -> str:
        return self.request.namespace

    @property
    def name(self) -> str:
        """The one object watched, or empty."""
        return self.request.name

    @property
    def user(self) -> str | None:
        return self.request.user

    # ---- for tests

    def hold(self) -> None:
        """Keeps events and bookmarks back until release()."""
        with self._changed:
            self._held, self._allowance = True, 0

    def release(self, count: int | None = None) -> None:
        """Lets `count` held events through, now or when they come; None ends the holding."""
        with self._changed:
            if count is None:
                self._held = False
            else:
                self._allowance += count
            self._changed.notify_all()

    def send_raw(self, data: bytes) -> None:
        """Writes these bytes as a chunk."""
        self._enqueue(data, is_event=False)

    def send_event(self, event_type: str, obj: Any) -> None:
        """Writes an event with any type and object (a dict with kind and apiVersion, usually)."""
        self.send_raw(encode_event(event_type, encode(obj)))

    def send_error(
        self, code: int = 410, reason: str = "Expired", message: str = "expired"
    ) -> None:
        """Writes an ERROR event; the stream stays open, as close() is the test's choice."""
        self.send_raw(encode_event("ERROR", ApiError(code, reason, message).encoded()))

    def send_bookmark(self, revision: int) -> None:
        self.send_raw(encode_bookmark(self.kind, revision))

    def end(self, how: End = End.CLEAN) -> None:
        """Ends the stream after what is queued, held events excepted."""
        self._enqueue(how, is_event=False)

    # ---- filled by the API, under the store's lock

    def offer(self, change: Change) -> None:
        """Queues the event a change is to this watch, if it is one."""
        if change.key[0] != self.kind.resource or change.revision <= self.start_revision:
            return
        if self.namespace and change.key[1] != self.namespace:
            return
        was = change.before is not None and self._selector.matches(change.before.object)
        is_now = change.after is not None and self._selector.matches(change.after.object)
        if is_now:
            self._queue_object("MODIFIED" if was else "ADDED", change.last)
        elif was:
            gone = change.last if change.after is None else _left(change)
            self._queue_object("DELETED", gone)

    def queue_initial(self, items: list[Stored]) -> None:
        for item in items:
            if self._selector.matches(item.object):
                self._queue_object("ADDED", item)

    def queue_bookmark(self, revision: int, initial_events_end: bool = False) -> None:
        if self._options.bookmarks:
            data = encode_bookmark(self.kind, revision, initial_events_end)
            self._enqueue(data, is_event=True)

    def queue_error(self, error: ApiError) -> None:
        self._enqueue(encode_event("ERROR", error.encoded()), is_event=False)
        self.end()

    def unsubscribe(self) -> None:
        self._store.unsubscribe(self.offer)

    def client_left(self) -> None:
        """Thread: any. The reader is gone; makes run() raise Disconnected."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    # ---- the connection's thread

    def run(self, connection: Connection) -> End:
        """Writes the stream until it ends; raises Disconnected if the client leaves first."""
        now = time.monotonic()
        deadline = now + self._options.timeout_seconds
        bookmark_at = now + self._bookmark_interval
        while True:
            wake_at = min(deadline, bookmark_at) if self._options.bookmarks else deadline
            how = self._write_queued(connection, self._take(wake_at))
            if how is not None:
                return how
            now = time.monotonic()
            if now >= deadline:
                self.end()
            elif self._options.bookmarks and now >= bookmark_at:
                bookmark_at = now + self._bookmark_interval
                self._bookmark_now()

    def _bookmark_now(self) -> None:
        with self._store.lock:
            if self._store.revision > self.start_revision:
                self.queue_bookmark(self._store.revision)

    def _write_queued(self, connection: Connection, batch: list[bytes | End]) -> End | None:
        shape = self._shape()
        events = [item for item in batch if isinstance(item, bytes)]
        writes = [b"".join(events)] if shape.coalesce and events else events
        for data in writes:
            for number, chunk in enumerate(shape.chunks(data)):
                if number and shape.gap_seconds:
                    time.sleep(shape.gap_seconds)
                connection.send_chunk(chunk)
        last = batch[-1] if batch else None
        return last if isinstance(last, End) else None

    def _take(self, wake_at: float) -> list[bytes | End]:
        """What may be written now, in order and up to an end; waits for it until `wake_at`."""
        with self._changed:
            while not (batch := self._takeable()):
                if self._over:
                    raise Disconnected
                remaining = wake_at - time.monotonic()
                if remaining <= 0:
                    return []
                self._changed.wait(remaining)
            if self._over:
                raise Disconnected
            return batch

    def _takeable(self) -> list[bytes | End]:
        batch: list[bytes | End] = []
        kept: deque[tuple[bool, bytes | End]] = deque()
        while self._queue:
            is_event, item = self._queue.popleft()
            if is_event and self._held and self._allowance == 0:
                kept.append((is_event, item))
                continue
            if is_event and self._held:
                self._allowance -= 1
            batch.append(item)
            if isinstance(item, End):
                break
        self._queue = kept + self._queue
        return batch

    def _queue_object(self, event_type: str, item: Stored) -> None:
        if self._options.as_table:
            rows = table(self.kind, item.revision, [item], columns=next(self._tables) == 0)
            self._enqueue(encode_event(event_type, encode(rows)), is_event=True)
        else:
            self._enqueue(encode_object_event(event_type, item), is_event=True)

    def _enqueue(self, item: bytes | End, is_event: bool) -> None:
        with self._changed:
            self._queue.append((is_event, item))
            self._changed.notify_all()


def _left(change: Change) -> Stored:
    """An object that no longer matches the selector: its last matching state, the new revision."""
    assert change.before is not None
    obj: Object = change.before.object
    metadata = {**obj["metadata"], "resourceVersion": str(change.revision)}
    obj = {**obj, "metadata": metadata}
    return Stored(change.before.kind, obj, change.revision, encode(obj))


class Watches:
    """The open watches of a server, and whether new ones start held. Thread: any."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._open: list[Watch] = []
        self._holding: Predicate | None = None

    def add(self, watch: Watch) -> None:
        with self._changed:
            if self._holding is not None and self._holding(watch.request):
                watch.hold()
            self._open.append(watch)
            self._changed.notify_all()

    def remove(self, watch: Watch) -> None:
        with self._changed:
            self._open.remove(watch)
            self._changed.notify_all()

    def select(self, where: Predicate) -> list[Watch]:
        with self._changed:
            return [watch for watch in self._open if where(watch.request)]

    def wait(self, where: Predicate, count: int, timeout: float) -> list[Watch]:
        """Waits until exactly `count` open watches match; returns them."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.select(where)) == count, timeout):
                found = len(self.select(where))
                raise TimeoutError(f"{found} open watches match instead of {count} in {timeout} s")
            return self.select(where)

    def hold(self, where: Predicate) -> None:
        with self._changed:
            self._holding = where
            for watch in self.select(where):
                watch.hold()

    def release(self, where: Predicate, count: int | None) -> None:
        with self._changed:
            if count is None:
                self._holding = None
            for watch in self.select(where):
                watch.release(count)
