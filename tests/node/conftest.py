"""Fixtures: private directories, sources, and node daemons that are always taken down again."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from mount.support import program
from mount.support.mountinfo import all_mounts, mounts_below
from mount.support.sources import Api, Manifests
from mount.support.volume import unmount

from .support.daemon import Node

AREA_PREFIX = f"secretfs-node-{os.getpid()}-"


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
    """A directory of this test's own with a short name, as sockets lie below it."""
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


@pytest.fixture
def api(area: Path) -> Iterator[Api]:
    source = Api(area / "api", http2=True)
    yield source
    source.close()


NodeMaker = Callable[..., Node]


@pytest.fixture
def start(area: Path) -> Iterator[NodeMaker]:
    """Starts `secretfs node ARGUMENTS`; does not wait."""
    nodes: list[Node] = []

    def make(*arguments: str, **options: Any) -> Node:
        nodes.append(Node(area, arguments, log=area / f"log{len(nodes)}", **options))
        return nodes[-1]

    yield make
    failures = []
    for node in nodes:
        try:
            node.finish()
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n".join(failures)


@pytest.fixture
def node(start: NodeMaker, manifests: Manifests) -> Node:
    """A daemon that takes objects from manifests, with one secret there."""
    manifests.put_secret({"user": b"admin", "password": b"dummy-1"})
    return start(*manifests.arguments).wait_ready()


@pytest.fixture(scope="session", autouse=True)
def leftovers() -> Iterator[None]:
    """Nothing that these tests mount may outlive them."""
    yield
    assert [m for m in all_mounts() if m.path.startswith(f"/tmp/{AREA_PREFIX}")] == []
