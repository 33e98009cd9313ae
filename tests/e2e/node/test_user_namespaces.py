"""Pods with a user namespace of their own (`hostUsers: false`): the same as the kubelet's volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

from lib.kube.daemons import Daemon
from lib.kube.namespace import Namespace
from lib.kube.pods import Pod, Pods, plain_pod

Permit = Callable[..., dict[str, object]]
POD = {"hostUsers": False}


@pytest.fixture(autouse=True)
def needs_user_namespaces(ns: Namespace) -> None:
    """An API server that does not know the field drops it."""
    manifest = plain_pod("tried", {}, ["/bin/true"], **POD)
    path = f"/api/v1/namespaces/{ns.name}/pods?dryRun=All"
    made = ns.cluster.admin.request("POST", path, manifest)
    if made["spec"].get("hostUsers") is not False:
        pytest.skip("this release has no pods with user namespaces")


def assert_mapped(pod: Pod) -> None:
    """Root in the container is another user on the node."""
    status = next(line for line in (pod.view("/proc/1/status")).read_text().splitlines()
                  if line.startswith("Uid:"))
    assert status.split()[1] != "0", status


def test_secret(any_daemon: Daemon, ns: Namespace, pods: Pods, permit: Permit) -> None:
    """Owners as the container sees them, modes and content; then an update."""
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first, "private": ns.values.new(1)})
    items = [{"key": "key", "path": "key"}, {"key": "private", "path": "a/b", "mode": 0o400}]
    volumes = {
        "theirs": {"secret": {"secretName": "db", "items": items}},
        "ours": any_daemon.volume("db", secretName="db", items=items),
    }
    pod = pods.probe("reader", volumes, unmounted=permit(any_daemon, secrets=("db",)), **POD)
    assert_mapped(pod)
    views = pod.probed()
    assert views["ours"].comparable() == views["theirs"].comparable()
    assert {(entry.uid, entry.gid) for entry in views["ours"].listing} == {(0, 0)}
    assert views["ours"].errors == views["theirs"].errors == []
    ns.patch("db", {"key": second})
    pod.wait_content("ours", "key", second)


def test_ordinary_user_with_fs_group(
    any_daemon: Daemon, ns: Namespace, pods: Pods, permit: Permit
) -> None:
    """F10: the group is the pod's, in the pod's own numbers; it may read what its mode allows."""
    value = ns.values.new(1)
    ns.create("db", {"key": value})
    volumes = {
        "theirs": {"secret": {"secretName": "db", "defaultMode": 0o400}},
        "ours": any_daemon.volume("db", secretName="db", defaultMode="0400"),
    }
    context = {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000}
    more = permit(any_daemon, secrets=("db",))
    pod = pods.probe("reader", volumes, unmounted=more, securityContext=context, **POD)
    views = pod.probed()
    assert views["ours"].comparable() == views["theirs"].comparable()
    assert {entry.gid for entry in views["ours"].listing} == {2000}
    assert views["ours"].last("key") == value


def test_sub_path_stays_live(any_daemon: Daemon, ns: Namespace, pods: Pods, permit: Permit) -> None:
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    volumes = {"ours": any_daemon.volume("db", secretName="db")}
    more = permit(any_daemon, secrets=("db",))
    pod = pods.probe("reader", volumes, sub_paths={"alone": ("ours", "key")}, unmounted=more, **POD)
    assert pod.probed()["alone"].last("-") == first
    ns.patch("db", {"key": second})
    pod.wait_content("ours", "key", second)
    file: Path = pod.view("/file/alone")
    assert file.read_bytes() == second
