"""A systemd path unit with PathChanged=VOLUME/..data is triggered by each update."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from lib.sources import Manifests
from lib.volume import Volume
from lib.waiting import until

PROGRAM = Path(__file__).parent / "programs" / "path_unit.py"
UPDATES = 8


class PathUnit:
    def __init__(self, link: Path, output: Path) -> None:
        self.link = link
        self._output = output
        with open(output, "wb") as file:
            self.process = subprocess.Popen([sys.executable, str(PROGRAM), str(link)], stdout=file)

    def _lines(self) -> list[str]:
        return self._output.read_text().splitlines()

    def triggers(self) -> int:
        return self._lines().count("triggered")

    def wait_watching(self) -> None:
        """Until it watches the newest generation."""
        newest = f"watching {self.link.stat().st_ino}"
        until(lambda: self._lines()[-1:] == [newest], "the watches")


@pytest.fixture
def volume(manifests: Manifests, mount) -> Volume:
    manifests.put_secret({"value": b"0"})
    return mount(manifests)


@pytest.fixture
def path_unit(area: Path, volume: Volume) -> Iterator[PathUnit]:
    unit = PathUnit(volume.path / "..data", area / "path-unit")
    yield unit
    unit.process.kill()
    unit.process.wait()


def test_path_unit_is_triggered_by_each_update(
    manifests: Manifests, volume: Volume, path_unit: PathUnit
):
    """systemd needs an event of the old generation, and moves its watches after any event."""
    for number in range(1, UPDATES + 1):
        path_unit.wait_watching()
        before = path_unit.triggers()
        content = {"value": b"%d" % number}
        manifests.put_secret(content)
        volume.wait_content(content)
        path_unit.wait_watching()
        assert path_unit.triggers() > before, f"update {number}"
