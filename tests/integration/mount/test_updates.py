"""What changes with an update, what stays, and what those see who hold on to something old."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

from lib.inotify import is_generation
from lib.volume import unmount
from lib.waiting import until

PAUSE = "import sys; f = open(sys.argv[1], 'rb', buffering=0); print(flush=True); input(); "


def identities(root: Path) -> dict[str, tuple[int, int]]:
    """Inode number and mtime of each key's file."""
    status = {key.name: key.stat() for key in (root / "..data").iterdir()}
    return {name: (s.st_ino, s.st_mtime_ns) for name, s in status.items()}


def test_new_content_is_shown_and_the_old_generation_goes(source, mount):
    """G11, C3: keys change, come and go together; nothing of the old is left."""
    source.put_secret({"stays": b"1", "changes": b"1", "goes": b"1"})
    volume = mount(source)
    old = volume.generation()

    after = {"stays": b"1", "changes": b"2", "comes": b"1"}
    source.put_secret(after)
    volume.wait_content(after)

    assert volume.generation() != old
    assert is_generation(volume.generation())
    assert not os.path.lexists(volume.path / "goes")


def test_many_updates_in_a_row_end_with_the_last(source, mount):
    """A6, A10: each of them is shown or overtaken; the last one is what stays."""
    source.put_secret({"n": b"0"})
    volume = mount(source)
    first = volume.generation()
    for i in range(100):
        source.put_secret({"n": str(i).encode()})
    volume.wait_content({"n": b"99"})
    assert volume.generation() != first


def test_realpath_of_an_unchanged_key_changes(source, mount):
    """A11: viper and its kind compare realpath(ROOT/key)."""
    source.put_secret({"same": b"1", "other": b"1"})
    volume = mount(source)
    before = os.path.realpath(volume.path / "same")

    source.put_secret({"same": b"1", "other": b"2"})
    volume.wait_content({"same": b"1", "other": b"2"})

    assert os.path.realpath(volume.path / "same") != before


def test_every_file_is_new_after_a_write(source, mount):
    """E4: new inode and new mtime, for unchanged keys as well."""
    source.put_secret({"same": b"1", "other": b"1"})
    volume = mount(source)
    before = identities(volume.path)

    source.put_secret({"same": b"1", "other": b"2"})
    volume.wait_content({"same": b"1", "other": b"2"})
    after = identities(volume.path)

    for key in ("same", "other"):
        assert after[key][0] != before[key][0]
        assert after[key][1] > before[key][1]


def test_nothing_is_new_without_a_change(source, mount):
    """E1, E2: same generation, inodes and mtimes after a change of metadata only."""
    source.put_secret({"a": b"1"})
    volume = mount(source)
    before = volume.generation(), identities(volume.path)

    source.touch_secret()
    source.put_secret({"a": b"1"}, name="fence")
    if source.kind != "manifests":  # whose resource versions count readings of content
        newest = source.server.get_object("secrets", "default", "app")
        version = newest["metadata"]["resourceVersion"]
        until(lambda: volume.status()["object"]["resourceVersion"] == version, "the new version")

    assert (volume.generation(), identities(volume.path)) == before


def test_an_open_file_keeps_its_bytes(source, mount):
    """X5, E4: who has a file open reads the old bytes to the end, read before or not."""
    source.put_secret({"read": b"old " * 50_000, "unread": b"old"})
    volume = mount(source)
    with open(volume.path / "read", "rb", buffering=0) as read, open(
        volume.path / "unread", "rb", buffering=0
    ) as unread:
        assert read.read(4) == b"old "
        for i in range(3):
            source.put_secret({"read": b"new", "unread": b"new%d" % i})
            volume.wait_content({"read": b"new", "unread": b"new%d" % i})

        assert read.read() == b"old " * 49_999
        assert unread.read() == b"old"
        assert os.fstat(unread.fileno()).st_nlink == 0
    assert volume.read("unread") == b"new2"


def test_a_mapped_file_keeps_its_bytes(manifests, mount):
    """E4: so does a mapping, in pages that were never touched before, too."""
    manifests.put_secret({"map": b"o" * 100_000})
    volume = mount(manifests)
    with open(volume.path / "map", "rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

    manifests.put_secret({"map": b"n" * 100_000})
    volume.wait_content({"map": b"n" * 100_000})

    assert mapping[:] == b"o" * 100_000
    mapping.close()


def test_an_open_directory_keeps_its_generation(manifests, mount):
    """A descriptor of TS is one generation: after the update it is empty, and never another."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    directory = os.open(volume.path / "..data", os.O_RDONLY | os.O_DIRECTORY)
    try:
        manifests.put_secret({"a": b"2"})
        volume.wait_content({"a": b"2"})
        assert os.listdir(directory) == []
        try:
            os.open("a", os.O_RDONLY, dir_fd=directory)
        except FileNotFoundError:
            pass
        else:
            raise AssertionError("a removed generation shows a file")
    finally:
        os.close(directory)


def test_another_process_keeps_its_file_too(manifests, mount):
    """E4 in a process of its own, which reads for the first time after the update."""
    manifests.put_secret({"a": b"old"})
    volume = mount(manifests)
    script = PAUSE + "sys.stdout.write(f.read().decode())"
    command = [sys.executable, "-c", script, str(volume.path / "a")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        manifests.put_secret({"a": b"new"})
        volume.wait_content({"a": b"new"})
        assert reader.communicate("\n")[0] == "old"


def test_bind_mounts_of_the_volume_follow(manifests, mount, area: Path):
    """A container's bind mount of ROOT shows updates, read-only as the volume is (F14)."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    target = area / "container"
    target.mkdir()
    subprocess.run(["mount", "--bind", str(volume.path), str(target)], check=True)
    try:
        assert (target / "a").read_bytes() == b"1"
        manifests.put_secret({"a": b"2"})
        volume.wait_content({"a": b"2"})
        assert (target / "a").read_bytes() == b"2"
        assert os.statvfs(target).f_flag & os.ST_RDONLY
    finally:
        unmount(target)


def test_key_that_goes_and_comes_back(source, mount):
    """A name that was looked up while it was absent is found as soon as it is there."""
    source.put_secret({"a": b"1", "b": b"1"})
    volume = mount(source)
    for round_ in range(3):
        source.put_secret({"a": b"1"})
        volume.wait_content({"a": b"1"})
        assert not (volume.path / "b").exists()
        source.put_secret({"a": b"1", "b": str(round_).encode()})
        volume.wait_content({"a": b"1", "b": str(round_).encode()})
        assert volume.read("b") == str(round_).encode()
