"""`updates: in-place`: the content of files changes, for programs that watch a file itself.

An open file keeps what it had when it was opened, and so do the size and the content that belong
together: readers see one version or the other, never a mix.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from pathlib import Path
from typing import Callable

import pytest

from lib.inotify import Event, Watcher
from lib.mountinfo import mounts_at
from lib.sources import Manifests, Source
from lib.volume import Volume, unmount
from lib.waiting import until

SPEC = """
name: all
projected:
  sources:
  - secret:
      name: app
      optional: true
      items:
      - {key: password, path: password}
      - {key: user, path: deep/er/user, mode: 0400}
      - {key: host, path: deep/host}
secretfs:
  updates: in-place
"""
OPTION = ["--updates", "in-place"]


def put(source: Source, **values: str) -> None:
    source.put_secret({key: value.encode() for key, value in values.items()})


@pytest.fixture
def in_place(source: Source, mount) -> Callable[..., Volume]:
    """Mounts a secret in place."""

    def make(*arguments: str, **values: str) -> Volume:
        put(source, **values)
        return mount(source, *OPTION, *arguments)

    return make


def wait_text(path: Path, text: str) -> None:
    until(lambda: path.read_text() == text, f"{text!r} in {path}")


def kinds(watcher: Watcher, label: str) -> list[str]:
    return [event.kind for event in watcher.read() if event.watch == label]


def test_same_inode_and_events_of_the_file(source: Source, in_place, watcher):
    volume = in_place(password="dummy-0", user="app")
    inode = (volume.path / "password").stat().st_ino
    watcher.add("file", volume.path / "password")
    watcher.add("other", volume.path / "user")

    for number in range(1, 20):
        put(source, password=f"dummy-{number}" * number, user="app")
        watcher.wait(lambda event: event == Event("file", "CLOSE_WRITE", ""))
        assert volume.read("password") == f"dummy-{number}".encode() * number
        assert [event.kind for event in watcher.take()] == ["MODIFY", "CLOSE_WRITE"]

    status = (volume.path / "password").stat()
    assert status.st_ino == inode
    assert status.st_nlink == 1


def test_watchers_of_directories(manifests, mount, watcher):
    """..data is renamed, if to the same target, and the directory tells of its files."""
    put(manifests, password="dummy-0", user="app")
    volume = mount(manifests, *OPTION)
    generation = volume.generation()
    watcher.add("root", volume.path)
    watcher.add("data", volume.path / "..data")

    put(manifests, password="dummy-1", host="db")
    watcher.wait(lambda event: event == Event("data", "DELETE", "user"))

    events = watcher.take()
    assert [(e.kind, e.name) for e in events if e.watch == "root"] == [
        ("CREATE", "..data_tmp"),
        ("MOVED_FROM", "..data_tmp"),
        ("MOVED_TO", "..data"),
        ("CREATE", "host"),
        ("DELETE", "user"),
    ]
    assert [(e.kind, e.name) for e in events if e.watch == "data"] == [
        ("CREATE", "host"),
        ("MODIFY", "password"),
        ("CLOSE_WRITE", "password"),
        ("DELETE", "user"),
    ]
    assert volume.generation() == generation
    assert volume.keys() == {"password", "host"}


def test_nested_paths_come_and_go(manifests, area: Path, start_mount):
    spec = area / "spec.yaml"
    spec.write_text(SPEC)
    put(manifests, password="dummy")
    volume = start_mount(*manifests.arguments, "--volume", str(spec)).wait_ready()
    generation = volume.generation()
    assert volume.keys() == {"password"}

    put(manifests, password="dummy", user="app", host="db")
    until((volume.path / "deep/er/user").exists, "the new files")
    assert (volume.path / "deep/host").read_text() == "db"
    assert (volume.path / "deep/er/user").stat().st_mode & 0o777 == 0o400

    put(manifests, password="dummy", host="db-2")
    wait_text(volume.path / "deep/host", "db-2")
    until(lambda: os.listdir(volume.path / "deep") == ["host"], "the old directory to go")

    put(manifests, password="dummy-2")
    until(lambda: os.listdir(volume.path / "..data") == ["password"], "all but one file to go")
    assert volume.generation() == generation


def test_file_that_becomes_a_directory(manifests, area: Path, start_mount):
    """What cannot be done in place is a new generation."""
    spec = area / "spec.yaml"
    spec.write_text(SPEC.replace("path: password}", "path: deep}"))
    put(manifests, password="dummy")
    volume = start_mount(*manifests.arguments, "--volume", str(spec)).wait_ready()
    assert volume.read("deep") == b"dummy"

    put(manifests, host="db")
    until(lambda: (volume.path / "deep").is_dir(), "the directory")
    wait_text(volume.path / "deep/host", "db")

    put(manifests, password="dummy-2")
    until(lambda: (volume.path / "deep").is_file(), "the file")
    wait_text(volume.path / "deep", "dummy-2")


def test_all_files_change_at_the_same_moment(manifests, mount):
    """Two files that were opened one after the other are of one version, or of two in order."""
    put(manifests, first="0", second="0")
    volume = mount(manifests, *OPTION)
    last = 300
    writer = threading.Thread(
        target=lambda: [put(manifests, first=str(n), second=str(n)) for n in range(1, last + 1)]
    )
    writer.start()
    try:
        seen = 0
        while seen < last:
            first = int(volume.read("first"))
            second = int(volume.read("second"))
            assert seen <= first <= second
            seen = first
            if not writer.is_alive() and seen < last:
                wait_text(volume.path / "first", str(last))
    finally:
        writer.join()


def test_descriptor_keeps_its_snapshot(source: Source, in_place):
    volume = in_place(password="a" * 10000)
    path = volume.path / "password"
    with open(path, "rb") as unread, open(path, "rb") as other:
        assert other.read(4000) == b"a" * 4000
        put(source, password="b" * 50)
        wait_text(path, "b" * 50)
        Path("/proc/sys/vm/drop_caches").write_text("3")

        assert other.read() == b"a" * 6000
        assert unread.read() == b"a" * 10000
    assert path.stat().st_size == 50


@pytest.mark.parametrize("sizes", [(10000, 50), (50, 10000)])
def test_size_belongs_to_what_is_open(source: Source, in_place, sizes: tuple[int, int]):
    """fstat gives the size of what was opened until that is closed."""
    old, new = sizes
    volume = in_place(password="a" * old)
    path = volume.path / "password"
    fd = os.open(path, os.O_RDONLY)
    try:
        put(source, password="b" * new)
        # this thread has something open, so it would get the old size
        until(lambda: b"b" in _read_in_thread(path), "the new content")

        assert os.fstat(fd).st_size == old
        assert os.read(fd, old + new) == b"a" * old
        assert os.fstat(fd).st_size == old
    finally:
        os.close(fd)
    assert path.stat().st_size == new


def _read_in_thread(path: Path) -> bytes:
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.append(path.read_bytes()))
    reader.start()
    reader.join()
    return seen[0]


def test_private_mapping_has_the_new_content(source: Source, in_place):
    """Private mappings work; a new one has the new content."""
    volume = in_place(password="a" * 10000)
    path = volume.path / "password"
    put(source, password="b" * 10000)
    wait_text(path, "b" * 10000)

    with open(path, "rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        assert mapping[:] == b"b" * 10000
        mapping.close()


def test_writes_are_refused(source: Source, in_place):
    volume = in_place(password="dummy")
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        with pytest.raises(OSError) as refused:
            os.open(volume.path / "password", flags)
        assert refused.value.errno == errno.EROFS
    with pytest.raises(OSError) as refused:
        os.mknod(volume.path / "..data" / "more")
    assert refused.value.errno == errno.EROFS
    assert volume.read("password") == b"dummy"


def test_file_mounted_alone_changes_in_place(manifests, mount, area: Path, watcher):
    """It changes as it is; when its key was away and returns it is the same file again."""
    put(manifests, password="dummy-0", user="app")
    volume = mount(manifests, *OPTION)
    alone = area / "alone"
    alone.write_text("beneath")
    os.system(f"mount --bind {volume.path}/password {alone}")
    try:
        watcher.add("file", alone)
        for number in range(1, 4):
            put(manifests, password=f"dummy-{number}", user="app")
            wait_text(alone, f"dummy-{number}")
        watcher.wait(lambda event: event.kind == "CLOSE_WRITE", count=3)

        put(manifests, user="app")
        until(lambda: volume.keys() == {"user"}, "the key to go")
        assert alone.read_text() == "dummy-3"
        inode = alone.stat().st_ino

        put(manifests, password="dummy-4", user="app")
        wait_text(alone, "dummy-4")
        watcher.wait(lambda event: event.kind == "CLOSE_WRITE", count=4)
        assert "DELETE_SELF" not in kinds(watcher, "file")
        assert len(mounts_at(alone)) == 1
        assert alone.stat().st_ino == (volume.path / "password").stat().st_ino == inode
    finally:
        for _ in mounts_at(alone):
            unmount(alone, lazily=True)


def test_old_values_are_released(manifests: Manifests, mount):
    """The daemon keeps no object that has no reader left, also of keys that did not change."""
    put(manifests, password="dummy-0", user="app")
    volume = mount(manifests, *OPTION)
    assert volume.read("user") == b"app"
    before = volume.status()["memory"]["secretBytes"]
    for number in range(1, 10):
        put(manifests, password=f"dummy-{number}", user="app")
        wait_text(volume.path / "password", f"dummy-{number}")
    assert volume.read("user") == b"app"

    until(lambda: volume.status()["memory"]["secretBytes"] <= before, "the old objects to go")


def test_new_directories_have_the_same_mode_with_any_umask(manifests, area: Path, start_mount):
    """0755, as in a generation (F2)."""
    spec = area / "spec.yaml"
    spec.write_text(SPEC)
    put(manifests, password="dummy")
    with_umask = ("sh", "-c", 'umask 077; exec "$@"', "sh")
    volume = start_mount(
        *manifests.arguments, "--volume", str(spec), prefix=with_umask
    ).wait_ready()
    put(manifests, password="dummy", user="app")
    until((volume.path / "deep/er/user").exists, "the new file")
    assert (volume.path / "deep/er/user").stat().st_mode & 0o777 == 0o400
    for path in ("deep", "deep/er"):
        assert (volume.path / path).stat().st_mode & 0o777 == 0o755
