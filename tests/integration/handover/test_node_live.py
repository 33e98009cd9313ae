"""`secretfs-keeper -- secretfs node`: what is mounted alone of a volume (subPath) goes on live after the daemon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib.inotify import Watcher
from lib.kubelet import PodVolume
from lib.live import Containers, SubPaths, live_names, publish, put, wait_alone
from lib.mountinfo import mounts_at
from lib.node_daemon import KeptNode, NodeMaker
from lib.sources import Api
from lib.storm import read
from lib.volume import unmount
from lib.waiting import until


@pytest.fixture
def kept(start_node: NodeMaker, api: Api) -> KeptNode:
    put(api, user="root", password="dummy-1")
    made = start_node("--rights=daemon", *api.arguments, kind=KeptNode).wait_ready()
    assert isinstance(made, KeptNode)
    return made


@pytest.fixture
def volume(kept: KeptNode, api: Api) -> PodVolume:
    return publish(kept, api)


def _wait(path: Path, text: str) -> None:
    until(lambda: read(path) == text.encode(), f"{text!r} in {path}")


def test_file_alone_goes_on_live(
    kept: KeptNode,
    api: Api,
    volume: PodVolume,
    sub_path: SubPaths,
    containers: Containers,
    watcher: Watcher,
) -> None:
    file = sub_path(volume, "user")
    wait_alone(kept, volume, 1)
    inside = containers.mount(file)
    watcher.add("file", file)
    inode = file.stat().st_ino
    held = os.open(inside, os.O_RDONLY)
    for number in range(4):
        kept.kill_daemon()
        assert os.pread(held, 100, 0) == b"root"
        put(api, user=f"user-{number}", password="dummy")
        for path in (file, inside, volume.target / "user"):
            _wait(path, f"user-{number}")
        watcher.wait(lambda event: event.kind == "MODIFY", number + 1)
    os.close(held)
    assert file.stat().st_ino == inode
    wait_alone(kept, volume, 1)
    assert live_names(kept) == [str(inode)]
    unmount(file)
    wait_alone(kept, volume, 0)  # mounts in containers are not counted
    containers.close()
    until(lambda: live_names(kept) == [], "the release")


def test_file_is_mounted_alone_after_a_kill(
    kept: KeptNode, api: Api, volume: PodVolume, sub_path: SubPaths
) -> None:
    mounts = mounts_at(volume.target)
    kept.kill_daemon()
    file = sub_path(volume, "user")
    wait_alone(kept, volume, 1)
    put(api, user="next", password="dummy")
    _wait(file, "next")
    assert mounts_at(volume.target) == mounts


def test_unpublish_after_a_kill(
    kept: KeptNode, api: Api, volume: PodVolume, sub_path: SubPaths
) -> None:
    file = sub_path(volume, "user")
    wait_alone(kept, volume, 1)
    kept.kill_daemon()
    assert read(file) == b"root"
    unmount(file)
    kept.unpublish(volume)
    assert mounts_at(volume.target) == []
    until(lambda: live_names(kept) == [], "the release")
