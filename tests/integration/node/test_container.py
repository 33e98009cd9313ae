"""A daemon in a container: its mounts have to reach the host, and with it the pods."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from lib.mountinfo import mounts_at
from lib.node_daemon import ContainerNode, Node, NodeMaker, is_shown, read
from lib.sources import Manifests
from lib.volume import unmount
from lib.waiting import until

# as a container runtime does for a DaemonSet: a mount namespace of its own, with the kubelet's root
# in it as a mount whose changes go both ways (mountPropagation: Bidirectional)
IN_A_CONTAINER = ["unshare", "--mount", "--propagation", "unchanged", "--"]


@pytest.fixture(params=["private", "shared"], autouse=True)
def outer_mount(request: pytest.FixtureRequest, area: Path) -> Iterator[None]:
    """What the kubelet's root lies in. With systemd it is shared."""
    subprocess.run(["mount", "--bind", area, area], check=True)
    subprocess.run(["mount", "--make-private", area], check=True)
    subprocess.run(["mount", f"--make-{request.param}", area], check=True)
    yield
    unmount(area, lazily=True)


@pytest.fixture
def contained(start_node: NodeMaker, manifests: Manifests, shared_root: Path) -> Node:
    manifests.put_secret({"user": b"admin"})
    return start_node(*manifests.arguments, prefix=IN_A_CONTAINER).wait_ready()


def test_volumes_reach_the_host(contained: Node) -> None:
    volume = contained.publish(contained.pod())
    assert is_shown(volume)
    assert "ro" in mounts_at(volume.target)[0].options
    assert read(volume, "user") == b"admin"
    contained.unpublish(volume)
    until(lambda: mounts_at(volume.target) == [], "the end of the mount")
    assert not volume.target.exists()


def test_the_next_container_replaces_what_a_killed_one_left(
    contained: Node, start_node: NodeMaker, manifests: Manifests
) -> None:
    """Its file system went with its namespace; what the host has stays until the next publish."""
    volume = contained.publish(contained.pod())
    contained.kill()
    assert is_shown(volume)
    following = start_node(*manifests.arguments, prefix=IN_A_CONTAINER).wait_ready()
    assert is_shown(volume)
    following.publish(volume)
    until(lambda: len(mounts_at(volume.target)) == 1, "the end of the dead mount")
    assert read(volume, "user") == b"admin"


def test_processes_of_the_host_are_not_seen(
    start_node: NodeMaker, manifests: Manifests, shared_root: Path
) -> None:
    """In a PID namespace of its own, as without hostPID, where the daemon is process 1."""
    manifests.put_secret({"user": b"admin"})
    alone = ["--pid", "--fork", "--kill-child", "--mount-proc"]
    prefix = [*IN_A_CONTAINER[:-1], *alone, "--"]
    node = start_node(*manifests.arguments, kind=ContainerNode, prefix=prefix).wait_ready()
    volume = node.publish(node.pod())
    assert read(volume, "user") == b"admin"
    manifests.put_secret({"user": b"root"})
    until(lambda: read(volume, "user") == b"root", "the update")
    node.unpublish(volume)
    node.signal(signal.SIGTERM)
    assert node.wait_end() == 0


def test_root_that_is_a_link(start_node: NodeMaker, manifests: Manifests, area: Path) -> None:
    """The administrator's own links are followed: /var/lib/kubelet may be one."""
    manifests.put_secret({"user": b"admin"})
    (area / "data").mkdir()
    (area / "kubelet").symlink_to(area / "data")
    node = start_node(*manifests.arguments).wait_ready()
    volume = node.publish(node.pod())
    assert read(volume, "user") == b"admin"
    node.kill()
    following = start_node(*manifests.arguments).wait_ready()
    following.publish(volume)
    assert len(mounts_at(volume.target.resolve())) == 1
    following.unpublish(volume)
