"""Volumes in a pod with a user namespace (hostUsers: false), which are mounted with its ids."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path
from typing import Sequence

import pytest

from lib import program
from lib.idmap import IdMapped, UserNamespace
from lib.inotify import Watcher
from lib.kubelet import PodVolume
from lib.live import SubPaths, wait_alone, wait_text
from lib.node_daemon import Node
from lib.pods import is_live, put_pod
from lib.sources import Api
from lib.volume import Volume
from lib.waiting import until

GROUP = 2000

ITEMS = """
- {key: user, path: user}
- {key: password, path: deep/password, mode: 0400}
- {key: user, path: owned, mode: 0600}
"""
# standard: one that is made of generations; live: one of a pod that mounts a part of it
KINDS = ("standard", "live", "in-place")


@pytest.fixture
def node(daemon: Node, api: Api) -> Node:
    put(api, "0")
    return daemon


def put(api: Api, text: str) -> None:
    api.put_secret({"user": b"user-%s" % text.encode(), "password": b"password-%s" % text.encode()})


def publish(node: Node, api: Api, kind: str) -> PodVolume:
    attributes = {"secretName": "app", "items": ITEMS}
    if kind == "in-place":
        attributes["updates"] = "in-place"
    volume = node.pod(attributes=attributes, fs_group=GROUP)
    put_pod(api, volume, **({"subPath": "user"} if kind == "live" else {}))
    node.publish(volume)
    assert is_live(node, volume) == (kind != "standard")
    return volume


def mapped(idmapped: IdMapped, path: Path) -> Path:
    try:
        return idmapped(path)
    except OSError as error:
        if error.errno == errno.EINVAL and not kernel_has_id_maps():
            pytest.skip("FUSE has no id maps in this kernel (Linux 6.12)")
        raise


def kernel_has_id_maps() -> bool:
    """As the doctor finds it: what the kernel offers to a FUSE server."""
    done = program.run([program.binary(), "doctor"], home=Path("/"))
    assert "user-namespaces" in done.stdout
    return "no FUSE_ALLOW_IDMAP" not in done.stdout


def run(
    users: UserNamespace, *command: str | Path, uid: int = 0, groups: Sequence[int] = ()
) -> str:
    """The output of a command that a user of the namespace runs, or what it says of its failure."""
    prefix = users.command(uid=uid, gid=uid, groups=groups)
    done = subprocess.run(
        [*prefix, *map(str, command)], capture_output=True, text=True, check=False
    )
    return (done.stdout + done.stderr).strip()


def owners(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid, status.st_mode & 0o7777


@pytest.mark.parametrize("kind", KINDS)
def test_owners_are_those_of_the_namespace(
    node: Node, api: Api, users: UserNamespace, idmapped: IdMapped, kind: str
) -> None:
    volume = publish(node, api, kind)
    path = mapped(idmapped, volume.target)
    names = (".", "..data", "user", "owned", "deep/password")
    for name in names:
        uid, gid, mode = owners(volume.target / name)
        assert (uid, gid) == (0, GROUP)
        assert owners(path / name) == (users.first, users.first + GROUP, mode)
    told = run(users, "stat", "-L", "-c", "%u:%g", *(path / name for name in names))
    assert told.split() == [f"0:{GROUP}"] * len(names)


@pytest.mark.parametrize("kind", KINDS)
def test_permissions_are_those_of_modes_and_fs_group(
    node: Node, api: Api, users: UserNamespace, idmapped: IdMapped, kind: str
) -> None:
    """Those of the modes and of the fsGroup, for the users inside."""
    path = mapped(idmapped, publish(node, api, kind).target)
    secret = path / "deep" / "password"
    assert owners(secret)[2] == 0o440
    assert run(users, "cat", secret) == "password-0"
    assert run(users, "cat", secret, uid=1000, groups=[GROUP]) == "password-0"
    assert run(users, "cat", secret, uid=1000).endswith("Permission denied")
    assert run(users, "cat", path / "user", uid=1000) == "user-0"
    assert run(users, "touch", path / "new").endswith("Read-only file system")
    assert run(users, "rm", path / "user").endswith("Read-only file system")


@pytest.mark.parametrize("kind", KINDS)
def test_volume_with_an_id_map_follows_updates(
    node: Node, api: Api, users: UserNamespace, idmapped: IdMapped, watcher: Watcher, kind: str
) -> None:
    path = mapped(idmapped, publish(node, api, kind).target)
    watcher.add("root", path)
    watcher.add("user", path / "user")
    for number in range(1, 4):
        put(api, str(number))
        wait_text(path / "user", f"user-{number}")
        wait_text(path / "deep" / "password", f"password-{number}")
        assert run(users, "cat", path / "user", uid=1000) == f"user-{number}"
    if kind == "in-place":
        watcher.wait(lambda event: event.kind == "CLOSE_WRITE" and event.watch == "user", count=3)
    else:
        watcher.wait(lambda event: event.kind == "MOVED_TO" and event.name == "..data", count=3)


def test_file_and_directory_alone_with_an_id_map_follow_updates(
    node: Node,
    api: Api,
    users: UserNamespace,
    idmapped: IdMapped,
    sub_path: SubPaths,
    watcher: Watcher,
) -> None:
    volume = publish(node, api, "live")
    plain, plain_directory = sub_path(volume, "user"), sub_path(volume, "deep")
    wait_alone(node, volume, 2)
    file, directory = mapped(idmapped, plain), mapped(idmapped, plain_directory)
    watcher.add("file", file)
    for number in range(1, 4):
        put(api, str(number))
        watcher.wait(lambda event: event.kind == "CLOSE_WRITE", count=number)
        assert run(users, "cat", file, uid=1000) == f"user-{number}"
        wait_text(directory / "password", f"password-{number}")
        assert run(users, "cat", directory / "password").endswith(f"password-{number}")
        refused = run(users, "cat", directory / "password", uid=1000)
        assert refused.endswith("Permission denied")
        assert plain.read_text() == f"user-{number}"
    assert owners(file)[:2] == (users.first, users.first + GROUP)
    assert run(users, "stat", "-c", "%u:%g", file) == f"0:{GROUP}"


@pytest.mark.parametrize("updates", ["standard", "in-place"])
def test_secretfs_mount_with_an_id_map_follows_updates(
    area: Path, api: Api, users: UserNamespace, idmapped: IdMapped, updates: str
) -> None:
    put(api, "0")
    point = area / "volume"
    point.mkdir()
    arguments = [*api.arguments, *(["--updates", updates] if updates != "standard" else [])]
    volume = Volume(point, [*arguments, "secret/app"], home=area / "home", log=area / "log-mount")
    try:
        volume.wait_ready()
        path = mapped(idmapped, point)
        assert owners(path / "user")[:2] == (users.first, users.first)
        assert run(users, "stat", "-L", "-c", "%u:%g", path / "user") == "0:0"
        for number in range(1, 4):
            put(api, str(number))
            until(lambda n=number: run(users, "cat", path / "user") == f"user-{n}", "the update")
    finally:
        idmapped.close()
        volume.finish()
