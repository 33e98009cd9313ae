"""The sockets of `secretfs node` outlive the daemon: a client that connects meanwhile waits, and is served."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import pytest

from lib import program
from lib.descriptor_store import DescriptorStore, NodeService
from lib.grpc_client import call
from lib.holder import Holder
from lib.kubelet import OK, PROBE, Kubelet
from lib.node_daemon import KeptNode, NodeMaker
from lib.places import Clients, Place, status_path
from lib.sources import Manifests
from lib.volume import Kept
from lib.waiting import until

KILLS = 6


def _metrics_address(log: str) -> tuple[str, int]:
    host, port = re.findall(r"serving metrics and health address=\"?([\d.]+):(\d+)", log)[-1]
    return host, int(port)


def _places(endpoint: Path, registration: Path, run_dir: Path, log: str) -> list[Place]:
    return [
        Place("csi", endpoint),
        Place("registration", registration),
        Place("status", status_path(run_dir / "fs")),
        Place("health", run_dir / "health.sock"),
        Place("metrics", _metrics_address(log)),
    ]


@dataclass
class Served:
    """A daemon that a kubelet has registered."""

    service: NodeService
    registration: Path

    def start(self) -> None:
        self.service.start()
        self.service.wait_log(" INFO serving ")

    def register(self) -> None:
        before = self.service.log().count("registered with the kubelet")
        Kubelet(self.service.root).register_all()
        until(
            lambda: self.service.log().count("registered with the kubelet") > before, "the log of it"
        )

    def places(self) -> list[Place]:
        s = self.service
        return _places(s.endpoint, self.registration, s.run_dir, s.log())

    def sockets(self) -> dict[str, str]:
        return self.service.store.sockets()

    def is_registered(self) -> bool:
        done = program.run(
            [program.binary(), "status", "-o", "json"], home=self.service.run_dir.parent
        )
        (mine,) = [
            p for p in json.loads(done.stdout)["processes"] if p["pid"] == self.service.pid
        ]
        return bool(mine["registered"])


@pytest.fixture
def served(area: Path, manifests: Manifests) -> Iterator[Served]:
    manifests.put_secret({"password": b"dummy-1"})
    store = DescriptorStore(area / "notify")
    registration = area / "kubelet/plugins_registry/csi.secretfs.io-reg.sock"
    arguments = [f"--registration-path={registration}", "--metrics-bind-address=127.0.0.1:0"]
    made = Served(NodeService(store, area, [*manifests.arguments, *arguments]), registration)
    made.start()
    made.register()
    yield made
    made.service.finish()
    store.close()
    made.service.check_log()


def _check_waiting(served: Served, *names: str) -> None:
    """Clients of these sockets wait for the next process."""
    places = [p for p in served.places() if p.name in names]
    served.service.kill()
    clients = [(p, p.connect()) for p in places]
    served.start()
    for place, client in clients:
        place.check_served(client)
    assert served.is_registered()


@pytest.mark.parametrize("end", ["kill", "hand_over"])
def test_clients_wait_for_the_next_process(served: Served, end: str) -> None:
    """They connect while none runs; files and address are the same, and the kubelet need not register."""
    places = served.places()
    inodes = [p.address.stat().st_ino for p in places if isinstance(p.address, Path)]
    stored = served.sockets()
    assert set(stored) == {p.name for p in places}
    for _ in range(2):
        getattr(served.service, end)()
        clients = [(p, p.connect()) for p in places]
        served.start()
        for place, client in clients:
            place.check_served(client)
        assert served.is_registered()
        assert call(served.service.endpoint, PROBE).code == OK
    assert [p.address.stat().st_ino for p in places if isinstance(p.address, Path)] == inodes
    assert served.places() == places and served.sockets() == stored


def test_driver_that_is_not_registered(served: Served) -> None:
    """A kubelet that has refused it looks at no file twice (R8), so that the next process makes a new one."""
    (found,) = (kubelet := Kubelet(served.service.root)).find_sockets()
    kubelet.register(found, refusal="not yet")
    until(lambda: "registration" not in served.sockets(), "a socket that is not kept")
    inode = found.stat().st_ino
    served.service.kill()
    served.start()
    assert not served.is_registered()
    assert found.stat().st_ino != inode
    served.register()
    assert served.is_registered() and "registration" in served.sockets()


def test_other_node(served: Served) -> None:
    """What the kubelet has learned at the socket is not true any more: it has to register again."""
    before = served.sockets()
    inode = served.registration.stat().st_ino
    served.service.kill()
    served.service.arguments += ["--node-id=node-1", "--metrics-bind-address=localhost:0"]
    served.start()
    assert served.registration.stat().st_ino != inode and not served.is_registered()
    after = served.sockets()
    assert after["csi"] == before["csi"]
    assert set(before) - set(after) == {"registration"}
    assert after["metrics"] != before["metrics"]


def test_metrics_that_are_turned_off(served: Served) -> None:
    (metrics,) = [p for p in served.places() if p.name == "metrics"]
    served.service.kill()
    served.service.arguments += ["--metrics-bind-address=0"]
    served.start()
    assert "metrics" not in served.sockets()
    with pytest.raises(ConnectionRefusedError):
        metrics.connect()


def _replace(path: Path) -> socket.socket:
    """As another process does that listens at the same path."""
    other = socket.socket(socket.AF_UNIX)
    other.bind(f"{path}.other")
    os.rename(f"{path}.other", path)
    other.listen()
    return other


def test_path_of_an_ended_process(served: Served) -> None:
    """The path does not lead to the stored socket any more, so a new one is made."""
    served.service.kill()
    for path in (served.service.endpoint, served.registration, served.service.run_dir / "health.sock"):
        _replace(path).close()
    served.start()
    assert call(served.service.endpoint, PROBE).code == OK
    assert "registration" not in served.sockets() and not served.is_registered()
    served.register()
    _check_waiting(served, "csi", "registration", "health")


def test_path_of_another_process(served: Served) -> None:
    """It is left to that one, as without a store."""
    served.service.kill()
    with _replace(served.service.endpoint):
        assert served.service.run() != 0
        served.service.wait_log("another process listens on")
    served.start()
    assert call(served.service.endpoint, PROBE).code == OK
    assert "csi" in served.sockets()


def test_file_that_was_removed(served: Served) -> None:
    """A node that joins another cluster: the new file is the one that is kept."""
    before = served.sockets()
    for path in (served.service.endpoint, served.registration):
        path.unlink()
    until(lambda: served.service.endpoint.exists() and served.registration.exists(), "new files")
    until(lambda: served.sockets()["csi"] != before["csi"], "the new socket in the store")
    assert "registration" not in served.sockets()  # the kubelet registers the new file
    served.register()
    _check_waiting(served, "csi", "registration")


def test_no_client_is_refused(
    area: Path, start_node: NodeMaker, manifests: Manifests, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over kills and hand-overs under the keeper."""
    manifests.put_secret({"user": b"admin", "password": b"dummy-1"})
    registration = area / "kubelet/plugins_registry/csi.secretfs.io-reg.sock"
    arguments = [f"--registration-path={registration}", "--metrics-bind-address=127.0.0.1:0"]
    kept = start_node(*manifests.arguments, *arguments, kind=KeptNode).wait_ready()
    assert isinstance(kept, KeptNode)
    Kubelet(kept.root).register_all()
    until(lambda: kept.status()["registered"], "the registration")
    clients = [Clients(p) for p in _places(kept.endpoint, registration, kept.run_dir, kept.log())]
    try:
        for i in range(KILLS):
            (kept.hand_over if i % 2 else kept.kill_daemon)()
            seen = [c.n for c in clients]
            until(lambda: all(c.n > n or c.errors for c, n in zip(clients, seen)), "clients")
    finally:
        for client in clients:
            client.stop()
    with capsys.disabled():
        print(f"\n{KILLS} ends, {sum(c.n for c in clients)} connections")
    assert [error for c in clients for error in c.errors] == []
    assert kept.status()["registered"]


def test_stop_removes_them(start_node: NodeMaker, manifests: Manifests) -> None:
    manifests.put_secret({"password": b"dummy-1"})
    kept = start_node(*manifests.arguments, kind=KeptNode).wait_ready()
    paths = [kept.endpoint, kept.run_dir / "health.sock", status_path(kept.run_dir / "fs")]
    sockets = [Kept(path) for path in paths]
    kept.finish()
    assert not any(each.is_there() for each in sockets)


def test_next_keeper_has_them(
    area: Path, start_node: NodeMaker, holder: Holder, manifests: Manifests
) -> None:
    manifests.put_secret({"password": b"dummy-1"})
    env = {"SECRETFS_KEEPER_SOCKET": str(holder.path)}
    start = lambda: start_node(*manifests.arguments, env=env).wait_ready()
    node = start()
    holder.process.stop(signal.SIGKILL)
    until(lambda: "the keeper has ended" in node.log(), "the daemon knows")
    later = Holder(area)
    try:
        until(lambda: "connected to a new keeper" in node.log(), "the next keeper")
        node.kill()
        place = Place("csi", node.endpoint)
        client = place.connect()
        node = start()
        place.check_served(client)
    finally:
        later.close()
