"""A request that a worker has taken and not answered, when its process is killed or hands over."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from lib.descriptor_store import Service
from lib.hang import FUTEX, Tracer, threads_named
from lib.ptrace import WALL
from lib.storm import read
from lib.waiting import until

_READ = (0, 63)  # of x86-64 and of arm64


class Taken:
    """A reader whose request one worker has taken, and stands still; the others do as well."""

    def __init__(self, service: Service, pool: ThreadPoolExecutor) -> None:
        self._workers = threads_named(service.pid, "fuse-worker")
        self._tracers = [Tracer(thread) for thread in self._workers]
        self.content: Future[bytes] = pool.submit(read, service.path / "user")
        self._tracers[0].run_until_after(*_READ)

    def go_on(self) -> None:
        for tracer in self._tracers:
            tracer.detach()

    def reap(self) -> None:
        """Once they are killed."""
        for thread in self._workers:
            os.waitpid(thread, WALL)


def _is_waiting(pid: int) -> bool:
    """Whether the first thread waits for another one."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[0] in FUTEX


def test_killed(each_service: Service) -> None:
    """The kernel has the next process answer it; one that cannot ends it at once, and keeps the mount."""
    service = each_service
    service.start()
    with ThreadPoolExecutor() as pool:
        taken = Taken(service, pool)
        service.kill()
        taken.reap()
        if service.resends:
            service.start()
            assert taken.content.result() == b"dummy-user"
        else:
            with pytest.raises(ConnectionAbortedError):
                taken.content.result()
            service.start()
    assert read(service.path / "user") == b"dummy-user"
    service.reap()


def test_handed_over(each_service: Service) -> None:
    """A process that lets go answers what it has taken, or the next one does."""
    service = each_service
    service.start()
    with ThreadPoolExecutor() as pool:
        taken = Taken(service, pool)
        ended = pool.submit(service.hand_over)
        pid = service.pid
        until(lambda: _is_waiting(pid), "the process that has told its workers to end")
        taken.go_on()
        assert ended.result() == 0
        service.start()
        assert taken.content.result() == b"dummy-user"
