"""What a volume looks like: names, links, modes, owners and bytes."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from lib.inotify import is_generation
from lib.mountinfo import mounts_at
from lib.sources import Source
from lib.waiting import until

BINARY = bytes(range(256)) + b"\n\n\0"


def mode_of(path: Path) -> str:
    return stat.filemode(path.lstat().st_mode)


def test_root_holds_data_a_generation_and_one_link_for_each_key(source, mount):
    """A4, A5, A7: `..data`, TS and the keys' links, all targets relative."""
    source.put_secret({"user": b"app", "password": b"dummy"})
    volume = mount(source)

    generation = volume.generation()
    assert is_generation(generation)
    assert set(os.listdir(volume.path)) == {"..data", generation, "user", "password"}
    assert os.readlink(volume.path / "user") == "..data/user"
    assert os.readlink(volume.path / "password") == "..data/password"
    assert set(os.listdir(volume.path / generation)) == {"user", "password"}
    assert volume.content() == {"user": b"app", "password": b"dummy"}


def test_paths_resolve_through_one_hop(manifests, mount):
    """A11: realpath(ROOT/key) is ROOT/TS/key."""
    manifests.put_secret({"user": b"app"})
    volume = mount(manifests)

    expected = volume.path / volume.generation() / "user"
    assert os.path.realpath(volume.path / "user") == str(expected)


def test_modes_owners_and_types(manifests, mount):
    """F1, F2, F3, F4, F5: 0644 files, 0755 TS, 1777 root, lrwxrwxrwx links, all of them root's."""
    manifests.put_secret({"user": b"app"})
    volume = mount(manifests)

    generation = volume.path / volume.generation()
    assert mode_of(volume.path) == "drwxrwxrwt"
    assert mode_of(generation) == "drwxr-xr-x"
    assert mode_of(generation / "user") == "-rw-r--r--"
    assert mode_of(volume.path / "user") == "lrwxrwxrwx"
    assert mode_of(volume.path / "..data") == "lrwxrwxrwx"
    for path in (volume.path, generation, generation / "user", volume.path / "..data"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (0, 0)


def test_umask_does_not_matter(manifests, mount):
    """F1, F2: modes are as specified, with any umask of the program."""
    manifests.put_secret({"user": b"app"})
    volume = mount(manifests, prefix=["sh", "-c", 'umask 077; exec "$@"', "sh"])

    assert mode_of(volume.path / volume.generation()) == "drwxr-xr-x"
    assert mode_of(volume.path / volume.generation() / "user") == "-rw-r--r--"
    assert mode_of(volume.path) == "drwxrwxrwt"


def test_deepest_path_is_made_and_removed(manifests, mount):
    """B6: 64 elements; the next update removes the old directories."""
    manifests.put_secret({"a": b"1"})
    path = "/".join(["e" * 50] * 64)
    volume = mount(manifests, "--item", f"a={path}", "--item", "a=b")

    assert (volume.path / path).read_bytes() == b"1"
    old = volume.generation()
    manifests.put_secret({"a": b"2"})
    until(lambda: (volume.path / path).read_bytes() == b"2")
    until(lambda: old not in os.listdir(volume.path))


def test_names_longer_than_a_file_system_permits(manifests, mount):
    """As on a tmpfs: 255 bytes may be absent, 256 are an error."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)

    with pytest.raises(FileNotFoundError):
        (volume.path / ("n" * 255)).lstat()
    for directory in (volume.path, volume.path / "..data"):
        for length in (256, 1000, 1024, 2000):
            with pytest.raises(OSError) as raised:
                (directory / ("n" * length)).lstat()
            assert raised.value.errno == errno.ENAMETOOLONG


def test_sizes_link_counts_and_inode_numbers(manifests, mount):
    """stat(2) is consistent: sizes in bytes, links as on a tmpfs, an inode number each."""
    manifests.put_secret({"a": b"12345", "b": b""})
    volume = mount(manifests)

    a, b = (volume.path / "a").stat(), (volume.path / "b").stat()
    assert (a.st_size, b.st_size) == (5, 0)
    assert (a.st_nlink, b.st_nlink) == (1, 1)
    assert a.st_ino != b.st_ino
    assert volume.path.stat().st_nlink == 3  # itself, its parent's entry, TS
    for entry in os.scandir(volume.path):
        assert entry.inode() == entry.stat(follow_symlinks=False).st_ino
        assert entry.is_symlink() == (not is_generation(entry.name))


@pytest.mark.parametrize("value", [b"", b"no newline", BINARY, b"\xff\xfe\x80"])
def test_values_are_verbatim(source, mount, value: bytes):
    """B1, B10: no newline added, no character set looked at, an empty value is an empty file."""
    source.put_secret({"value": value})
    assert mount(source).read("value") == value


def test_empty_object_shows_an_empty_generation(source, mount):
    """A10: `..data` and an empty TS, nothing else."""
    source.put_secret({})
    volume = mount(source)

    assert set(os.listdir(volume.path)) == {"..data", volume.generation()}
    assert os.listdir(volume.path / "..data/") == []


def test_every_key_that_the_api_allows(source, mount):
    """L1, A9: dots, dashes, digits, one dot in front, and up to 253 characters are ordinary."""
    content = {
        key: key.encode()
        for key in (".hidden", "-x", "9", "a..b", "UPPER_lower.1", "tls.crt", "k" * 253)
    }
    source.put_secret(content)
    volume = mount(source)

    assert volume.content() == content
    assert volume.keys() == set(content)


def test_one_mebibyte_in_one_value(source, mount):
    """L3: exactly 1 MiB of value bytes is allowed, and read back whole and in pieces."""
    value = os.urandom(1 << 20)
    source.put_secret({"big": value})
    volume = mount(source)

    assert volume.read("big") == value
    with open(volume.path / "big", "rb", buffering=0) as file:
        assert os.pread(file.fileno(), 100, 777_777) == value[777_777:777_877]
        assert os.pread(file.fileno(), 100, (1 << 20) - 10) == value[-10:]
        assert os.pread(file.fileno(), 100, 1 << 20) == b""


def test_thousand_keys(source: Source, mount):
    """Listings that do not fit into one request are complete, each name just once."""
    content = {f"key-{i:04}": f"value {i}".encode() for i in range(1000)}
    source.put_secret(content)
    volume = mount(source)

    names = os.listdir(volume.path)
    assert sorted(names) == sorted(["..data", volume.generation(), *content])
    assert volume.content() == content


def test_configmap_shows_data_and_binary_data(source, mount):
    """M1, M2: both maps become files, data as the UTF-8 of its text."""
    source.put_configmap({"text": "gr\u00fc\u00dfe\n", "empty": ""}, {"blob": BINARY})
    volume = mount(source, what="configmap/app")

    assert volume.content() == {"text": "gr\u00fc\u00dfe\n".encode(), "empty": b"", "blob": BINARY}


def test_values_with_nul(source, mount):
    """M2: `kubectl create configmap --from-file` puts a NUL into data if the file is UTF-8."""
    source.put_configmap({"nul": "a\0b", "last": "\0"}, {})
    volume = mount(source, what="configmap/app")
    assert volume.content() == {"nul": b"a\0b", "last": b"\0"}
    source.put_configmap({"nul": "\0c", "last": "\\u0000"}, {})
    volume.wait_content({"nul": b"\0c", "last": b"\\u0000"})


def test_key_in_both_maps_shows_the_binary_value(manifests, mount):
    """M3: binaryData wins."""
    manifests.put_configmap({"same": "text"}, {"same": b"binary"})
    assert mount(manifests, what="configmap/app").content() == {"same": b"binary"}


def test_the_mount_is_named_after_its_object(manifests, mount):
    """mount(8) and df show what is mounted, as a file system that is full and of its own type."""
    manifests.put_secret({"user": b"app"})
    volume = mount(manifests)

    (info,) = mounts_at(volume.path)
    assert (info.kind, info.source) == ("fuse.secretfs", "secret/app")
    assert {"ro", "nosuid", "nodev"} <= set(info.options)
    numbers = os.statvfs(volume.path)
    assert (numbers.f_bavail, numbers.f_namemax) == (0, 255)
