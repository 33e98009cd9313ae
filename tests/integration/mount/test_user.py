"""An ordinary user mounts through fusermount3, and writes are refused there, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib import program
from lib.cell import PYTHON, USER, Cell
from lib.mountinfo import mounts_at
from lib.sources import Manifests
from lib.volume import Volume
from lib.waiting import until

ATTEMPTS = Path(__file__).parent / "programs" / "attempts.py"


@pytest.fixture
def user_source(area: Path) -> Manifests:
    source = Manifests(area / "manifests")
    source.put_secret({"a": b"value"})
    return source


@pytest.fixture
def user_volume(cell: Cell, start_mount, user_source: Manifests) -> Volume:
    return cell.start_mount(start_mount, *user_source.arguments).wait_ready()


def shown(cell: Cell, path: Path) -> str:
    return cell.run("cat", path).stdout


def test_user_mounts_and_reads(cell: Cell, user_volume: Volume):
    """The same layout; the user's own ids; a mount of fusermount3's."""
    assert shown(cell, user_volume.path / "a") == "value"
    listing = cell.run("stat", "-c", "%A %u:%g %n", user_volume.path, user_volume.path / "a/")
    assert listing.stdout.splitlines()[0] == f"drwxrwxrwt {USER}:{USER} {user_volume.path}"
    (info,) = mounts_at(user_volume.path, cell.pid)
    assert info.kind == "fuse.secretfs"
    assert f"user_id={USER}" in info.super_options
    assert "default_permissions" in info.super_options
    assert {"nosuid", "nodev"} <= set(info.options)


def test_user_sees_updates(cell: Cell, user_volume: Volume, user_source: Manifests):
    """The one mount serves the publisher, too."""
    before = cell.run("readlink", user_volume.path / "..data").stdout
    user_source.put_secret({"a": b"next", "b": b"more"})
    until(lambda: shown(cell, user_volume.path / "b") == "more", "the update")
    assert shown(cell, user_volume.path / "a") == "next"
    assert cell.run("readlink", user_volume.path / "..data").stdout != before


def test_user_is_refused_everything(cell: Cell, user_volume: Volume):
    """Opening for writing may succeed on the user's own mount; writing is EROFS."""
    done = cell.run(PYTHON, "-c", ATTEMPTS.read_text(), user_volume.path, "a")
    results = json.loads(done.stdout)

    other = {"setxattr": "ENOTSUP", "removexattr": "ENOTSUP"}
    unexpected = {w: r for w, r in results.items() if r != other.get(w, "EROFS")}
    assert unexpected == {}
    assert shown(cell, user_volume.path / "a") == "value"


def test_root_and_others_stay_outside(cell: Cell, user_volume: Volume):
    """X3: without allow_other the mount is the user's alone."""
    prefix = [*cell.root, "setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
    for who in (cell.root, prefix):
        refused = program.run([*who, "cat", user_volume.path / "a"], home=cell.home)
        assert refused.returncode != 0
        assert "Permission denied" in refused.stderr


def test_allow_other_needs_fuse_conf(cell: Cell, start_mount, user_source: Manifests):
    """fusermount3 refuses allow_other where /etc/fuse.conf does not have user_allow_other."""
    if "\nuser_allow_other" in Path("/etc/fuse.conf").read_text():
        pytest.skip("/etc/fuse.conf has user_allow_other")
    volume = cell.start_mount(start_mount, *user_source.arguments, "-o", "allow_other")
    volume.expected_exit = 1
    volume.wait_end()
    assert "user_allow_other" in volume.log()
    assert "could not mount" in volume.log()
    assert mounts_at(volume.path, cell.pid) == []


def test_user_status(user_volume: Volume):
    """The user's control socket is found by the user."""
    status = user_volume.status()
    assert status["volume"]["state"] == "current"
    assert status["pid"] == user_volume.pid


def test_fusermount_ends_it(cell: Cell, user_volume: Volume):
    """fusermount3 -u: the program ends by itself, with success."""
    done = cell.run("fusermount3", "-u", user_volume.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert user_volume.wait_end() == 0
    assert mounts_at(user_volume.path, cell.pid) == []


def test_unmount_command_of_a_user(cell: Cell, user_volume: Volume):
    """`secretfs unmount` returns when the program has ended."""
    done = user_volume.run("unmount", str(user_volume.path))
    assert (done.returncode, done.stderr) == (0, "")
    assert user_volume.wait_end() == 0
    assert mounts_at(user_volume.path, cell.pid) == []


def test_signal_unmounts(cell: Cell, user_volume: Volume):
    """SIGTERM to a user's program leaves no mount."""
    user_volume.finish()
    assert mounts_at(user_volume.path, cell.pid) == []


def test_killed_program_of_a_user(cell: Cell, user_volume: Volume):
    """After SIGKILL `secretfs unmount` clears the mount, and the directory is usable again."""
    user_volume.kill()
    dead = cell.run("stat", user_volume.path / "never-looked-at")
    assert "Transport endpoint is not connected" in dead.stderr

    done = user_volume.run("unmount", str(user_volume.path))
    assert (done.returncode, done.stderr) == (0, "")
    assert mounts_at(user_volume.path, cell.pid) == []
    assert cell.run("touch", user_volume.path / "usable").returncode == 0


def test_owners_as_a_user(cell: Cell, start_mount, user_source: Manifests):
    """Files can have another owner and group, as far as modes let the user read."""
    volume = cell.start_mount(
        start_mount,
        *user_source.arguments,
        "--uid",
        "1234",
        "--fs-group",
        "4711",
        "--default-mode",
        "0444",
    ).wait_ready()
    for value in (b"value", b"new"):
        user_source.put_secret({"a": value})
        until(lambda: shown(cell, volume.path / "a") == value.decode(), "the value")
        status = cell.run("stat", "-L", "-c", "%a %u:%g", volume.path / "a")
        assert status.stdout == "444 1234:4711\n"
