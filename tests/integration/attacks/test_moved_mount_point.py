"""The directory above a mount point is another user's, who puts something else in its place."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from lib.mountinfo import mounts_at
from lib.sources import Manifests
from lib.volume import Volume, VolumeMaker, unmount

OTHER_USER = 65534


@pytest.fixture(name="home")
def _home(area: Path) -> Path:
    """A home with a directory for the mount point, both of another user."""
    home = area / "another"
    (home / "place" / "volume").mkdir(parents=True)
    for path in (home, home / "place"):
        os.chown(path, OTHER_USER, OTHER_USER)
    return home


@pytest.fixture(name="victim")
def _victim(area: Path) -> Iterator[Path]:
    """A directory with a mount that has the name of the mount point."""
    point = area / "victim" / "volume"
    point.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "victim", point], check=True)
    (point / "kept").write_text("dummy")
    yield area / "victim"
    if mounts_at(point):
        unmount(point)


@pytest.fixture(name="volume")
def _volume(home: Path, start_mount: VolumeMaker, manifests: Manifests) -> Volume:
    manifests.put_secret({"a": b"dummy-1"})
    path = home / "place" / "volume"
    return start_mount(*manifests.arguments, "secret/app", path=path).wait_ready()


def test_link_in_place_of_a_directory(home: Path, victim: Path, volume: Volume) -> None:
    """At its end the mount is detached where it is now, and no other one in its place."""
    (home / "place").rename(home / "moved")
    (home / "place").symlink_to(victim)
    volume.signal(signal.SIGTERM)
    assert volume.wait_end() == 0
    assert (victim / "volume" / "kept").read_text() == "dummy"
    assert not mounts_at(home / "moved" / "volume")


def test_covered(volume: Volume) -> None:
    """Another mount on top stays: it is not the one that the program mounted."""
    volume.expected_words = "cannot unmount"
    subprocess.run(["mount", "-t", "tmpfs", "above", volume.path], check=True)
    try:
        volume.signal(signal.SIGTERM)
        assert volume.wait_end() == 0
        assert [mount.kind for mount in mounts_at(volume.path)] == ["fuse.secretfs", "tmpfs"]
        volume.wait_log("cannot unmount .*another mount covers it")
    finally:
        for _ in mounts_at(volume.path):
            unmount(volume.path, lazily=True)
