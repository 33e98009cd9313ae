"""NodeGetVolumeStats: what a volume uses, for the kubelet's metrics (S12, S15)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from lib import wire
from lib.grpc_client import call
from lib.kubelet import GET_CAPABILITIES, INVALID_ARGUMENT, NOT_FOUND, OK, PodVolume
from lib.node_daemon import Node
from lib.sources import Manifests
from lib.waiting import until

GET_STATS = "/csi.v1.Node/NodeGetVolumeStats"
BYTES, INODES = 1, 2


def request(volume_id: str, path: str | Path) -> bytes:
    return wire.field(1, volume_id) + wire.field(2, str(path))


def stats(node: Node, volume: PodVolume) -> dict[int, dict[int, int]]:
    """By unit, the fields of a usage: 1 is available, 2 total, 3 used; zero is left out."""
    answer = call(node.endpoint, GET_STATS, request(volume.volume_id, volume.target))
    assert answer.code == OK, answer.text
    usages = [dict(wire.parse(value)) for number, value in wire.parse(answer.message)]
    return {usage.pop(4): usage for usage in usages}


def seen(volume: PodVolume) -> tuple[int, int]:
    """The bytes of its files and the number of its inodes."""
    size, count = 0, 1
    for top, directories, files in os.walk(volume.target):
        count += len(directories) + len(files)
        for name in files:
            path = Path(top) / name
            size += 0 if path.is_symlink() else path.stat().st_size
    return size, count


def test_it_is_offered(node: Node) -> None:
    capabilities = wire.parse(call(node.endpoint, GET_CAPABILITIES).message)
    types = [wire.parse(wire.parse(value)[0][1])[0][1] for _, value in capabilities]
    assert types == [6, 2]


def test_figures(node: Node, manifests: Manifests) -> None:
    """They follow an update; directories of paths count."""
    manifests.put_secret({"user": b"admin", "a": b"dummy-1", "b": b"", "c": b"x" * 10000})
    items = "[{key: user, path: user}, {key: a, path: d/e/a}, {key: b, path: d/e/b}, {key: c, path: d/c}]"
    volume = node.publish(node.pod(attributes={"secretName": "app", "items": items}))
    size, count = seen(volume)
    assert size == 10012
    assert stats(node, volume) == {BYTES: {2: size, 3: size}, INODES: {2: count, 3: count}}
    manifests.put_secret({"user": b"root", "a": b"", "b": b"", "c": b""})
    until(lambda: stats(node, volume)[BYTES].get(3) == 4, "the update")


def test_empty_volume(node: Node) -> None:
    """A10: the root, ..data and the generation's directory."""
    attributes = {"secretName": "missing", "optional": "true"}
    volume = node.publish(node.pod(attributes=attributes))
    assert stats(node, volume) == {BYTES: {}, INODES: {2: 3, 3: 3}}


def test_other_volumes(node: Node) -> None:
    volume = node.publish(node.pod())
    other = replace(volume, volume="other")
    for volume_id, path in ((other.volume_id, volume.target), (volume.volume_id, other.target)):
        assert call(node.endpoint, GET_STATS, request(volume_id, path)).code == NOT_FOUND
    assert call(node.endpoint, GET_STATS, request("", "")).code == INVALID_ARGUMENT
    node.unpublish(volume)
    answer = call(node.endpoint, GET_STATS, request(volume.volume_id, volume.target))
    assert answer.code == NOT_FOUND
