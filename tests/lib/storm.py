"""Readers of a volume in loops: each run has to find one version, whole, and none older than one seen before.

The volume shows a secret with the keys `password` and `cold`, both `value(number)` of the same version.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from multiprocessing import Process, Queue
from pathlib import Path
from typing import Callable, Mapping, NamedTuple, Sequence

from lib.inotify import Event, is_generation
from lib.process import close_devices
from lib.waiting import PATIENCE_SECONDS

_SIZES = (10, 300, 5000, 9000)


def value(number: int) -> bytes:
    """Every byte tells the version, so that a mix of two is seen."""
    return f"{number:08d}-".encode() * _SIZES[number % len(_SIZES)]


def number_of(content: bytes) -> int:
    """Asserts that the content is of one version."""
    number = int(content[:8])
    assert content == value(number), f"torn: {content[:40]!r}... of {len(content)} bytes"
    return number


def read(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return _read_all(fd)
    finally:
        os.close(fd)


def _read_all(fd: int) -> bytes:
    pieces = []
    while piece := os.read(fd, 65536):
        pieces.append(piece)
    return b"".join(pieces)


# ---- readers: each returns the number that it has seen


def open_and_read(path: Path) -> int:
    return number_of(read(path / "password"))


def _map(path: Path) -> int:
    fd = os.open(path / "password", os.O_RDONLY)
    try:
        with mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ) as mapped:
            return number_of(mapped[:])
    finally:
        os.close(fd)


def _list(path: Path) -> int:
    names = os.listdir(path)
    assert {"..data", "password"} <= set(names), names
    assert sum(name == "password" for name in names) == 1, names
    os.stat(path / "password")
    return number_of(read(path / "password"))


def _walk(path: Path) -> int:
    """By the generation's own name, as a program does that reads several files of one version."""
    generation = os.readlink(path / "..data")
    first = number_of(read(path / generation / "password"))
    assert number_of(read(path / generation / "cold")) == first
    return first


def _hold(path: Path) -> int:
    fd = os.open(path / "password", os.O_RDONLY)
    try:
        first = number_of(_read_all(fd))
        time.sleep(random.random() / 20)
        os.lseek(fd, 0, os.SEEK_SET)
        assert number_of(_read_all(fd)) == first
        return first
    finally:
        os.close(fd)


def _measure(path: Path) -> int:
    """fstat(2) tells the size of what is read."""
    fd = os.open(path / "password", os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        content = _read_all(fd)
        assert len(content) == size, f"{len(content)} bytes of {size}"
        return number_of(content)
    finally:
        os.close(fd)


READERS: list[Callable[[Path], int]] = [open_and_read, _map, _list, _walk, _hold]
# a mapping of a live file, and two files of one generation, show newer content at any time
LIVE_READERS: list[Callable[[Path], int]] = [open_and_read, _list, _hold, _measure]


def read_once(reader: Callable[[Path], int], path: Path) -> int:
    """-1 if the reader did not run for so long that the generation that it had found was removed."""
    generation = os.readlink(path / "..data")
    try:
        return reader(path)
    except FileNotFoundError:
        assert os.readlink(path / "..data") != generation
        return -1


class Outcome(NamedTuple):
    """Of one loop: how often it has read, and what failed; "" if nothing did.

    Where the kernel cannot send requests again, the one that a killed process had taken fails.
    """

    n: int
    failure: str
    n_aborted: int  # calls that failed with ECONNABORTED


def _loop(
    name: str,
    readers: Sequence[Callable[[Path], int]],
    path: Path,
    results: Queue[tuple[str, Outcome]],
) -> None:
    """Until SIGTERM: one reader after the other."""
    is_over = False
    n = newest = n_aborted = 0

    def end(*_: object) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    close_devices()
    try:
        while not is_over:
            try:
                number = read_once(readers[n % len(readers)], path)
            except ConnectionAbortedError:
                n_aborted += 1
                continue
            assert number == -1 or number >= newest, f"{number} after {newest}"
            newest = max(number, newest)
            n += 1
    except Exception as e:  # noqa: BLE001 (reported, of any kind)
        results.put((name, Outcome(n, f"{type(e).__name__}: {e}", n_aborted)))
        return
    results.put((name, Outcome(n, "", n_aborted)))


class Readers:
    """A process for each of `loops`: a name, what it does in turn, and where."""

    def __init__(self, loops: Mapping[str, tuple[Sequence[Callable[[Path], int]], Path]]) -> None:
        self._results: Queue[tuple[str, Outcome]] = Queue()
        self._all = [
            Process(target=_loop, args=(name, readers, path, self._results))
            for name, (readers, path) in loops.items()
        ]
        for process in self._all:
            process.start()

    def stop(self) -> dict[str, Outcome]:
        for process in self._all:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGTERM)
        found = [self._results.get(timeout=PATIENCE_SECONDS) for _ in self._all]
        for process in self._all:
            process.join()
        return dict(found)


def readers_of(path: Path, readers: Sequence[Callable[[Path], int]]) -> Readers:
    """A loop for each kind of reader."""
    return Readers({reader.__name__.strip("_"): ([reader], path) for reader in readers})


def check(outcomes: Mapping[str, Outcome], *, max_aborted: int = 0) -> None:
    """max_aborted: of each loop, which has one call under way at a time."""
    assert all(o.failure == "" for o in outcomes.values()), outcomes
    assert all(o.n_aborted <= max_aborted for o in outcomes.values()), outcomes
    assert all(o.n > 0 for o in outcomes.values()), outcomes


def shown_generations(events: Sequence[Event]) -> list[str]:
    """By the events of a volume's directory, in order; each of them once, also if another process went on.

    A generation that a process had made when it was killed may be removed without having been shown.
    """
    made: list[str] = []
    shown: list[str] = []
    removed: list[str] = []
    for at, event in enumerate(events):
        if event.kind == "CREATE|ISDIR":
            made.append(event.name)
        elif event.kind == "DELETE|ISDIR":
            removed.append(event.name)
        elif event.kind == "MOVED_TO":
            before = events[at - 1]
            assert (event.name, before.kind, before.name) == ("..data", "MOVED_FROM", "..data_tmp"), event
            assert event.cookie == before.cookie, (before, event)
            shown.append(made[-1])
        assert event.kind != "Q_OVERFLOW"
    for names in (made, shown, removed):
        assert len(set(names)) == len(names), f"twice: {[n for n in names if names.count(n) > 1]}"
    assert set(made) - set(removed) == {shown[-1]}, "each generation goes but the last one"
    n_links = sum(event.name == "..data_tmp" and event.kind in ("CREATE", "DELETE") for event in events)
    n_undone = sum((event.kind, event.name) == ("DELETE", "..data_tmp") for event in events)
    assert n_links - 2 * n_undone == len(shown), "each ..data_tmp is renamed or removed"
    return shown


def n_generations(path: Path) -> int:
    return sum(is_generation(name) for name in os.listdir(path))
