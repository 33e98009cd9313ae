"""The process of a mount is killed before each of its system calls: as it starts, takes over, publishes.

What a reader has seen is shown after that, or something newer, and nothing half-done stays.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib.descriptor_store import Service
from lib.kill_point import Glance, KillPoint, points_of
from lib.mountinfo import mounts_at
from lib.sources import Manifests
from lib.storm import n_generations, number_of, read, value
from lib.volume import unmount
from lib.waiting import until


class Case:
    """A mount, and the versions that it shows: those with an odd number have a file more."""

    def __init__(self, service: Service, manifests: Manifests, size: int = 1) -> None:
        self.service = service
        self.number = 0
        self._manifests = manifests
        self._more = {"filler": os.urandom(16) * (size // 16)} if size > 1 else {}
        self.update()

    def update(self) -> None:
        self.number += 1
        data = {"password": value(self.number), **self._more}
        if self.number % 2 == 1:
            data["odd"] = b"dummy"
        self._manifests.put_secret(data)

    def is_current(self) -> bool:
        path = self.service.path
        names = {"password", *self._more, *(["odd"] if self.number % 2 == 1 else [])}
        try:
            return (
                number_of(read(path / "password")) == self.number
                and n_generations(path) == 1
                and {name for name in os.listdir(path) if not name.startswith("..")} == names
            )
        except ConnectionAbortedError:
            if self.service.resends:
                raise
            return False

    def check_nothing_else(self) -> None:
        """Nothing half-done: one generation, and the link to it."""
        hidden = [name for name in os.listdir(self.service.path) if name.startswith("..")]
        assert sorted(hidden) == sorted(["..data", os.readlink(self.service.path / "..data")])
        assert len(mounts_at(self.service.path)) == 1
        names = self.service.store.names()
        assert names[0] == "mount.device" and len(names) == 2, names

    def restart_and_check(self, point: KillPoint, seen: int, glance: Glance) -> None:
        self.service.kill()
        self.service.start()
        shown = number_of(read(self.service.path / "password"))
        assert max(seen, glance.number()) <= shown <= self.number
        until(self.is_current, f"version {self.number}")
        self.check_nothing_else()
        self.service.reap()
        point.join()


def test_first_start(service: Service, manifests: Manifests) -> None:
    """It mounts, and stores what it has mounted."""
    case = Case(service, manifests)
    point = service.start_killed_at(0)
    service.kill()
    service.finish()
    point.join()
    for number in points_of(point.count):
        point = service.start_killed_at(number)
        service.kill()
        service.start()
        until(case.is_current, "the content")
        case.check_nothing_else()
        unmount(service.path)
        assert service.wait_end() == 0
        service.reap()
        point.join()
        assert service.store.names() == []


def test_take_over(each_service: Service, manifests: Manifests) -> None:
    """A process that takes the mount over, while there is something to publish."""
    service = each_service
    case = Case(service, manifests)
    service.start()
    until(case.is_current, "the content")
    service.kill()
    point = service.start_killed_at(0)
    case.restart_and_check(point, 1, Glance(service.path, may_be_aborted=not service.resends))
    for number in points_of(point.count):
        seen = number_of(read(service.path / "password"))
        service.kill()
        case.update()
        glance = Glance(service.path, may_be_aborted=not service.resends)
        point = service.start_killed_at(number, glance.begin)
        case.restart_and_check(point, seen, glance)


class Opened:
    """Live files that threads open while no process serves them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fds: list[int] = []
        self._threads = [threading.Thread(target=self._open) for _ in range(8)]
        for thread in self._threads:
            thread.start()

    def _open(self) -> None:
        self._fds.append(os.open(self._path, os.O_RDONLY))

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()
        assert len(self._fds) == len(self._threads), "an open has failed"

    def take(self) -> set[bytes]:
        """What they show."""
        found = {os.read(fd, 1 << 20) for fd in self._fds}
        for fd in self._fds:
            os.close(fd)
        return found


def test_take_over_of_live_files(live_service: Service, manifests: Manifests) -> None:
    """Opens that a killed process has answered as it took over: the next one knows the version of each."""
    service, path = live_service, live_service.path / "password"
    manifests.put_secret({"password": b"0"})
    service.start()
    until(lambda: read(path) == b"0", "the content")
    service.kill()
    count = service.start_killed_at(0).count
    for number in points_of(count, count * 3 // 4):  # before, it serves nothing
        service.kill()
        opened = Opened(path)
        point = service.start_killed_at(number)
        service.kill()
        service.start()
        opened.wait()
        before, content = read(path), b"%d" % number
        manifests.put_secret({"password": content})
        until(lambda c=content: read(path) == c, "the update")
        assert opened.take() == {before}, f"killed before system call {number} of {count}"
        service.reap()
        point.join()


@pytest.mark.parametrize("size", [1, 600_000], ids=["small", "large"])
def test_update(each_service: Service, manifests: Manifests, size: int) -> None:
    """A process that publishes. A large update makes it replace the state."""
    service = each_service
    case = Case(service, manifests, size)
    service.start()
    until(case.is_current, "the content")
    count = _update_and_kill(case, 0)
    for number in points_of(count):
        _update_and_kill(case, number)


def _update_and_kill(case: Case, number: int) -> int:
    """Returns the number of system calls."""
    service = case.service
    seen = number_of(read(service.path / "password"))
    glance = Glance(service.path, may_be_aborted=not service.resends)
    point = KillPoint(service.pid, number, glance.begin)
    case.update()
    with ThreadPoolExecutor() as pool:  # a reader of a killed process waits for the next one
        published = pool.submit(until, case.is_current, "the update", pause=0.1)
        until(lambda: point.has_killed or published.done(), "the update")
        count = point.count
        case.restart_and_check(point, seen, glance)
        published.result()
    return count
