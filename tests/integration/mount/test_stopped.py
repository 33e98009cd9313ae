"""Commands beside a process that is stopped or hangs: they answer, and send it no request."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from lib import program
from lib.mountinfo import mounts_at
from lib.sources import Manifests
from lib.volume import Volume
from lib.waiting import PATIENCE_SECONDS, until

@pytest.fixture
def stopped(manifests: Manifests, start_mount) -> Iterator[Volume]:
    """A mount whose process does not run, and whose content the kernel has not cached."""
    manifests.put_secret({"a": b"value"})
    volume = start_mount(*manifests.arguments, "secret/app").wait_ready()
    volume.signal(signal.SIGSTOP)
    try:
        yield volume
    finally:
        volume.signal(signal.SIGCONT)


def _run(volume: Volume, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(volume.binary), *map(str, arguments)]
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=program.environment(volume.home),
        check=False,
    )


@pytest.mark.parametrize("below", ["", "a", "..data/a", "missing"])
def test_status_of_a_path(stopped: Volume, below: str):
    """The mount point and what is below it: the message names the process and what to do."""
    done = _run(stopped, "status", stopped.path / below)
    assert done.returncode == 1
    assert f"process {stopped.pid} does not answer: it is stopped or hangs" in done.stderr
    assert f"kill -CONT {stopped.pid}" in done.stderr


def test_status_by_a_link_into_the_mount(stopped: Volume, area: Path):
    """A symbolic link elsewhere that leads to a file of the volume."""
    (area / "link").symlink_to(stopped.path / "a")
    done = _run(stopped, "status", area / "link")
    assert done.returncode == 1
    assert f"process {stopped.pid} does not answer" in done.stderr


def test_status_list(stopped: Volume, manifests: Manifests, mount):
    """The volumes of other processes are listed beside it."""
    other = mount(manifests)
    done = _run(stopped, "status")
    assert done.returncode == 1
    assert str(other.path) in done.stdout
    assert f"the mount at {stopped.path}: process {stopped.pid} does not answer" in done.stderr
    (line,) = (line for line in done.stdout.splitlines() if str(stopped.path) in line)
    assert line.split()[3] == "unknown"


def test_status_list_beside_several_that_hang(stopped: Volume, manifests: Manifests, mount):
    """They are waited for together, and each has a line; a volume that answers is not delayed by
    them beyond what it needs, so all of it is there."""
    others = [mount(manifests) for _ in range(6)]
    hanging, serving = [stopped, *others[::2]], others[1::2]
    expected = {str(v.path): "unknown" for v in hanging} | {str(v.path): "current" for v in serving}

    def states() -> dict[str, str]:
        listed = json.loads(_run(stopped, "status", "-o", "json").stdout)["items"]
        return {item["mountpoint"]: item["volume"]["state"] for item in listed}

    for volume in hanging[1:]:
        volume.signal(signal.SIGSTOP)
    try:
        until(lambda: expected.items() <= states().items(), "each volume with its state")
    finally:
        for volume in hanging[1:]:
            volume.signal(signal.SIGCONT)


def test_status_of_a_process_that_many_clients_wait_for(stopped: Volume):
    """Not even connect(2) waits: the queue of connections is full."""
    clients = [
        subprocess.Popen(
            [stopped.binary, "status", stopped.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=program.environment(stopped.home),
        )
        for _ in range(40)
    ]
    try:
        for client in clients:
            assert client.wait(PATIENCE_SECONDS) == 1
    finally:
        for client in clients:
            client.kill()
            client.wait()


@pytest.mark.parametrize("option", ["", "--lazy"])
def test_unmount(stopped: Volume, option: str):
    """The mount goes; the process is named, since it is still there."""
    done = _run(stopped, "unmount", *filter(None, [option]), stopped.path)
    assert done.returncode == 1
    assert f"{stopped.path} was unmounted, but process {stopped.pid}" in done.stderr
    assert f"kill -KILL {stopped.pid}" in done.stderr
    assert mounts_at(stopped.path) == []


def test_unmount_below_the_mount_point(stopped: Volume):
    """Refused without a request for the path."""
    done = _run(stopped, "unmount", stopped.path / "a")
    assert done.returncode == 1
    assert "below the mount point of a secretfs mount" in done.stderr
    assert len(mounts_at(stopped.path)) == 1


def test_status_below_a_dead_mount(stopped: Volume):
    """After the end of the process it is dead, and status says so."""
    stopped.kill()
    done = _run(stopped, "status", stopped.path / "a")
    assert done.returncode == 1
    assert f"secretfs unmount {stopped.path}" in done.stderr
