"""Many mounts of live files, mounts that come and go, volumes and daemons that end meanwhile."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from pathlib import Path
from typing import Iterator

import pytest

from lib.live import live_names, publish, put, secret_bytes, wait_alone, wait_text
from lib.node_daemon import Node, NodeMaker, read
from lib.pods import is_live
from lib.sources import Api
from lib.volume import unmount
from lib.waiting import until

LIVE_MOUNTS_MAX = 1024  # fuse/live_mounts.h
ROUNDS = 1000
MS_BIND = 0x1000

_libc = ctypes.CDLL(None, use_errno=True)


class Binds:
    """Bind mounts beside a volume, made by the system call as there are many."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number = 0
        self.made: list[Path] = []
        directory.mkdir()

    def __call__(self, source: Path) -> Path:
        target = self._directory / str(self._number)
        self._number += 1
        target.touch()
        # as the kubelet tries again when an update came between the two steps
        until(lambda: self._bind(source.resolve(), target), "the bind mount")
        self.made.append(target)
        return target

    @staticmethod
    def _bind(source: Path, target: Path) -> bool:
        if _libc.mount(os.fsencode(source), os.fsencode(target), None, MS_BIND, None) == 0:
            return True
        error = ctypes.get_errno()
        if error != errno.ENOENT:
            raise OSError(error, os.strerror(error), str(source))
        return False

    def remove(self, target: Path) -> None:
        unmount(target, lazily=True)
        self.made.remove(target)

    def close(self) -> None:
        """A daemon unmounts what is left of one before it, so some may be gone."""
        for target in self.made:
            try:
                unmount(target, lazily=True)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
        self.made.clear()


@pytest.fixture
def binds(area: Path) -> Iterator[Binds]:
    made = Binds(area / "binds")
    yield made
    made.close()


@pytest.fixture
def node(daemon: Node, api: Api) -> Node:
    put(api, user="admin", password="dummy")
    return daemon


def test_many_mounts_of_one_volume(node: Node, api: Api, binds: Binds) -> None:
    values = {f"key-{i}": "0" for i in range(300)}
    put(api, **values)
    volume = publish(node, api)
    files = [binds(volume.target / key) for key in values]
    wait_alone(node, volume, len(files))
    for number in range(1, 4):
        put(api, **{key: f"{number}" for key in values})
        for file in files:
            wait_text(file, f"{number}")
    assert len(live_names(node)) == len(files)
    binds.close()
    wait_alone(node, volume, 0)
    until(lambda: live_names(node) == [], "the files to be let go")


def test_more_mounts_than_a_volume_may_have(node: Node, api: Api, binds: Binds) -> None:
    """Those that are too many keep their content, which the log says; the others follow."""
    values = {f"key-{i:04d}": "0" for i in range(LIVE_MOUNTS_MAX + 20)}
    put(api, **values)
    volume = publish(node, api)
    other = publish(node, api, 1)
    files = [binds(volume.target / key) for key in values]
    wait_alone(node, volume, LIVE_MOUNTS_MAX)
    until(lambda: "does not follow updates" in node.log(), "the log to say it")
    file = binds(other.target / "key-0000")
    wait_alone(node, other, 1)
    put(api, **{key: "1" for key in values})
    wait_text(file, "1")
    until(lambda: read(volume, "key-0000") == b"1", "the update")
    until(
        lambda: sum(each.read_text() == "1" for each in files) == LIVE_MOUNTS_MAX,
        "the files to follow",
    )
    warnings = [line for line in node.log().splitlines() if "does not follow updates" in line]
    assert len(warnings) <= 2 * 20, f"{len(warnings)} warnings"


def test_mounts_of_many_volumes(node: Node, api: Api, binds: Binds) -> None:
    """They follow, and another volume is updated meanwhile."""
    values = {f"key-{i}": "0" for i in range(300)}
    put(api, **values)
    api.put_secret({"user": b"0"}, "other")
    other = publish(node, api, secret="other")
    volumes = [publish(node, api, number) for number in range(1, 9)]
    files = [binds(volume.target / key) for volume in volumes for key in values]
    for number in range(1, 4):
        api.put_secret({"user": b"%d" % number}, "other")
        until(lambda: read(other, "user") == b"%d" % number, "the update of the other volume")
    for volume in volumes:
        wait_alone(node, volume, len(values))
    put(api, **{key: "1" for key in values})
    for file in files:
        wait_text(file, "1")
    assert len(live_names(node)) == len(files)
    binds.close()
    for volume in volumes:
        wait_alone(node, volume, 0)
    until(lambda: live_names(node) == [], "the files to be let go")


def test_mounts_that_come_and_go_during_updates(node: Node, api: Api, binds: Binds) -> None:
    volume = publish(node, api)
    before = secret_bytes(node)
    for number in range(ROUNDS):
        if number % 3 == 0:
            put(api, user=f"{number:05d}", password="dummy")
        binds(volume.target / "user")
        if len(binds.made) > 5:
            file = binds.made[0]
            newest = f"{number - number % 3:05d}"
            if number % 10 == 0:
                wait_text(file, newest)
            binds.remove(file)
    put(api, user="final", password="dummy")
    for file in binds.made:
        wait_text(file, "final")
    binds.close()
    wait_alone(node, volume, 0)
    until(lambda: live_names(node) == [], "the files to be let go")
    until(lambda: secret_bytes(node) <= before, f"memory to be back at {before} bytes")


def test_volume_that_goes_while_files_are_open(node: Node, api: Api, binds: Binds) -> None:
    other = publish(node, api, 1)
    before = secret_bytes(node)
    put(api, user="a" * 500_000, password="dummy")
    volume = publish(node, api)
    file = binds(volume.target / "user")
    wait_alone(node, volume, 1)
    wait_text(file, "a" * 500_000)
    with file.open("rb", buffering=0) as first:
        assert first.read(10) == b"a" * 10
        put(api, user="b" * 400_000, password="dummy")
        wait_text(file, "b" * 400_000)
        with file.open("rb", buffering=0) as second:
            node.unpublish(volume)
            binds.remove(file)
            put(api, user="admin", password="dummy")
            until(lambda: read(other, "user") == b"admin", "the update")
            until(lambda: live_names(node) == [], "the file to be let go")
            assert second.read() == b"b" * 400_000
        assert first.read() == b"a" * 499_990
    until(lambda: secret_bytes(node) <= before, f"memory to be back at {before} bytes")


def test_daemon_that_is_killed(node: Node, api: Api, start_node: NodeMaker, binds: Binds) -> None:
    """In the midst of updates: readers get an error at once, and the next daemon starts afresh."""
    volume = publish(node, api)
    files = [binds(volume.target / "user"), binds(volume.target / "password")]
    wait_alone(node, volume, 2)
    files[0].read_text()  # the kernel asks about the first close, and never again
    with files[0].open("rb", buffering=0) as held:
        for number in range(20):
            put(api, user=f"{number}" * 50_000, password="dummy")
        node.signal(signal.SIGSTOP)
        put(api, user="later", password="dummy")
        node.kill()
        with pytest.raises(OSError):
            os.pread(held.fileno(), 100, 0)
        with pytest.raises(OSError):
            files[1].read_text()
    again = start_node("--rights=daemon", *api.arguments).wait_ready()
    again.publish(volume)
    assert is_live(again, volume)
    file = binds(volume.target / "user")
    wait_alone(again, volume, 1)
    wait_text(file, "later")
    put(api, user="last", password="dummy")
    wait_text(file, "last")
