"""An etcd-like store: one revision counter, the current objects, and the history of changes.

Every write takes the next revision, for each kind. Reads and writes happen under one lock, and
feeds (the open watches) are called under it too, in revision order. A watch that replays history
and subscribes within one hold of the lock therefore sees each change exactly once.

Compaction forgets history up to a revision; a cursor below it can no longer be replayed. The
history is also kept under a number of bytes, so that a long bench does not eat the machine: the
oldest changes are then compacted as etcd's own compaction would.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from dataclasses import dataclass
from typing import Callable

from .objects import Kind, Object, Stored, stored

Key = tuple[str, str, str]  # resource, namespace, name
# a real watch cache holds at most some ten thousand events; bytes are what matters here
HISTORY_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Change:
    """One write: `before` is None for a creation, `after` for a deletion."""

    revision: int
    key: Key
    before: Stored | None
    after: Stored | None

    @functools.cached_property
    def last(self) -> Stored:
        """The object after the change, or the deleted one stamped with the deletion's revision."""
        if self.after is not None:
            return self.after
        assert self.before is not None
        return stored(self.before.kind, self.before.object, self.revision)

    @property
    def size_bytes(self) -> int:
        return sum(len(version.bare) for version in (self.before, self.after) if version)


class Compacted(Exception):
    """The revision asked for is older than what the history still holds."""


class FutureRevision(Exception):
    """The revision asked for has not been reached yet."""


class Store:
    """Thread: any; every method takes the lock, and callers hold `lock` over a read-then-write."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.revision = 1
        self.compacted = 0
        self._objects: dict[Key, Stored] = {}
        self._history: deque[Change] = deque()
        self._history_bytes = 0
        self._feeds: list[Callable[[Change], None]] = []
        self._advanced = threading.Condition(self.lock)

    def get(self, kind: Kind, namespace: str, name: str) -> Stored | None:
        with self.lock:
            return self._objects.get((kind.resource, namespace, name))

    def list(self, kind: Kind, namespace: str = "", at: int | None = None) -> list[Stored]:
        """Objects of a kind, of all namespaces if none is named, in the order of their keys.

        `at` gives the state of an earlier revision. Raises Compacted or FutureRevision.
        """
        with self.lock:
            objects = self._objects if at is None else self._state_at(at)
            return [
                objects[key]
                for key in sorted(objects)
                if key[0] == kind.resource and namespace in ("", key[1])
            ]

    def get_at(self, kind: Kind, namespace: str, name: str, at: int) -> Stored | None:
        with self.lock:
            return self._state_at(at).get((kind.resource, namespace, name))

    def put(self, kind: Kind, namespace: str, name: str, obj: Object) -> Stored:
        with self.lock:
            version = stored(kind, obj, self.revision + 1)
            self._commit((kind.resource, namespace, name), version)
            return version

    def delete(self, kind: Kind, namespace: str, name: str) -> Stored:
        """Removes an existing object; returns its last state with the deletion's revision."""
        with self.lock:
            return self._commit((kind.resource, namespace, name), None).last

    def changes_since(self, cursor: int) -> list[Change]:
        """The changes after `cursor`, oldest first. Raises Compacted."""
        with self.lock:
            if cursor < self.compacted:
                raise Compacted
            return [change for change in self._history if change.revision > cursor]

    def compact(self, revision: int | None = None) -> int:
        """Forgets the changes up to `revision` (all of them by default)."""
        with self.lock:
            target = self.revision if revision is None else min(revision, self.revision)
            while self._history and self._history[0].revision <= target:
                self._history_bytes -= self._history.popleft().size_bytes
            self.compacted = max(self.compacted, target)
            return self.compacted

    def advance(self, revisions: int = 1) -> int:
        """Lets revisions pass as writes to other kinds would; returns the current one."""
        with self.lock:
            self.revision += revisions
            self._advanced.notify_all()
            return self.revision

    def subscribe(self, feed: Callable[[Change], None]) -> None:
        with self.lock:
            self._feeds.append(feed)

    def unsubscribe(self, feed: Callable[[Change], None]) -> None:
        with self.lock:
            if feed in self._feeds:
                self._feeds.remove(feed)

    def wait_revision(self, revision: int, timeout_seconds: float) -> bool:
        with self.lock:
            return self._advanced.wait_for(lambda: self.revision >= revision, timeout_seconds)

    def snapshot(self) -> Store:
        """An independent copy, to be brought back later as an older store; feeds stay here."""
        with self.lock:
            copy = Store()
            copy.revision = self.revision
            copy.compacted = self.compacted
            copy._objects = dict(self._objects)
            copy._history = deque(self._history)
            copy._history_bytes = self._history_bytes
            return copy

    def _commit(self, key: Key, after: Stored | None) -> Change:
        self.revision += 1
        change = Change(self.revision, key, self._objects.get(key), after)
        if after is None:
            del self._objects[key]
        else:
            self._objects[key] = after
        self._remember(change)
        for feed in list(self._feeds):
            feed(change)
        self._advanced.notify_all()
        return change

    def _remember(self, change: Change) -> None:
        self._history.append(change)
        self._history_bytes += change.size_bytes
        while self._history_bytes > HISTORY_MAX_BYTES and len(self._history) > 1:
            self.compact(self._history[0].revision)

    def _state_at(self, revision: int) -> dict[Key, Stored]:
        if revision > self.revision:
            raise FutureRevision
        if revision < self.compacted:
            raise Compacted
        objects = dict(self._objects)
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            if change.before is None:
                del objects[change.key]
            else:
                objects[change.key] = change.before
        return objects
