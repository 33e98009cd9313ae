"""Files and directories that are mounted alone while other mounts come and go on the node."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from lib.kubelet import PodVolume
from lib.live import ITEMS, MountLoop, SubPaths, live_names, publish, put, wait_text
from lib.node_daemon import Node
from lib.sources import Api
from lib.volume import unmount

ROUNDS = 60


@pytest.fixture
def node(node_on_api: Node) -> Node:
    return node_on_api


@pytest.fixture
def churn(area: Path) -> Iterator[None]:
    """Mounts in our own mount namespace that have nothing to do with the volumes."""
    loop = MountLoop(area / "churn")
    yield
    loop.end()


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
def test_mounts_alone_keep_their_names_while_others_come_and_go(
    node: Node, api: Api, sub_path: SubPaths, area: Path
) -> None:
    """Mounts are looked at while what an earlier look saw is made live: that look's paths are no
    longer those of the mounts."""
    volumes = []
    for number in range(ROUNDS):
        volume = publish(node, api, number, attributes={"secretName": "app", "items": ITEMS})
        volumes.append((volume, sub_path(volume, "user"), sub_path(volume, "deep")))
    put(api, user="root", password="dummy-1", host="db-1")
    for volume, file, directory in volumes:
        wait_text(file, "root")
        wait_text(directory / "password", "dummy-1")
        assert [root for root in roots(volume) if root.endswith("//deleted")] == []
        mount_again(file, area)
        mount_again(directory, area)
    assert len(live_names(node)) == 2 * ROUNDS
