"""Files and directories of a pod's volume that are mounted alone, as the kubelet does for a subPath:
they follow every update in whatever container they are, and nothing of a container is touched.
"""

from __future__ import annotations

import mmap
import os
import subprocess
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from csi.support.kubelet import OK, PodVolume
from mount.support.inotify import Event, Watcher, ends_update, normalised
from mount.support.mountinfo import mounts_at
from mount.support.namespace import MountNamespace
from mount.support.sources import Api
from mount.support.volume import unmount
from mount.support.waiting import until

from .conftest import NodeMaker
from .support.daemon import Node, read
from .test_pods import is_live, put_pod

ITEMS = """
- {key: user, path: user}
- {key: password, path: deep/password}
- {key: host, path: deep/er/host}
"""


@pytest.fixture
def node(start: NodeMaker, api: Api) -> Node:
    put(api, user="admin", password="dummy-0", host="db-0")
    return start("--rights=daemon", *api.arguments).wait_ready()


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher()
    yield made
    made.close()


@pytest.fixture
def containers() -> Iterator[list[MountNamespace]]:
    made: list[MountNamespace] = []
    yield made
    for each in made:
        each.close()


def put(api: Api, **values: str) -> None:
    api.put_secret({key: value.encode() for key, value in values.items()})


class SubPaths:
    """Bind mounts beside a volume, where the kubelet has volume-subpaths/."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._made: list[Path] = []

    def __call__(self, volume: PodVolume, path: str) -> Path:
        source = volume.target / path
        target = self._node.root / "pods" / volume.uid / "volume-subpaths" / str(len(self._made))
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            target.mkdir()
        else:
            target.touch()
        self._made.append(target)
        # as the kubelet tries again when an update came between the two steps
        until(lambda: self._bind(source.resolve(), target), "the bind mount")
        return target

    @staticmethod
    def _bind(source: Path, target: Path) -> bool:
        return subprocess.run(["mount", "--bind", source, target]).returncode == 0

    def close(self) -> None:
        for target in self._made:
            for _ in mounts_at(target):
                unmount(target, lazily=True)


@pytest.fixture
def sub_path(node: Node) -> Iterator[SubPaths]:
    made = SubPaths(node)
    yield made
    made.close()


def publish(node: Node, api: Api, number: int = 0, **attributes: Any) -> PodVolume:
    volume = node.pod(number, **attributes)
    put_pod(api, volume, subPath="user")
    node.publish(volume)
    assert is_live(node, volume)
    return volume


def generation(volume: PodVolume) -> str:
    return os.readlink(volume.target / "..data")


def alone(node: Node, volume: PodVolume) -> int:
    return node.status()["volumes"][str(volume.target)]["volume"]["mountedAlone"]["count"]


def wait_alone(node: Node, volume: PodVolume, count: int) -> None:
    until(lambda: alone(node, volume) == count, f"{count} mounts alone to be seen")


def wait_text(path: Path, text: str) -> None:
    until(lambda: path.read_text() == text, f"{text!r} in {path}")


def test_file(node: Node, api: Api, sub_path: SubPaths, watcher: Watcher) -> None:
    volume = publish(node, api)
    file = sub_path(volume, "user")
    wait_alone(node, volume, 1)
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


def test_before_anything_is_mounted_alone_it_is_made_of_generations(
    node: Node, api: Api, watcher: Watcher
) -> None:
    """The same names, events and inodes as in the other file system."""
    volume = publish(node, api)
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


def test_in_a_container(
    node: Node, api: Api, sub_path: SubPaths, containers: list[MountNamespace], watcher: Watcher
) -> None:
    volume = publish(node, api)
    file = sub_path(volume, "user")
    wait_alone(node, volume, 1)
    inside = node.root / "inside"
    inside.touch()
    containers.append(MountNamespace(f"mount --bind {file} {inside}"))
    watcher.add("file", containers[0].path(inside))
    for number in range(3):
        put(api, user=f"root-{number}", password="dummy")
        wait_text(containers[0].path(inside), f"root-{number}")
    watcher.wait(lambda event: event.kind == "CLOSE_WRITE", count=3)
    # a container that starts later mounts the same file
    containers.append(MountNamespace(f"mount --bind {file} {inside}"))
    wait_text(containers[1].path(inside), "root-2")

    # the kubelet's mount goes, the container's stays and follows
    unmount(file)
    wait_alone(node, volume, 0)
    put(api, user="root-3", password="dummy")
    wait_text(containers[0].path(inside), "root-3")

    # the volume goes, the container still has its file
    assert volume.unpublish(node.endpoint).code == OK
    assert containers[0].path(inside).read_text() == "root-3"


def test_generation_is_not_touched(node: Node, api: Api, sub_path: SubPaths) -> None:
    """Held open, ..data shows one version, also of the file that is mounted alone."""
    volume = publish(node, api)
    file = sub_path(volume, "user")
    wait_alone(node, volume, 1)
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


def test_key_that_disappears_and_returns(
    node: Node, api: Api, sub_path: SubPaths, watcher: Watcher
) -> None:
    volume = publish(node, api)
    file = sub_path(volume, "user")
    wait_alone(node, volume, 1)
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


def test_directory(node: Node, api: Api, sub_path: SubPaths, watcher: Watcher) -> None:
    volume = publish(node, api, attributes={"secretName": "app", "items": ITEMS, "optional": "true"})
    directory = sub_path(volume, "deep")
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


def test_whole_generation(node: Node, api: Api, sub_path: SubPaths) -> None:
    volume = publish(node, api)
    everything = sub_path(volume, "..data")
    wait_alone(node, volume, 1)
    for number in range(3):
        put(api, user=f"root-{number}", **{f"key-{number}": "dummy"})
        until(lambda n=number: sorted(os.listdir(everything)) == [f"key-{n}", "user"], "the names")
        wait_text(everything / "user", f"root-{number}")


def test_two_mounts_of_one_key(node: Node, api: Api, sub_path: SubPaths) -> None:
    """Of two containers, the second of which was started after an update."""
    volume = publish(node, api)
    files = [sub_path(volume, "user"), sub_path(volume, "user")]
    put(api, user="root-0", password="dummy")
    until(lambda: read(volume, "user") == b"root-0", "the update")
    files.append(sub_path(volume, "user"))
    until(lambda: alone(node, volume) >= 2, "the mounts to be seen")
    for number in range(1, 4):
        put(api, user=f"root-{number}", password="dummy")
        for file in files:
            wait_text(file, f"root-{number}")


def test_mounted_at_the_moment_of_an_update(node: Node, api: Api, sub_path: SubPaths) -> None:
    """Whatever the order, the file follows in the end."""
    volume = publish(node, api)
    for number in range(30):
        put(api, user=f"root-{number}", password="dummy")
        file = sub_path(volume, "user")
        wait_text(file, f"root-{number}")
        put(api, user=f"later-{number}", password="dummy")
        wait_text(file, f"later-{number}")


def test_what_is_unmounted_is_let_go(node: Node, api: Api, sub_path: SubPaths) -> None:
    volume = publish(node, api)
    file = sub_path(volume, "user")
    wait_alone(node, volume, 1)
    live = node.run_dir / "fs-live" / ".live"
    assert len(os.listdir(live)) == 1
    unmount(file)
    wait_alone(node, volume, 0)
    until(lambda: os.listdir(live) == [], "the file to be let go")
    put(api, user="root", password="dummy")
    until(lambda: read(volume, "user") == b"root", "the update")


def test_volume_that_goes_first(node: Node, api: Api, sub_path: SubPaths) -> None:
    volume = publish(node, api)
    file = sub_path(volume, "user")
    wait_alone(node, volume, 1)
    node.unpublish(volume)
    assert file.read_text() == "admin"
    until(lambda: os.listdir(node.run_dir / "fs-live" / ".live") == [], "the file to be let go")
    assert file.read_text() == "admin"


def test_descriptor_keeps_its_version(node: Node, api: Api, sub_path: SubPaths) -> None:
    volume = publish(node, api)
    file = sub_path(volume, "user")
    wait_alone(node, volume, 1)
    with file.open("rb", buffering=0) as held:
        put(api, user="root of all", password="dummy")
        wait_text(file, "root of all")
        assert os.fstat(held.fileno()).st_size == len("admin")
        assert held.read() == b"admin"
        assert os.pread(held.fileno(), 3, 1) == b"dmi"
    assert file.stat().st_size == len("root of all")


def test_mapping_shows_the_newest(node: Node, api: Api, sub_path: SubPaths) -> None:
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


def test_opened_before_it_was_live(node: Node, api: Api, sub_path: SubPaths) -> None:
    """An open file that reads the kernel's pages keeps its version whole; the file follows when it
    is closed."""
    volume = publish(node, api)
    with (volume.target / "user").open("rb", buffering=0) as held:
        file = sub_path(volume, "user")
        wait_alone(node, volume, 1)
        put(api, user="root", password="dummy")
        until(lambda: read(volume, "user") == b"root", "the update")
        assert held.read() == b"admin"
        assert os.fstat(held.fileno()).st_size == len("admin")
        assert file.read_text() == "admin"
    wait_text(file, "root")


def test_daemon_that_starts_again(node: Node, api: Api, start: NodeMaker, sub_path: SubPaths) -> None:
    volume = publish(node, api)
    file = sub_path(volume, "user")
    wait_alone(node, volume, 1)
    node.kill()
    again = start("--rights=daemon", *api.arguments).wait_ready()
    again.publish(volume)
    assert is_live(again, volume)
    later = sub_path(volume, "user")
    wait_alone(again, volume, 1)
    put(api, user="root", password="dummy")
    wait_text(later, "root")
    assert file != later
