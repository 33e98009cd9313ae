"""Which file system a volume goes to: the pod says it, as far as the daemon can read it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from csi.support.kubelet import PodVolume
from mount.support.sources import Api

from .conftest import NodeMaker
from .support.daemon import DRIVER, Node, read

SECRET = {"user": b"admin"}
NODE = "node-0"


def container(volume: PodVolume, **mount: Any) -> dict[str, Any]:
    mounts = [{"name": volume.volume, "mountPath": "/creds", **mount}]
    return {"name": "main", "image": "none", "volumeMounts": mounts}


def put_pod(api: Api, volume: PodVolume, *, node: str = NODE, uid: str = "", **mount: Any) -> None:
    """The pod of a volume, whose one container mounts it in this way."""
    csi = {"name": volume.volume, "csi": {"driver": DRIVER, "readOnly": True}}
    spec = {"nodeName": node, "volumes": [csi], "containers": [container(volume, **mount)]}
    api.server.put_pod(volume.namespace, volume.pod, uid or volume.uid, spec=spec)


def is_live(node: Node, volume: PodVolume) -> bool:
    """Whether the volume is in the file system that answers OPEN, and not in the other."""
    live = os.listdir(node.run_dir / "fs-live")
    assert (volume.volume_id in live) != (volume.volume_id in node.directories())
    return volume.volume_id in live


@pytest.fixture
def daemon(start: NodeMaker, api: Api) -> Node:
    api.put_secret(SECRET)
    return start("--rights=daemon", *api.arguments).wait_ready()


@pytest.mark.parametrize("mount", [{}, {"subPath": "user"}, {"subPathExpr": "$(KEY)"}], ids=str)
def test_pod_that_was_not_there_before(daemon: Node, api: Api, mount: dict[str, str]) -> None:
    volume = daemon.pod()
    put_pod(api, volume, **mount)
    daemon.publish(volume)
    assert read(volume, "user") == b"admin"
    assert is_live(daemon, volume) == bool(mount)
