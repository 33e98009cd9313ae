"""A kubelet that hangs: its connections stay open, it reads nothing and calls nothing, while the daemon ends and
updates arrive. Later it goes on where it was.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Iterator

import pytest

from lib import wire
from lib.grpc_client import Connection, Gone
from lib.kubelet import GET_INFO, OK, Kubelet, PodVolume
from lib.node_daemon import KeptNode, NodeMaker, is_shown, read
from lib.sources import Manifests
from lib.waiting import until

CALLS = 64
STATS = "/csi.v1.Node/NodeGetVolumeStats"
_PIECE = 4096


class Stuck:
    """What a kubelet had under way when it was stopped."""

    def __init__(self, node: KeptNode, kubelet: Kubelet, volume: PodVolume) -> None:
        self._stack = contextlib.ExitStack()
        stats = wire.field(1, volume.volume_id) + wire.field(2, str(volume.target))
        self._calls = [self._connect(node.endpoint) for _ in range(CALLS)]
        for connection in self._calls:
            connection.start(STATS, stats)
        waiting, _ = node.start_publish(node.pod(1, secret="later"))
        self._stack.enter_context(waiting)
        self._begin_half(node.endpoint)
        self._fill(node.endpoint, stats)
        (registration,) = kubelet.find_sockets()
        self._connect(registration).start(GET_INFO)

    def _connect(self, path: Path) -> Connection:
        return self._stack.enter_context(Connection(path))

    def _begin_half(self, endpoint: Path) -> None:
        """A request of which half was sent."""
        connection = self._connect(endpoint)
        stream = connection.begin(connection.headers_of(STATS))
        connection.h2.send_data(stream, b"\0\0\0", end_stream=False)
        connection.flush()

    def _fill(self, endpoint: Path, stats: bytes) -> None:
        """One that sends until the daemon takes no more, or has enough of it: it reads no answer."""
        connection = self._connect(endpoint)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PIECE)
        connection.start(STATS, stats)
        ping = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + bytes(8)
        connection.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while True:
                connection.socket.send(ping * (_PIECE // len(ping)))

    def go_on(self) -> list[int | None]:
        """The codes that its calls get; None: the connection has ended, and the kubelet calls again."""
        codes: list[int | None] = []
        for connection in self._calls:
            try:
                codes.append(connection.finish(1).code)
            except Gone:
                codes.append(None)
        return codes

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def node(area: Path, start_node: NodeMaker, manifests: Manifests) -> KeptNode:
    manifests.put_secret({"password": b"dummy-1"})
    registration = area / "kubelet/plugins_registry/csi.secretfs.io-reg.sock"
    arguments = [*manifests.arguments, f"--registration-path={registration}"]
    made = start_node(*arguments, kind=KeptNode).wait_ready()
    assert isinstance(made, KeptNode)
    return made


@pytest.fixture
def kubelet(node: KeptNode) -> Kubelet:
    made = Kubelet(node.root)
    made.register_all()
    until(lambda: node.status()["registered"], "the registration")
    return made


@pytest.fixture
def stuck(node: KeptNode, kubelet: Kubelet) -> Iterator[Stuck]:
    """With one volume published."""
    volume = node.pod()
    assert kubelet.publish(volume) == [OK]
    made = Stuck(node, kubelet, volume)
    yield made
    made.close()


def _descriptors(node: KeptNode) -> int:
    return len(os.listdir(f"/proc/{node.pid}/fd"))


def _check_update(node: KeptNode, manifests: Manifests, volume: PodVolume, value: str) -> None:
    manifests.put_secret({"password": value.encode()})
    until(lambda: read(volume, "password") == value.encode(), f"the update to {value}")
    assert node.status()["registered"]


def test_updates_arrive(node: KeptNode, stuck: Stuck, manifests: Manifests) -> None:
    for number in range(3):
        _check_update(node, manifests, node.pod(), f"dummy-{number}")


@pytest.mark.parametrize("end", ["kill_daemon", "hand_over"])
def test_the_daemon_ends(
    node: KeptNode, kubelet: Kubelet, stuck: Stuck, manifests: Manifests, end: str
) -> None:
    """Connections end with the process; the kubelet finds the driver registered, and calls again."""
    (registration,) = kubelet.find_sockets()
    inode, volume = registration.stat().st_ino, node.pod()
    for number in range(3):
        getattr(node, end)()
        _check_update(node, manifests, volume, f"dummy-{number}")
    assert registration.stat().st_ino == inode
    assert set(stuck.go_on()) <= {None, OK}
    assert kubelet.publish(volume) == [OK]
    assert kubelet.publish(node.pod(2)) == [OK]
    assert kubelet.unpublish(volume) == [OK]
    assert node.log().count("registered with the kubelet") == 1


def test_it_goes_on(node: KeptNode, kubelet: Kubelet, stuck: Stuck, manifests: Manifests) -> None:
    """The calls that the daemon has answered meanwhile have their answers."""
    volume = node.pod()
    _check_update(node, manifests, volume, "dummy-2")
    assert stuck.go_on() == [OK] * CALLS
    later = node.pod(2)
    assert kubelet.publish(later) == [OK]
    assert is_shown(later) and is_shown(volume)
    assert kubelet.unpublish(volume) == [OK]


def test_what_it_leaves_is_bounded(node: KeptNode, kubelet: Kubelet) -> None:
    """One descriptor for each connection, which goes with its peer."""
    volume = node.pod()
    assert kubelet.publish(volume) == [OK]
    before = _descriptors(node)
    stuck = Stuck(node, kubelet, volume)
    assert _descriptors(node) <= before + CALLS + 4
    stuck.close()
    until(lambda: _descriptors(node) <= before, "the end of the connections")
