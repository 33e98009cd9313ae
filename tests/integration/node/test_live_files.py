"""Files and directories of a pod's volume that are mounted alone, as the kubelet does for a
subPath: they follow every update in each container, and nothing of a container is touched.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from lib.inotify import Event, Watcher, ends_update, normalised
from lib.kubelet import OK, PodVolume
from lib.live import (
    ITEMS,
    Containers,
    SubPaths,
    alone,
    generation,
    live_names,
    publish,
    put,
    wait_alone,
    wait_text,
)
from lib.node_daemon import Node, NodeMaker, read
from lib.pods import is_live
from lib.sources import Api
from lib.volume import unmount
from lib.waiting import until


@pytest.fixture
def node(node_on_api: Node) -> Node:
    return node_on_api


def test_file_alone_follows_updates_as_one_inode(
    api: Api, volume: PodVolume, file: Path, watcher: Watcher
) -> None:
    inode = file.stat().st_ino
    watcher.add("file", file)
    for number in range(5):
        text = "root" * number
        old = generation(volume)
        put(api, user=text, password="dummy")
        watcher.wait(lambda event: event == Event("file", "CLOSE_WRITE", ""), count=number + 1)
        assert file.read_text() == text
        assert file.stat().st_size == len(text)
        assert read(volume, "user").decode() == text
        assert generation(volume) != old
    assert file.stat().st_ino == inode
    assert [event.kind for event in watcher.read()] == ["MODIFY", "CLOSE_WRITE"] * 5


def test_volume_without_mounts_alone_is_made_of_generations(
    api: Api, volume: PodVolume, watcher: Watcher
) -> None:
    """The same names, events and inodes as in the other file system."""
    watcher.add("root", volume.target)
    inode = (volume.target / "password").stat().st_ino
    put(api, user="root", password="dummy-0", host="db-1")
    events = watcher.wait(ends_update)
    assert [(event.kind, event.name) for event in normalised(events)] == [
        ("CREATE|ISDIR", "TS0"),
        ("ATTRIB|ISDIR", "TS0"),
        ("CREATE", "..data_tmp"),
        ("MOVED_FROM", "..data_tmp"),
        ("MOVED_TO", "..data"),
        ("DELETE|ISDIR", "TS1"),
    ]
    assert (volume.target / "password").stat().st_ino != inode


def test_file_alone_in_a_container_follows_until_the_volume_goes(
    node: Node, api: Api, volume: PodVolume, file: Path, containers: Containers, watcher: Watcher
) -> None:
    inside = containers.mount(file)
    watcher.add("file", inside)
    for number in range(3):
        put(api, user=f"root-{number}", password="dummy")
        wait_text(inside, f"root-{number}")
    watcher.wait(lambda event: event.kind == "CLOSE_WRITE", count=3)
    # a container that starts later mounts the same file
    wait_text(containers.mount(file), "root-2")

    # the kubelet's mount goes, the container's stays and follows
    unmount(file)
    wait_alone(node, volume, 0)
    put(api, user="root-3", password="dummy")
    wait_text(inside, "root-3")

    # the volume goes, the container still has its file
    assert volume.unpublish(node.endpoint).code == OK
    assert inside.read_text() == "root-3"


def test_generation_held_open_keeps_its_version_of_a_file_alone(
    api: Api, volume: PodVolume, file: Path
) -> None:
    """Held open, ..data shows one version, also of the file that is mounted alone."""
    data = os.open(volume.target / "..data", os.O_RDONLY | os.O_DIRECTORY)
    held = os.open("user", os.O_RDONLY, dir_fd=data)
    try:
        put(api, user="root", password="dummy")
        wait_text(file, "root")
        assert os.pread(held, 100, 0) == b"admin"
        assert os.fstat(held).st_size == len("admin")
    finally:
        os.close(held)
        os.close(data)


def test_file_alone_survives_that_its_key_disappears_and_returns(
    api: Api, volume: PodVolume, file: Path, watcher: Watcher
) -> None:
    inode = file.stat().st_ino
    put(api, password="dummy-1")
    until(lambda: not (volume.target / "user").exists(), "the key to go")
    assert file.read_text() == "admin"
    put(api, password="dummy-2")
    until(lambda: read(volume, "password") == b"dummy-2", "the update")
    watcher.add("file", file)
    put(api, password="dummy-2", user="back")
    watcher.wait(lambda event: event.kind == "CLOSE_WRITE")
    assert file.read_text() == "back"
    assert file.stat().st_ino == inode


def test_directory_alone_follows_content_and_names(
    node: Node, api: Api, sub_path: SubPaths, watcher: Watcher
) -> None:
    attributes = {"secretName": "app", "items": ITEMS, "optional": "true"}
    volume = publish(node, api, attributes=attributes)
    directory = sub_path(volume, "deep")
    # a mount of what is in it that begins before the directory is live is counted as a part of it
    until(lambda: (volume.target / "deep").stat().st_ino != directory.stat().st_ino, "a live directory")
    file = sub_path(volume, "deep/er/host")
    wait_alone(node, volume, 2)
    inodes = [path.stat().st_ino for path in (directory, directory / "password", file)]
    watcher.add("directory", directory)
    watcher.add("file", directory / "password")

    put(api, password="dummy-1", host="db-1")
    wait_text(directory / "password", "dummy-1")
    wait_text(directory / "er" / "host", "db-1")
    wait_text(file, "db-1")
    watcher.wait(lambda event: event == Event("directory", "CLOSE_WRITE", "password"))
    watcher.wait(lambda event: event == Event("file", "CLOSE_WRITE", ""))
    watcher.take()

    # names go and come, and the directory tells of it
    put(api, host="db-2")
    watcher.wait(lambda event: event == Event("directory", "DELETE", "password"))
    assert sorted(os.listdir(directory)) == ["er"]
    wait_text(file, "db-2")
    put(api, password="dummy-3")
    watcher.wait(lambda event: event == Event("directory", "CREATE", "password"))
    until(lambda: os.listdir(directory) == ["password"], "the old name to go")
    wait_text(directory / "password", "dummy-3")
    assert file.read_text() == "db-2"
    put(api, user="root")
    until(lambda: os.listdir(directory) == [], "the directory to be empty")
    put(api, user="root", password="dummy-4", host="db-4")
    until((directory / "password").exists, "the name to return")
    wait_text(directory / "password", "dummy-4")
    wait_text(file, "db-4")
    assert [directory.stat().st_ino, file.stat().st_ino] == [inodes[0], inodes[2]]


def test_generation_mounted_alone_follows_content_and_names(
    node: Node, api: Api, volume: PodVolume, sub_path: SubPaths
) -> None:
    everything = sub_path(volume, "..data")
    wait_alone(node, volume, 1)
    for number in range(3):
        put(api, user=f"root-{number}", **{f"key-{number}": "dummy"})
        until(lambda n=number: sorted(os.listdir(everything)) == [f"key-{n}", "user"], "the names")
        wait_text(everything / "user", f"root-{number}")


def test_mounts_of_one_key_before_and_after_an_update_all_follow(
    node: Node, api: Api, volume: PodVolume, sub_path: SubPaths
) -> None:
    """Of two containers, the second of which was started after an update."""
    files = [sub_path(volume, "user"), sub_path(volume, "user")]
    put(api, user="root-0", password="dummy")
    until(lambda: read(volume, "user") == b"root-0", "the update")
    files.append(sub_path(volume, "user"))
    until(lambda: alone(node, volume) >= 2, "the mounts to be seen")
    for number in range(1, 4):
        put(api, user=f"root-{number}", password="dummy")
        for file in files:
            wait_text(file, f"root-{number}")


def test_file_mounted_at_the_moment_of_an_update_follows(
    api: Api, volume: PodVolume, sub_path: SubPaths
) -> None:
    """In any order, the file follows in the end."""
    for number in range(30):
        put(api, user=f"root-{number}", password="dummy")
        file = sub_path(volume, "user")
        wait_text(file, f"root-{number}")
        put(api, user=f"later-{number}", password="dummy")
        wait_text(file, f"later-{number}")


def test_file_alone_that_is_unmounted_is_let_go(
    node: Node, api: Api, volume: PodVolume, file: Path
) -> None:
    assert len(live_names(node)) == 1
    unmount(file)
    wait_alone(node, volume, 0)
    until(lambda: live_names(node) == [], "the file to be let go")
    put(api, user="root", password="dummy")
    until(lambda: read(volume, "user") == b"root", "the update")


def test_file_alone_outlives_its_volume(node: Node, volume: PodVolume, file: Path) -> None:
    node.unpublish(volume)
    assert file.read_text() == "admin"
    until(lambda: live_names(node) == [], "the file to be let go")
    assert file.read_text() == "admin"


def test_descriptor_of_a_file_alone_keeps_its_version(api: Api, file: Path) -> None:
    with file.open("rb", buffering=0) as held:
        put(api, user="root of all", password="dummy")
        wait_text(file, "root of all")
        assert os.fstat(held.fileno()).st_size == len("admin")
        assert held.read() == b"admin"
        assert os.pread(held.fileno(), 3, 1) == b"dmi"
    assert file.stat().st_size == len("root of all")


def test_mapping_of_a_file_alone_shows_the_newest_content(
    node: Node, api: Api, sub_path: SubPaths
) -> None:
    pages = 5
    put(api, user="a" * mmap.PAGESIZE * pages)
    volume = publish(node, api)
    file = sub_path(volume, "user")
    wait_alone(node, volume, 1)
    with file.open("rb") as opened:
        mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    with mapping:
        for letter in "bcd":
            put(api, user=letter * mmap.PAGESIZE * pages)
            wait_text(file, letter * mmap.PAGESIZE * pages)
            until(lambda c=letter: mapping[:] == c.encode() * len(mapping), "the newest pages")


def test_file_opened_before_it_was_live_follows_once_closed(
    node: Node, api: Api, volume: PodVolume, sub_path: SubPaths
) -> None:
    """An open file that reads the kernel's pages keeps its version whole; the file follows when it
    is closed."""
    with (volume.target / "user").open("rb", buffering=0) as held:
        file = sub_path(volume, "user")
        wait_alone(node, volume, 1)
        put(api, user="root", password="dummy")
        until(lambda: read(volume, "user") == b"root", "the update")
        assert held.read() == b"admin"
        assert os.fstat(held.fileno()).st_size == len("admin")
        assert file.read_text() == "admin"
    wait_text(file, "root")


def test_file_mounted_after_a_restart_of_the_daemon_follows(
    node: Node, api: Api, start_node: NodeMaker, volume: PodVolume, file: Path, sub_path: SubPaths
) -> None:
    node.kill()
    again = start_node("--rights=daemon", *api.arguments).wait_ready()
    again.publish(volume)
    assert is_live(again, volume)
    later = sub_path(volume, "user")
    wait_alone(again, volume, 1)
    put(api, user="root", password="dummy")
    wait_text(later, "root")
    assert file != later
