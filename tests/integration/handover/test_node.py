"""`secretfs-keeper -- secretfs node`: pods' volumes outlive the daemon."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Callable

import pytest

from lib.fuse_kernel import Kernel
from lib.kubelet import PodVolume
from lib.mountinfo import mounts_at
from lib.node_daemon import KeptNode, NodeMaker
from lib.pods import put_adopted
from lib.sources import Api, Manifests
from lib.volume import unmount
from lib.waiting import until


def _content(path: Path) -> bytes:
    """Without Python's open(), which asks the daemon each time whether the file is a terminal."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


def _start(start_node: NodeMaker, *arguments: str) -> KeptNode:
    node = start_node(*arguments, kind=KeptNode).wait_ready()
    assert isinstance(node, KeptNode)
    return node


@pytest.fixture
def kept(start_node: NodeMaker, manifests: Manifests) -> KeptNode:
    manifests.put_secret({"user": b"admin", "password": b"dummy-1"})
    return _start(start_node, *manifests.arguments)


def _state(kept: KeptNode, volume: PodVolume) -> str:
    return str(kept.status()["volumes"][str(volume.target)]["volume"]["state"])


def _wait_content(volume: PodVolume, content: bytes) -> None:
    until(lambda: _content(volume.target / "password") == content, f"{content!r}")


def test_volume_outlives_the_daemon(kept: KeptNode, manifests: Manifests) -> None:
    volume = kept.publish(kept.pod())
    assert _content(volume.target / "password") == b"dummy-1"
    mount = mounts_at(volume.target)
    inode = (volume.target / "password").stat().st_ino
    for number in range(2, 5):
        kept.kill_daemon()
        assert _content(volume.target / "user") == b"admin"
        assert mounts_at(volume.target) == mount
        manifests.put_secret({"user": b"admin", "password": b"dummy-%d" % number})
        _wait_content(volume, b"dummy-%d" % number)
    assert (volume.target / "password").stat().st_ino != inode
    kept.publish(volume)  # the kubelet repeats a call
    assert mounts_at(volume.target) == mount
    assert _state(kept, volume) == "current"
    kept.unpublish(volume)
    assert mounts_at(volume.target) == []
    until(lambda: kept.directories() == set(), "the removal of the directory")


def test_orderly_hand_over(kept: KeptNode, manifests: Manifests) -> None:
    """Nothing is unmounted, and a volume that the kubelet does not know of is gone."""
    volume = kept.publish(kept.pod())
    mount = mounts_at(volume.target)
    kept.hand_over()
    assert "handing the mount over" in kept.log()
    assert mounts_at(volume.target) == mount
    assert _content(volume.target / "user") == b"admin"
    manifests.put_secret({"user": b"admin", "password": b"dummy-2"})
    _wait_content(volume, b"dummy-2")


def test_pause_outlives_the_daemon(kept: KeptNode, manifests: Manifests) -> None:
    """A paused update does not reach readers because the daemon was killed."""
    data = {"user": b"admin", "password": b"dummy-2"}
    volume = kept.publish(kept.pod())
    state = lambda: kept.status()["volumes"][str(volume.target)]["volume"]["state"]
    manifests.put_secret(data, annotations={"secretfs.io/pause": "true"})
    until(lambda: state() == "held", "the update that is held")
    kept.kill_daemon()
    until(lambda: state() == "held", "the update that is held by the next process")
    assert _content(volume.target / "password") == b"dummy-1"
    manifests.put_secret(data, annotations={})
    _wait_content(volume, b"dummy-2")


def test_volume_that_is_gone_is_not_taken_over(kept: KeptNode) -> None:
    """Its directory is removed, so that the next publish can make it again."""
    lost, volume = kept.publish(kept.pod(0)), kept.publish(kept.pod(1))
    unmount(lost.target)
    kept.kill_daemon()
    assert _content(volume.target / "password") == b"dummy-1"
    until(lambda: kept.directories() == {volume.volume_id}, "the removal of the directory")
    assert list(kept.status()["volumes"]) == [str(volume.target)]
    kept.publish(lost)
    assert _content(lost.target / "password") == b"dummy-1"
    kept.kill_daemon()
    assert _content(lost.target / "user") == b"admin"


def test_unpublished_volume_stays_gone(kept: KeptNode) -> None:
    gone, volume = kept.publish(kept.pod(0)), kept.publish(kept.pod(1))
    kept.unpublish(gone)
    kept.kill_daemon()
    assert list(kept.status()["volumes"]) == [str(volume.target)]
    kept.publish(gone)
    assert _content(gone.target / "password") == b"dummy-1"


@pytest.mark.parametrize("is_handed_over", [False, True], ids=["killed", "handed over"])
def test_each_kernel(
    start_node: NodeMaker, manifests: Manifests, each_kernel: Kernel, is_handed_over: bool
) -> None:
    """Without a second try of the kernel live files end with the daemon, and the kubelet publishes them again."""
    manifests.put_secret({"user": b"admin", "password": b"dummy-1"})
    kept = start_node(*manifests.arguments, kind=KeptNode, env=each_kernel.env).wait_ready()
    assert isinstance(kept, KeptNode)
    fields = {"attributes": {"secretName": "app", "updates": "in-place"}}
    live, volume = kept.publish(kept.pod(0, **fields)), kept.publish(kept.pod(1))
    mounts = [mounts_at(v.target) for v in (live, volume)]
    if is_handed_over:
        kept.hand_over()
    else:
        kept.kill_daemon()
    assert mounts_at(volume.target) == mounts[1]
    assert _content(volume.target / "user") == b"admin"
    kept.publish(live)
    assert (mounts_at(live.target) == mounts[0]) == each_kernel.resends
    manifests.put_secret({"user": b"admin", "password": b"dummy-2"})
    for each in (live, volume):
        _wait_content(each, b"dummy-2")


def test_volume_that_changes_in_place(kept: KeptNode, manifests: Manifests) -> None:
    """It is in the second file system, and its open files keep their versions."""
    fields = {"attributes": {"secretName": "app", "updates": "in-place"}}
    live, volume = kept.publish(kept.pod(0, **fields)), kept.publish(kept.pod(1))
    mounts = [mounts_at(v.target) for v in (live, volume)]
    inode = (live.target / "password").stat().st_ino
    held = os.open(live.target / "password", os.O_RDONLY)
    for number in range(2, 5):
        kept.kill_daemon()
        assert os.pread(held, 100, 0) == b"dummy-1"
        manifests.put_secret({"user": b"admin", "password": b"dummy-%d" % number})
        for each in (live, volume):
            _wait_content(each, b"dummy-%d" % number)
    kept.hand_over()
    assert os.pread(held, 100, 0) == b"dummy-1"
    os.close(held)
    assert (live.target / "password").stat().st_ino == inode
    assert [mounts_at(v.target) for v in (live, volume)] == mounts
    kept.publish(live)  # the kubelet repeats a call
    assert mounts_at(live.target) == mounts[0]
    kept.unpublish(live)
    assert mounts_at(live.target) == []
    assert list(kept.status()["volumes"]) == [str(volume.target)]


def test_stop_unmounts_everything(kept: KeptNode) -> None:
    """The keeper ends with its child, and the descriptors with it."""
    volume = kept.publish(kept.pod())
    kept.kill_daemon()
    kept.signal(signal.SIGTERM)
    assert kept.wait_end() == 0
    assert mounts_at(volume.target) == []
    assert not volume.target.exists()


def test_api_server_is_away(start_node: NodeMaker, api: Api) -> None:
    """The next process serves what the last one has published, and follows when the server is back."""
    api.put_secret({"user": b"admin", "password": b"dummy-1"})
    kept = _start(start_node, "--rights=daemon", *api.arguments)
    volume = kept.publish(kept.pod())
    api.server.stop_listening()
    api.server.end_connections()
    kept.kill_daemon()
    assert _content(volume.target / "password") == b"dummy-1"
    assert _content(volume.target / "user") == b"admin"
    kept.publish(volume)
    kept.kill_daemon()
    assert _content(volume.target / "password") == b"dummy-1"
    api.server.start_listening()
    api.put_secret({"user": b"admin", "password": b"dummy-2"})
    _wait_content(volume, b"dummy-2")


def test_rights_that_were_revoked_meanwhile(start_node: NodeMaker, api: Api) -> None:
    """onRevoked: remove also concerns what the last process has published."""
    api.put_secret({"password": b"dummy-1"})
    api.server.grant("reader", ["get", "list", "watch"], names=["app"])
    kept = _start(start_node, "--rights=daemon", "--kubeconfig", str(api.kubeconfig("reader")))
    volume = kept.publish(kept.pod(attributes={"secretName": "app", "onRevoked": "remove"}))
    api.server.stop_listening()
    api.server.end_connections()
    kept.kill_daemon()
    assert _content(volume.target / "password") == b"dummy-1"
    api.server.revoke("reader")
    api.server.start_listening()
    until(lambda: not (volume.target / "password").exists(), "it goes")


def test_rights_of_pods(start_node: NodeMaker, api: Api) -> None:
    """Tokens are not handed over: what was published is served, and updated from the kubelet's next publish on."""
    user = "system:serviceaccount:default:web"
    api.put_secret({"user": b"admin", "password": b"dummy-1"})
    api.server.grant(user, ["get", "list", "watch"], ["secrets"], namespace="default")
    kept = _start(start_node, "--rights=pod", *api.arguments)
    tokens = json.dumps({"": {"token": api.server.add_token(user)}})
    volume = kept.publish(kept.pod(service_account="web", tokens=tokens))
    kept.kill_daemon()
    assert _content(volume.target / "user") == b"admin"
    api.put_secret({"user": b"admin", "password": b"dummy-2"})
    kept.kill_daemon()
    assert _content(volume.target / "password") == b"dummy-1"
    shown = kept.status()["volumes"][str(volume.target)]["volume"]
    assert shown["state"] == "stale" and "has not sent a token" in shown["error"]
    kept.publish(volume)
    _wait_content(volume, b"dummy-2")
    until(lambda: _state(kept, volume) == "current", "the state")


def test_tokens_outlive_the_daemon(start_node: NodeMaker, api: Api) -> None:
    """What the pod's own sources made is kept with the files, also while no new token can be had."""
    api.put_secret({"user": b"admin"})
    kept = _start(start_node, "--rights=daemon", *api.arguments)
    volume = kept.pod(attributes={"podVolume": "own"}, service_account="web")
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    entry = {"name": "own", "projected": {"sources": sources, "defaultMode": 420}}

    def put(tier: str) -> None:
        put_adopted(api, volume, entry, metadata={"labels": {"tier": tier}})

    put("front")
    kept.publish(volume)
    (issued,) = api.server.tokens.issued
    api.server.stop_listening()
    api.server.end_connections()
    kept.kill_daemon()
    assert _content(volume.target / "token") == issued.token.encode()
    assert _content(volume.target / "labels") == b'tier="front"'
    api.server.start_listening()
    put("back")
    until(lambda: _content(volume.target / "labels") == b'tier="back"', "the label")
    newest = api.server.tokens.issued[-1].token.encode()
    assert _content(volume.target / "token") == newest
    until(lambda: _state(kept, volume) == "current", "the state")


# ---- static volumes


class Files:
    """Of the volumes directory of a node under the keeper."""

    def __init__(self, area: Path, manifests: Manifests, start_node: NodeMaker) -> None:
        self._directory = area / "volumes.d"
        self._aside = area / "aside.yaml"
        self._manifests = manifests
        self._start_node = start_node
        self.target = area / "above" / "target"
        self._directory.mkdir()
        for name in ("app", "other"):
            manifests.put_secret({"key": name.encode(), "cold": b"dummy"}, name=name)

    def put(self, secret: str) -> None:
        volume = {"secret": {"secretName": secret}}
        self._aside.write_text(json.dumps({"target": str(self.target), "volume": volume}))
        self._aside.rename(self._directory / "db.yaml")

    def remove(self) -> None:
        (self._directory / "db.yaml").unlink()

    def start(self) -> KeptNode:
        self.put("app")
        kept = _start(self._start_node, *self._manifests.arguments)
        # readers see the volume a moment before it is recorded for the next daemon
        until(lambda: "mounted a static volume" in kept.log(), "the volume")
        self.wait_content(b"app")
        return kept

    def wait_content(self, content: bytes) -> None:
        def is_shown() -> bool:
            try:
                return _content(self.target / "key") == content
            except FileNotFoundError:
                return False  # not mounted yet

        until(is_shown, f"{content!r}")


@pytest.fixture
def files(area: Path, manifests: Manifests, start_node: NodeMaker) -> Files:
    return Files(area, manifests, start_node)


def _kill_frozen(kept: KeptNode, change: Callable[[], None]) -> None:
    """The daemon does not see the change; the next one does."""
    os.kill(kept.pid, signal.SIGSTOP)
    change()
    kept.kill_daemon()


def test_static_volume(files: Files, manifests: Manifests) -> None:
    kept = files.start()
    mount = mounts_at(files.target)
    kept.kill_daemon()
    assert _content(files.target / "cold") == b"dummy"
    assert mounts_at(files.target) == mount
    assert "took over a static volume" in kept.log()
    manifests.put_secret({"key": b"app-2"})
    files.wait_content(b"app-2")
    kept.hand_over()
    assert _content(files.target / "key") == b"app-2"
    assert mounts_at(files.target) == mount
    files.remove()
    until(lambda: not files.target.parent.exists(), "the removal of the target")
    until(lambda: kept.directories() == set(), "the removal of the directory")


def test_changed_static_volume(files: Files) -> None:
    """Its volume has the other of two ids from then on."""
    kept = files.start()
    files.put("other")
    files.wait_content(b"other")
    until(lambda: kept.directories() == {"static2-db"}, "the removal of the old directory")
    mount = mounts_at(files.target)
    kept.kill_daemon()
    assert _content(files.target / "cold") == b"dummy"
    assert mounts_at(files.target) == mount


def test_file_changes_while_no_daemon_runs(files: Files) -> None:
    """What the earlier one shows is not that volume's: it is made again."""
    kept = files.start()
    _kill_frozen(kept, lambda: files.put("other"))
    files.wait_content(b"other")
    assert len(mounts_at(files.target)) == 1
    assert "took over a static volume" not in kept.log()
    until(lambda: kept.directories() == {"static-db"}, "one directory")


def test_file_is_removed_while_no_daemon_runs(files: Files) -> None:
    kept = files.start()
    _kill_frozen(kept, files.remove)
    until(lambda: not files.target.parent.exists(), "the removal of the target")
    until(lambda: kept.directories() == set(), "the removal of the directory")
