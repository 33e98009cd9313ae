"""What a kubelet gets for a publish, and what a pod sees of it."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from lib.kubelet import INVALID_ARGUMENT, NOT_FOUND, OK, UNAVAILABLE
from lib.mountinfo import mounts_at
from lib.node_daemon import Node, is_shown, keys, read
from lib.sources import Manifests
from lib.volume import unmount
from lib.waiting import until

DATA = {"user", "password"}


def test_content_is_there_with_the_answer(node: Node) -> None:
    volume = node.publish(node.pod())
    assert keys(volume) == DATA
    assert read(volume, "user") == b"admin"


def test_published_volume_is_read_only_and_alone(node: Node) -> None:
    """The volume and nothing beside it, and writes are refused."""
    volume = node.publish(node.pod())
    node.publish(node.pod(1))
    (mount,) = mounts_at(volume.target)
    assert {"ro", "nosuid", "nodev"} <= set(mount.options)
    assert mount.kind == "fuse.secretfs"
    assert mount.source == "csi.secretfs.io"
    assert {m.device for m in node.mounts()} == {mount.device}
    with pytest.raises(OSError) as refused:
        (volume.target / "new").write_bytes(b"")
    assert refused.value.errno == errno.EROFS
    with pytest.raises(OSError) as refused:
        os.unlink(volume.target / "user")
    assert refused.value.errno == errno.EROFS


def test_no_other_way_leads_to_it(node: Node) -> None:
    node.publish(node.pod())
    assert os.stat(node.run_dir).st_mode & 0o777 == 0o700
    assert os.stat(node.run_dir / "fs").st_mode & 0o777 == 0o700


def test_never_seen_empty_nor_writable(node: Node) -> None:
    """A reader at the moment of mounting sees the directory below, or all of the volume."""
    volumes = [node.pod(number) for number in range(30)]
    for volume in volumes:
        volume.target.mkdir(parents=True)
    command = ["sh", "-c", 'while :; do for d; do ls -A "$d"; done; done', "sh"]
    looker = subprocess.Popen(
        [*command, *(str(v.target) for v in volumes)], stdout=subprocess.PIPE, text=True
    )
    try:
        for volume in volumes:
            node.publish(volume)
            assert keys(volume) == DATA
            assert "ro" in mounts_at(volume.target)[0].options
    finally:
        looker.kill()
        seen, _ = looker.communicate()
    lines = seen.splitlines()[: len(seen.splitlines()) // 4 * 4]
    assert {line for line in lines if not line.startswith("..")} <= DATA
    assert abs(lines.count("user") - lines.count("..data")) <= 1


def test_fs_group_of_the_pod(node: Node) -> None:
    """VOLUME_MOUNT_GROUP: as F10, F11 for a kubelet's own volume."""
    volume = node.publish(node.pod(fs_group=2000))
    status = os.stat(volume.target)
    assert (status.st_gid, status.st_mode & 0o7777) == (2000, 0o3777)
    status = os.stat(volume.target / "user")
    assert (status.st_gid, status.st_mode & 0o777) == (2000, 0o644 | 0o440)


def test_owners_and_modes_of_each_volume(node: Node) -> None:
    attributes = {"secretName": "app", "defaultMode": "0400", "uid": "7", "gid": "8"}
    mine = node.publish(node.pod(0, attributes=attributes))
    other = node.publish(node.pod(1))
    assert os.stat(mine.target).st_uid == 7
    assert os.stat(mine.target / "user").st_mode & 0o777 == 0o400
    assert os.stat(other.target).st_uid == 0
    assert os.stat(other.target / "user").st_mode & 0o777 == 0o644


def test_updates_reach_every_volume(node: Node, manifests: Manifests) -> None:
    volumes = [node.publish(node.pod(number)) for number in range(5)]
    manifests.put_secret({"user": b"root", "token": b"dummy"})
    for volume in volumes:
        until(lambda v=volume: keys(v) == {"user", "token"}, "the update")
        assert read(volume, "user") == b"root"


# ---- what cannot be published


def check_nothing_left(node: Node, volume: object) -> None:
    """T2: a final answer leaves nothing, of which the kubelet would never tell us again."""
    target: Path = volume.target  # type: ignore[attr-defined]
    assert mounts_at(target) == []
    assert not target.exists()
    until(lambda: node.directories() == set(), "the volume's directory to go")


def test_publish_of_a_missing_object_is_not_found(node: Node) -> None:
    volume = node.pod(secret="none")
    answer = volume.publish(node.endpoint)
    assert answer.code == NOT_FOUND
    assert '"none"' in answer.text and '"default"' in answer.text
    check_nothing_left(node, volume)


def test_publish_of_a_missing_key_is_not_found(node: Node) -> None:
    volume = node.pod(attributes={"secretName": "app", "items": "[{key: nokey, path: k}]"})
    answer = volume.publish(node.endpoint)
    assert answer.code == NOT_FOUND
    assert "nokey" in answer.text
    check_nothing_left(node, volume)


def test_publish_succeeds_once_the_object_exists(node: Node, manifests: Manifests) -> None:
    volume = node.pod(secret="late")
    assert volume.publish(node.endpoint).code == NOT_FOUND
    manifests.put_secret({"k": b"dummy"}, name="late")
    until(lambda: volume.publish(node.endpoint).code == OK, "the secret")
    assert read(volume, "k") == b"dummy"


def test_publish_of_an_optional_missing_object_succeeds(node: Node, manifests: Manifests) -> None:
    attributes = {"secretName": "late", "optional": "true"}
    volume = node.publish(node.pod(attributes=attributes))
    assert keys(volume) == set()
    manifests.put_secret({"k": b"dummy"}, name="late")
    until(lambda: keys(volume) == {"k"}, "the secret")


def test_attributes_that_make_no_sense(node: Node) -> None:
    volume = node.pod(attributes={"secretNme": "app"})
    answer = volume.publish(node.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert "secretNme" in answer.text
    check_nothing_left(node, volume)


def test_only_the_pods_own_namespace(node: Node) -> None:
    volume = node.pod(namespace="other")
    answer = volume.publish(node.endpoint)
    assert answer.code == NOT_FOUND
    assert '"other"' in answer.text


# ---- targets


def test_publish_outside_the_kubelet_root_is_refused(node: Node, area: Path) -> None:
    volume = node.pod()
    volume.root = area / "elsewhere"
    answer = volume.publish(node.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert "--kubelet-root" in answer.text
    assert not volume.target.exists()


def test_link_on_the_way_to_the_target(node: Node, area: Path) -> None:
    """A pod's own files may lie below the kubelet's root; they lead nowhere else."""
    volume = node.pod()
    (area / "elsewhere").mkdir()
    volume.target.parent.parent.mkdir(parents=True)
    volume.target.parent.symlink_to(area / "elsewhere")
    answer = volume.publish(node.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert "symbolic link" in answer.text
    assert os.listdir(area / "elsewhere") == []


def test_link_in_the_place_of_the_target(node: Node, area: Path) -> None:
    volume = node.pod()
    (area / "elsewhere").mkdir()
    volume.target.parent.mkdir(parents=True)
    volume.target.symlink_to(area / "elsewhere")
    assert volume.publish(node.endpoint).code == INVALID_ARGUMENT
    assert mounts_at(area / "elsewhere") == []


def test_target_is_in_use_by_something_else(node: Node) -> None:
    volume = node.pod()
    volume.target.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volume.target], check=True)
    try:
        answer = volume.publish(node.endpoint)
        assert answer.code == UNAVAILABLE
        assert "another file system" in answer.text
        (mount,) = mounts_at(volume.target)
        assert mount.kind == "tmpfs"
    finally:
        unmount(volume.target)
    node.publish(volume)


# ---- once more (S13)


def test_repeated_publish_changes_nothing(node: Node) -> None:
    volume = node.publish(node.pod())
    (before,) = mounts_at(volume.target)
    for _ in range(3):
        node.publish(volume)
    assert mounts_at(volume.target) == [before]
    assert node.log().count("published to a pod") == 1


def test_publish_again_when_it_is_no_longer_there(node: Node, manifests: Manifests) -> None:
    """U3: no final answer for what is published, and what is shown stays."""
    volume = node.publish(node.pod())
    manifests.delete_secret()
    until(lambda: "cannot update" in node.log(), "word of it")
    node.publish(volume)
    assert read(volume, "user") == b"admin"


def test_publish_again_when_the_mount_is_gone(node: Node) -> None:
    volume = node.publish(node.pod())
    unmount(volume.target)
    node.publish(volume)
    assert is_shown(volume)
    assert read(volume, "user") == b"admin"
    unmount(volume.target)
    volume.target.rmdir()
    node.publish(volume)
    assert is_shown(volume)


def test_no_final_answer_when_it_cannot_be_shown_again(node: Node) -> None:
    volume = node.publish(node.pod())
    unmount(volume.target)
    volume.target.rmdir()
    volume.target.symlink_to("/")
    answer = volume.publish(node.endpoint)
    assert answer.code == UNAVAILABLE
    volume.target.unlink()
    node.publish(volume)
    assert is_shown(volume)
