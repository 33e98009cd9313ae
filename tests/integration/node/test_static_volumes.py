"""`secretfs node` and the files of its volumes directory: added, changed, removed while it runs."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from lib import program
from lib.hang import threads_named, traced
from lib.mountinfo import mounts_at
from lib.node_daemon import Node, NodeMaker
from lib.sources import Manifests
from lib.volume import unmount
from lib.waiting import until

MOVE_MOUNT = 429  # the system call; the same on all architectures


class StaticVolumes:
    """A node daemon, started by a test and maybe again, and the files that ask it for volumes."""

    def __init__(self, area: Path, manifests: Manifests, start_node: NodeMaker) -> None:
        self.area = area
        self.targets = area / "targets"
        self.directory = area / "volumes.d"
        self.manifests = manifests
        self._start_node = start_node
        self._daemon: Node | None = None
        for path in (self.targets, self.directory):
            path.mkdir()

    @property
    def daemon(self) -> Node:
        assert self._daemon is not None, "not started"
        return self._daemon

    def start(self) -> None:
        arguments = (*self.manifests.arguments, "--registration-path=none")
        self._daemon = self._start_node(*arguments).wait_ready()

    def end(self) -> int:
        self.daemon.signal(signal.SIGTERM)
        return self.daemon.wait_end()

    def reload(self) -> None:
        self.daemon.signal(signal.SIGHUP)

    def wait_log(self, text: str) -> None:
        until(lambda: text in self.daemon.log(), f"{text} in the log:\n{self.daemon.log()}")

    def put(self, name: str, target: Path | str, secret: str = "app", **more: Any) -> None:
        volume = {"secret": {"secretName": secret}}
        self.put_text(name, json.dumps({"target": str(target), "volume": volume, **more}))

    def put_text(self, name: str, text: str) -> None:
        aside = self.area / "new"
        aside.write_text(text)
        aside.rename(self.directory / f"{name}.yaml")

    def remove(self, name: str) -> None:
        (self.directory / f"{name}.yaml").unlink()


def reads(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


@pytest.fixture
def static(area: Path, manifests: Manifests, start_node: NodeMaker) -> StaticVolumes:
    manifests.put_secret({"key": b"dummy-1"})
    manifests.put_secret({"key": b"dummy-other"}, name="other")
    return StaticVolumes(area, manifests, start_node)


def test_status_names_the_file(static: StaticVolumes):
    """Which file defines a volume is seen in the table and in the document."""
    target = static.targets / "t"
    static.put("app-db", target)
    static.start()
    until(lambda: reads(target / "key", b"dummy-1"), "content")
    assert static.daemon.status()["volumes"][str(target)]["static"] == "app-db"
    done = program.run([program.binary(), "status", "-o", "wide"], home=static.daemon.home)
    (line,) = (line for line in done.stdout.splitlines() if str(target) in line)
    assert line.split()[:2] == ["-", "app-db"]


def test_files_at_the_start_are_mounted(static: StaticVolumes):
    target = static.targets / "a" / "b"
    static.put("app", target)
    static.start()
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
    (mounted,) = mounts_at(target)
    assert {"ro", "nosuid", "nodev"} <= set(mounted.options)
    static.manifests.put_secret({"key": b"dummy-2"})
    until(lambda: reads(target / "key", b"dummy-2"), "the update")
    assert static.end() == 0
    assert os.listdir(static.targets) == []


def test_file_added_changed_and_removed_is_followed(static: StaticVolumes):
    target, other = static.targets / "t", static.targets / "u"
    static.start()
    static.put("app", target)
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
    static.put("app", target, secret="other")
    until(lambda: reads(target / "key", b"dummy-other"), "another secret")
    static.put("app", other, secret="other")
    until(lambda: reads(other / "key", b"dummy-other"), "another target")
    assert not target.exists()
    static.remove("app")
    until(lambda: not other.exists(), "the end of the volume")


def test_a_change_takes_nothing_away(static: StaticVolumes):
    """Until the new volume can be shown the old one is, and what is open stays readable."""
    target = static.targets / "t"
    static.put("app", target)
    static.start()
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
    (before,) = mounts_at(target)
    held = os.open(target / "key", os.O_RDONLY)
    try:
        static.put("app", target, secret="late")
        static.put("other", static.targets / "u", secret="other")
        until(lambda: reads(static.targets / "u" / "key", b"dummy-other"), "a later file's volume")
        assert mounts_at(target) == [before]
        static.manifests.put_secret({"key": b"dummy-late"}, name="late")
        until(lambda: reads(target / "key", b"dummy-late"), "the other secret")
        (after,) = mounts_at(target)
        assert after.mount_id != before.mount_id
        assert os.pread(held, 100, 0) == b"dummy-1"
    finally:
        os.close(held)
    for secret in ("other", "app", "other"):
        static.put("app", target, secret=secret)
        content = {"app": b"dummy-1", "other": b"dummy-other"}[secret]
        until(lambda: reads(target / "key", content), secret)
    assert len(mounts_at(target)) == 1
    static.remove("app")
    until(lambda: not target.exists(), "the end of the volume")


def has_owner(path: Path, uid: int) -> bool:
    try:
        return path.stat().st_uid == uid
    except OSError:  # another volume takes its place at the moment
        return False


def test_changes_that_overtake_each_other(static: StaticVolumes):
    target = static.targets / "t"
    static.put("app", target)
    static.start()
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
    for n in range(20):
        static.put("app", target, secret="other" if n % 2 else "late", owner={"user": n + 1})
        if n == 10:
            static.manifests.put_secret({"key": b"dummy-late"}, name="late")
    until(lambda: reads(target / "key", b"dummy-other"), "the last one")
    until(lambda: has_owner(target / "key", 20), "the last owner")
    assert len(mounts_at(target)) == 1


def test_only_made_directories_are_removed(static: StaticVolumes):
    own = static.targets / "own"
    own.mkdir(mode=0o700)
    static.start()
    static.put("one", own)
    static.put("two", static.targets / "made" / "two")
    for path in (own, static.targets / "made" / "two"):
        until(lambda: reads(path / "key", b"dummy-1"), str(path))
    static.remove("one")
    static.remove("two")
    until(lambda: not (static.targets / "made").exists(), "the end of what was made")
    until(lambda: mounts_at(own) == [], "the end of the mount")
    assert own.stat().st_mode & 0o777 == 0o700


def test_a_bad_file_keeps_its_volume(static: StaticVolumes):
    target = static.targets / "t"
    static.put("app", target)
    static.start()
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
    before = mounts_at(target)
    static.put("app", target, owner={"user": "no-such-user"})
    static.wait_log("owner.user: unknown user")
    assert mounts_at(target) == before
    static.put("app", target)
    static.wait_log("is valid again")
    assert mounts_at(target) == before


def test_namespace_source_and_owner(static: StaticVolumes, area: Path):
    """Each file's volume is from where it says, and whose it says."""
    elsewhere = Manifests(area / "elsewhere")
    elsewhere.put_secret({"key": b"dummy-elsewhere"})
    target = static.targets / "t"
    static.put("app", target, source={"manifests": str(elsewhere.directory)}, owner={"user": 7})
    static.start()
    until(lambda: reads(target / "key", b"dummy-elsewhere"), "the volume")
    assert (target / "key").stat().st_uid == 7
    static.put("app", target, namespace="nowhere")
    static.manifests.put_secret({"key": b"dummy-2"}, name="marker")
    static.put("marker", static.targets / "m", secret="marker")
    until(lambda: reads(static.targets / "m" / "key", b"dummy-2"), "a later file's volume")
    assert (target / "key").read_bytes() == b"dummy-elsewhere"


@pytest.mark.parametrize("has_previous", [False, True])
def test_a_change_while_a_mount_is_in_progress(static: StaticVolumes, has_previous: bool):
    """What readers see already stays, although the daemon does not know yet that it is mounted."""
    target = static.targets / "t"
    static.put("marker", static.targets / "m")
    if has_previous:
        static.put("app", target)
    static.start()
    until(lambda: reads(static.targets / "m" / "key", b"dummy-1"), "a publisher")
    until(lambda: not has_previous or reads(target / "key", b"dummy-1"), "the previous volume")
    (publisher,) = threads_named(static.daemon.pid, "publisher")
    with traced(static.daemon.pid, publisher) as thread:
        static.put("app", target, secret="other")
        thread.run_until_after(MOVE_MOUNT)
        static.put("app", target, namespace="nowhere")
        static.put_text("bad", "{}")
        static.wait_log("invalid file of a static volume")  # the same scan, or a later one
    static.put("marker", static.targets / "m", secret="other")
    until(lambda: reads(static.targets / "m" / "key", b"dummy-other"), "a later file's volume")
    assert reads(target / "key", b"dummy-other")
    static.put("app", target)
    until(lambda: reads(target / "key", b"dummy-1"), "the next volume")
    assert len(mounts_at(target)) == 1


def test_an_object_that_comes_later(static: StaticVolumes):
    target = static.targets / "t"
    static.put("app", target, secret="late")
    static.start()
    assert mounts_at(target) == []
    static.manifests.put_secret({"key": b"dummy-late"}, name="late")
    until(lambda: reads(target / "key", b"dummy-late"), "the volume")


def test_crash_leaves_nothing_that_the_next_daemon_does_not_clear(static: StaticVolumes):
    """What it has left mounted is taken down, what it made is removed, and the rest is shown."""
    kept, dropped = static.targets / "kept", static.targets / "deep" / "dropped"
    static.put("kept", kept)
    static.put("dropped", dropped)
    static.start()
    for path in (kept, dropped):
        until(lambda: reads(path / "key", b"dummy-1"), str(path))
    static.daemon.kill()
    static.remove("dropped")
    static.manifests.put_secret({"key": b"dummy-2"})  # the dead mount still shows what is cached
    static.start()
    until(lambda: reads(kept / "key", b"dummy-2"), "the volume")
    assert len(mounts_at(kept)) == 1
    until(lambda: not (static.targets / "deep").exists(), "the end of what was made")


def test_reload_mounts_again_what_was_unmounted(static: StaticVolumes):
    """A mount that was unmounted by hand is mounted again."""
    target = static.targets / "t"
    static.put("app", target)
    static.start()
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
    unmount(target)
    static.reload()
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
