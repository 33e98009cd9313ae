"""Files and directories that are mounted alone while other mounts come and go on the node."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from lib.hang import threads_named, traced
from lib.kubelet import PodVolume
from lib.live import ITEMS, MountLoop, SubPaths, is_waiting_or_over, live_names, publish, put
from lib.live import wait_alone, wait_text
from lib.node_daemon import Node
from lib.sources import Api
from lib.volume import unmount
from lib.waiting import until

ROUNDS = 60
OPTIONAL = {"secretName": "app", "items": ITEMS, "optional": "true"}
MKNODAT, UNLINKAT = (259, 263) if platform.machine() == "x86_64" else (33, 35)


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


def test_file_mounted_as_its_generation_is_removed(
    node: Node, api: Api, volume: PodVolume, area: Path
) -> None:
    """The kubelet's mount comes between the scan that lets the generation go and the removal of the file."""
    put(api, **{f"key-{number}": "dummy" for number in range(64)}, user="root-1")
    until(lambda: (volume.target / "user").read_text() == "root-1", "the update")
    publisher = max(threads_named(node.pid, "publisher"))  # the live file system is made later
    source = (volume.target / "user").resolve()
    n_files = len(os.listdir(source.parent))
    file = area / "alone"
    file.touch()
    with traced(node.pid, publisher) as thread:
        put(api, user="root-2")
        while len(os.listdir(source.parent)) >= n_files:
            thread.run_until_after(UNLINKAT)
        subprocess.run(["mount", "--bind", source, file], check=True)
        wait_alone(node, volume, 1)
    try:
        wait_text(file, "root-2")
        put(api, user="root-3")
        wait_text(file, "root-3")
    finally:
        unmount(file)


def read_during_the_update(node: Node, api: Api, paths: list[Path]) -> bytes:
    """What a reader sees that begins when the name of a new key, the first path, has been made."""
    publisher = max(threads_named(node.pid, "publisher"))  # the live file system is made later
    with traced(node.pid, publisher) as thread:
        put(api, user="root-2", host="db-2", password="dummy-2")
        while not paths[0].exists():
            thread.run_until_after(MKNODAT)
        reader = subprocess.Popen(["cat", *paths], stdout=subprocess.PIPE)
        until(lambda: is_waiting_or_over(reader), "the reader to wait")
    return reader.communicate()[0]


def test_file_of_a_new_key_is_not_ahead_of_the_others(
    node: Node, api: Api, sub_path: SubPaths
) -> None:
    """A directory that is mounted alone gets its new names before the switch. A reader of one finds
    nothing older afterwards, in the directory or elsewhere."""
    put(api, user="root-1", host="db-1")
    volume = publish(node, api, attributes=OPTIONAL)
    file, directory = sub_path(volume, "user"), sub_path(volume, "deep")
    wait_alone(node, volume, 2)
    wait_text(file, "root-1")
    paths = [directory / "password", directory / "er/host", file, volume.target / "user"]
    assert read_during_the_update(node, api, paths) == b"dummy-2db-2root-2root-2"


def test_file_of_a_new_key_in_place_is_not_ahead_of_the_others(node: Node, api: Api) -> None:
    put(api, user="root-1", host="db-1")
    volume = publish(node, api, attributes={**OPTIONAL, "updates": "in-place"})
    paths = [volume.target / "deep" / name for name in ("password", "er/host", "../user")]
    assert read_during_the_update(node, api, paths) == b"dummy-2db-2root-2"
