"""A user who owns a directory above a static volume's target: nothing is mounted, created or removed by way of it."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from lib.mountinfo import all_mounts, mounts_at
from lib.node_daemon import Node, NodeMaker
from lib.sources import Manifests
from lib.waiting import until

_USER = 65534


@pytest.fixture
def node(area: Path, manifests: Manifests, start_node: NodeMaker) -> Node:
    """A daemon without static volumes yet; its area is a directory that other users can enter."""
    manifests.put_secret({"key": b"dummy-1"})
    area.chmod(0o755)
    (area / "volumes.d").mkdir()
    return start_node(*manifests.arguments, "--registration-path=none").wait_ready()


def _put(area: Path, target: Path) -> None:
    volume = {"target": str(target), "volume": {"secret": {"secretName": "app"}}}
    aside = area / "new"
    aside.write_text(json.dumps(volume))
    aside.rename(area / "volumes.d" / "app.yaml")


def _is_mounted(target: Path) -> bool:
    try:
        return (target / "key").read_bytes() == b"dummy-1"
    except OSError:
        return False


def _wait_refusal(node: Node) -> None:
    until(lambda: "unsafe path" in node.log(), f"the refusal in the log:\n{node.log()}")


@pytest.mark.parametrize("depth", ["target", "deep/er/target"])
@pytest.mark.parametrize(
    "owner, mode", [(_USER, 0o755), (0, 0o777), (0, 0o775)], ids=["owned", "world", "group"]
)
def test_directory_of_another_user(node: Node, area: Path, owner: int, mode: int, depth: str):
    """Refused, and nothing is created there; mounted once only root can write to it."""
    directory = area / "theirs"
    directory.mkdir()
    directory.chmod(mode)
    os.chown(directory, owner, -1)
    _put(area, directory / depth)
    _wait_refusal(node)
    assert os.listdir(directory) == []

    os.chown(directory, 0, -1)
    directory.chmod(0o755)
    node.signal(signal.SIGHUP)
    until(lambda: _is_mounted(directory / depth), "the volume")


def test_target_itself_may_belong_to_another_user(node: Node, area: Path):
    """Its owner cannot replace it."""
    target = area / "target"
    target.mkdir()
    os.chown(target, _USER, -1)
    _put(area, target)
    until(lambda: _is_mounted(target), "the volume")


def test_link_of_another_user_in_a_sticky_directory(node: Node, area: Path):
    """As /tmp/link -> /etc: root neither creates nor mounts where it leads."""
    shared, elsewhere = area / "shared", area / "elsewhere"
    shared.mkdir()
    shared.chmod(0o777 | stat.S_ISVTX)
    elsewhere.mkdir()
    (shared / "link").symlink_to(elsewhere)
    os.chown(shared / "link", _USER, -1, follow_symlinks=False)
    _put(area, shared / "link" / "target")
    _wait_refusal(node)
    assert os.listdir(elsewhere) == []
    assert not [mount for mount in all_mounts() if str(elsewhere) in mount.path]


def test_sticky_directory_and_link_of_root(node: Node, area: Path):
    """What the administrator has made is used: /var/run is a link, /tmp is sticky."""
    shared, elsewhere = area / "shared", area / "elsewhere"
    shared.mkdir()
    shared.chmod(0o777 | stat.S_ISVTX)
    elsewhere.mkdir()
    (shared / "link").symlink_to(elsewhere)
    _put(area, shared / "link" / "target")
    until(lambda: _is_mounted(elsewhere / "target"), "the volume")
    (area / "volumes.d" / "app.yaml").unlink()
    until(lambda: not (elsewhere / "target").exists(), "the end of the volume")
    assert mounts_at(elsewhere / "target") == []
