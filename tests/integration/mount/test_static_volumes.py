"""`secretfs node` and the files of its volumes directory: added, changed, removed while it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Iterator

import pytest

from lib import program
from lib.mountinfo import mounts_at, mounts_below
from lib.sources import Manifests
from lib.volume import unmount
from lib.waiting import PATIENCE_SECONDS, until


class Node:
    """A node daemon that nobody but files asks for volumes."""

    def __init__(self, area: Path, manifests: Manifests) -> None:
        self.area = area
        self.targets = area / "targets"
        self.directory = area / "volumes.d"
        self.manifests = manifests
        self.log_path = area / "node.log"
        for path in (self.targets, self.directory, area / "kubelet"):
            path.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [program.binary(), "node", *self.manifests.arguments]
        command += ["--run-dir", self.area / "run", "--volumes-dir", self.directory]
        command += ["--kubelet-root", self.area / "kubelet", "--registration-path", "none"]
        command += ["--endpoint", self.area / "csi.sock", "--metrics-bind-address", "0"]
        n_served = self.log().count(" INFO serving ")
        with open(self.log_path, "ab") as output:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=program.environment(self.area / "home"),
            )
        until(lambda: self.log().count(" INFO serving ") > n_served or self.has_ended(), "start")
        assert not self.has_ended(), self.log()

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(PATIENCE_SECONDS)

    def reload(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def wait_log(self, text: str) -> None:
        until(lambda: text in self.log(), f"{text} in the log:\n{self.log()}")

    def put(self, name: str, target: Path | str, secret: str = "app", **more: Any) -> None:
        volume = {"secret": {"secretName": secret}}
        self.put_text(name, json.dumps({"target": str(target), "volume": volume, **more}))

    def put_text(self, name: str, text: str) -> None:
        aside = self.area / "new"
        aside.write_text(text)
        aside.rename(self.directory / f"{name}.yaml")

    def remove(self, name: str) -> None:
        (self.directory / f"{name}.yaml").unlink()

    def destroy(self) -> None:
        if not self.has_ended():
            self.end(signal.SIGKILL)
        for mount in reversed(mounts_below(self.area)):
            unmount(Path(mount.path), lazily=True)


def reads(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


@pytest.fixture
def node(area: Path, manifests: Manifests) -> Iterator[Node]:
    made = Node(area, manifests)
    manifests.put_secret({"key": b"dummy-1"})
    manifests.put_secret({"key": b"dummy-other"}, name="other")
    yield made
    try:
        if not made.has_ended():
            assert made.end() == 0, made.log()
        assert not program.SUSPICIOUS.search(made.log()), made.log()
        assert mounts_below(area) == [], made.log()
    finally:
        made.destroy()


def test_what_is_there_at_the_start(node: Node):
    target = node.targets / "a" / "b"
    node.put("app", target)
    node.start()
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
    (mounted,) = mounts_at(target)
    assert {"ro", "nosuid", "nodev"} <= set(mounted.options)
    node.manifests.put_secret({"key": b"dummy-2"})
    until(lambda: reads(target / "key", b"dummy-2"), "the update")
    assert node.end() == 0
    assert os.listdir(node.targets) == []


def test_added_changed_and_removed(node: Node):
    target, other = node.targets / "t", node.targets / "u"
    node.start()
    node.put("app", target)
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
    node.put("app", target, secret="other")
    until(lambda: reads(target / "key", b"dummy-other"), "another secret")
    node.put("app", other, secret="other")
    until(lambda: reads(other / "key", b"dummy-other"), "another target")
    assert not target.exists()
    node.remove("app")
    until(lambda: not other.exists(), "the end of the volume")


def test_a_change_takes_nothing_away(node: Node):
    """Until the new volume can be shown the old one is, and what is open stays readable."""
    target = node.targets / "t"
    node.put("app", target)
    node.start()
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
    (before,) = mounts_at(target)
    held = os.open(target / "key", os.O_RDONLY)
    try:
        node.put("app", target, secret="late")
        node.put("other", node.targets / "u", secret="other")
        until(lambda: reads(node.targets / "u" / "key", b"dummy-other"), "a later file's volume")
        assert mounts_at(target) == [before]
        node.manifests.put_secret({"key": b"dummy-late"}, name="late")
        until(lambda: reads(target / "key", b"dummy-late"), "the other secret")
        (after,) = mounts_at(target)
        assert after.mount_id != before.mount_id
        assert os.pread(held, 100, 0) == b"dummy-1"
    finally:
        os.close(held)
    for secret in ("other", "app", "other"):
        node.put("app", target, secret=secret)
        content = {"app": b"dummy-1", "other": b"dummy-other"}[secret]
        until(lambda: reads(target / "key", content), secret)
    assert len(mounts_at(target)) == 1
    node.remove("app")
    until(lambda: not target.exists(), "the end of the volume")


def has_owner(path: Path, uid: int) -> bool:
    try:
        return path.stat().st_uid == uid
    except OSError:  # another volume takes its place at the moment
        return False


def test_changes_that_overtake_each_other(node: Node):
    target = node.targets / "t"
    node.put("app", target)
    node.start()
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
    for n in range(20):
        node.put("app", target, secret="other" if n % 2 else "late", owner={"user": n + 1})
        if n == 10:
            node.manifests.put_secret({"key": b"dummy-late"}, name="late")
    until(lambda: reads(target / "key", b"dummy-other"), "the last one")
    until(lambda: has_owner(target / "key", 20), "the last owner")
    assert len(mounts_at(target)) == 1


def test_only_made_directories_are_removed(node: Node):
    own = node.targets / "own"
    own.mkdir(mode=0o700)
    node.start()
    node.put("one", own)
    node.put("two", node.targets / "made" / "two")
    for path in (own, node.targets / "made" / "two"):
        until(lambda: reads(path / "key", b"dummy-1"), str(path))
    node.remove("one")
    node.remove("two")
    until(lambda: not (node.targets / "made").exists(), "the end of what was made")
    until(lambda: mounts_at(own) == [], "the end of the mount")
    assert own.stat().st_mode & 0o777 == 0o700


def test_a_bad_file_keeps_its_volume(node: Node):
    target = node.targets / "t"
    node.put("app", target)
    node.start()
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
    before = mounts_at(target)
    node.put("app", target, owner={"user": "no-such-user"})
    node.wait_log("owner.user: there is no user")
    assert mounts_at(target) == before
    node.put("app", target)
    node.wait_log("is good again")
    assert mounts_at(target) == before


def test_namespace_source_and_owner(node: Node, area: Path):
    """Each file's volume is from where it says, and whose it says."""
    elsewhere = Manifests(area / "elsewhere")
    elsewhere.put_secret({"key": b"dummy-elsewhere"})
    target = node.targets / "t"
    node.put("app", target, source={"manifests": str(elsewhere.directory)}, owner={"user": 7})
    node.start()
    until(lambda: reads(target / "key", b"dummy-elsewhere"), "the volume")
    assert (target / "key").stat().st_uid == 7
    node.put("app", target, namespace="nowhere")
    node.manifests.put_secret({"key": b"dummy-2"}, name="marker")
    node.put("marker", node.targets / "m", secret="marker")
    until(lambda: reads(node.targets / "m" / "key", b"dummy-2"), "a later file's volume")
    assert (target / "key").read_bytes() == b"dummy-elsewhere"


def test_an_object_that_comes_later(node: Node):
    target = node.targets / "t"
    node.put("app", target, secret="late")
    node.start()
    assert mounts_at(target) == []
    node.manifests.put_secret({"key": b"dummy-late"}, name="late")
    until(lambda: reads(target / "key", b"dummy-late"), "the volume")


def test_after_a_crash(node: Node):
    """What it has left mounted is taken down, what it made is removed, and the rest is shown."""
    kept, dropped = node.targets / "kept", node.targets / "deep" / "dropped"
    node.put("kept", kept)
    node.put("dropped", dropped)
    node.start()
    for path in (kept, dropped):
        until(lambda: reads(path / "key", b"dummy-1"), str(path))
    node.end(signal.SIGKILL)
    node.remove("dropped")
    node.start()
    until(lambda: reads(kept / "key", b"dummy-1"), "the volume")
    assert len(mounts_at(kept)) == 1
    until(lambda: not (node.targets / "deep").exists(), "the end of what was made")


def test_reload_looks_again(node: Node):
    """A mount that somebody took away is put back."""
    target = node.targets / "t"
    node.put("app", target)
    node.start()
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
    unmount(target)
    node.reload()
    until(lambda: reads(target / "key", b"dummy-1"), "the volume")
