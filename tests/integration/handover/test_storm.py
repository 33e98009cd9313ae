"""Readers in loops and inotify watchers while the process is killed at random moments, and started again."""

from __future__ import annotations

import os
import random
import time

import pytest

from lib.descriptor_store import Service
from lib.inotify import Watcher
from lib.sources import Manifests
from lib.storm import check, n_generations, number_of, read, readers_of, value
from lib.waiting import until

KILLS = int(os.environ.get("SECRETFS_TEST_KILLS", "25"))


def _published(watcher: Watcher) -> int:
    watcher.read()
    return sum(e.kind == "MOVED_TO" and e.name == "..data" for e in watcher.events)


def test_storm(
    service: Service, manifests: Manifests, watcher: Watcher, capsys: pytest.CaptureFixture[str]
) -> None:
    number = 1
    manifests.put_secret({"password": value(number), "cold": value(number)})
    service.start()
    watcher.add("root", service.path)
    readers = readers_of(service.path)
    generations = {os.readlink(service.path / "..data")}
    descriptors = 0
    try:
        for i in range(KILLS):
            for _ in range(random.randrange(3)):
                number += 1
                manifests.put_secret({"password": value(number), "cold": value(number)})
                time.sleep(random.random() / 50)
            if i % 5 == 4:
                assert service.hand_over() == 0
            else:
                service.kill()
            time.sleep(random.random() / 20)
            service.start()
            descriptors = descriptors or len(os.listdir(f"/proc/{service.pid}/fd"))
            until(lambda: number_of(read(service.path / "password")) == number, "the update")
            generations.add(os.readlink(service.path / "..data"))
    finally:
        counts = readers.stop()
    until(lambda: n_generations(service.path) == 1, "the removal of old generations")
    service.reap()
    with capsys.disabled():
        print(f"\n{KILLS} ends, {number} updates, {counts}, {_published(watcher)} seen by inotify")
    check(counts)
    # a payload that was replaced before it was published raises no event
    assert len(generations) - 1 <= _published(watcher) <= number - 1
    assert len(os.listdir(f"/proc/{service.pid}/fd")) <= descriptors
    assert len(service.store.names()) == 2
