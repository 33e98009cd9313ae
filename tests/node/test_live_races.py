"""Files and directories that are mounted alone while other mounts come and go on the node."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from csi.support.kubelet import PodVolume
from mount.support.sources import Api
from mount.support.volume import unmount

from .conftest import NodeMaker
from .support.daemon import Node
from .test_live_files import ITEMS, SubPaths, put, wait_text
from .test_pods import put_pod

ROUNDS = 60


@pytest.fixture
def node(start: NodeMaker, api: Api) -> Node:
    put(api, user="admin", password="dummy-0", host="db-0")
    return start("--rights=daemon", *api.arguments).wait_ready()


@pytest.fixture
def sub_path(node: Node) -> Iterator[SubPaths]:
    made = SubPaths(node)
    yield made
    made.close()


@pytest.fixture
def churn(area: Path) -> Iterator[None]:
    """Mounts in our own mount namespace that have nothing to do with it, in a tight loop."""
    source, target, stop = area / "source", area / "target", area / "stop"
    source.mkdir()
    target.mkdir()
    loop = f"while [ ! -e {stop} ]; do mount --bind {source} {target}; umount {target}; done"
    process = subprocess.Popen(["sh", "-c", loop])
    yield
    stop.touch()
    process.wait()


def roots(volume: PodVolume) -> list[str]:
    """What is mounted of a volume beside it: paths in the file system."""
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        fields = [line.split() for line in lines]
    return [f[3] for f in fields if volume.uid in f[4] and "volume-subpaths" in f[4]]


def mount_again(source: Path, area: Path) -> None:
    """As a container runtime does with the kubelet's mount: it needs one that has a name."""
    target = area / "again"
    if source.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target = area / "again-file"
        target.touch()
    subprocess.run(["mount", "--bind", source, target], check=True)
    unmount(target)


@pytest.mark.usefixtures("churn")
def test_what_is_mounted_keeps_its_name(
    node: Node, api: Api, sub_path: SubPaths, area: Path
) -> None:
    """Mounts are looked at while what an earlier look saw is made live: that look's paths are no
    longer those of the mounts."""
    volumes = []
    for number in range(ROUNDS):
        attributes = {"secretName": "app", "items": ITEMS}
        volume = node.pod(number, attributes=attributes)
        put_pod(api, volume, subPath="user")
        node.publish(volume)
        volumes.append((volume, sub_path(volume, "user"), sub_path(volume, "deep")))
    put(api, user="root", password="dummy-1", host="db-1")
    for volume, file, directory in volumes:
        wait_text(file, "root")
        wait_text(directory / "password", "dummy-1")
        assert [root for root in roots(volume) if root.endswith("//deleted")] == []
        mount_again(file, area)
        mount_again(directory, area)
    assert len(os.listdir(node.run_dir / "fs-live" / ".live")) == 2 * ROUNDS
