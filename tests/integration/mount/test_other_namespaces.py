"""Copies of a mount in other mount namespaces, as `docker run -v` makes them: they outlive the mount on the host."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import pytest

from lib.mountinfo import mounts_at
from lib.namespace import MountNamespace
from lib.sources import Manifests
from lib.volume import Volume, VolumeMaker
from lib.waiting import until


@pytest.fixture
def volume(manifests: Manifests, mount: VolumeMaker) -> Volume:
    manifests.put_secret({"user": b"1"})
    return mount(manifests)


@pytest.fixture
def copy(volume: Volume) -> Iterator[MountNamespace]:
    namespace = MountNamespace()
    try:
        yield namespace
    finally:
        namespace.close()


def unmount(volume: Volume) -> None:
    done = volume.run("unmount", str(volume.path))
    assert (done.returncode, done.stderr) == (0, "")


def umount(volume: Volume) -> None:
    subprocess.run(["umount", str(volume.path)], check=True)


def umount_lazily(volume: Volume) -> None:
    subprocess.run(["umount", "--lazy", str(volume.path)], check=True)


@pytest.mark.parametrize("command", [unmount, umount, umount_lazily])
def test_copy_is_served_and_updated(
    volume: Volume,
    copy: MountNamespace,
    manifests: Manifests,
    command: Callable[[Volume], None],
) -> None:
    file = copy.path(volume.path) / "user"
    command(volume)
    assert mounts_at(volume.path) == []
    volume.wait_log("other mounts of it are served until they are gone")
    assert file.read_bytes() == b"1"
    manifests.put_secret({"user": b"2"})
    until(lambda: file.read_bytes() == b"2", "it is updated")
    copy.close()
    assert volume.wait_end() == 0


def test_open_file_of_a_mount_that_is_detached(volume: Volume) -> None:
    fd = os.open(volume.path / "user", os.O_RDONLY)
    try:
        umount_lazily(volume)
        volume.wait_log("other mounts of it are served until they are gone")
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(fd, 8, 0) == b"1"
    finally:
        os.close(fd)
    assert volume.wait_end() == 0


def test_bind_mount_elsewhere(volume: Volume, area: Path) -> None:
    elsewhere = area / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(["mount", "--bind", volume.path, elsewhere], check=True)
    try:
        unmount(volume)
        assert (elsewhere / "user").read_bytes() == b"1"
    finally:
        subprocess.run(["umount", elsewhere], check=True)
    assert volume.wait_end() == 0


def test_only_mount(volume: Volume) -> None:
    unmount(volume)
    assert volume.wait_end() == 0
    assert "other mounts" not in volume.log()


def test_copy_ends_with_the_process(volume: Volume, copy: MountNamespace) -> None:
    """As ever: SIGTERM ends all mounts."""
    unmount(volume)
    volume.wait_log("other mounts of it are served")
    volume.signal(signal.SIGTERM)
    assert volume.wait_end() == 0
    with pytest.raises(OSError):
        (copy.path(volume.path) / "user").read_bytes()
