"""Volumes whose files change in place, and files that are mounted alone, of a node's volumes."""

from __future__ import annotations

import os

from lib.inotify import Watcher
from lib.kubelet import OK
from lib.live import Containers, SubPaths, mounted_alone
from lib.mountinfo import mounts_at
from lib.node_daemon import Node, NodeMaker, keys, read
from lib.sources import Manifests
from lib.volume import unmount
from lib.waiting import until

IN_PLACE = {"secretName": "app", "updates": "in-place"}


def names_in_place(node: Node) -> list[str]:
    return os.listdir(node.run_dir / "fs-live")


def test_in_place_volume_beside_a_standard_one_keeps_its_inodes(
    node: Node, manifests: Manifests, watcher: Watcher
) -> None:
    assert mounts_at(node.run_dir / "fs-live") == []
    standard = node.publish(node.pod(0))
    in_place = node.publish(node.pod(1, attributes=IN_PLACE))
    assert mounts_at(in_place.target)[0].device != mounts_at(standard.target)[0].device
    assert keys(in_place) == keys(standard)
    inode = os.stat(in_place.target / "user").st_ino
    watcher.add("file", in_place.target / "user")

    for number in range(3):
        manifests.put_secret({"user": b"root-%d" % number, "password": b"dummy"})
        watcher.wait(lambda event: event.kind == "CLOSE_WRITE", count=number + 1)
        assert read(in_place, "user") == b"root-%d" % number
        until(lambda: read(standard, "user") == b"root-%d" % number, "the other volume")

    assert os.stat(in_place.target / "user").st_ino == inode
    assert "DELETE_SELF" not in [event.kind for event in watcher.read()]

    assert in_place.unpublish(node.endpoint).code == OK
    until(lambda: names_in_place(node) == [], "the volume's directory to go")
    assert read(standard, "password") == b"dummy"


def test_in_place_volume_of_a_dead_daemon_is_published_again(
    node: Node, manifests: Manifests, start_node: NodeMaker
) -> None:
    volume = node.publish(node.pod(0, attributes=IN_PLACE))
    node.kill()
    again = start_node(*manifests.arguments).wait_ready()

    again.publish(volume)
    assert read(volume, "user") == b"admin"
    assert len(mounts_at(volume.target)) == 1


def test_file_alone_of_an_in_place_volume_follows_updates(
    node: Node, manifests: Manifests, containers: Containers, sub_path: SubPaths, watcher: Watcher
) -> None:
    volume = node.publish(node.pod(attributes=IN_PLACE))
    alone = sub_path(volume, "user")
    paths = [alone, containers.mount(alone)]
    until(lambda: mounted_alone(node, volume) == {"count": 1, "live": True}, "the mount to be seen")
    watcher.add("file", paths[1])
    for number in range(3):
        manifests.put_secret({"user": b"root-%d" % number, "password": b"dummy"})
        for path in paths:
            until(lambda p=path: p.read_bytes() == b"root-%d" % number, f"the update in {path}")
    watcher.wait(lambda event: event.kind == "CLOSE_WRITE", count=3)


def test_file_alone_of_a_standard_volume_keeps_its_content(
    node: Node, manifests: Manifests, sub_path: SubPaths
) -> None:
    """As with the kubelet it keeps its content; the status says so."""
    volume = node.publish(node.pod())
    alone = sub_path(volume, "user")
    until(lambda: mounted_alone(node, volume) == {"count": 1, "live": False}, "it to be seen")
    manifests.put_secret({"user": b"root", "password": b"dummy"})
    until(lambda: read(volume, "user") == b"root", "the update")
    assert alone.read_bytes() == b"admin"
    unmount(alone)
    until(lambda: mounted_alone(node, volume)["count"] == 0, "its end to be seen")
