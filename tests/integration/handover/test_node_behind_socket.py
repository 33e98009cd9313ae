"""`secretfs node` with a keeper in another container: SECRETFS_KEEPER_SOCKET."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Callable

import pytest

from lib.hang import traced
from lib.holder import Holder
from lib.kubelet import PodVolume
from lib.mountinfo import mounts_at
from lib.node_daemon import Node, NodeMaker
from lib.sources import Manifests
from lib.waiting import until

Start = Callable[[], Node]

_CLOSE = 57 if os.uname().machine == "aarch64" else 3


def _content(volume: PodVolume, key: str) -> bytes:
    """Without Python's open(), which asks the daemon each time whether the file is a terminal."""
    fd = os.open(volume.target / key, os.O_RDONLY)
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


# the keeper ends before the daemons, which then unmount
@pytest.fixture
def begin(start_node: NodeMaker, holder: Holder, manifests: Manifests) -> Start:
    """Does not wait until it serves."""
    manifests.put_secret({"user": b"admin", "password": b"dummy-1"})
    env = {"SECRETFS_KEEPER_SOCKET": str(holder.path)}
    return lambda: start_node(*manifests.arguments, env=env)


@pytest.fixture
def start(begin: Start) -> Start:
    return lambda: begin().wait_ready()


def _check(volume: PodVolume, manifests: Manifests, number: int) -> None:
    """A key that was not read before is there, and an update arrives."""
    assert _content(volume, "user") == b"admin"
    content = b"dummy-%d" % number
    manifests.put_secret({"user": b"admin", "password": content})
    until(lambda: _content(volume, "password") == content, f"{content!r}")


def test_volume_outlives_a_killed_daemon(start: Start, manifests: Manifests) -> None:
    node = start()
    volume = node.publish(node.pod())
    mounts = mounts_at(volume.target)
    for number in (2, 3):
        node = node.kill_and_follow(start)
        _check(volume, manifests, number)
        assert mounts_at(volume.target) == mounts


def test_volume_outlives_sigterm(start: Start, holder: Holder, manifests: Manifests) -> None:
    """As at a rolling upgrade. Without the keeper the daemon unmounts instead."""
    first = start()
    volume = first.publish(first.pod())
    mounts = mounts_at(volume.target)
    first.signal(signal.SIGTERM)
    assert first.wait_end() == 0 and mounts_at(volume.target) == mounts
    second = start()
    _check(volume, manifests, 2)
    holder.process.stop(signal.SIGTERM)
    second.signal(signal.SIGTERM)
    assert second.wait_end() == 0 and mounts_at(volume.target) == []


def _has_connection(pid: int) -> bool:
    """Whether it has a client's socket of the keeper's type."""
    lines = Path(f"/proc/{pid}/net/unix").read_text().splitlines()
    words = [line.split() for line in lines]
    sockets = {f"socket:[{w[6]}]" for w in words if w[4] == "0005" and len(w) == 7}
    return any(os.readlink(entry) in sockets for entry in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM], ids=lambda n: n.name)
def test_next_daemon_waits_for_its_turn(
    number: signal.Signals, start: Start, begin: Start, holder: Holder, manifests: Manifests
) -> None:
    """It serves as soon as the earlier one has closed its connection to the keeper."""
    first = start()
    volume = first.publish(first.pod())
    second = begin()
    with traced(first.pid) as thread:
        first.signal(number)
        while _has_connection(first.pid):
            thread.run_until_after(_CLOSE)
        second.wait_ready()
    assert first.wait_end() == 0
    _check(volume, manifests, 2)
    holder.process.stop(signal.SIGTERM)
    second.signal(signal.SIGTERM)
    assert second.wait_end() == 0 and mounts_at(volume.target) == []


def test_next_keeper_has_everything(
    area: Path, start: Start, holder: Holder, manifests: Manifests
) -> None:
    """An eviction of the keeper alone: the daemon serves on, publishes, and stores all of it again."""
    node = start()
    first = node.publish(node.pod(1))
    holder.process.stop(signal.SIGTERM)
    until(lambda: "the keeper has ended" in node.log(), "the daemon knows")
    second = node.publish(node.pod(2))
    _check(first, manifests, 2)
    later = Holder(area)
    try:
        until(lambda: "connected to a new keeper" in node.log(), "the next keeper")
        node = node.kill_and_follow(start)
        for number, volume in enumerate((first, second), start=3):
            _check(volume, manifests, number)
    finally:
        later.close()


def test_keeper_that_responds_late(start: Start, holder: Holder, manifests: Manifests) -> None:
    """As on a host under load: the daemon serves on meanwhile, and keeps its place in the queue."""
    node = start()
    volume = node.publish(node.pod())
    holder.process.stop(signal.SIGTERM)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(holder.path))
        listening.listen(8)
        client, _ = listening.accept()
        with client:
            _check(volume, manifests, 2)
            client.send(b"LISTEN_FDS=0\nLISTEN_FDNAMES=")
            until(lambda: "connected to a new keeper" in node.log(), "the next keeper")
            assert client.recv(100).startswith(b"FDSTORE=1\n")
    _check(volume, manifests, 3)


def test_both_gone_at_once(start: Start, holder: Holder, manifests: Manifests) -> None:
    """The mounts are dead; published again, they are as before."""
    node = start()
    volume = node.publish(node.pod())
    holder.process.stop(signal.SIGKILL)
    node.kill()
    with pytest.raises(OSError):
        os.listdir(volume.target)
    node = start()
    assert "no keeper runs yet" in node.log()
    node.publish(volume)
    _check(volume, manifests, 2)
    node.unpublish(volume)
    assert mounts_at(volume.target) == []
