"""`secretfs mount` under a service manager with a descriptor store: its mount outlives the process."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from lib.descriptor_store import Service
from lib.inotify import is_generation
from lib.mountinfo import mounts_at
from lib.sources import Manifests
from lib.volume import unmount
from lib.waiting import until


def _content(path: Path) -> bytes:
    """Without Python's open(), which asks the daemon each time whether the file is a terminal."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


def test_readers_get_content_while_no_process_serves(each_service: Service) -> None:
    service = each_service
    service.start()
    assert _content(service.path / "password") == b"dummy-1"
    inode = (service.path / "password").stat().st_ino
    service.kill()
    assert _content(service.path / "password") == b"dummy-1"
    service.start()
    assert _content(service.path / "password") == b"dummy-1"
    assert _content(service.path / "user") == b"dummy-user"  # never read before
    assert (service.path / "password").stat().st_ino == inode
    service.wait_log("took over the mount")
    service.reap()


def test_cold_reader_waits_for_the_next_process(each_service: Service) -> None:
    """Its open and read are requests that no process answers until the next one does."""
    service = each_service
    service.start()
    service.kill()
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(_content(service.path / "user")))
    reader.start()
    service.start()
    reader.join()
    assert read == [b"dummy-user"]
    service.reap()


def test_update_meanwhile(each_service: Service, manifests: Manifests) -> None:
    service = each_service
    service.start()
    with open(service.path / "password", "rb") as held:
        assert held.read() == b"dummy-1"
        generation = os.readlink(service.path / "..data")
        service.kill()
        manifests.put_secret({"password": b"dummy-2", "new": b"dummy-3"})
        service.start()
        until(lambda: _content(service.path / "password") == b"dummy-2", "the update")
        until((service.path / "new").exists, "the link, which follows the switch")
        assert _content(service.path / "new") == b"dummy-3"
        until(lambda: not (service.path / "user").is_symlink(), "the removal of the link")
        assert os.readlink(service.path / "..data") != generation
        until(lambda: not (service.path / generation).exists(), "the removal of the generation")
        held.seek(0)
        assert held.read() == b"dummy-1"
    service.reap()


def test_no_source_is_needed(each_service: Service, manifests: Manifests) -> None:
    """Without an answer of the source the next process serves what the last one has published."""
    service = each_service
    service.start()
    service.kill()
    manifests.delete_secret()
    service.start()
    assert _content(service.path / "user") == b"dummy-user"
    service.kill()
    service.start()
    assert _content(service.path / "password") == b"dummy-1"
    service.reap()


def test_many_kills_with_updates(each_service: Service, manifests: Manifests) -> None:
    service = each_service
    service.start()
    for i in range(2, 30):
        value = f"dummy-{i}".encode()
        manifests.put_secret({"password": value, f"key-{i}": value})
        if i % 3 != 0:
            until(lambda value=value: _content(service.path / "password") == value, "the update")
        service.kill()
        service.start()
        until(lambda value=value: _content(service.path / "password") == value, "the update")
        # the link of a new key follows the switch
        link = service.path / f"key-{i}"
        until(lambda link=link: _content(link), "the new key")
        assert _content(link) == value
    until(lambda: _names(service.path) == 1, "the removal of old generations")
    until(
        lambda: sorted(os.listdir(service.path))[2:] == ["key-29", "password"],
        "the removal of links",
    )
    service.reap()


def _names(path: Path) -> int:
    return sum(is_generation(name) for name in os.listdir(path))


def test_unmount_ends_it(each_service: Service) -> None:
    service = each_service
    service.start()
    service.kill()
    service.start()
    unmount(service.path)
    assert service.wait_end() == 0
    assert mounts_at(service.path) == []
    until(lambda: service.store.names() == [], "the removal of what is stored")
    service.reap()


def test_orderly_restart(each_service: Service) -> None:
    service = each_service
    service.start()
    assert _content(service.path / "password") == b"dummy-1"
    assert service.stop() == 0
    assert len(mounts_at(service.path)) == 1
    assert _content(service.path / "password") == b"dummy-1"
    service.start()
    assert _content(service.path / "user") == b"dummy-user"
    assert service.store.names() == ["mount.device", "mount.state.2"]


def test_without_a_store_the_mount_ends(service_without_store: Service) -> None:
    service = service_without_store.start()
    assert service.stop() == 0
    assert mounts_at(service.path) == []
