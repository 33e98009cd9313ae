"""What a machine can do to the daemon: no memory, no room in /run, a frozen control group."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

import pytest

from lib import cgroup, program
from lib.cgroup import Cgroup
from lib.grpc_client import Gone
from lib.kubelet import PodVolume
from lib.node_daemon import Node, NodeMaker, is_shown, read
from lib.service_manager import Manager
from lib.sources import Manifests, Source
from lib.volume import unmount
from lib.waiting import until

_HANGS_SECONDS = 30.0  # far above the 2 s that `secretfs health` promises
KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE


def health(node: Node) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program.binary()), "health", f"--run-dir={node.run_dir}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_HANGS_SECONDS,
        env=program.environment(node.home),
        check=False,
    )


def rights(source: Source) -> list[str]:
    return [] if isinstance(source, Manifests) else ["--rights=daemon"]


def shows(volume: PodVolume, key: str, value: bytes) -> None:
    until(lambda: read(volume, key) == value, f"{volume.target}/{key} shows {value[:20]!r}")


# ---- a frozen control group


@pytest.fixture
def freezer() -> Iterator[Cgroup]:
    with cgroup.freezer() as made:
        yield made


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as made:
        yield made


def test_frozen_control_group(
    freezer: Cgroup,
    start_node: NodeMaker,
    source: Source,
    area: Path,
    executor: ThreadPoolExecutor,
) -> None:
    """Readers get content or wait; health says so; after it every volume is current."""
    manager = Manager(area / "notify")
    env = {**manager.env, "WATCHDOG_USEC": "100000"}
    source.put_secret({"user": b"0"})
    node = start_node(*rights(source), *source.arguments, env=env).wait_ready()
    volumes = [node.publish(node.pod(number)) for number in range(3)]
    assert [read(volume, "user") for volume in volumes] == [b"0"] * 3
    until(lambda: health(node).returncode == 0, "healthy")
    manager.wait("WATCHDOG=1", 3)

    freezer.add(node.pid)
    freezer.freeze()
    try:
        reason = f"process {node.pid} does not answer: it is stopped or hangs"
        until(lambda: reason in health(node).stderr, "the check fails")
        n_notified = manager.lines().count("WATCHDOG=1")
        for value in (b"1", b"2", b"3"):
            source.put_secret({"user": value})
        readers = [executor.submit(read, volume, "user") for volume in volumes]
        assert manager.lines().count("WATCHDOG=1") == n_notified
    finally:
        freezer.thaw()
    assert {reader.result() for reader in readers} <= {b"0", b"1", b"2", b"3"}
    for volume in volumes:
        shows(volume, "user", b"3")
    until(lambda: health(node).returncode == 0, "healthy again")
    manager.wait("WATCHDOG=1", n_notified + 2)
    source.put_secret({"user": b"4"})
    for volume in volumes:
        shows(volume, "user", b"4")
    node.signal(signal.SIGTERM)
    assert node.wait_end() == 0  # before its control group goes


# ---- the end of memory


@pytest.fixture
def memory() -> Iterator[Cgroup]:
    with cgroup.memory() as made:
        yield made


def outcome(volume: PodVolume, key: str) -> bytes | str:
    try:
        return read(volume, key)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def publish_large_secrets(node: Node, manifests: Manifests) -> None:
    """Of 1 MB each, which are locked, until the daemon has ended."""
    for number in range(1, 64):
        name = f"large-{number}"
        manifests.put_secret({"x": os.urandom(500 * KIBIBYTE).hex().encode()}, name=name)
        volume = node.pod(number, secret=name)
        volume.target.parent.mkdir(parents=True, exist_ok=True)
        try:
            volume.publish(node.endpoint)
        except (OSError, Gone):
            return
    raise AssertionError(f"it has not been killed:\n{node.log()}")


@pytest.mark.parametrize("together", [False, True], ids=["alone", "oom.group"])
def test_out_of_memory(
    memory: Cgroup, start_node: NodeMaker, manifests: Manifests, together: bool
) -> None:
    """The kernel kills it: readers get the content or ENOTCONN; the next one shows the newest."""
    if together and not memory.kills_together():
        pytest.skip("control groups have no memory.oom.group here")
    manifests.put_secret({"user": b"0"})
    node = start_node(*manifests.arguments).wait_ready()
    volume = node.publish(node.pod())
    memory.add(node.pid)
    memory.limit_memory(4 * MEBIBYTE)
    node.expected_exit = -signal.SIGKILL
    publish_large_secrets(node, manifests)
    assert node.wait_end() == -signal.SIGKILL
    assert outcome(volume, "user") in (b"0", "ENOTCONN", "ECONNABORTED")

    manifests.put_secret({"user": b"1"})
    following = start_node(*manifests.arguments).wait_ready()
    following.publish(volume)
    assert is_shown(volume)
    assert read(volume, "user") == b"1"


# ---- no room in the run directory


class FullTmpfs:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700)
        options = "size=64k,nr_inodes=32,mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)

    def fill(self) -> None:
        """All its inodes and all its pages."""
        (self.path / "ballast").mkdir(exist_ok=True)
        for number in range(32):
            try:
                (self.path / "ballast" / str(number)).write_bytes(bytes(64 * KIBIBYTE))
            except OSError as error:
                assert error.errno == errno.ENOSPC

    def make_room(self) -> None:
        subprocess.run(["rm", "-r", self.path / "ballast"], check=True)


@pytest.fixture
def small_run(area: Path) -> Iterator[FullTmpfs]:
    made = FullTmpfs(area / "run")
    yield made
    unmount(made.path, lazily=True)


def test_run_directory_is_full_at_the_start(
    small_run: FullTmpfs, start_node: NodeMaker, manifests: Manifests
) -> None:
    """It ends with the reason, leaves nothing behind, and starts when there is room."""
    manifests.put_secret({"user": b"0"})
    small_run.fill()
    node = start_node(*manifests.arguments)
    node.expected_exit = 1
    node.expected_words = "No space left on device"
    assert node.wait_end() == 1
    assert "No space left on device" in node.log()
    assert node.mounts() == []

    small_run.make_room()
    following = start_node(*manifests.arguments).wait_ready()
    assert read(following.publish(following.pod()), "user") == b"0"


def test_run_directory_becomes_full(
    small_run: FullTmpfs, start_node: NodeMaker, manifests: Manifests, area: Path
) -> None:
    """Publishing, updates, health and status go on; directories of static volumes are not recorded."""
    volumes_dir = area / "volumes.d"
    volumes_dir.mkdir()
    manifests.put_secret({"user": b"0"})
    node = start_node(*manifests.arguments).wait_ready()
    small_run.fill()
    volume = node.publish(node.pod())
    live = node.publish(node.pod(1, attributes={"secretName": "app", "updates": "in-place"}))
    until(lambda: health(node).returncode == 0, "healthy")
    assert set(node.status()["volumes"]) == {str(volume.target), str(live.target)}
    manifests.put_secret({"user": b"1"})
    for each in (volume, live):
        shows(each, "user", b"1")
    node.unpublish(volume)

    target = area / "created" / "static"
    document = {"target": str(target), "volume": {"secret": {"secretName": "app"}}}
    (area / "static.yaml").write_text(json.dumps(document))
    os.rename(area / "static.yaml", volumes_dir / "static.yaml")
    until(lambda: (target / "user").exists(), "the static volume")
    assert "WARN cannot record the created directories" in node.log()
    (volumes_dir / "static.yaml").unlink()
    until(lambda: not target.parent.exists(), "the created directories to go")
