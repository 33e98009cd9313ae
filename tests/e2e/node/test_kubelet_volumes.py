"""The kubelet's own volumes, as pods on this node see them: what secretfs is compared with."""

from __future__ import annotations

from pathlib import Path

from lib.kube import Node
from lib.kube.namespace import Namespace
from lib.kube.pods import Listed, Pods, plain_pod
from lib.waiting import until


def test_secret_volume(ns: Namespace, pods: Pods) -> None:
    """The layout of A4 and A7, the modes of F1, F2 and F5."""
    user, password = ns.values.new(1), ns.values.new(1)
    ns.create("db", {"user": user, "password": password})
    pod = pods.probe("reader", {"kubelet": {"secret": {"secretName": "db"}}})
    view = pod.probed()["kubelet"]
    assert view.comparable() == [
        Listed(".", "d", 0o1777, 0, 0, 0, ""),
        Listed("..data", "l", 0o777, 0, 0, 0, "TS"),
        Listed("TS", "d", 0o755, 0, 0, 0, ""),
        Listed("TS/password", "-", 0o644, 0, 0, len(password), ""),
        Listed("TS/user", "-", 0o644, 0, 0, len(user), ""),
        Listed("password", "l", 0o777, 0, 0, len("..data/password"), "..data/password"),
        Listed("user", "l", 0o777, 0, 0, len("..data/user"), "..data/user"),
    ]
    assert (view.last("user"), view.last("password")) == (user, password)
    assert view.errors == []
    path = pod.volume_path("kubernetes.io~secret", "kubelet")
    assert (path / "user").read_bytes() == user
    assert (pod.view("/kubelet") / "user").read_bytes() == user
    pod.delete()
    until(pod.is_off_the_node, "the volume is gone")


def test_secret_volume_follows(ns: Namespace, pods: Pods) -> None:
    """A pod whose object changed is synced at once (H3), and a file mounted alone stays (P2)."""
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    sub_paths = {"alone": ("kubelet", "key")}
    pod = pods.probe("reader", {"kubelet": {"secret": {"secretName": "db"}}}, sub_paths=sub_paths)
    ns.patch("db", {"key": second})

    def is_new() -> bool:
        pod.poke()
        return pod.probed()["kubelet"].last("key") == second

    until(is_new, "the kubelet has written it", pause=1)
    views = pod.probed()
    kinds = [event.kind for event in views["kubelet"].events]
    assert kinds[:2] == ["CREATE|ISDIR", "ATTRIB|ISDIR"]
    assert "MOVED_TO" in kinds
    assert views["alone"].last("-") == first
    assert (pod.view("/file/alone")).read_bytes() == first


def test_missing_secret(ns: Namespace, pods: Pods) -> None:
    """The pod waits, with a warning that names it, and starts when it is there (G1)."""
    volumes = {"kubelet": {"secret": {"secretName": "absent"}}}
    pod = pods.make(plain_pod("waiting", volumes, ["/bin/sleep", "86400"]))
    told = pod.wait_event("FailedMount.*absent")
    assert "not found" in told
    value = ns.values.new(1)
    ns.create("absent", {"key": value})
    pod.wait_running()
    assert (pod.view("/kubelet") / "key").read_bytes() == value


def test_nothing_is_left_on_the_machine(node: Node, ns: Namespace, pods: Pods) -> None:
    """What a node mounts and keeps is in its own namespace."""
    ns.create("db", {"key": ns.values.new(1)})
    pod = pods.probe("reader", {"kubelet": {"secret": {"secretName": "db"}}})
    inside, outside = node.mountinfo(), Path("/proc/self/mountinfo").read_text()
    assert str(pod.directory) in inside and str(pod.directory) not in outside
    assert not Path(pod.directory).exists()

