"""`secretfs node` under a service manager with a descriptor store: stops, and states that cannot be read."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Iterator

import pytest

from lib import program
from lib.descriptor_store import DescriptorStore, NodeService
from lib.kubelet import OK, PodVolume
from lib.mountinfo import mounts_at
from lib.sources import Manifests
from lib.volume import unmount
from lib.waiting import until

_FORMAT_AT = 8  # offsets in struct state_header
_COMMITTED_AT = 104
_LENGTH_MASK = (1 << 40) - 1


@pytest.fixture
def volume(service: NodeService) -> Iterator[PodVolume]:
    """Of a pod, for a test to publish."""
    attributes = {"secretName": "app"}
    made = PodVolume(root=service.root, namespace="default", attributes=attributes)
    yield made
    for _ in mounts_at(made.target):
        unmount(made.target, lazily=True)


@pytest.fixture
def service(area: Path, manifests: Manifests) -> Iterator[NodeService]:
    manifests.put_secret({"password": b"dummy-1"})
    store = DescriptorStore(area / "notify")
    made = NodeService(store, area, manifests.arguments)
    yield made
    made.finish()
    store.close()
    made.check_log()


def _publish(service: NodeService, volume: PodVolume) -> None:
    answer = volume.publish(service.endpoint)
    assert answer.code == OK, f"{answer.code}: {answer.text}\n{service.log()}"


def _content(volume: PodVolume) -> bytes:
    fd = os.open(volume.target / "password", os.O_RDONLY)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


@pytest.fixture
def state(service: NodeService, volume: PodVolume) -> Iterator[mmap.mmap]:
    """The state of a process that was killed, writable."""
    service.start()
    _publish(service, volume)
    service.kill()
    fd = next(fd for name, fd in service.store.stored() if name.startswith("standard.state."))
    with mmap.mmap(fd, os.fstat(fd).st_size) as memory:
        yield memory


def test_stop_keeps_volumes(service: NodeService, volume: PodVolume) -> None:
    """The service manager says that it keeps descriptors, so another process follows."""
    service.start()
    _publish(service, volume)
    mount = mounts_at(volume.target)
    assert service.stop() == 0
    assert mounts_at(volume.target) == mount
    service.start()
    service.wait_log("took over volumes")
    assert _content(volume) == b"dummy-1"
    assert mounts_at(volume.target) == mount
    assert len(service.store.names()) == 2


def test_failed_start_keeps_volumes(service: NodeService, volume: PodVolume) -> None:
    """What comes after it finds everything."""
    service.start()
    _publish(service, volume)
    mount = mounts_at(volume.target)
    service.kill()
    arguments = service.arguments
    service.arguments = [*arguments, "--endpoint=unix:///proc/no/csi.sock"]
    assert service.run() != 0
    assert mounts_at(volume.target) == mount
    service.arguments = arguments
    service.start()
    assert _content(volume) == b"dummy-1"
    assert mounts_at(volume.target) == mount
    service.reap()


def test_newer_format(service: NodeService, volume: PodVolume, state: mmap.mmap) -> None:
    """A program that is too old does not serve and drops nothing; the newer one goes on."""
    names = service.store.names()
    state[_FORMAT_AT] = 3
    assert service.run() != 0
    service.wait_log("has written the stored state, in format 3")
    assert service.store.names() == names
    state[_FORMAT_AT] = 1
    service.start()
    assert _content(volume) == b"dummy-1"
    service.reap()


def _order(service: NodeService, verb: str) -> None:
    command = [program.binary(), "rollout", verb, "secret/app", f"--run-dir={service.run_dir}"]
    done = program.run(command, home=service.run_dir.parent / "home")
    assert done.returncode == 0, done.stderr


def _format(service: NodeService) -> int:
    fd = next(fd for name, fd in service.store.stored() if name.startswith("standard.state."))
    with mmap.mmap(fd, os.fstat(fd).st_size) as memory:  # memfd_secret(2) cannot be read
        return memory[_FORMAT_AT]


def test_state_with_orders_has_a_format_of_its_own(
    service: NodeService, volume: PodVolume, manifests: Manifests
) -> None:
    """A program that does not know orders would show what is paused: it refuses the state."""
    service.start()
    _publish(service, volume)
    for _ in range(2):
        _order(service, "pause")
        service.kill()
        assert _format(service) == 2
        service.start()
        service.wait_log("took over volumes")
        manifests.put_secret({"password": b"dummy-2"})
    _order(service, "resume")
    until(lambda: _content(volume) == b"dummy-2", "the newest")
    service.kill()
    assert _format(service) == 1
    service.start()
    assert _content(volume) == b"dummy-2"
    service.reap()


def test_damaged(service: NodeService, volume: PodVolume, state: mmap.mmap) -> None:
    """It is never guessed at: the mounts end, and the kubelet's next publish replaces them."""
    service.expected_words = "cannot take the mount over; mounting again"
    length = int.from_bytes(state[_COMMITTED_AT : _COMMITTED_AT + 8], "little") & _LENGTH_MASK
    state[length // 2] ^= 1
    service.start()
    service.wait_log("the stored state is damaged: invalid record")
    with pytest.raises(OSError):
        _content(volume)
    _publish(service, volume)
    assert _content(volume) == b"dummy-1"
    assert len(mounts_at(volume.target)) == 1
    service.reap()
