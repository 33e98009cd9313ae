"""The status socket of `secretfs mount` outlives the process: clients wait for the next one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lib import program
from lib.descriptor_store import Service
from lib.mountinfo import mounts_at
from lib.places import Clients, Place, status_path
from lib.volume import Kept
from lib.waiting import until


def _place(service: Service) -> Place:
    return Place("status", status_path(service.path))


def _run(service: Service, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return program.run([program.binary(), *map(str, arguments)], home=service.path.parent)


@pytest.mark.parametrize("end", ["kill", "hand_over"])
def test_clients_wait_for_the_next_process(service: Service, end: str) -> None:
    service.start()
    place = _place(service)
    assert isinstance(place.address, Path)
    inode, stored = place.address.stat().st_ino, service.store.sockets()
    assert list(stored) == ["status"]
    for _ in range(2):
        getattr(service, end)()
        client = place.connect()
        service.start()
        place.check_served(client)
        assert _run(service, "status", service.path).returncode == 0
    assert (place.address.stat().st_ino, service.store.sockets()) == (inode, stored)
    service.reap()


def test_clients_that_connect_in_a_loop(service: Service) -> None:
    """Over kills and hand-overs: none is refused."""
    service.start()
    clients = Clients(_place(service))
    try:
        for i in range(6):
            (service.hand_over if i % 2 else service.kill)()
            service.start()
            seen = clients.n
            until(lambda: clients.n > seen or clients.errors, "clients")
    finally:
        clients.stop()
    assert clients.errors == []
    service.reap()


def test_no_next_process(service: Service) -> None:
    """Status says so, and names no process to end; unmount unmounts."""
    service.start()
    service.kill()
    done = _run(service, "status", service.path)
    assert done.returncode != 0 and "its process has ended" in done.stderr, done
    listed = _run(service, "status", "-o", "json")
    assert "its process has ended" in listed.stdout
    done = _run(service, "unmount", service.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert mounts_at(service.path) == []


def test_unmount_waits_for_the_next_process(service: Service) -> None:
    """One that was called while none ran; the killed one is not the one that it waits for."""
    service.start()
    service.kill()
    command = [str(program.binary()), "unmount", str(service.path)]
    with subprocess.Popen(command, env=program.environment(service.path.parent)) as unmount:
        until(lambda: _has_connected(unmount.pid), "its connection")
        assert service.run() == 0  # it may have ended before it is seen to run
        assert unmount.wait() == 0


def _has_connected(pid: int) -> bool:
    """It reads, which nothing answers."""
    return "unix_stream" in Path(f"/proc/{pid}/wchan").read_text()


@pytest.mark.parametrize("how", ["stop", "unmount"])
def test_an_end_for_good_leaves_nothing(service_without_store: Service, how: str) -> None:
    """Neither the file nor the stored socket. SIGTERM is one under a keeper with a child."""
    service = service_without_store.start()
    place = _place(service)
    assert isinstance(place.address, Path)
    socket = Kept(place.address)
    if how == "stop":
        assert service.stop() == 0
    else:
        assert _run(service, "unmount", service.path).returncode == 0
        service.wait_end()
    assert not socket.is_there()
    assert service.store.stored() == []


def test_another_mount(service: Service, area: Path) -> None:
    """The next process mounts another directory: one socket is stored, and its path leads to it."""
    service.start()
    service.kill()
    first, service.path = service.path, area / "other"
    service.path.mkdir()
    service.start()
    assert mounts_at(first) == []
    assert list(service.store.sockets()) == ["status"]
    _place(service).check_served(_place(service).connect())
    service.reap()
