"""Storms of updates, and servers that end, forget, lag and go back, under readers that go on."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from pathlib import Path

import pytest

from lib.kube import ApiError, Cluster
from lib.kube.cluster import HOST
from lib.kube.mounts import FAILS, WELL, Mount, Mounts
from lib.kube.namespace import Namespace
from lib.kube.reader import Reader
from lib.kube.requirements import by_signal
from lib.relay import Relay
from lib.waiting import until



@pytest.fixture
def relay_args(cluster: Cluster, ns: Namespace, relay: Relay, tmp_path: Path) -> list[str]:
    server = f"https://{HOST}:{relay.port}"
    admin = cluster.admin_identity
    kubeconfig = cluster.kubeconfig(tmp_path / "relay.conf", admin, server=server)
    return [f"--kubeconfig={kubeconfig}", f"--namespace={ns.name}"]


def make(mounts: Mounts, obj: str, arguments: list[str]) -> Mount:
    """A mount whose watch stands."""
    mount = mounts.make(obj, *arguments)
    mount.wait_for_source("live")
    return mount


def make_proven(ns: Namespace, mounts: Mounts, arguments: list[str]) -> Mount:
    """A mount of secret/db whose watch has brought an event. It goes on from there when it was cut
    off, while one that ended at once, with nothing to show for it, begins with a list."""
    ns.create("db", {"key": ns.values.new(0)})
    mount = make(mounts, "secret/db", arguments)
    value = ns.values.new(1)
    ns.patch("db", {"key": value})
    mount.wait_for_value("key", value)
    return mount


def follow(mount: Mount, *keys: str) -> Reader:
    """A reader that disturbs no update."""
    return Reader([mount.path / key for key in keys or ("key",)], pause=0.002)


# ---- many updates


@pytest.mark.parametrize("resource", ["secrets", "configmaps"])
def test_storm(ns: Namespace, mounts: Mounts, admin_args: list[str], resource: str) -> None:
    """As fast as the API server takes them. Two keys change together, so the second one that is
    read can be newer than the first, never older."""
    n_updates = 500
    value = ns.values.new(0)
    ns.create("busy", {"a": value, "b": value}, resource)
    mount = mounts.make(f"{resource[:-1]}/busy", *admin_args)
    paths = [mount.path / "a", mount.path / "b"]
    with Reader(paths) as reader, Reader(paths[::-1]) as other:
        for i in range(1, n_updates + 1):
            value = ns.values.new(i)
            ns.patch("busy", {"a": value, "b": value}, resource)
        mount.wait_for_value("a", value)
        until(lambda: n_updates in reader.versions & other.versions, "readers see the last one")
    assert mount.files() == {"a": value, "b": value}
    # those that came while an earlier one was being shown are passed over for a newer one
    status = mount.status()
    assert 1 < status["lastUpdate"]["count"] <= n_updates + 1
    assert status["source"]["requests"] == {"200": 2}
    assert len(reader.versions) > 2
    assert mount.logged(FAILS) == []
    left = sorted(["..data", mount.generation(), "a", "b"])
    until(lambda: sorted(os.listdir(mount.path)) == left, "what was replaced is gone")


def test_storm_of_whole_mebibytes(
    ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    """However large a value is, a reader never sees the parts of two."""
    size = 1 << 20

    def make(version: int) -> bytes:
        head = ns.values.new(version)
        body = head + b"\n" + os.urandom(256) * 4096
        body = body[: size - 32]
        return body + hashlib.sha256(body).digest()

    def check(value: bytes) -> None:
        assert len(value) == size
        assert hashlib.sha256(value[:-32]).digest() == value[-32:], "parts of two values"

    value = make(0)
    ns.create("big", {"key": value})
    mount = mounts.make("secret/big", *admin_args)
    with Reader([mount.path / "key"], check), Reader([mount.path / "key"], check):
        for i in range(1, 31):
            value = make(i)
            ns.patch("big", {"key": value})
        mount.wait_for_value("key", value)


def test_many_objects_at_once(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    names = [f"db-{i}" for i in range(12)]
    for name in names:
        ns.create(name, {"key": ns.values.new(0)})
    made = [mounts.start(f"secret/{name}", *admin_args) for name in names]
    for mount in made:
        mount.wait_ready()
    newest = {}
    for version in range(1, 6):
        for name in names:
            newest[name] = ns.values.new(version)
            ns.patch(name, {"key": newest[name]})
    for name, mount in zip(names, made):
        mount.wait_for_value("key", newest[name])


# ---- the API server


@by_signal
def test_apiserver_restarts(
    cluster: Cluster,
    ns: Namespace,
    mounts: Mounts,
    admin_args: list[str],
    number: signal.Signals,
) -> None:
    ns.create("db", {"key": ns.values.new(0)})
    mount = make(mounts, "secret/db", admin_args)
    with follow(mount) as reader:
        cluster.stop_apiserver(number)
        status = mount.wait_for_source("failing")
        assert status["volume"]["state"] == "disconnected"
        assert status["source"]["error"]
        n_reads = reader.n_reads
        until(lambda: reader.n_reads > n_reads, "content stays readable")
        cluster.start_apiserver()
        for version in (1, 2):
            value = ns.values.new(version)
            ns.patch("db", {"key": value})
            mount.wait_for_value("key", value)
        assert "error" not in mount.wait_for_source("live")["source"]
    mount.assert_told_in_turn()


def test_apiserver_restarts_again_and_again(
    cluster: Cluster, ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    """With updates made before the mount can be back, too."""
    ns.create("db", {"key": ns.values.new(0)})
    mount = make(mounts, "secret/db", admin_args)
    with follow(mount) as reader:
        for version in range(1, 4):
            cluster.restart_apiserver(number=signal.SIGKILL)
            value = ns.values.new(version)
            ns.patch("db", {"key": value})
            mount.wait_for_value("key", value)
        until(lambda: 3 in reader.versions, "the reader sees the last one")
    mount.wait_for_source("live")
    mount.assert_told_in_turn()


def test_mount_before_there_is_a_server(
    cluster: Cluster, ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    value = ns.values.new(1)
    ns.create("db", {"key": value})
    cluster.stop_apiserver()
    mount = mounts.start("secret/db", *admin_args, "--wait=forever")
    until(lambda: mount.logged(FAILS), "it tries")
    assert not mount.is_mounted()
    cluster.start_apiserver()
    assert mount.wait_ready().files() == {"key": value}
    mount.wait_for_source("live")
    mount.assert_told_once(FAILS, WELL)


def test_connections_that_are_cut(
    ns: Namespace, mounts: Mounts, relay: Relay, relay_args: list[str]
) -> None:
    """A load balancer that ends connections, again and again, is not a reason to list again."""
    ns.create("db", {"key": ns.values.new(0)})
    mount = make(mounts, "secret/db", relay_args)
    with follow(mount):
        for version in range(1, 11):
            value = ns.values.new(version)
            ns.patch("db", {"key": value})
            mount.wait_for_value("key", value)
            relay.disconnect()
    value = ns.values.new(11)
    ns.patch("db", {"key": value})
    mount.wait_for_value("key", value)
    assert mount.wait_for_source("live")["source"]["watchRestarts"] >= 10


def test_changes_while_cut_off(
    ns: Namespace, mounts: Mounts, relay: Relay, relay_args: list[str]
) -> None:
    """It begins with a list, as the server may have lost the watch's place, and misses nothing."""
    mount = make_proven(ns, mounts, relay_args)
    with follow(mount):
        relay.cut()
        mount.wait_for_source("failing")
        for version in range(2, 21):
            value = ns.values.new(version)
            ns.patch("db", {"key": value})
        relay.resume()
        mount.wait_for_value("key", value)
    mount.wait_for_source("live")
    assert len([entry for entry in mount.logged("request") if "watch" not in entry["path"]]) == 2
    mount.assert_told_once(FAILS, WELL)


def test_deleted_while_cut_off(
    ns: Namespace, mounts: Mounts, relay: Relay, relay_args: list[str]
) -> None:
    value = ns.values.new(0)
    ns.create("db", {"key": value})
    mount = make(mounts, "secret/db", relay_args)
    relay.cut()
    mount.wait_for_source("failing")
    ns.delete("db")
    relay.resume()
    mount.wait_for_volume("stale")
    assert mount.wait_for_source("live")["volume"]["state"] == "stale"
    assert mount.files() == {"key": value}


# ---- what the API server has forgotten


def was_gone(mount: Mount) -> bool:
    """Whether the API server has answered that the watch's place is forgotten."""
    return any("410" in str(entry) for entry in mount.log() if "reason" in entry)


@pytest.mark.parametrize("watch_cache", [True, False], ids=["cached", "uncached"])
def test_compaction_while_cut_off(
    cluster: Cluster,
    ns: Namespace,
    mounts: Mounts,
    relay: Relay,
    relay_args: list[str],
    watch_cache: bool,
) -> None:
    """The updates between are forgotten when the mount comes back, which begins with a list."""
    flags = [] if watch_cache else ["--watch-cache=false"]
    mount = make_proven(ns, mounts, relay_args)
    try:
        with follow(mount):
            relay.cut()
            mount.wait_for_source("failing")
            for version in range(2, 21):
                value = ns.values.new(version)
                ns.patch("db", {"key": value})
            cluster.compact()
            cluster.restart_apiserver(*flags)  # its watch cache starts empty, too
            relay.resume()
            mount.wait_for_value("key", value)
            mount.wait_for_source("live")
            mount.assert_told_in_turn()
            value = ns.values.new(21)
            ns.patch("db", {"key": value})
            mount.wait_for_value("key", value)
    finally:
        if not watch_cache:
            cluster.restart_apiserver()


def test_watch_from_a_forgotten_version(
    cluster: Cluster, ns: Namespace, mounts: Mounts, relay: Relay, relay_args: list[str]
) -> None:
    """The connection breaks while the server is well: the watch again, a 410, and a new list."""
    cluster.restart_apiserver("--watch-cache=false")
    try:
        mount = make_proven(ns, mounts, relay_args)
        for i in range(50):
            ns.create(f"busy-{i}", {"key": b"x"}, "configmaps")
        cluster.compact()
        with follow(mount):
            relay.disconnect()
            until(lambda: was_gone(mount), "the 410")
            mount.wait_for_source("live")
            value = ns.values.new(2)
            ns.patch("db", {"key": value})
            mount.wait_for_value("key", value)
    finally:
        cluster.restart_apiserver()


def test_compaction_under_an_idle_mount(
    cluster: Cluster, ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    """It has not changed for long while others have. The content of the new list is shown."""
    ns.create("idle", {"key": ns.values.new(0)})
    mount = make(mounts, "secret/idle", admin_args)
    generation = mount.generation()
    for i in range(50):
        ns.create(f"busy-{i}", {"key": b"x"}, "configmaps")
    cluster.compact()
    cluster.restart_apiserver()
    mount.wait_for_source("live")
    value = ns.values.new(1)
    assert mount.generation() == generation
    ns.patch("idle", {"key": value})
    mount.wait_for_value("key", value)


def test_uncached_server(
    cluster: Cluster, ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    """An API server whose watches come straight from etcd."""
    cluster.restart_apiserver("--watch-cache=false")
    try:
        ns.create("db", {"key": ns.values.new(0)})
        mount = make(mounts, "secret/db", admin_args)
        with follow(mount):
            for version in range(1, 21):
                value = ns.values.new(version)
                ns.patch("db", {"key": value})
            mount.wait_for_value("key", value)
            # etcd forgets what the watch has seen already: that is not its concern
            cluster.compact()
            value = ns.values.new(21)
            ns.patch("db", {"key": value})
            mount.wait_for_value("key", value)
        assert mount.logged(FAILS) == []
    finally:
        cluster.restart_apiserver()


# ---- etcd


def can_write(ns: Namespace, name: str, value: bytes) -> bool:
    ns.patch(name, {"key": value})
    return True


@by_signal
def test_etcd_is_away(
    cluster: Cluster,
    ns: Namespace,
    mounts: Mounts,
    admin_args: list[str],
    number: signal.Signals,
) -> None:
    first, second, third = (ns.values.new(i) for i in range(3))
    ns.create("db", {"key": first})
    mount = make(mounts, "secret/db", admin_args)
    with follow(mount) as reader:
        cluster.stop_etcd(number)

        def is_unwell() -> bool:
            try:
                return not cluster.is_ready()
            except (ApiError, OSError):
                return True

        until(is_unwell, "the API server misses etcd", pause=0.1)
        n_reads = reader.n_reads
        until(lambda: reader.n_reads > n_reads + 10, "content stays readable")
        assert mount.status()["volume"]["state"] in ("current", "disconnected")
        cluster.start_etcd()
        refusals = (ApiError, OSError)
        for value in (second, third):
            until(lambda: can_write(ns, "db", value), "etcd is back", forgive=refusals)
            mount.wait_for_value("key", value)
    mount.wait_for_source("live")


def test_all_of_it_restarts(
    cluster: Cluster, ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    ns.create("db", {"key": ns.values.new(0)})
    mount = make(mounts, "secret/db", admin_args)
    with follow(mount):
        cluster.stop_apiserver(signal.SIGKILL)
        cluster.stop_etcd(signal.SIGKILL)
        mount.wait_for_source("failing")
        cluster.start_etcd()
        cluster.start_apiserver()
        value = ns.values.new(1)
        ns.patch("db", {"key": value})
        mount.wait_for_value("key", value)
    mount.wait_for_source("live")


def test_etcd_is_restored_from_a_backup(
    cluster: Cluster,
    ns: Namespace,
    mounts: Mounts,
    relay: Relay,
    relay_args: list[str],
    tmp_path: Path,
) -> None:
    """The cluster's past becomes its present: what is shown follows."""
    state, backup = cluster.directory / "etcd", tmp_path / "backup"
    mount = make_proven(ns, mounts, relay_args)
    past = mount.read("key")
    cluster.stop_apiserver()
    cluster.stop_etcd()
    shutil.copytree(state, backup)
    cluster.start_etcd()
    cluster.start_apiserver()
    for i in range(20):
        ns.create(f"lost-{i}", {"key": b"x"}, "configmaps")
    lost = ns.values.new(2)
    ns.patch("db", {"key": lost})
    mount.wait_for_value("key", lost)

    relay.cut()
    mount.wait_for_source("failing")
    cluster.stop_apiserver()
    cluster.stop_etcd()
    shutil.rmtree(state)
    shutil.copytree(backup, state)
    cluster.start_etcd()
    cluster.start_apiserver()
    relay.resume()
    mount.wait_for_value("key", past, 60)
    value = ns.values.new(3)
    ns.patch("db", {"key": value})
    mount.wait_for_value("key", value)
