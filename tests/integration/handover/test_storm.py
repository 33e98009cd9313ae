"""Readers in loops and inotify watchers while the process is killed at random moments, and started again."""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from multiprocessing import Process, Queue
from pathlib import Path
from typing import Callable

import pytest

from lib.descriptor_store import Service
from lib.inotify import Watcher, is_generation
from lib.sources import Manifests
from lib.waiting import until

KILLS = int(os.environ.get("SECRETFS_TEST_KILLS", "25"))
_SIZES = (10, 300, 5000, 9000)


def _value(number: int) -> bytes:
    """Every byte tells the version, so that a mix of two is seen."""
    return f"{number:08d}-".encode() * _SIZES[number % len(_SIZES)]


def _number(content: bytes) -> int:
    """Asserts that the content is of one version."""
    number = int(content[:8])
    assert content == _value(number), f"torn: {content[:40]!r}... of {len(content)} bytes"
    return number


def _read(path: Path) -> bytes:
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


def _open_and_read(path: Path) -> int:
    return _number(_read(path / "password"))


def _map(path: Path) -> int:
    fd = os.open(path / "password", os.O_RDONLY)
    try:
        with mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ) as mapped:
            return _number(mapped[:])
    finally:
        os.close(fd)


def _list(path: Path) -> int:
    names = os.listdir(path)
    assert {"..data", "password"} <= set(names), names
    assert sum(name == "password" for name in names) == 1, names
    os.stat(path / "password")
    return _number(_read(path / "password"))


def _walk(path: Path) -> int:
    """By the generation's own name, as a program does that reads several files of one version."""
    generation = os.readlink(path / "..data")
    first = _number(_read(path / generation / "password"))
    assert _number(_read(path / generation / "cold")) == first
    return first


def _hold(path: Path) -> int:
    fd = os.open(path / "password", os.O_RDONLY)
    try:
        first = _number(_read_all(fd))
        time.sleep(random.random() / 20)
        os.lseek(fd, 0, os.SEEK_SET)
        assert _number(_read_all(fd)) == first
        return first
    finally:
        os.close(fd)


READERS: list[Callable[[Path], int]] = [_open_and_read, _map, _list, _walk, _hold]


def _read_once(read: Callable[[Path], int], path: Path) -> int:
    """-1 if the reader did not run for so long that the generation that it had found was removed."""
    generation = os.readlink(path / "..data")
    try:
        return read(path)
    except FileNotFoundError:
        assert os.readlink(path / "..data") != generation
        return -1


def _loop(read: Callable[[Path], int], path: Path, results: Queue[tuple[str, int, str]]) -> None:
    """Until SIGTERM; reports how often it has read, and what failed."""
    is_over = False
    n = newest = 0

    def end(*_: object) -> None:
        nonlocal is_over
        is_over = True

    signal.signal(signal.SIGTERM, end)
    try:
        while not is_over:
            number = _read_once(read, path)
            assert number == -1 or number >= newest, f"{number} after {newest}"
            newest = max(number, newest)
            n += 1
    except Exception as e:  # noqa: BLE001 (reported, of any kind)
        results.put((read.__name__, n, f"{type(e).__name__}: {e}"))
        return
    results.put((read.__name__, n, ""))


class Readers:
    def __init__(self, path: Path) -> None:
        self._results: Queue[tuple[str, int, str]] = Queue()
        self._all = [Process(target=_loop, args=(r, path, self._results)) for r in READERS]
        for process in self._all:
            process.start()

    def stop(self) -> dict[str, tuple[int, str]]:
        for process in self._all:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGTERM)
        found = [self._results.get(timeout=60) for _ in self._all]
        for process in self._all:
            process.join()
        return {name: (n, failure) for name, n, failure in found}


def _published(watcher: Watcher) -> int:
    watcher.read()
    return sum(e.kind == "MOVED_TO" and e.name == "..data" for e in watcher.events)


def test_storm(
    service: Service, manifests: Manifests, watcher: Watcher, capsys: pytest.CaptureFixture[str]
) -> None:
    number = 1
    manifests.put_secret({"password": _value(number), "cold": _value(number)})
    service.start()
    watcher.add("root", service.path)
    readers = Readers(service.path)
    generations = {os.readlink(service.path / "..data")}
    descriptors = 0
    try:
        for i in range(KILLS):
            for _ in range(random.randrange(3)):
                number += 1
                manifests.put_secret({"password": _value(number), "cold": _value(number)})
                time.sleep(random.random() / 50)
            if i % 5 == 4:
                assert service.hand_over() == 0
            else:
                service.kill()
            time.sleep(random.random() / 20)
            service.start()
            descriptors = descriptors or len(os.listdir(f"/proc/{service.pid}/fd"))
            until(lambda: _number(_read(service.path / "password")) == number, "the update")
            generations.add(os.readlink(service.path / "..data"))
    finally:
        counts = readers.stop()
    until(lambda: _n_generations(service.path) == 1, "the removal of old generations")
    service.reap()
    with capsys.disabled():
        print(f"\n{KILLS} ends, {number} updates, {counts}, {_published(watcher)} seen by inotify")
    assert all(failure == "" for _, failure in counts.values()), counts
    assert all(n > 0 for n, _ in counts.values()), counts
    # a payload that was replaced before it was published raises no event
    assert len(generations) - 1 <= _published(watcher) <= number - 1
    assert len(os.listdir(f"/proc/{service.pid}/fd")) <= descriptors
    assert len(service.store.names()) == 2


def _n_generations(path: Path) -> int:
    return sum(is_generation(name) for name in os.listdir(path))
