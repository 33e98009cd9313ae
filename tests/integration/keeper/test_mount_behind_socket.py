"""`secretfs mount` with a keeper in another place: SECRETFS_KEEPER_SOCKET."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Callable, Iterator

import pytest

from lib import program
from lib.holder import Holder
from lib.mountinfo import mounts_at
from lib.process import Process
from lib.sources import Manifests
from lib.volume import unmount
from lib.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="these tests mount as root"
)

StartMount = Callable[..., Process]


@pytest.fixture
def path(area: Path) -> Path:
    made = area / "volume"
    made.mkdir()
    return made


@pytest.fixture
def start(area: Path, path: Path, holder: Holder, manifests: Manifests) -> Iterator[StartMount]:
    """Starts a process that does not wait for an earlier one."""
    manifests.put_secret({"password": b"dummy-1", "user": b"dummy-user"})
    started: list[Process] = []

    def start(*prefix: str) -> Process:
        env = program.environment(area, SECRETFS_KEEPER_SOCKET=str(holder.path))
        command = [*prefix, program.binary(), "mount", "-f", *manifests.arguments, "secret/app", path]
        started.append(Process("secretfs mount", command, area / "mount.log", env))
        return started[-1]

    yield start
    for process in started:
        if process.exit_code() is None:
            process.stop(signal.SIGTERM)
    while mounts_at(path):
        unmount(path)


def content(path: Path) -> bytes:
    """Without Python's open(), which asks the daemon each time whether the file is a terminal."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


def wait_log(area: Path, pattern: str, count: int = 1) -> None:
    log = area / "mount.log"
    try:
        until(lambda: len(re.findall(pattern, log.read_text())) >= count, f"{count} times {pattern}")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text()}") from None


def test_the_mount_outlives_the_process(
    area: Path, path: Path, start: StartMount, manifests: Manifests
) -> None:
    process = start()
    wait_log(area, "INFO mounted ")
    assert content(path / "password") == b"dummy-1"
    for count in (1, 2, 3):
        process.send(signal.SIGKILL)
        process = start()
        assert content(path / "user") == b"dummy-user"
        wait_log(area, "took over the mount", count)
    manifests.put_secret({"password": b"dummy-2"})
    until(lambda: content(path / "password") == b"dummy-2")


def test_a_rolling_update(area: Path, path: Path, start: StartMount) -> None:
    """The next process starts before the earlier one has let go."""
    old = start()
    wait_log(area, "INFO mounted ")
    for count in (1, 2):
        new = start()
        old.send(signal.SIGUSR2)
        assert old.wait(PATIENCE_SECONDS) == 0
        assert content(path / "password") == b"dummy-1"
        wait_log(area, "took over the mount", count)
        old = new


def test_a_hand_over_with_a_check(area: Path, path: Path, start: StartMount, holder: Holder) -> None:
    """The check does not wait for what the running process is connected to."""
    keeper = start(str(program.binary().with_name("secretfs-keeper")), "--check", "--")
    wait_log(area, "INFO mounted ")
    keeper.send(signal.SIGHUP)
    wait_log(area, "took over the mount")
    assert content(path / "password") == b"dummy-1"


def test_a_new_keeper(
    area: Path, path: Path, start: StartMount, holder: Holder, manifests: Manifests
) -> None:
    """The process stores everything again, also while there was no keeper for a time."""
    process = start()
    wait_log(area, "INFO mounted ")
    holder.process.stop(signal.SIGTERM)
    wait_log(area, "the keeper has ended; until the next one runs, mounts end with this process")
    manifests.put_secret({"password": b"dummy-2"})
    until(lambda: content(path / "password") == b"dummy-2")
    next_holder = Holder(area)
    try:
        wait_log(area, "connected to a new keeper")
        next_holder.wait_log("takes 0 descriptors")
        process.send(signal.SIGKILL)
        start()
        wait_log(area, "took over the mount")
        assert content(path / "password") == b"dummy-2"
        next_holder.wait_log("takes 3 descriptors")
    finally:
        next_holder.close()


def test_a_keeper_that_starts_later(
    area: Path, path: Path, start: StartMount, holder: Holder
) -> None:
    """The mount is there without it, and is stored as soon as it runs."""
    holder.process.stop(signal.SIGTERM)
    process = start()
    wait_log(area, "no keeper runs yet; until it does, mounts end with this process")
    wait_log(area, "INFO mounted ")
    assert content(path / "password") == b"dummy-1"
    later = Holder(area)
    try:
        wait_log(area, "connected to a new keeper")
        process.send(signal.SIGKILL)
        start()
        assert content(path / "user") == b"dummy-user"
        wait_log(area, "took over the mount")
    finally:
        later.close()


def test_sigterm_with_a_keeper(area: Path, path: Path, start: StartMount) -> None:
    process = start()
    wait_log(area, "INFO mounted ")
    assert content(path / "password") == b"dummy-1"
    assert process.stop(signal.SIGTERM) == 0
    wait_log(area, "handing the mount over")
    assert content(path / "password") == b"dummy-1"
    start()
    assert content(path / "user") == b"dummy-user"
    wait_log(area, "took over the mount")


def test_sigterm_without_a_keeper(
    area: Path, path: Path, start: StartMount, holder: Holder
) -> None:
    """The mount would be dead: it goes."""
    process = start()
    wait_log(area, "INFO mounted ")
    holder.process.stop(signal.SIGKILL)
    assert process.stop(signal.SIGTERM) == 0
    assert mounts_at(path) == []


def test_another_pid_namespace(area: Path, path: Path, start: StartMount) -> None:
    """The kernel could not tell the next process's publisher from a reader, so it mounts again."""
    process = start()
    wait_log(area, "INFO mounted ")
    assert content(path / "password") == b"dummy-1"
    process.send(signal.SIGKILL)
    other = start("unshare", "--pid", "--fork", "--kill-child")
    wait_log(area, "cannot take the mount over; mounting again.*another PID namespace")
    wait_log(area, "INFO mounted ", 2)
    assert content(path / "password") == b"dummy-1"
    other.stop(signal.SIGKILL)  # SIGTERM does not reach the child of unshare(1)
