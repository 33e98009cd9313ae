"""Torn-read hunters: readers in tight loops during thousands of updates, none of them torn.

They read through the volume, through a volume whose files change in place, and through a file and
a directory of that which are mounted alone, here and in another mount namespace.
SECRETFS_TEST_UPDATES says how many updates there are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Iterator

import pytest

from lib.mountinfo import mounts_at
from lib.namespace import MountNamespace
from lib.sources import Manifests
from lib.volume import Volume, unmount
from lib.waiting import until

HUNTER = Path(__file__).parent / "programs" / "hunter.py"
UPDATES = int(os.environ.get("SECRETFS_TEST_UPDATES", "1000"))
SIZES = (1, 300, 4000, 4200, 9000, 70_000)

SPEC = """
name: all
projected:
  sources:
  - secret:
      name: app
      items:
      - {key: value, path: value}
      - {key: value, path: deep/value}
"""


def content(number: int) -> dict[str, bytes]:
    filling = os.urandom(SIZES[number % len(SIZES)])
    return {"value": b"%d %d " % (number, zlib.crc32(filling)) + filling}


class Hunter:
    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        self._process = subprocess.Popen(
            [sys.executable, str(HUNTER), *map(str, paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def stop(self) -> dict:
        return json.loads(self._process.communicate()[0])

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def volumes(area: Path, manifests: Manifests, start_mount) -> tuple[Volume, Volume]:
    """One as the kubelet makes them, and one that changes in place."""
    spec = area / "spec.yaml"
    spec.write_text(SPEC)
    manifests.put_secret(content(0))
    arguments = [*manifests.arguments, "--volume", str(spec)]
    return (
        start_mount(*arguments).wait_ready(),
        start_mount(*arguments, "--updates", "in-place").wait_ready(),
    )


@pytest.fixture
def alone(area: Path, volumes: tuple[Volume, Volume]) -> Iterator[list[Path]]:
    """A file and a directory of the one in place, mounted alone, here and in another namespace."""
    volume = volumes[1]
    file, directory = area / "file", area / "directory"
    file.write_text("beneath")
    directory.mkdir()
    binds = [f"mount --bind {volume.path}/value {file}"]
    binds.append(f"mount --bind {volume.path}/deep {directory}")
    container = MountNamespace(*binds)
    try:
        for bind in binds:
            subprocess.run(bind.split(), check=True)
        paths = [file, directory / "value"]
        yield [*paths, *map(container.path, paths)]
    finally:
        for target in (file, directory):
            for _ in mounts_at(target):
                unmount(target, lazily=True)
        container.close()


@pytest.fixture
def hunters() -> Iterator[list[Hunter]]:
    made: list[Hunter] = []
    yield made
    for hunter in made:
        hunter.kill()


def test_readers_see_no_torn_value_during_updates(
    manifests: Manifests, volumes, alone: list[Path], hunters: list[Hunter]
):
    standard, in_place = volumes
    hunters.append(Hunter(standard.path / "value", standard.path / "deep/value"))
    hunters.append(Hunter(*alone))
    hunters.append(Hunter(in_place.path / "value", in_place.path / "deep/value"))

    for number in range(1, UPDATES + 1):
        newest = content(number)
        generation = standard.generation()
        manifests.put_secret(newest)
        until(lambda: standard.generation() != generation, "the update")
    for path in [in_place.path / "value", *alone]:
        until(lambda: path.read_bytes() == newest["value"], "the last update")

    results = [hunter.stop() for hunter in hunters]
    for result in results:
        print(f"{UPDATES} updates: {result}")
        assert result["faults"] == []
        assert result["versions"] > 10
    # a reader that loses its processor between ..data and the file may find it gone (C): the hunter
    # judges that. What is in place is never gone.
    assert results[1]["misses"] == results[2]["misses"] == 0
