"""Readers in loops and inotify watchers while the process is killed at random moments, and started again."""

from __future__ import annotations

import os
import random
import time

import pytest

from lib.descriptor_store import Service
from lib.inotify import Watcher
from lib.sources import Manifests
from lib.storm import (
    LIVE_READERS,
    READERS,
    check,
    n_generations,
    number_of,
    read,
    readers_of,
    shown_generations,
    value,
)
from lib.waiting import until

KILLS = int(os.environ.get("SECRETFS_TEST_KILLS", "25"))
MEMORY_BYTES = 512 << 10  # of one version, at most three times; each end leaves some 50 KiB more


def _is_changed(watcher: Watcher) -> int:
    watcher.read()
    return sum(e.kind == "MODIFY" for e in watcher.events)


def _end_often(
    service: Service, manifests: Manifests, *, with_kills: bool = True
) -> tuple[int, set[str]]:
    """Returns the number of the newest version, and the generations. No descriptor is lost.

    Each fifth end is a hand-over, or each one.
    """
    number, descriptors = 1, 0
    generations = {os.readlink(service.path / "..data")}
    for i in range(KILLS):
        for _ in range(random.randrange(3)):
            number += 1
            manifests.put_secret({"password": value(number), "cold": value(number)})
            time.sleep(random.random() / 50)
        if i % 5 == 4 or not with_kills:
            assert service.hand_over() == 0
        else:
            service.kill()
        time.sleep(random.random() / 20)
        service.start()
        descriptors = descriptors or len(os.listdir(f"/proc/{service.pid}/fd"))
        until(lambda n=number: number_of(read(service.path / "password")) == n, "the update")
        generations.add(os.readlink(service.path / "..data"))
    # there is one more while a state is replaced
    until(lambda: len(os.listdir(f"/proc/{service.pid}/fd")) <= descriptors, "no more descriptors")
    assert len(service.store.names()) == 2
    return number, generations


def _check_memory(service: Service) -> None:
    """What the kernel had of older generations as a process ended goes, once it is not held."""
    until(lambda: service.status()["memory"]["secretBytes"] <= MEMORY_BYTES, "the memory of older generations to be freed")


def _holds_nothing(service: Service) -> bool:
    """Attributes are kept, so that stat(2) costs no request, once no older version of a file is open."""
    before = service.requests()
    for _ in range(100):
        os.stat(service.path / "password")
    return service.requests() - before < 100


def _start(service: Service, manifests: Manifests) -> None:
    manifests.put_secret({"password": value(1), "cold": value(1)})
    service.start()


@pytest.mark.parametrize("with_kills", [True, False], ids=["kills", "hand-overs"])
def test_storm(
    each_service: Service,
    manifests: Manifests,
    watcher: Watcher,
    capsys: pytest.CaptureFixture[str],
    with_kills: bool,
) -> None:
    """No call fails, but those that a killed process had taken and that the kernel cannot send again."""
    service = each_service
    _start(service, manifests)
    first = os.readlink(service.path / "..data")
    watcher.add("root", service.path)
    readers = readers_of(service.path, READERS)
    try:
        number, generations = _end_often(service, manifests, with_kills=with_kills)
    finally:
        counts = readers.stop()
    until(lambda: n_generations(service.path) == 1, "the removal of old generations")
    service.reap()
    _check_memory(service)
    shown = shown_generations(watcher.read())
    with capsys.disabled():
        print(f"\n{KILLS} ends, {number} updates, {counts}, {len(shown)} seen by inotify")
    check(counts, max_aborted=KILLS - KILLS // 5 if with_kills and not service.resends else 0)
    assert generations - {first} <= set(shown)
    assert shown[-1] == os.readlink(service.path / "..data")


def test_storm_on_live_files(
    live_service: Service,
    manifests: Manifests,
    watcher: Watcher,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _start(live_service, manifests)
    watcher.add("file", live_service.path / "password")
    readers = readers_of(live_service.path, LIVE_READERS)
    try:
        number, generations = _end_often(live_service, manifests)
    finally:
        counts = readers.stop()
    until(lambda: _holds_nothing(live_service), "the release of every open file")
    live_service.reap()
    _check_memory(live_service)
    with capsys.disabled():
        print(f"\n{KILLS} ends, {number} updates, {counts}, {_is_changed(watcher)} seen by inotify")
    check(counts)
    assert len(generations) == 1
    watcher.wait(lambda e: e.kind == "MODIFY", 1)
