"""Real inotify, to see what a program that watches a volume would see."""

from __future__ import annotations

import ctypes
import os
import re
import struct
from pathlib import Path
from typing import Callable, Iterable, NamedTuple

from lib.waiting import until

_BITS = {
    0x00000001: "ACCESS",
    0x00000002: "MODIFY",
    0x00000004: "ATTRIB",
    0x00000008: "CLOSE_WRITE",
    0x00000010: "CLOSE_NOWRITE",
    0x00000020: "OPEN",
    0x00000040: "MOVED_FROM",
    0x00000080: "MOVED_TO",
    0x00000100: "CREATE",
    0x00000200: "DELETE",
    0x00000400: "DELETE_SELF",
    0x00000800: "MOVE_SELF",
    0x00002000: "UNMOUNT",
    0x00004000: "Q_OVERFLOW",
    0x00008000: "IGNORED",
    0x40000000: "ISDIR",
}
_READING = 0x00000001 | 0x00000010 | 0x00000020  # not to be asserted either way (D8)
CHANGES = 0x00000FFF & ~_READING
_DONT_FOLLOW = 0x02000000
_HEADER = struct.Struct("iIII")
_GENERATION = re.compile(r"\.\.\d{4}(_\d{2}){5}\.\d{1,10}")

_libc = ctypes.CDLL(None, use_errno=True)


class Event(NamedTuple):
    watch: str  # the label of the watch that saw it
    kind: str  # such as "CREATE|ISDIR"
    name: str
    cookie: int = 0


class Watcher:
    """One inotify instance; `events` is all that it has seen, in order, of all its watches."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._labels: dict[int, str] = {}
        self._fd = _check(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def add(self, label: str, path: Path | str, *, follow: bool = True) -> None:
        mask = CHANGES if follow else CHANGES | _DONT_FOLLOW
        wd = _check(_libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask)))
        self._labels[wd] = label

    def read(self) -> list[Event]:
        """All events so far."""
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                return self.events
            self.events += self._parse(data)

    def wait(self, what: Callable[[Event], bool], count: int = 1) -> list[Event]:
        """Waits until `count` events are like this, and returns all events so far."""
        until(lambda: sum(what(event) for event in self.read()) >= count, "an inotify event")
        return self.events

    def take(self) -> list[Event]:
        """All events so far, which are then forgotten."""
        taken, self.events = self.read(), []
        return taken

    def fileno(self) -> int:
        """For select.select()."""
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def _parse(self, data: bytes) -> list[Event]:
        events, at = [], 0
        while at < len(data):
            wd, mask, cookie, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size
            name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
            at += length
            events.append(Event(self._labels.get(wd, "?"), kind_of(mask), name, cookie))
        return events


def kind_of(mask: int) -> str:
    """An event's mask in words, such as CREATE|ISDIR."""
    return "|".join(text for bit, text in _BITS.items() if mask & bit)


def is_generation(name: str) -> bool:
    """Whether a name is that of a timestamped directory (A5)."""
    return _GENERATION.fullmatch(name) is not None


def ends_update(event: Event) -> bool:
    """The last event of an update on ROOT: the old generation is removed (D3)."""
    return event.watch == "root" and event.kind == "DELETE|ISDIR"


def normalised(events: Iterable[Event]) -> list[Event]:
    """The same with generations and cookies replaced by when they first appear."""
    names: dict[str, str] = {}
    cookies: dict[int, int] = {0: 0}
    result = []
    for event in events:
        name = event.name
        if is_generation(name):
            name = names.setdefault(name, f"TS{len(names)}")
        cookie = cookies.setdefault(event.cookie, len(cookies))
        result.append(Event(event.watch, event.kind, name, cookie))
    return result


def _check(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def kinds_and_names(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.kind, event.name) for event in normalised(events)]


def swap(new: str = "TS0") -> list[tuple[str, str]]:
    """The events on ROOT until new content is visible."""
    return [
        ("CREATE|ISDIR", new),
        ("ATTRIB|ISDIR", new),
        ("CREATE", "..data_tmp"),
        ("MOVED_FROM", "..data_tmp"),
        ("MOVED_TO", "..data"),
    ]
