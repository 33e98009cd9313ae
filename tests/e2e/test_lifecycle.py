"""Objects and namespaces that come, go and come back while they are mounted."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from lib.kube import Cluster
from lib.kube.mounts import CURRENT, STALE, Mounts, program
from lib.kube.namespace import Namespace
from lib.waiting import until

GENERATION = re.compile(r"\.\.\d{4}(_\d{2}){5}\.\d{1,10}")


def test_looks_like_a_kubelet_volume(
    ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    ns.create("db", {"user": b"app", "password": ns.values.new(1)})
    mount = mounts.make("secret/db", *admin_args)
    names = sorted(os.listdir(mount.path))
    generation = mount.generation()
    assert GENERATION.fullmatch(generation)
    assert names == sorted(["..data", generation, "password", "user"])
    assert os.readlink(mount.path / "user") == "..data/user"
    assert os.path.realpath(mount.path / "user") == str(mount.path / generation / "user")
    assert os.statvfs(mount.path).f_flag & os.ST_RDONLY
    with pytest.raises(OSError, match="Read-only"):
        (mount.path / "more").write_text("x")


def test_absent_object_is_an_error(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    said = mounts.fail("secret/none", *admin_args, "--wait=0")
    assert said == f'secretfs: secret "none" not found in namespace "{ns.name}"'
    said = mounts.fail("configmap/none", *admin_args, "--wait=500ms")
    assert f'configmap "none" not found in namespace "{ns.name}"' in said


def test_waits_for_the_object(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    mount = mounts.start("secret/late", *admin_args, "--wait=forever", "--log-level=debug")
    until(lambda: mount.has_logged("&watch=true"), "it watches")
    assert not mount.is_mounted()
    value = ns.values.new(1)
    ns.create("late", {"key": value})
    assert mount.wait_ready().files() == {"key": value}


def test_deleted_and_recreated(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first, "old": b"x"})
    mount = mounts.make("secret/db", *admin_args)
    uid = mount.status()["object"]["uid"]

    ns.delete("db")
    status = mount.wait_for_volume("stale")
    missing = f'secret "db" not found in namespace "{ns.name}"'
    assert status["volume"]["error"] == missing
    assert status["source"]["state"] == "live"
    assert mount.files() == {"key": first, "old": b"x"}

    ns.create("db", {"key": second})
    mount.wait_for_files({"key": second})
    status = mount.wait_for_volume("current")
    assert status["object"]["uid"] != uid
    mount.assert_told_once(STALE, CURRENT)


def test_recreated_with_the_same_content(
    ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    value = ns.values.new(1)
    ns.create("db", {"key": value})
    mount = mounts.make("secret/db", *admin_args)
    generation = mount.generation()
    ns.delete("db")
    mount.wait_for_volume("stale")
    ns.create("db", {"key": value})
    mount.wait_for_volume("current")
    assert mount.generation() == generation


@pytest.mark.usefixtures("needs_controller_manager")
def test_the_namespace_goes(
    cluster: Cluster, ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    mount = mounts.make("secret/db", *admin_args)
    path = f"/api/v1/namespaces/{ns.name}"
    with cluster.controller_manager("namespace"):
        cluster.admin.request("DELETE", path)
        until(lambda: not cluster.admin.exists(path), "the namespace is gone", pause=0.2)
    assert mount.wait_for_volume("stale")["source"]["state"] == "live"
    assert mount.files() == {"key": first}

    ns.make()
    ns.create("db", {"key": second})
    mount.wait_for_value("key", second)
    mount.wait_for_volume("current")
    mount.assert_told_once(STALE, CURRENT)


@pytest.mark.usefixtures("needs_controller_manager")
def test_a_token_is_filled_in(
    cluster: Cluster, ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    """A service account's token secret is empty until a controller sees it."""
    cluster.account_identity(ns.name, "app")
    metadata = {"name": "token", "annotations": {"kubernetes.io/service-account.name": "app"}}
    ns.create("token", {}, type="kubernetes.io/service-account-token", metadata=metadata)
    mount = mounts.make("secret/token", *admin_args)
    assert mount.files() == {}
    with cluster.controller_manager("serviceaccount-token"):
        until(lambda: "token" in mount.files(), "the token is there")
    assert mount.files() == ns.stored("token")
    assert mount.read("ca.crt") == cluster.authority.certificate.read_bytes()
    assert mount.read("namespace") == ns.name.encode()
    assert mount.read("token").startswith(b"eyJ")


def test_two_mounts_of_one_object(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    first, second, third = (ns.values.new(i) for i in (1, 2, 3))
    ns.create("db", {"key": first})
    one, other = (mounts.make("secret/db", *admin_args) for _ in range(2))
    ns.patch("db", {"key": second})
    for mount in (one, other):
        mount.wait_for_value("key", second)
    one.unmount()
    ns.patch("db", {"key": third})
    other.wait_for_value("key", third)
    assert other.status()["volume"]["state"] == "current"


def test_goes_to_the_background(
    ns: Namespace, mounts: Mounts, admin_args: list[str], tmp_path: os.PathLike[str]
) -> None:
    """The command returns when the files are readable, and what it leaves ends with the mount."""
    del mounts
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    mountpoint = os.path.join(tmp_path, "mnt")
    os.mkdir(mountpoint)
    key = os.path.join(mountpoint, "key")
    command = [str(program()), "mount", *admin_args, "secret/db", mountpoint]
    try:
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        with open(key, "rb") as file:
            assert file.read() == first
        ns.patch("db", {"key": second})
        until(lambda: open(key, "rb").read() == second, "the value is new")
    finally:
        if os.path.ismount(mountpoint):
            subprocess.run([str(program()), "unmount", mountpoint], check=True, timeout=60)
    assert os.listdir(mountpoint) == []
