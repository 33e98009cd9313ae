"""Fixtures: private directories, sources, and node daemons that are always taken down again."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Iterator

import pytest

from lib import program
from lib.idmap import IdMapped, UserNamespace
from lib.inotify import Watcher
from lib.kubelet import PodVolume
from lib.live import Containers, SubPaths, publish, put, wait_alone
from lib.mountinfo import all_mounts, mounts_below
from lib.node_daemon import Node, NodeMaker
from lib.sources import Api, Manifests
from lib.volume import unmount

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


@pytest.fixture
def start(area: Path) -> Iterator[NodeMaker]:
    """Starts `secretfs node ARGUMENTS`; does not wait."""
    nodes: list[Node] = []

    def make(*arguments: str, kind: type[Node] = Node, **options: Any) -> Node:
        nodes.append(kind(area, arguments, log=area / f"log{len(nodes)}", **options))
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


@pytest.fixture
def daemon(start: NodeMaker, api: Api) -> Node:
    """A daemon that takes objects from an API server, with credentials of its own, which may do
    everything."""
    return start("--rights=daemon", *api.arguments).wait_ready()


@pytest.fixture
def node_on_api(daemon: Node, api: Api) -> Node:
    """The same with one secret there; a module makes it its `node`."""
    put(api, user="admin", password="dummy-0", host="db-0")
    return daemon


# ---- what watches and mounts the volumes of a node; mounts need `start`, to go before its daemons


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher()
    yield made
    made.close()


@pytest.fixture
def volume(node: Node, api: Api) -> PodVolume:
    """Of a pod that mounts a file of it by subPath; `node` has to read an API server."""
    return publish(node, api)


@pytest.fixture
def file(node: Node, volume: PodVolume, sub_path: SubPaths) -> Path:
    """The file `user` of the volume, mounted alone."""
    made = sub_path(volume, "user")
    wait_alone(node, volume, 1)
    return made


@pytest.fixture
def sub_path(start: NodeMaker) -> Iterator[SubPaths]:
    made = SubPaths()
    yield made
    made.close()


@pytest.fixture
def containers(area: Path) -> Iterator[Containers]:
    made = Containers(area / "inside")
    yield made
    made.close()


@pytest.fixture
def users() -> Iterator[UserNamespace]:
    made = UserNamespace()
    yield made
    made.close()


@pytest.fixture
def idmapped(area: Path, start: NodeMaker, users: UserNamespace) -> Iterator[IdMapped]:
    made = IdMapped(area / "idmapped", users)
    yield made
    made.close()


@pytest.fixture(scope="session", autouse=True)
def leftovers() -> Iterator[None]:
    """Nothing that these tests mount may outlive them."""
    yield
    assert [m for m in all_mounts() if m.path.startswith(f"/tmp/{AREA_PREFIX}")] == []
