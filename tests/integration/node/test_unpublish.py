"""The end of volumes: what is taken down, in which cases, and what is left alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

from lib.kubelet import INTERNAL, INVALID_ARGUMENT, OK
from lib.mountinfo import mounts_at
from lib.node_daemon import Node, is_shown, keys
from lib.sources import Manifests
from lib.volume import unmount
from lib.waiting import until


def test_unpublish_removes_target_and_directory(node: Node) -> None:
    volume = node.publish(node.pod())
    other = node.publish(node.pod(1))
    (volume.target.parent / "vol_data.json").write_text("{}")
    node.unpublish(volume)
    assert not volume.target.exists()
    assert os.listdir(volume.target.parent) == ["vol_data.json"]
    until(lambda: node.directories() == {other.volume_id}, "the directory to go")
    assert is_shown(other)


def test_repeated_unpublish_and_unknown_volumes_succeed(node: Node) -> None:
    """S10: an error would be retried for ever and keep the pod from going."""
    volume = node.publish(node.pod())
    node.unpublish(volume)
    node.unpublish(volume)
    node.unpublish(node.pod(7))
    known = node.publish(node.pod(8))
    shutil.rmtree(node.pod(7).target.parents[3], ignore_errors=True)
    node.unpublish(node.pod(7))
    assert is_shown(known)


def test_target_that_was_never_mounted(node: Node) -> None:
    volume = node.pod()
    volume.target.mkdir(parents=True)
    node.unpublish(volume)
    assert not volume.target.exists()


def test_target_with_files_in_it(node: Node) -> None:
    """They are not ours to remove; the kubelet gets an error and retries."""
    volume = node.pod()
    volume.target.mkdir(parents=True)
    (volume.target / "file").write_text("another's")
    answer = volume.unpublish(node.endpoint)
    assert answer.code == INTERNAL
    assert str(volume.target) in answer.text
    (volume.target / "file").unlink()
    node.unpublish(volume)


def test_target_under_other_mounts(node: Node) -> None:
    volume = node.publish(node.pod())
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volume.target], check=True)
    node.unpublish(volume)
    assert mounts_at(volume.target) == []
    assert not volume.target.exists()


def test_unpublish_outside_the_kubelet_root_removes_nothing(node: Node) -> None:
    volume = node.pod()
    volume.root = node.root.parent / "elsewhere"
    volume.target.mkdir(parents=True)
    assert volume.unpublish(node.endpoint).code in (INVALID_ARGUMENT, OK)
    assert volume.target.exists()


def test_a_reader_keeps_what_is_open(node: Node) -> None:
    volume = node.publish(node.pod())
    with open(volume.target / "user", "rb") as file:
        node.unpublish(volume)
        assert not volume.target.exists()
        assert file.read() == b"admin"


def test_publish_after_unpublish(node: Node, manifests: Manifests) -> None:
    """The name of the volume's directory is free again at once."""
    volume = node.pod()
    for _ in range(20):
        node.publish(volume)
        assert keys(volume) == {"user", "password"}
        node.unpublish(volume)
    manifests.put_secret({"k": b"dummy"})
    until(lambda: node.publish(volume) and keys(volume) == {"k"}, "the update")


def test_pod_is_gone_without_a_word(node: Node) -> None:
    """A kubelet that forgot the volume does not unpublish it (T2)."""
    gone, other = node.publish(node.pod(0)), node.publish(node.pod(1))
    unmount(gone.target)
    shutil.rmtree(node.root / "pods" / gone.uid)
    unmount(other.target)  # the pod is still there, and may have it mounted elsewhere
    node.signal(signal.SIGHUP)
    until(lambda: node.directories() == {other.volume_id}, "the volume to go")
