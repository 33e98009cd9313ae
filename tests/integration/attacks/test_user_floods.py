"""What an ordinary user may create without rights: the daemon does not look at it, and goes on."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from lib import attackers, program
from lib.kubelet import PodVolume
from lib.node_daemon import Node, NodeMaker, read
from lib.sources import Manifests
from lib.waiting import until

UPDATES = 20
# Of the daemon's threads: a worker answers the attacker's requests, and the monitor reads the
# mounts of the daemon's own namespace, which other programs of the machine change.
EXCEPT = ("fuse-worker", "mount-monitor")
# Those that stay as they are once they have been created, and the bytes of a line for each of them
# in /proc: one look at them would take so many.
STANDING = {
    "mounts": attackers.N_MOUNTS * 60,
    "inotify": attackers.N_INSTANCES * 200,  # fdinfo has a line for each watch
    "keys": attackers.N_KEYS * 80,
    "files": attackers.N_FILES * 60,
}
MAX_CONNECTIONS = 24  # monitor/http_server.c
MAX_OTHERS = 16  # descriptors of the daemon that come and go


@pytest.fixture
def node(start_node: NodeMaker, manifests: Manifests) -> Node:
    manifests.put_secret({"changing": b"0"})
    return start_node("--metrics-bind-address=127.0.0.1:0", *manifests.arguments).wait_ready()


@contextlib.contextmanager
def attacked(node: Node, volume: PodVolume, attack: str, directory: Path) -> Iterator[None]:
    """While it is entered, a user makes the attack on a volume of its own."""
    found = re.search(r'serving metrics and health address="[^"]+:(\d+)"', node.log())
    assert found is not None, node.log()
    directory.mkdir()
    with subprocess.Popen(
        [sys.executable, attackers.__file__, attack, directory, volume.target, found[1]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as attacker:
        try:
            assert attacker.stdout is not None and attacker.stdout.readline() == "begun\n"
            yield
            assert attacker.poll() is None, "the attack ended by itself"
        finally:
            attacker.kill()


def bytes_read(node: Node) -> int:
    """By read(2) and its like."""
    total = 0
    for task in Path(f"/proc/{node.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            if (task / "comm").read_text().strip() not in EXCEPT:
                total += int((task / "io").read_text().split()[1])
    return total


class Pods:
    """A quiet pod and an attacker's, with volumes of the same secret."""

    def __init__(self, node: Node, manifests: Manifests) -> None:
        self._node = node
        self._manifests = manifests
        self._value = 0
        self.quiet, self.attacked = (node.publish(node.pod(i)) for i in range(2))
        for directory in self.attacked.target.parents:
            if directory.is_relative_to(node.root):
                directory.chmod(0o755)  # as if the user were in the pod

    def update(self) -> int:
        """Update them again and again. Returns what the daemon's threads have read meanwhile."""
        before = bytes_read(self._node)
        for _ in range(UPDATES):
            self._value += 1
            value = b"%d" % self._value
            self._manifests.put_secret({"changing": value})
            until(lambda: read(self.quiet, "changing") == value, "the quiet pod's update")
        return bytes_read(self._node) - before


@pytest.fixture
def pods(node: Node, manifests: Manifests) -> Pods:
    return Pods(node, manifests)


@pytest.mark.parametrize("attack", STANDING)
def test_what_a_user_created_is_not_read(
    node: Node, pods: Pods, area: Path, attack: str
) -> None:
    quiet = pods.update()
    with attacked(node, pods.attacked, attack, area / attack):
        assert pods.update() < quiet + STANDING[attack]


@pytest.mark.parametrize("attack", attackers.ATTACKS)
def test_updates_of_others_go_on(node: Node, pods: Pods, area: Path, attack: str) -> None:
    """With a bounded number of descriptors, and without a failed health check."""
    descriptors = Path(f"/proc/{node.pid}/fd")
    before = len(os.listdir(descriptors))
    with attacked(node, pods.attacked, attack, area / attack):
        pods.update()
        assert len(os.listdir(descriptors)) < before + MAX_CONNECTIONS + MAX_OTHERS
        command = [program.binary(), "health", f"--run-dir={node.run_dir}"]
        assert program.run(command, home=node.home).stdout == "ok\n"
