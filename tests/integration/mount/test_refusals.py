"""Only the daemon's publisher changes a volume, not even root."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

from lib.cell import PYTHON, USER
from lib.mountinfo import mounts_at
from lib.volume import Volume

ATTEMPTS = Path(__file__).parent / "programs" / "attempts.py"


def attempt_everything(root: Path | str, key: str, *prefix: str) -> dict[str, str]:
    command = [*prefix, PYTHON, "-c", ATTEMPTS.read_text(), str(root), key]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def not_refused(results: dict[str, str]) -> dict[str, str]:
    """What went otherwise than a writable mount of a file system that refuses writes has it."""
    other = {"setxattr": "ENOTSUP", "removexattr": "ENOTSUP"}
    return {what: r for what, r in results.items() if r != other.get(what, "EROFS")}


def test_root_is_refused_everything(manifests, mount):
    """F14: the mount is read-only, and every change fails with EROFS."""
    manifests.put_secret({"a": b"value"})
    volume = mount(manifests)

    assert os.statvfs(volume.path).f_flag & os.ST_RDONLY
    results = attempt_everything(volume.path, "a")
    assert {name: result for name, result in results.items() if result != "EROFS"} == {}
    assert volume.content() == {"a": b"value"}


def test_other_users_are_refused_everything_and_may_read(manifests, mount):
    """F1: 0644 is for everyone to read; the mount is read-only for everyone."""
    manifests.put_secret({"a": b"value"})
    volume = mount(manifests)
    other = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]

    shown = subprocess.run([*other, "cat", str(volume.path / "a")], capture_output=True, check=True)
    assert shown.stdout == b"value"
    results = attempt_everything(volume.path, "a", *other)
    assert {name for name, result in results.items() if result == "OK"} == set()
    assert volume.content() == {"a": b"value"}


def directories_of(pid: int) -> list[str]:
    """/proc/PID/fd/N of every directory that a process has open."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        try:
            if stat.S_ISDIR(os.stat(path).st_mode):
                found.append(path)
        except FileNotFoundError:
            pass
    return found


def private_views(volume: Volume) -> list[str]:
    device = volume.path.stat().st_dev
    return [path for path in directories_of(volume.pid) if os.stat(path).st_dev == device]


def test_root_cannot_write_through_the_daemons_own_view(manifests, mount):
    """X4: the writable view takes changes from the publisher's thread only."""
    manifests.put_secret({"a": b"value"})
    volume = mount(manifests)
    views = private_views(volume)
    assert len(views) == 1
    assert os.statvfs(views[0]).f_flag & os.ST_RDONLY == 0  # it is the writable one

    results = attempt_everything(views[0], "a")
    assert not_refused(results) == {}
    assert volume.content() == {"a": b"value"}


def test_the_private_view_is_in_no_mount_table(manifests, mount):
    """X4: there is one visible mount, for the daemon, too."""
    manifests.put_secret({"a": b"value"})
    volume = mount(manifests)
    for pid in ("self", volume.pid):
        assert [m.path for m in mounts_at(volume.path, pid)] == [str(volume.path)]


def test_remounting_does_not_make_it_writable(manifests, mount):
    """X4: even with its mount set writable by root, the file system refuses."""
    manifests.put_secret({"a": b"value"})
    volume = mount(manifests)
    subprocess.run(
        ["mount", "-o", "remount,bind,rw", str(volume.path)], check=True, capture_output=True
    )
    assert os.statvfs(volume.path).f_flag & os.ST_RDONLY == 0

    results = attempt_everything(volume.path, "a")
    assert not_refused(results) == {}
    assert volume.content() == {"a": b"value"}

    manifests.put_secret({"a": b"next"})
    volume.wait_content({"a": b"next"})


def test_device_and_set_user_id_flags(manifests, mount):
    """The mount is nosuid and nodev by default, and noexec if asked for."""
    manifests.put_secret({"a": b"value"})
    volume = mount(manifests, "-o", "noexec")
    (info,) = mounts_at(volume.path)
    assert {"nosuid", "nodev", "noexec"} <= set(info.options)
