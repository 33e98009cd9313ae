"""Faults of a daemon under its keeper, and of a mount whose state cannot be stored."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Iterator

import pytest

from lib import program
from lib.descriptor_store import DescriptorStore, Service
from lib.kubelet import OK
from lib.mountinfo import mounts_at
from lib.node_daemon import KeptNode, NodeMaker
from lib.sources import Manifests
from lib.storm import number_of, read, value
from lib.volume import unmount
from lib.waiting import until

_LARGE = b"x" * 600_000  # some updates of it fill a state


@pytest.fixture
def kept(start_node: NodeMaker, manifests: Manifests) -> KeptNode:
    manifests.put_secret({"password": b"dummy-1", "cold": b"dummy-cold"})
    node = start_node(*manifests.arguments, kind=KeptNode).wait_ready()
    assert isinstance(node, KeptNode)
    return node


def test_a_stopped_daemon(kept: KeptNode) -> None:
    """What was read before stays readable; another read waits until the daemon goes on."""
    volume = kept.publish(kept.pod())
    assert read(volume.target / "password") == b"dummy-1"
    pid = kept.pid
    seen: list[bytes] = []
    cold = threading.Thread(target=lambda: seen.append(read(volume.target / "cold")))
    os.kill(pid, signal.SIGSTOP)
    try:
        assert read(volume.target / "password") == b"dummy-1"
        cold.start()
    finally:
        os.kill(pid, signal.SIGCONT)
    cold.join()
    assert seen == [b"dummy-cold"]
    assert kept.pid == pid


def test_a_daemon_without_descriptors(kept: KeptNode, manifests: Manifests) -> None:
    """EMFILE: a publish fails, published volumes stay as they are, and all of it works again after that."""
    volume, other = kept.publish(kept.pod(0)), kept.pod(1)
    kept.expected_words = "Too many open files"
    limits = resource.prlimit(kept.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(kept.pid, resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        manifests.put_secret({"password": b"dummy-2"})
        assert read(volume.target / "password") == b"dummy-1"
    finally:
        resource.prlimit(kept.pid, resource.RLIMIT_NOFILE, limits)
    until(lambda: other.publish(kept.endpoint).code == OK, "a publish")
    for each in (volume, other):
        until(lambda target=each.target: read(target / "password") == b"dummy-2", "the update")
    kept.kill_daemon()
    assert read(volume.target / "password") == b"dummy-2"


def test_a_full_run_directory(area: Path, start_node: NodeMaker, manifests: Manifests) -> None:
    """It is full when the daemon is killed: the next one takes the volumes over all the same."""
    run = area / "run"
    run.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", run], check=True)
    try:
        manifests.put_secret({"password": b"dummy-1"})
        kept = start_node(*manifests.arguments, kind=KeptNode).wait_ready()
        volume = kept.publish(kept.pod())
        with pytest.raises(OSError), open(run / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(b"\0" * 4096)
        kept.kill_daemon()
        assert read(volume.target / "password") == b"dummy-1"
        manifests.put_secret({"password": b"dummy-2"})
        until(lambda: read(volume.target / "password") == b"dummy-2", "the update")
        kept.unpublish(volume)
        kept.signal(signal.SIGTERM)
        assert kept.wait_end() == 0
    finally:
        unmount(run, lazily=True)


# ---- a state that cannot be stored


class ShortOfMemory(Service):
    """Memory for a second state fails, of both kinds: the one that replaces the first one."""

    failing: str | None = "2..3"

    def _command(self) -> list[str]:
        """strace would keep what is stored, and the connection, open after the process."""
        if self.failing is None:
            return super()._command()
        inject = f"inject=ftruncate:error=ENOMEM:when={self.failing}"
        strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=ftruncate", "-e", inject]
        return [*strace, *super()._command()]


@pytest.fixture
def short(area: Path, manifests: Manifests) -> Iterator[ShortOfMemory]:
    path = area / "volume"
    path.mkdir()
    store = DescriptorStore(area / "notify")
    arguments = [*manifests.arguments, "secret/app"]
    made = ShortOfMemory(store, path, arguments, home=area / "home", log=area / "log")
    yield made
    made.finish()
    store.close()
    made.check_log()


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
@pytest.mark.skipif(
    program.binary().exists() and program.has_sanitizer(),
    reason="LeakSanitizer cannot look at a process that is traced",
)
def test_no_memory_for_a_state(short: ShortOfMemory, manifests: Manifests) -> None:
    """The mount serves on, and is stored again some seconds later."""
    short.expected_words = "cannot store the state"
    number = 1
    manifests.put_secret({"password": value(number), "filler": _LARGE})
    short.start()
    first = _stored(short)
    for number in range(2, 40):
        if "cannot store the state" in short.log():
            break
        manifests.put_secret({"password": value(number), "filler": _LARGE})
        until(lambda: number_of(read(short.path / "password")) == number, "the update")
    else:
        pytest.fail(f"{_stored(short)} after all updates; log:\n{short.log()}")
    until(lambda: _stored(short) not in (first, []), "another state")
    short.kill()
    short.failing = None
    short.start()
    assert number_of(read(short.path / "password")) in (number - 1, number)
    assert len(mounts_at(short.path)) == 1


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
@pytest.mark.skipif(
    program.binary().exists() and program.has_sanitizer(),
    reason="LeakSanitizer cannot look at a process that is traced",
)
def test_status_of_a_state_that_is_not_stored(
    area: Path, short: ShortOfMemory, manifests: Manifests
) -> None:
    """It says why, as long as that is so; updates go on."""
    short.failing = "2+"
    short.expected_words = "cannot store the state"
    manifests.put_secret({"password": value(1)})
    short.start()
    assert "Hand-over:" not in _status(short, area)
    manifests.put_secret({"password": value(2), "filler": os.urandom(1_000_000)})
    until(lambda: number_of(read(short.path / "password")) == 2, "the update")
    for number in range(3, 20):  # until the state has no room
        if "Hand-over:" in _status(short, area):
            break
        manifests.put_secret({"password": value(number), "filler": os.urandom(1_000_000)})
        until(lambda: number_of(read(short.path / "password")) == number, "the update")
    assert "Hand-over:        cannot store the state: cannot make memory" in _status(short, area)


def _status(service: Service, area: Path) -> str:
    command = [program.binary(), "status", service.path]
    return program.run(command, home=area / "home").stdout


def _stored(service: Service) -> list[str]:
    """The numbers of the states."""
    return [name.rsplit(".", 1)[1] for name in service.store.names() if ".state." in name]
