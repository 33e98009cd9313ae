"""`secretfs-keeper -- secretfs node`: what is mounted alone of a volume (subPath) goes on live after the daemon."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from pathlib import Path

import pytest

from lib.hang import threads_named, traced
from lib.inotify import Watcher
from lib.kubelet import PodVolume
from lib.live import ITEMS, Containers, SubPaths, is_waiting_or_over, live_names, publish, put
from lib.live import wait_alone, wait_text
from lib.mountinfo import mounts_at
from lib.node_daemon import KeptNode, NodeMaker
from lib.sources import Api
from lib.storm import read
from lib.volume import unmount
from lib.waiting import until

MKNODAT = 259 if platform.machine() == "x86_64" else 33


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


def test_open_of_a_new_file_when_the_daemon_is_killed_before_the_switch(
    kept: KeptNode, api: Api, sub_path: SubPaths
) -> None:
    """It waits, and the update was not committed: the next daemon answers that there is no such
    file, or, after the update, with its content."""
    attributes = {"secretName": "app", "items": ITEMS, "optional": "true"}
    put(api, user="root-1")
    volume = publish(kept, api, 1, attributes=attributes)
    put(api, user="root-1", host="db-1")
    until(lambda: (volume.target / "deep/er/host").exists(), "the directory")
    directory = sub_path(volume, "deep")
    wait_alone(kept, volume, 1)
    publisher = max(threads_named(kept.pid, "publisher"))
    # the thread ends with the daemon
    with contextlib.suppress(ProcessLookupError), traced(kept.pid, publisher) as thread:
        put(api, user="root-2", host="db-1", password="dummy-2")
        while not (directory / "password").exists():
            thread.run_until_after(MKNODAT)
        reader = subprocess.Popen(["cat", directory / "password"], stdout=subprocess.PIPE)
        until(lambda: is_waiting_or_over(reader), "the reader to wait")
        assert reader.poll() is None
        kept.kill_daemon()
    assert reader.communicate()[0] in (b"", b"dummy-2")
    wait_text(directory / "password", "dummy-2")
    assert (volume.target / "user").read_text() == "root-2"
