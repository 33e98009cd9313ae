"""Fixtures of the integration tests: private directories, sources of objects, and programs.

Each fixture takes down what it made, also after a failure, and then fails the test if anything is
left.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from lib import fuse_kernel, harness, program
from lib.cell import Cell
from lib.debian_tree import TreeUnusable, make_tree
from lib.deploy import TOP
from lib.descriptor_store import DescriptorStore, Service
from lib.devserver import DevServer
from lib.devserver.testclient import Client
from lib.execution import Execution, ExecutionMaker
from lib.harness import Harness, HarnessMaker
from lib.holder import Holder
from lib.idmap import IdMapped, UserNamespace
from lib.inotify import Watcher
from lib.keeper import Keeper
from lib.kubelet import PodVolume
from lib.live import Containers, SubPaths, publish, put, wait_alone
from lib.machine import BootFailed, Machine, all_files
from lib.mountinfo import all_mounts, mounts_below
from lib.node_daemon import Node, NodeMaker
from lib.pod_processes import PodProcesses, pod_processes
from lib.sources import Api, Manifests, Source, make_source
from lib.system_bus import SystemBus
from lib.terminal import Terminal
from lib.volume import Volume, VolumeMaker, unmount
from lib.waiting import PATIENCE_SECONDS

SOURCE_KINDS = ("manifests", "http1", "http2")
API_KINDS = ("http1", "http2")
AREA_PREFIX = f"secretfs-test-{os.getpid()}-"

# ---- what the tests of a directory need


def _need_mounts() -> None:
    if os.geteuid() != 0:
        pytest.skip("these tests mount as root")
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")


def _need_resend() -> None:
    if not fuse_kernel.has_resend():
        pytest.skip("the kernel cannot send requests again (FUSE_HAS_RESEND), so no mount outlives its process")


def _need_program() -> None:
    if not program.binary().exists():
        pytest.fail(f"{program.binary()} is not built (SECRETFS names another)")


def _need_harness() -> None:
    if not harness.binary().exists():
        pytest.fail(f"{harness.binary()} is not built (CSI_HARNESS names another)")


NEEDS = {
    "attacks": (_need_mounts, _need_program),
    "csi": (_need_harness,),
    "exec": (_need_program,),
    "handover": (_need_mounts, _need_resend, _need_program),
    "keeper": (_need_program,),
    "mount": (_need_mounts, _need_program),
    "node": (_need_mounts, _need_program),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for need in NEEDS.get(item.path.parent.name, ()):
        if need is not _need_resend or "each_kernel" not in getattr(item, "fixturenames", ()):
            need()


# ---- a place, and where objects come from


@pytest.fixture
def area() -> Iterator[Path]:
    """A directory of this test's own, which other users may enter; nothing may stay mounted.

    Its name is short, as sockets lie below it, whose paths have 108 bytes at most.
    """
    path = Path(tempfile.mkdtemp(prefix=AREA_PREFIX, dir="/tmp"))
    path.chmod(0o755)
    (path / "home").mkdir()
    yield path
    left = mounts_below(path)
    for mount in reversed(left):
        unmount(Path(mount.path), lazily=True)
    shutil.rmtree(path)
    assert left == []


@pytest.fixture(scope="session", autouse=True)
def leftovers() -> Iterator[None]:
    """Nothing that these tests mount may outlive them."""
    yield
    assert [m for m in all_mounts() if m.path.startswith(f"/tmp/{AREA_PREFIX}")] == []


@pytest.fixture
def manifests(area: Path) -> Manifests:
    return Manifests(area / "manifests")


@pytest.fixture
def http1(area: Path) -> Iterator[Api]:
    source = Api(area / "api")
    yield source
    source.close()


@pytest.fixture
def api(area: Path) -> Iterator[Api]:
    """The protocol that most API servers speak: HTTP/2."""
    source = Api(area / "api", http2=True)
    yield source
    source.close()


@pytest.fixture(params=API_KINDS)
def each_api(request: pytest.FixtureRequest, area: Path) -> Iterator[Api]:
    """Both protocols in turn."""
    source = Api(area / "api", http2=request.param == "http2")
    yield source
    source.close()


@pytest.fixture(params=SOURCE_KINDS)
def source(request: pytest.FixtureRequest, area: Path) -> Iterator[Source]:
    """Each kind of source in turn."""
    made = make_source(request.param, area)
    yield made
    made.close()


# ---- secretfs mount


def _finish(*made: Volume | Node | Execution) -> None:
    """Ends all of them before it fails for any."""
    failures = []
    for each in made:
        try:
            each.finish()
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n".join(failures)


@pytest.fixture
def start_mount(area: Path) -> Iterator[VolumeMaker]:
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
    _finish(*volumes)


@pytest.fixture
def mount(start_mount: VolumeMaker) -> VolumeMaker:
    """Mounts an object of a source and waits until it is readable."""

    def make(source: Source, *arguments: str, what: str = "secret/app", **options: Any) -> Volume:
        patience = ["--wait", f"{PATIENCE_SECONDS:.0f}s"] if "--wait" not in arguments else []
        return start_mount(
            *source.arguments, *patience, *arguments, what, **options
        ).wait_ready()

    return make


def _serve(
    area: Path,
    manifests: Manifests,
    *arguments: str,
    offers: bool = True,
    kernel: fuse_kernel.Kernel = fuse_kernel.Kernel(True, {}),
) -> Iterator[Service]:
    manifests.put_secret({"password": b"dummy-1", "user": b"dummy-user"})
    path = area / "volume"
    path.mkdir()
    store = DescriptorStore(area / "notify", offers=offers)
    made = Service(
        store,
        path,
        [*manifests.arguments, *arguments, "secret/app"],
        home=area / "home",
        log=area / "log",
        env=kernel.env,
        resends=kernel.resends,
    )
    yield made
    made.finish()
    store.close()
    made.check_log()


@pytest.fixture
def service(area: Path, manifests: Manifests) -> Iterator[Service]:
    """`secretfs mount` under a service manager that keeps its descriptors; not started yet."""
    yield from _serve(area, manifests)


@pytest.fixture(params=["resend", "no-resend"])
def each_kernel(request: pytest.FixtureRequest, area: Path) -> fuse_kernel.Kernel:
    """One that can send requests again (Linux 6.9), and one that cannot, or is said not to."""
    if request.param == "no-resend":
        if program.has_sanitizer() and b"__tsan_init" in program.binary().read_bytes():
            pytest.skip("TSan has its own read(2)")
        return fuse_kernel.without_resend(area)
    _need_resend()
    return fuse_kernel.Kernel(True, {})


@pytest.fixture
def each_service(
    area: Path, manifests: Manifests, each_kernel: fuse_kernel.Kernel
) -> Iterator[Service]:
    """`service` on both kinds of kernels."""
    yield from _serve(area, manifests, kernel=each_kernel)


@pytest.fixture
def live_service(area: Path, manifests: Manifests) -> Iterator[Service]:
    """The same with live files."""
    yield from _serve(area, manifests, "--updates=in-place")


@pytest.fixture
def service_without_store(area: Path, manifests: Manifests) -> Iterator[Service]:
    """The same under one that does not."""
    yield from _serve(area, manifests, offers=False)


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


# ---- secretfs node


@pytest.fixture
def start_node(area: Path) -> Iterator[NodeMaker]:
    """Starts `secretfs node ARGUMENTS`; does not wait."""
    nodes: list[Node] = []

    def make(*arguments: str, kind: type[Node] = Node, **options: Any) -> Node:
        nodes.append(kind(area, arguments, log=area / f"log{len(nodes)}", **options))
        return nodes[-1]

    yield make
    try:
        _finish(*nodes)
    finally:
        for node in nodes:
            node.unmount_all()


@pytest.fixture
def shared_root(area: Path) -> Iterator[Path]:
    """The kubelet root of `start_node` as a mount that hands on what is mounted below it."""
    root = area / "kubelet"
    root.mkdir()
    subprocess.run(["mount", "--bind", root, root], check=True)
    # a bind mount of a shared mount has its peers, and what is mounted in it is seen twice
    subprocess.run(["mount", "--make-private", root], check=True)
    subprocess.run(["mount", "--make-shared", root], check=True)
    yield root
    unmount(root, lazily=True)


@pytest.fixture
def bus(area: Path) -> Iterator[SystemBus]:
    made = SystemBus(area / "bus")
    yield made
    made.close()


@pytest.fixture
def processes(area: Path) -> Iterator[PodProcesses]:
    with pod_processes(area) as made:
        yield made


@pytest.fixture
def node(start_node: NodeMaker, manifests: Manifests) -> Node:
    """A daemon that takes objects from manifests, with one secret there."""
    manifests.put_secret({"user": b"admin", "password": b"dummy-1"})
    return start_node(*manifests.arguments).wait_ready()


@pytest.fixture
def daemon(start_node: NodeMaker, api: Api) -> Node:
    """A daemon that takes objects from an API server, with credentials of its own, which may do
    everything."""
    return start_node("--rights=daemon", *api.arguments).wait_ready()


@pytest.fixture
def node_on_api(daemon: Node, api: Api) -> Node:
    """The same with one secret there; a module makes it its `node`."""
    put(api, user="admin", password="dummy-0", host="db-0")
    return daemon


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


# What mounts a node's volumes again: these need `start_node`, to go before its daemons.


@pytest.fixture
def sub_path(start_node: NodeMaker) -> Iterator[SubPaths]:
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
def idmapped(area: Path, start_node: NodeMaker, users: UserNamespace) -> Iterator[IdMapped]:
    made = IdMapped(area / "idmapped", users)
    yield made
    made.close()


# ---- the CSI plug-in by itself


@pytest.fixture
def start_plugin(area: Path) -> Iterator[HarnessMaker]:
    """Starts plug-ins; at the end each has to come to an orderly end, unless it was killed."""
    made: list[Harness] = []

    def make(**options: int) -> Harness:
        made.append(Harness(area, **options))
        return made[-1]

    yield make
    failures = []
    for each in made:
        if each.has_refused:
            continue
        status, errors = each.finish()
        if status not in (0, -9) or "Sanitizer" in errors or "Assertion" in errors:
            failures.append(f"exit status {status}: {errors}")
    assert not failures, "\n".join(failures)


@pytest.fixture
def plugin(start_plugin: HarnessMaker) -> Harness:
    return start_plugin().started()


# ---- secretfs exec


@pytest.fixture
def start_exec(area: Path) -> Iterator[ExecutionMaker]:
    """Starts `secretfs exec ARGUMENTS`; does not wait."""
    executions: list[Execution] = []

    def make(*arguments: str | Path, **options: Any) -> Execution:
        number = len(executions)
        made = Execution(area, number, [str(part) for part in arguments], **options)
        executions.append(made)
        return made

    yield make
    _finish(*executions)


@pytest.fixture
def terminal(area: Path) -> Iterator[Terminal]:
    """A shell with job control on a terminal of its own."""
    made = Terminal(area)
    yield made
    made.close()


# ---- the keeper


@pytest.fixture
def start_keeper(area: Path) -> Iterator[Callable[..., Keeper]]:
    """Starts secretfs-keeper with these options, and a child that does what the test says."""
    started: list[Keeper] = []

    def start(*options: str, **more: Any) -> Keeper:
        started.append(Keeper(area, *options, **more))
        return started[-1]

    yield start
    for keeper in started:
        keeper.close()
        # a child's end is an error in its log, and what these tests are about
        assert not program.SUSPICIOUS.search(keeper.log().replace(" ERROR keeper: ", " "))


@pytest.fixture
def keeper(start_keeper: Callable[..., Keeper]) -> Keeper:
    """One that restarts its child without a delay."""
    return start_keeper("--backoff-max=0")


@pytest.fixture
def holder(area: Path) -> Iterator[Holder]:
    """secretfs-keeper that keeps descriptors behind a socket."""
    made = Holder(area)
    yield made
    made.close()


# ---- the development API server


@pytest.fixture
def server() -> Iterator[DevServer]:
    """A server that must be gone afterwards, threads included."""
    before = set(threading.enumerate())
    with DevServer() as running:
        yield running
    assert set(threading.enumerate()) == before


@pytest.fixture
def client(server: DevServer) -> Iterator[Client]:
    with Client(server) as connected:
        yield connected


# ---- one container with systemd, in which the Debian package gets installed


@pytest.fixture(scope="session")
def package() -> Path:
    """The package that `make deb` made; SECRETFS_DEB names another."""
    named = os.environ.get("SECRETFS_DEB")
    found = [Path(named)] if named else sorted((TOP / "build").glob("secretfs_*.deb"))
    if len(found) != 1 or not found[0].exists():
        pytest.fail("there is not just one package in build/: run `make deb`")
    return found[0]


def _dependencies(package: Path) -> list[str]:
    done = subprocess.run(
        ["dpkg-deb", "-f", str(package), "Depends"], capture_output=True, text=True, check=True
    )
    return [re.split(r"[ (|]", word.strip())[0] for word in done.stdout.split(",")]


@pytest.fixture(scope="session")
def machine(package: Path) -> Iterator[Machine]:
    """Booted, with everything that the package needs, and the package in /root."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    with tempfile.TemporaryDirectory(prefix="secretfs-systemd-", dir="/var/tmp") as directory:
        tree = Path(directory) / "tree"
        try:
            make_tree(_dependencies(package), tree)
        except TreeUnusable as reason:
            pytest.skip(f"there is no systemd to test with: {reason}")
        shutil.copy(package, tree / "root" / "secretfs.deb")
        try:
            booted = Machine(tree)
        except BootFailed as reason:
            pytest.skip(f"a container with systemd does not boot here: {reason}")
        try:
            yield booted
            booted.power_off()
        finally:
            booted.kill()


@pytest.fixture(scope="session")
def files_before(machine: Machine) -> set[str]:
    return all_files(machine)


@pytest.fixture(scope="session")
def installed(machine: Machine, files_before: set[str]) -> Machine:
    """The container once the package is installed in it."""
    machine.run("dpkg", "-i", "/root/secretfs.deb")
    return machine
