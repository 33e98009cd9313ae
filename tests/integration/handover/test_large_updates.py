"""An update that is larger than the room of the stored state: the state grows before the update is published."""

from __future__ import annotations

import contextlib
import json
import os
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

import pytest

from lib.descriptor_store import Service
from lib.hang import EPOLL, FUTEX, hanging_idle
from lib.kill_point import Glance, KillPoint, points_of
from lib.mountinfo import mounts_at
from lib.node_daemon import KeptNode, Node, NodeMaker
from lib.sources import Manifests
from lib.storm import number_of, read, value
from lib.waiting import until

_LARGE = os.urandom(1_000_000)  # the state begins with 1 MiB
_COPIES = 3
_METRICS = "--metrics-bind-address=127.0.0.1:0"


@pytest.fixture
def service(area: Path, service: Service) -> Service:
    """Of a volume that shows one large value several times."""
    items = [{"key": "filler", "path": f"filler{i}"} for i in range(_COPIES)]
    secret = {"secretName": "app", "optional": True}
    secret["items"] = [{"key": "password", "path": "password"}, *items]
    (area / "volume.json").write_text(json.dumps({"secret": secret}))
    assert service.arguments.pop() == "secret/app"
    service.arguments.append(f"--volume={area / 'volume.json'}")
    return service


def _put(manifests: Manifests, number: int, filler: bytes = _LARGE) -> None:
    more = {"filler": filler} if filler else {}
    manifests.put_secret({"password": value(number), **more})


def _shows(path: Path, number: int) -> bool:
    return number_of(read(path / "password")) == number


def _states(service: Service) -> list[str]:
    """While one is replaced, two."""
    return [name for name in service.store.names() if ".state." in name]


@contextlib.contextmanager
def _stopped_until_death(pid: int) -> Iterator[None]:
    """No event loop: what it has begun is done, and nothing is stored any more."""
    with hanging_idle(pid, "secretfs", EPOLL):
        yield


@pytest.mark.parametrize("updates", ["generations", "in-place"])
def test_state_grows_first(service: Service, manifests: Manifests, updates: str) -> None:
    """The process is killed at once after the update is visible, before its loop does anything."""
    service.arguments.append(f"--updates={updates}")
    _put(manifests, 1, b"")
    service.start()
    mounts = mounts_at(service.path)
    held = os.open(service.path / "password", os.O_RDONLY)
    (before,) = _states(service)
    with hanging_idle(service.pid, "publisher", FUTEX):
        _put(manifests, 2)
        until(lambda: before not in _states(service), "a larger state")
        loop = _stopped_until_death(service.pid)
        loop.__enter__()
    until(lambda: _shows(service.path, 2), "the update")
    service.kill()
    loop.__exit__(None, None, None)
    service.start()
    assert _shows(service.path, 2) and mounts_at(service.path) == mounts
    assert read(service.path / "filler1") == _LARGE
    assert number_of(os.pread(held, 4096, 0)) == 1
    os.close(held)
    service.reap()


def _fresh(service: Service, manifests: Manifests, number: int) -> None:
    """A process whose state has little room, as it has taken a small mount over."""
    _put(manifests, number, b"")
    until(lambda: _shows(service.path, number), "a small update")
    service.kill()
    service.start()
    service.reap()


def _grow_and_kill(service: Service, manifests: Manifests, number: int, at: int) -> int:
    """Returns the number of system calls."""
    glance = Glance(service.path)
    point = KillPoint(service.pid, at, glance.begin)
    _put(manifests, number)
    with ThreadPoolExecutor() as pool:  # a reader of a killed process waits for the next one
        published = pool.submit(until, lambda: _shows(service.path, number), "the update", pause=0.1)
        until(lambda: point.has_killed or published.done(), "the update")
        count = point.count
        service.kill()
        service.start()
        published.result()
    assert glance.number() in (0, number - 1, number)
    service.reap()
    point.join()
    return count


def test_killed_while_the_state_grows(service: Service, manifests: Manifests) -> None:
    """Before each of its system calls. The mount is never lost, and its newest content is shown."""
    _put(manifests, 1, b"")
    service.start()
    mounts = mounts_at(service.path)
    count = _grow_and_kill(service, manifests, 2, 0)
    number = 3
    for at in points_of(count):
        _fresh(service, manifests, number)
        _grow_and_kill(service, manifests, number + 1, at)
        assert mounts_at(service.path) == mounts
        number += 2


def test_node_says_what_is_stored(start_node: NodeMaker, manifests: Manifests) -> None:
    """In status and metrics."""
    manifests.put_secret({"password": b"dummy-1"})
    kept = start_node(*manifests.arguments, _METRICS, kind=KeptNode).wait_ready()
    in_place = {"secretName": "app", "updates": "in-place"}
    kept.publish(kept.pod(attributes=in_place))
    found = {h["fileSystem"]: h for h in kept.status()["handover"]}
    assert set(found) == {"standard", "live"}
    assert all(h["complete"] and h["bytes"] > 0 and "error" not in h for h in found.values())
    metrics = _metrics(kept)
    assert metrics["secretfs_file_systems_not_stored"] == 0
    assert metrics["secretfs_stored_state_bytes"] == sum(h["bytes"] for h in found.values())


def test_node_without_a_keeper(start_node: NodeMaker, manifests: Manifests) -> None:
    alone = start_node(*manifests.arguments, _METRICS).wait_ready()
    assert alone.status()["handover"] == [{"fileSystem": "standard", "complete": False, "bytes": 0}]
    assert _metrics(alone)["secretfs_file_systems_not_stored"] == 1


def _metrics(node: Node) -> dict[str, float]:
    (address,) = re.findall(r"serving metrics and health address=\"?([\d.]+:\d+)", node.log())
    with urllib.request.urlopen(f"http://{address}/metrics") as reply:
        return _numbers(reply.read().decode().splitlines())


def _numbers(lines: list[str]) -> dict[str, float]:
    """Of metrics without labels."""
    pairs = [line.split() for line in lines if not line.startswith("#") and "{" not in line]
    return {name: float(number) for name, number in pairs}
