"""A node daemon is killed before each of its system calls: as it publishes, takes over, unpublishes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Iterator

import pytest

from lib.descriptor_store import DescriptorStore, NodeService
from lib.fuse_kernel import Kernel
from lib.grpc_client import Answer, Gone
from lib.kill_point import Glance, KillPoint, points_of
from lib.kubelet import OK, PodVolume
from lib.mountinfo import mounts_at
from lib.sources import Manifests
from lib.storm import n_generations, number_of, read, value
from lib.volume import unmount
from lib.waiting import until


class Case:
    """A daemon, and two volumes: one that stays, one that is published and unpublished."""

    def __init__(self, area: Path, manifests: Manifests, kernel: Kernel) -> None:
        self.number = 0
        self._manifests = manifests
        self._store = DescriptorStore(area / "notify")
        self.service = NodeService(self._store, area, manifests.arguments, **kernel._asdict())
        attributes = {"secretName": "app"}
        self.stays, self.moves = (
            PodVolume(
                root=self.service.root,
                namespace="default",
                uid=f"11111111-2222-3333-4444-{number:012d}",
                attributes=attributes,
            )
            for number in range(2)
        )
        self.update()

    def update(self) -> None:
        self.number += 1
        self._manifests.put_secret({"password": value(self.number)})

    def publish(self, volume: PodVolume) -> None:
        answer = volume.publish(self.service.endpoint)
        assert answer.code == OK, f"{answer.code}: {answer.text}\n{self.service.log()}"

    def unpublish(self, volume: PodVolume) -> None:
        answer = volume.unpublish(self.service.endpoint)
        assert answer.code == OK, f"{answer.code}: {answer.text}\n{self.service.log()}"

    def check(self, *published: PodVolume) -> None:
        """These volumes and nothing else."""
        for volume in published:
            until(lambda target=volume.target: self._is_current(target), f"version {self.number}")
        ids = {volume.volume_id for volume in published}
        until(lambda: set(os.listdir(self.service.run_dir / "fs")) == ids, "the directories")
        for volume in (self.stays, self.moves):
            assert len(mounts_at(volume.target)) == (1 if volume in published else 0)
        assert len(self._store.names()) == 2

    def _is_current(self, target: Path) -> bool:
        return number_of(read(target / "password")) == self.number and n_generations(target) == 1

    def glance(self) -> Glance:
        return Glance(self.stays.target, may_be_aborted=not self.service.resends)

    def kill_in_call(self, call: Callable[[Path], Answer], number: int = 0) -> int:
        """Kills the daemon in a call of the kubelet's, and starts the next one.

        Returns the number of system calls.
        """
        glance = self.glance()
        point = KillPoint(self.service.pid, number, glance.begin)
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(_attempt, call, self.service.endpoint)
            until(lambda: point.has_killed or answer.done(), "an answer, or the kill")
            count = point.count
            self.restart(point, glance)
            answer.result()
        return count

    def restart(self, point: KillPoint, glance: Glance) -> None:
        self.service.kill()
        self.service.start()
        assert glance.number() <= number_of(read(self.stays.target / "password"))
        self.service.reap()
        point.join()

    def finish(self) -> None:
        for volume in (self.stays, self.moves):
            for _ in mounts_at(volume.target):
                unmount(volume.target, lazily=True)
        self.service.finish()
        self._store.close()
        self.service.check_log()


def _attempt(call: Callable[[Path], Answer], endpoint: Path) -> None:
    """A call that fails when its daemon is killed."""
    try:
        call(endpoint)
    except (Gone, ConnectionError):
        pass


@pytest.fixture
def case(area: Path, manifests: Manifests, each_kernel: Kernel) -> Iterator[Case]:
    made = Case(area, manifests, each_kernel)
    made.service.start()
    made.publish(made.stays)
    made.check(made.stays)
    yield made
    made.finish()


def test_publish(case: Case) -> None:
    """The kubelet repeats the call."""
    for number in points_of(case.kill_in_call(case.moves.publish)):
        case.unpublish(case.moves)
        case.kill_in_call(case.moves.publish, number)
        case.publish(case.moves)
        case.check(case.stays, case.moves)


def test_unpublish(case: Case) -> None:
    """The kubelet repeats the call."""
    case.publish(case.moves)
    for number in points_of(case.kill_in_call(case.moves.unpublish)):
        case.publish(case.moves)
        case.kill_in_call(case.moves.unpublish, number)
        case.unpublish(case.moves)
        case.check(case.stays)


def test_take_over(case: Case) -> None:
    """With two volumes, and an update of both meanwhile."""
    case.publish(case.moves)
    case.service.kill()
    point = case.service.start_killed_at(0)
    case.restart(point, case.glance())
    for number in points_of(point.count):
        case.service.kill()
        case.update()
        glance = case.glance()
        case.restart(case.service.start_killed_at(number, glance.begin), glance)
        case.check(case.stays, case.moves)
