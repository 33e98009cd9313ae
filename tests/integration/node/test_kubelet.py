"""A node daemon and a whole kubelet's life: registration, retries, restarts, and bad company."""

from __future__ import annotations

import random
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

import pytest

from lib.grpc_client import Connection, Gone, framed
from lib.kubelet import (
    ABORTED,
    DEADLINE_EXCEEDED,
    NOT_FOUND,
    OK,
    PUBLISH,
    UNAVAILABLE,
    UNCERTAIN,
    Kubelet,
    PodVolume,
)
from lib.mountinfo import mounts_at
from lib.node_daemon import Node, NodeMaker, is_shown, read
from lib.sources import Api, Manifests
from lib.waiting import until

DRIVER = "csi.secretfs.io"


@pytest.fixture
def kubelet(node: Node) -> Kubelet:
    """One that has found the daemon."""
    made = Kubelet(node.root)
    made.register_all()
    return made


# ---- registration


def test_registration_passes_name_endpoint_and_node(node: Node) -> None:
    kubelet = Kubelet(node.root)
    (found,) = kubelet.find_sockets()
    driver = kubelet.register(found)
    assert (driver.name, driver.endpoint, driver.node_id) == (DRIVER, node.endpoint, "node-0")
    until(lambda: "registered with the kubelet" in node.log(), "word of it")


def test_refused_and_registered_later(node: Node) -> None:
    """R8: a new socket after each refusal; what is published already is not concerned."""
    kubelet = Kubelet(node.root)
    volume = node.publish(node.pod())
    (found,) = kubelet.find_sockets()
    driver = kubelet.register(found, refusal="RegisterPlugin error: CSINode is not there")
    until(lambda: "CSINode is not there" in node.log(), "word of it")
    until(
        lambda: found.exists() and found.stat().st_ctime_ns > driver.made_at_ns, "a new socket"
    )
    kubelet.register(found)
    until(lambda: "registered with the kubelet" in node.log(), "word of it")
    assert is_shown(volume)
    kubelet.unpublish(volume)


def test_kubelet_restarts(node: Node, kubelet: Kubelet) -> None:
    """R10, Q4, S13: it registers again, and publishes what is there already."""
    volumes = [node.pod(number) for number in range(10)]
    for volume in volumes:
        assert kubelet.publish(volume) == [OK]
    before = node.mounts()
    restarted = Kubelet(node.root)
    restarted.register_all()
    for volume in volumes:
        assert restarted.publish(volume) == [OK]
    assert node.mounts() == before
    for volume in volumes:
        assert restarted.unpublish(volume) == [OK]


def test_daemon_restarts(node: Node, start_node: NodeMaker, manifests: Manifests) -> None:
    """The sockets go and come, which registers the new one; a pod is deleted in between."""
    kubelet = Kubelet(node.root)
    kubelet.register_all()
    volumes = [node.pod(number) for number in range(3)]
    for volume in volumes:
        kubelet.publish(volume)
    node.signal(signal.SIGTERM)
    node.wait_end()
    assert kubelet.find_sockets() == []
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(kubelet.unpublish, volumes[0])
        following = start_node(*manifests.arguments).wait_ready()
        kubelet.register_all()
        codes = waiting.result()
    assert codes[-1] == OK and set(codes[:-1]) <= {None}
    for volume in volumes[1:]:
        assert kubelet.publish(volume)[-1] == OK
        assert read(volume, "user") == b"admin"
    assert len(following.mounts()) == 3
    following.finish()  # before the other one is looked at


def test_sockets_are_removed_under_it(node: Node, kubelet: Kubelet) -> None:
    """As when a node joins again."""
    volume = node.pod()
    kubelet.publish(volume)
    (found,) = kubelet.find_sockets()
    found.unlink()
    node.endpoint.unlink()
    until(lambda: found.exists() and node.endpoint.exists(), "the sockets")
    again = Kubelet(node.root)
    again.register_all()
    assert again.unpublish(volume) == [OK]


# ---- retries


def test_secret_is_missing_and_comes(
    node: Node, kubelet: Kubelet, manifests: Manifests
) -> None:
    """T2: each failure leaves nothing, though no unpublish follows."""
    volume = node.pod(secret="late")
    assert kubelet.attempt_publish(volume) == NOT_FOUND
    assert not volume.target.parent.exists()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(kubelet.publish, volume)
        until(lambda: node.log().count("cannot publish") >= 3, "some attempts")
        manifests.put_secret({"k": b"dummy"}, name="late")
        codes = waiting.result()
    assert set(codes) == {NOT_FOUND, OK}
    assert read(volume, "k") == b"dummy"
    kubelet.unpublish(volume)


def test_pod_goes_before_it_was_published(node: Node, kubelet: Kubelet) -> None:
    volume = node.pod(secret="none")
    assert kubelet.attempt_publish(volume) == NOT_FOUND
    assert kubelet.unpublish(volume) == [OK]


@pytest.fixture
def away(start_node: NodeMaker, api: Api) -> Iterator[tuple[Node, Kubelet, Api]]:
    """A daemon whose API server holds its answers back."""
    api.put_secret({"user": b"admin"})
    node = start_node("--rights=daemon", *api.arguments).wait_ready()
    kubelet = Kubelet(node.root)
    kubelet.register_all()
    yield node, kubelet, api


def test_deadlines_while_the_api_server_is_slow(away: tuple[Node, Kubelet, Api]) -> None:
    """The kubelet's patience ends again and again; each time the work has gone on."""
    node, kubelet, api = away
    hold = api.server.hold(name="app")
    volume = node.pod()
    codes = [kubelet.attempt_publish(volume, 100) for _ in range(3)]
    assert set(codes) <= {DEADLINE_EXCEEDED, ABORTED}
    hold.release()
    assert kubelet.publish(volume)[-1] == OK
    assert len(api.server.requests.select(verb="list", name="app")) == 1
    assert kubelet.unpublish(volume) == [OK]


def test_pod_is_deleted_while_its_publish_waits(away: tuple[Node, Kubelet, Api]) -> None:
    """T1: it was uncertain, so it is unpublished; nothing comes back afterwards."""
    node, kubelet, api = away
    hold = api.server.hold(name="app")
    volume = node.pod()
    assert kubelet.attempt_publish(volume, 100) == DEADLINE_EXCEEDED
    assert kubelet.unpublish(volume)[-1] == OK
    hold.release()
    other = node.pod(1)
    assert kubelet.publish(other)[-1] == OK  # so the answer has arrived
    assert not mounts_at(volume.target) and not volume.target.exists()
    kubelet.unpublish(other)


def test_unpublish_while_a_publish_waits(away: tuple[Node, Kubelet, Api]) -> None:
    """A kubelet does not do that (S14); a person with a tool does."""
    node, kubelet, api = away
    hold = api.server.hold(name="app")
    volume = node.pod()
    connection, stream = node.start_publish(volume)
    hold.wait_held()
    answer = volume.unpublish(node.endpoint)
    assert answer.code == ABORTED and "try again" in answer.text
    assert volume.publish(node.endpoint).code == ABORTED
    hold.release()
    assert connection.finish(stream).code == OK
    connection.close()
    assert kubelet.unpublish(volume) == [OK]


def test_pods_start_while_the_api_server_is_away(away: tuple[Node, Kubelet, Api]) -> None:
    node, kubelet, api = away
    api.server.stop_listening()
    api.server.end_connections()
    volumes = [node.pod(number) for number in range(20)]
    with ThreadPoolExecutor(len(volumes)) as pool:
        waiting = [pool.submit(kubelet.publish, volume) for volume in volumes]
        until(lambda: "cannot publish" in node.log(), "a failure")
        api.server.start_listening()
        codes = [code for future in waiting for code in future.result()[:-1]]
    assert set(codes) <= UNCERTAIN and UNAVAILABLE in codes
    for volume in volumes:
        assert read(volume, "user") == b"admin"
        assert kubelet.unpublish(volume) == [OK]


# ---- all at once


def test_many_pods_at_once(node: Node, kubelet: Kubelet) -> None:
    volumes = [node.pod(number) for number in range(110)]
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(kubelet.publish, volumes)) == [[OK]] * len(volumes)
        for volume in volumes:
            assert read(volume, "user") == b"admin"
        assert list(pool.map(kubelet.unpublish, volumes)) == [[OK]] * len(volumes)
    until(lambda: node.directories() == set(), "the directories to go")


class Nuisance:
    """Clients that behave badly for as long as the block lasts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(act,), daemon=True)
            for act in (self._garbage, self._half, self._vanish)
        ]
        self.n_times = 0

    def __enter__(self) -> Nuisance:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, act) -> None:  # type: ignore[no-untyped-def]
        while not self._is_over.is_set():
            try:
                act()
            except (OSError, Gone):
                pass
            self.n_times += 1
            time.sleep(0.001)

    def _garbage(self) -> None:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(self._path))
            raw.sendall(random.randbytes(500))

    def _half(self) -> None:
        with Connection(self._path) as connection:
            stream = connection.begin(connection.headers_of(PUBLISH))
            connection.send(stream, framed(b"", announced=3 << 20)[:4], end=False)
            time.sleep(0.01)

    def _vanish(self) -> None:
        with Connection(self._path) as connection:
            connection.start(PUBLISH, PodVolume(uid="gone").publish_request())


def test_publishes_succeed_beside_faulty_clients(node: Node, kubelet: Kubelet) -> None:
    volumes = [node.pod(number) for number in range(10)]
    with Nuisance(node.endpoint) as nuisance:
        for _ in range(2):
            for volume in volumes:
                kubelet.publish(volume)
                assert read(volume, "user") == b"admin"
            for volume in volumes:
                kubelet.unpublish(volume)
        assert nuisance.n_times > 0
    until(lambda: node.directories() == set(), "the directories to go")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_daemons_come_and_go(
    node: Node,
    kubelet: Kubelet,
    start_node: NodeMaker,
    manifests: Manifests,
    number: signal.Signals,
) -> None:
    """Pods start and end all the while, and in the end nothing is left (S11: no dead mounts)."""
    is_over = threading.Event()

    def live(n: int) -> int:
        own = Kubelet(node.root, random.Random(n), kubelet.drivers, is_daemon_steady=False)
        volume = node.pod(n)
        rounds = 0
        while not is_over.is_set():
            for _ in range(own.random.randrange(1, 4)):
                own.publish(volume)
            own.unpublish(volume)
            rounds += 1
        return rounds

    current = node
    with ThreadPoolExecutor(8) as pool:
        lives = [pool.submit(live, n) for n in range(8)]
        try:
            for _ in range(5):
                until(lambda node=current: node.log().count("unpublished") > 20, "some lives")
                current.expected_exit = -number if number == signal.SIGKILL else 0
                current.signal(number)
                current.wait_end()
                current = start_node(*manifests.arguments).wait_ready()
        finally:
            is_over.set()
        assert sum(life.result() for life in lives) > 100
    assert [m.path for m in current.mounts()] == [str(current.run_dir / "fs")]
    until(lambda: current.directories() == set(), "the directories to go")
    current.finish()


class Pod:
    """One pod's volume through a random life; a kubelet works on one volume at a time."""

    def __init__(self, kubelet: Kubelet, volume: PodVolume, seed: int) -> None:
        self.kubelet = Kubelet(kubelet.root, random.Random(seed), kubelet.drivers)
        self.volume = volume
        self.random = random.Random(seed)

    def live(self) -> None:
        for _ in range(15):
            self.random.choice(
                [self.publish, self.republish, self.impatient, self.vanish, self.unpublish]
            )()
        self.unpublish()

    def publish(self) -> None:
        self.kubelet.publish(self.volume)
        assert is_shown(self.volume)
        assert read(self.volume, "user") == b"admin"

    def republish(self) -> None:
        for _ in range(3):
            self.publish()

    def impatient(self) -> None:
        """A deadline that may be over anywhere amid the work."""
        code = self.kubelet.attempt_publish(self.volume, self.random.randrange(12))
        assert code == OK or code in UNCERTAIN, code

    def vanish(self) -> None:
        """A kubelet that is killed: a call begins, and its end reaches no caller."""
        self.volume.target.parent.mkdir(parents=True, exist_ok=True)
        with Connection(self.kubelet.endpoint) as connection:
            connection.start(PUBLISH, self.volume.publish_request())
            time.sleep(self.random.random() * 0.01)

    def unpublish(self) -> None:
        self.kubelet.unpublish(self.volume)
        assert not self.volume.target.exists()


@pytest.mark.parametrize("seed", range(3))
def test_random_pods_leave_nothing_behind(node: Node, kubelet: Kubelet, seed: int) -> None:
    """In any order of calls: in the end nothing is left."""
    pods = [Pod(kubelet, node.pod(n), seed * 1000 + n) for n in range(12)]
    with ThreadPoolExecutor(len(pods)) as pool:
        for future in [pool.submit(pod.live) for pod in pods]:
            future.result()
    assert len(node.mounts()) == 1

    def is_empty() -> bool:
        # a call of a kubelet that vanished may have been read after the last unpublish
        for pod in pods:
            pod.unpublish()
        return node.directories() == set()

    until(is_empty, "the directories to go")
