"""mount.fuse.secretfs, as mount(8) calls it: options, exit codes, and what it leaves running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Callable, Iterator

import pytest

from lib import program
from lib.mountinfo import mounts_at
from lib.sources import Manifests
from lib.volume import unmount
from lib.waiting import PATIENCE_SECONDS, until

Helper = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def point(area: Path) -> Iterator[Path]:
    path = area / "point"
    path.mkdir()
    yield path
    for _ in mounts_at(path):
        unmount(path, lazily=True)


@pytest.fixture
def helper(area: Path, manifests: Manifests) -> Helper:
    """Calls it by its own name with `-o rw,manifests=...` and the test's options."""
    binary = area / "mount.fuse.secretfs"
    binary.symlink_to(program.binary())
    manifests.put_secret({"password": b"dummy-1"})

    def call(source: str, point: Path, options: str = "", *more: str):
        text = f"rw,manifests={manifests.directory}" + (f",{options}" if options else "")
        return program.run([binary, source, point, "-o", text, *more], home=area / "home")

    return call


def daemon_of(point: Path) -> int:
    done = program.run([program.binary(), "status", "-o", "json", point], home=point.parent)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["pid"])


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_it_returns_when_readable_and_ends_with_the_mount(helper: Helper, point: Path):
    done = helper("secret/app", point, "noauto,nofail,_netdev,x-systemd.automount,X-mount.mkdir")
    assert (done.returncode, done.stdout) == (0, "")
    assert (point / "password").read_bytes() == b"dummy-1"
    pid = daemon_of(point)
    unmount(point)
    until(lambda: has_ended(pid), "the end of the daemon")


def test_an_update_reaches_such_a_mount(helper: Helper, point: Path, manifests: Manifests):
    assert helper("secret/app", point).returncode == 0
    manifests.put_secret({"password": b"dummy-2"})
    until(lambda: (point / "password").read_bytes() == b"dummy-2", "the update")


def test_what_is_mounted_is_what_fstab_says(helper: Helper, point: Path, area: Path):
    """Or `mount -a` would mount it again."""
    spec = {"name": "v", "projected": {"sources": [{"secret": {"name": "app"}}]}}
    (area / "volume.json").write_text(json.dumps(spec))
    options = f"volume={area}/volume.json,default_mode=0400"
    assert helper("words", point, options).returncode == 1
    options = f"volume={area}/volume.json,noexec,uid=7"
    assert helper("words", point, options).returncode == 0
    (mounted,) = mounts_at(point)
    assert (mounted.kind, mounted.source) == ("fuse.secretfs", "words")
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mounted.options)
    assert os.stat(point / "password").st_uid == 7


@pytest.mark.parametrize(
    "source, options, code, message",
    [
        ("app", "", 1, 'invalid object "app"'),
        ("secret/app", "sparkle", 1, 'unknown mount option "sparkle"'),
        ("secret/app", "remount", 1, "cannot be remounted"),
        ("secret/app", "uid=me", 1, '--uid: invalid user or group id "me"'),
        ("secret/none", "wait=0", 32, 'secret "none" not found'),
        ("words", "volume=/no/such/file", 32, "cannot read /no/such/file"),
    ],
)
def test_exit_codes_are_those_of_mount(
    helper: Helper, point: Path, source: str, options: str, code: int, message: str
):
    done = helper(source, point, options)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.startswith("mount.fuse.secretfs: ")
    assert mounts_at(point) == []


def test_missing_mount_point_exits_with_32(helper: Helper, point: Path):
    done = helper("secret/app", point / "none")
    assert done.returncode == 32
    assert "create the directory first" in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["-N", "x"], "nsenter"),
        (["-x"], "unknown option -x"),
        (["-t", "ext4"], 'unknown type "ext4"'),
        (["-t"], "option -t needs a value"),
        (["third"], "a source and a directory are required"),
    ],
)
def test_helper_refuses_wrong_calls(
    helper: Helper, point: Path, arguments: list[str], message: str
):
    done = helper("secret/app", point, "", *arguments)
    assert done.returncode == 1
    assert message in done.stderr


def test_helper_obeys_the_flags_of_mount(helper: Helper, point: Path):
    """-f mounts nothing but checks; -s forgives what is not known; -n and -v mean nothing."""
    assert helper("secret/app", point, "", "-f").returncode == 0
    assert helper("secret/app", point, "sparkle", "-f").returncode == 1
    assert mounts_at(point) == []
    done = helper("secret/app", point, "sparkle,glitter=1", "-snv", "-t", "fuse.secretfs")
    assert done.returncode == 0, done.stderr
    assert len(mounts_at(point)) == 1


def test_an_interrupt_ends_all_of_it(helper: Helper, point: Path, area: Path):
    """While the command waits for the object, a user at a terminal can give up."""
    options = f"manifests={area}/manifests,wait=forever"
    command = [area / "mount.fuse.secretfs", "secret/none", point, "-o", options]
    waiting = subprocess.Popen(command, start_new_session=True)
    try:
        daemon = child_of(child_of(waiting.pid))  # the command is a keeper in the background
        # it has its event loop, and takes signals, once it follows the manifests
        until(lambda: is_polling(daemon), "the daemon to wait")
        os.killpg(waiting.pid, signal.SIGINT)
        waiting.wait(PATIENCE_SECONDS)
        until(lambda: has_ended(daemon), "the end of the daemon")
    finally:
        waiting.kill()
        waiting.wait()
    assert mounts_at(point) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_ended_leaves_no_mount(
    number: int, point: Path, area: Path, manifests: Manifests
):
    """As by timeout(1): the processes that would go to the background end with the command."""
    command = [program.binary(), "mount", *manifests.arguments, "--wait=forever", "secret/none", point]
    waiting = subprocess.Popen(command, start_new_session=True)
    try:
        daemon = child_of(child_of(waiting.pid))  # the command is a keeper in the background
        until(lambda: is_polling(daemon), "the daemon to wait")
        waiting.send_signal(number)
        waiting.wait(PATIENCE_SECONDS)
        until(lambda: has_ended(daemon), "the end of the daemon")
    finally:
        waiting.kill()
        waiting.wait()
        with suppress(ProcessLookupError):
            os.killpg(waiting.pid, signal.SIGTERM)
    assert mounts_at(point) == []


def child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    until(lambda: children.read_text().split(), f"a child of process {pid}")
    return int(children.read_text().split()[0])


def is_polling(pid: int) -> bool:
    try:
        links = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    except FileNotFoundError:  # one was closed meanwhile
        return False
    return "anon_inode:inotify" in links
