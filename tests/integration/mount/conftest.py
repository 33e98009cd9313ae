"""Fixtures: private directories, sources, and volumes that are always taken down again."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from lib import program
from lib.cell import Cell
from lib.inotify import Watcher
from lib.mountinfo import all_mounts, mounts_below
from lib.sources import Api, Manifests, Source, make_source
from lib.volume import Volume, unmount

SOURCE_KINDS = ("manifests", "http1", "http2")
API_KINDS = ("http1", "http2")
AREA_PREFIX = f"secretfs-test-{os.getpid()}-"


@pytest.fixture(scope="session", autouse=True)
def requirements() -> None:
    if os.geteuid() != 0:
        pytest.skip("these tests mount as root")
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    if not program.binary().exists():
        pytest.fail(f"{program.binary()} is not built (SECRETFS names another)")


@pytest.fixture
def area() -> Iterator[Path]:
    """A directory of this test's own, which other users may enter; nothing may stay mounted."""
    path = Path(tempfile.mkdtemp(prefix=AREA_PREFIX, dir="/tmp"))
    path.chmod(0o755)
    (path / "home").mkdir()
    yield path
    left = mounts_below(path)
    for mount in reversed(left):
        unmount(Path(mount.path), lazily=True)
    shutil.rmtree(path)
    assert left == []


@pytest.fixture
def manifests(area: Path) -> Manifests:
    return Manifests(area / "manifests")


@pytest.fixture(params=API_KINDS)
def api(request: pytest.FixtureRequest, area: Path) -> Iterator[Api]:
    source = Api(area / "api", http2=request.param == "http2")
    yield source
    source.close()


@pytest.fixture
def http1(area: Path) -> Iterator[Api]:
    source = Api(area / "api")
    yield source
    source.close()


@pytest.fixture(params=SOURCE_KINDS)
def source(request: pytest.FixtureRequest, area: Path) -> Iterator[Source]:
    """Each kind of source in turn."""
    made = make_source(request.param, area)
    yield made
    made.close()


VolumeMaker = Callable[..., Volume]


@pytest.fixture
def start(area: Path) -> Iterator[VolumeMaker]:
    """Starts `secretfs mount -f ARGUMENTS PATH`; does not wait."""
    volumes: list[Volume] = []

    def make(*arguments: str, path: Path | None = None, **options: Any) -> Volume:
        if path is None:
            path = area / f"volume{len(volumes)}"
            path.mkdir()
        log = area / f"log{len(volumes)}"
        volumes.append(Volume(path, arguments, home=area / "home", log=log, **options))
        return volumes[-1]

    yield make
    failures = []
    for volume in volumes:
        try:
            volume.finish()
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n".join(failures)


@pytest.fixture
def mount(start: VolumeMaker) -> VolumeMaker:
    """Mounts an object of a source and waits until it is readable."""

    def make(source: Source, *arguments: str, what: str = "secret/app", **options: Any) -> Volume:
        return start(*source.arguments, *arguments, what, **options).wait_ready()

    return make


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher()
    yield made
    made.close()


@pytest.fixture
def cell(area: Path) -> Iterator[Cell]:
    """A place where an ordinary user may mount."""
    made = Cell(area)
    yield made
    made.close()


@pytest.fixture(scope="session", autouse=True)
def leftovers() -> Iterator[None]:
    """Nothing that these tests mount may outlive them."""
    yield
    assert [m for m in all_mounts() if m.path.startswith(f"/tmp/{AREA_PREFIX}")] == []
