"""Volumes of pods beside the kubelet's own volumes of the same objects, in each mode of rights."""

from __future__ import annotations

import time
from typing import Any, Callable

import pytest

from lib.inotify import Event
from lib.kube.daemons import Daemon
from lib.kube.namespace import Namespace
from lib.kube.pods import Listed, Pod, Pods, View, plain_pod
from lib.waiting import until

Permit = Callable[..., dict[str, object]]


def assert_same(pod: Pod, ours: str = "ours", theirs: str = "theirs") -> None:
    views = pod.probed()
    assert views[ours].comparable() == views[theirs].comparable()
    assert views[ours].errors == views[theirs].errors == []


def follow_both(pod: Pod, done: Callable[[View], bool]) -> None:
    """Until both volumes are so far; the kubelet does it when it syncs the pod (H3)."""

    def is_so() -> bool:
        views = pod.probed()
        if done(views["ours"]) and done(views["theirs"]):
            return True
        pod.poke()
        return False

    until(is_so, "both volumes follow", pause=1)


def updates(events: list[Event]) -> int:
    return sum(event.kind == "DELETE|ISDIR" for event in events)


# ---- kinds


def test_secret(any_daemon: Daemon, ns: Namespace, pods: Pods, permit: Permit) -> None:
    """The same listing, and the same events of an update."""
    first, second, other = ns.values.new(1), ns.values.new(2), ns.values.new(1)
    ns.create("db", {"key": first, "other": other})
    more = permit(any_daemon, secrets=("db",))
    volumes = {
        "theirs": {"secret": {"secretName": "db"}},
        "ours": any_daemon.volume("db", secretName="db"),
    }
    pod = pods.probe("reader", volumes, unmounted=more)
    assert_same(pod)
    assert pod.probed()["ours"].last("key") == first
    ns.patch("db", {"key": second})
    follow_both(pod, lambda view: view.last("key") == second and updates(view.events) == 1)
    views = pod.probed()
    assert views["ours"].comparable_events() == views["theirs"].comparable_events()
    assert views["ours"].last("other") == other


def test_secret_of_items(
    any_daemon: Daemon, ns: Namespace, pods: Pods, permit: Permit
) -> None:
    ns.create("db", {"user": ns.values.new(1), "key": ns.values.new(1), "unused": b"dummy"})
    more = permit(any_daemon, secrets=("db",))
    items = [
        {"key": "user", "path": "login/name"},
        {"key": "key", "path": "login/key", "mode": 0o400},
        {"key": "key", "path": "copy", "mode": 0o777},
    ]
    volumes = {
        "theirs": {"secret": {"secretName": "db", "items": items, "defaultMode": 0o440}},
        "ours": any_daemon.volume("db", secretName="db", items=items, defaultMode="0440"),
    }
    pod = pods.probe("reader", volumes, unmounted=more)
    assert_same(pod)
    assert "unused" not in pod.probed()["ours"].names()


def test_configmap(any_daemon: Daemon, ns: Namespace, pods: Pods, permit: Permit) -> None:
    """On the node's disk with the kubelet (F6), so the mode of the volume itself differs."""
    ns.create("app", {"conf": b"level=1", "binary": b"\xff\0"}, "configmaps")
    more = permit(any_daemon, configmaps=("app",))
    volumes = {
        "theirs": {"configMap": {"name": "app"}},
        "ours": any_daemon.volume(configMap="app"),
    }
    pod = pods.probe("reader", volumes, unmounted=more)
    ours, theirs = (pod.probed()[name].comparable() for name in ("ours", "theirs"))
    assert ours[1:] == theirs[1:]
    assert [entry[0].mode & 0o777 for entry in (ours, theirs)] == [0o777, 0o777]
    ns.patch("app", {"conf": b"level=2"}, "configmaps")
    pod.wait_content("ours", "conf", b"level=2")


def test_projected(any_daemon: Daemon, ns: Namespace, pods: Pods, permit: Permit) -> None:
    ns.create("one", {"a": ns.values.new(1), "b": ns.values.new(1)})
    ns.create("two", {"b": ns.values.new(2)})
    ns.create("app", {"conf": b"level=1"}, "configmaps")
    more = permit(any_daemon, secrets=("one", "two"), configmaps=("app",))
    sources = [
        {"secret": {"name": "one"}},
        {"secret": {"name": "two"}},  # the later one wins (N2)
        {"configMap": {"name": "app", "items": [{"key": "conf", "path": "etc/conf"}]}},
        {"secret": {"name": "absent", "optional": True}},
    ]
    if any_daemon.rights == "node":
        more["permit-absent"] = {"secret": {"secretName": "absent", "optional": True}}
    if any_daemon.rights == "pod":
        sources.pop()  # what may be absent still has to be permitted; see test_optional
    volumes = {
        "theirs": {"projected": {"sources": sources, "defaultMode": 0o444}},
        "ours": any_daemon.volume(sources=sources, defaultMode="0444"),
    }
    pod = pods.probe("reader", volumes, unmounted=more)
    assert_same(pod)
    value = ns.values.new(3)
    ns.patch("two", {"b": value})
    follow_both(pod, lambda view: view.last("b") == value and updates(view.events) == 1)
    views = pod.probed()
    assert views["ours"].comparable_events() == views["theirs"].comparable_events()


def test_optional(any_daemon: Daemon, ns: Namespace, pods: Pods, permit: Permit) -> None:
    """It comes, loses a key and goes, and each time the volume is what the kubelet's would be."""
    more = permit(any_daemon, secrets=("later",))
    volumes = {
        "theirs": {"secret": {"secretName": "later", "optional": True}},
        "ours": any_daemon.volume(secretName="later", optional="true"),
    }
    pod = pods.probe("reader", volumes, unmounted=more)
    assert_same(pod)
    assert pod.probed()["ours"].names() == {".", "..data", *_generations(pod.probed()["ours"])}
    value = ns.values.new(1)
    ns.create("later", {"key": value, "other": b"dummy"})
    follow_both(pod, lambda view: view.last("key") == value and updates(view.events) == 1)
    ns.patch("later", {"other": None})
    follow_both(pod, lambda view: updates(view.events) == 2)
    ns.delete("later")
    follow_both(pod, lambda view: updates(view.events) == 3)
    views = pod.probed()
    # where a new key's link stands differs between releases (C2, C3), and that of many is open (B11)
    ours, theirs = (sorted(views[name].comparable_events()) for name in ("ours", "theirs"))
    assert ours == theirs


def _generations(view: View) -> set[str]:
    return {entry.path for entry in view.listing if entry.path.startswith("..20")}


def test_fs_group(any_daemon: Daemon, ns: Namespace, pods: Pods, permit: Permit) -> None:
    """F10, F11. This kubelet does not hand the group over (S4), so the pod says it twice; and it
    leaves the group of links alone (F12)."""
    ns.create("db", {"key": ns.values.new(1)})
    more = permit(any_daemon, secrets=("db",))
    volumes = {
        "theirs": {"secret": {"secretName": "db", "defaultMode": 0o400}},
        "ours": any_daemon.volume("db", secretName="db", defaultMode="0400", fsGroup="4321"),
    }
    pod = pods.probe("reader", volumes, fs_group=4321, unmounted=more)
    ours, theirs = (
        [entry for entry in pod.probed()[name].comparable() if entry.type != "l"]
        for name in ("ours", "theirs")
    )
    assert ours == theirs
    assert Listed("TS/key", "-", 0o440, 0, 4321, 31, "") in ours


# ---- files alone


def test_sub_path(any_daemon: Daemon, ns: Namespace, pods: Pods, permit: Permit) -> None:
    """The kubelet's file stays as it was (P2), ours goes on, and says so to who watches it."""
    first, second, third = (ns.values.new(i) for i in (1, 2, 3))
    ns.create("db", {"key": first, "other": b"dummy"})
    more = permit(any_daemon, secrets=("db",))
    volumes = {
        "theirs": {"secret": {"secretName": "db"}},
        "ours": any_daemon.volume("db", secretName="db"),
    }
    sub_paths = {"alone-ours": ("ours", "key"), "alone-theirs": ("theirs", "key")}
    pod = pods.probe("reader", volumes, sub_paths=sub_paths, unmounted=more)
    for value in (second, third):
        ns.patch("db", {"key": value})
        pod.wait_content("alone-ours", "-", value)
        follow_both(pod, lambda view, value=value: view.last("key") == value)
    views = pod.probed()
    kinds = {event.kind for event in views["alone-ours"].events}
    assert {"MODIFY", "CLOSE_WRITE"} <= kinds
    assert views["alone-theirs"].last("-") == first
    assert pod.view("/file/alone-theirs").read_bytes() == first
    assert pod.view("/file/alone-ours").read_bytes() == third


# ---- how fast


def test_update_latency(
    any_daemon: Daemon,
    ns: Namespace,
    pods: Pods,
    permit: Permit,
    measured: Callable[[str], None],
) -> None:
    """From the answer to the PATCH until a program in the pod has read the new bytes."""
    ns.create("db", {"key": ns.values.new(0)})
    more = permit(any_daemon, secrets=("db",))
    volumes = {"ours": any_daemon.volume("db", secretName="db")}
    pod = pods.probe("reader", volumes, unmounted=more)
    took = []
    for version in range(1, 31):
        value = ns.values.new(version)
        ns.patch("db", {"key": value})
        answered = time.time_ns()
        took.append((pod.wait_content("ours", "key", value).time - answered) / 1e6)
    took.sort()
    measured(
        f"update in a pod, {any_daemon.rights}'s rights: median {took[len(took) // 2]:.1f} ms, "
        f"at most {took[-1]:.1f} ms after the API server's answer, of {len(took)} updates"
    )


def test_update_latency_of_the_kubelet(
    node_daemon: Daemon, ns: Namespace, pods: Pods, measured: Callable[[str], None]
) -> None:
    """Left to itself, in the same pod (H2). The one test that has to wait for it; while a pod starts
    it is synced more often (H3), which is not what is asked for."""
    ns.create("db", {"key": ns.values.new(0)})
    volumes = {
        "theirs": {"secret": {"secretName": "db"}},
        "ours": node_daemon.volume("db", secretName="db"),
    }
    pod = pods.probe("reader", volumes)
    ours = theirs = answered = version = 0
    while theirs - answered < 10e9 and version < 10:
        version += 1
        value = ns.values.new(version)
        ns.patch("db", {"key": value})
        answered = time.time_ns()
        ours, theirs = (pod.wait_content(name, "key", value).time for name in ("ours", "theirs"))
    measured(
        f"the same update in one pod: secretfs after {(ours - answered) / 1e6:.1f} ms, "
        f"the kubelet's volume after {(theirs - answered) / 1e9:.1f} s"
    )
    assert ours < theirs


def test_no_attributes(node_daemon: Daemon, ns: Namespace, pods: Pods) -> None:
    """nodePublishSecretRef says which secret it is."""
    value = ns.values.new(1)
    ns.create("db", {"key": value})
    pod = pods.probe("reader", {"ours": node_daemon.volume("db")})
    assert pod.probed()["ours"].last("key") == value


# ---- what is refused


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"secretName": "db", "defaultMod": "0400"}, "defaultMod"),
        ({"secretName": "db", "defaultMode": "0999"}, "defaultMode"),
        ({"secretName": "db", "items": "[{key: a, path: ../b}]"}, "items"),
    ],
    ids=["unknown", "mode", "path"],
)
def test_bad_attributes(
    node_daemon: Daemon, ns: Namespace, pods: Pods, attributes: dict[str, Any], said: str
) -> None:
    """People read what is wrong in `kubectl describe pod`, with the attribute's name."""
    ns.create("db", {"key": ns.values.new(1)})
    volumes = {"ours": node_daemon.volume("db", **attributes)}
    pod = pods.make(plain_pod("reader", volumes, ["/bin/sleep", "86400"]))
    told = pod.wait_event("FailedMount.*InvalidArgument")
    assert said in told
    assert said in pod.describe()
    assert node_daemon.mounts_of(pod.directory) == []


# ---- what the kubelet's volumes do not have


def test_files_that_stay(
    any_daemon: Daemon, ns: Namespace, pods: Pods, permit: Permit
) -> None:
    """With `updates: in-place` a watch on a file sees it written, and its inode stays."""
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    more = permit(any_daemon, secrets=("db",))
    volumes = {"ours": any_daemon.volume("db", secretName="db", updates="in-place")}
    command = ["/bin/probe", "ours=/ours", "file=/ours/key"]
    pod = pods.make(plain_pod("reader", volumes, command, unmounted=more))
    pod.wait_probed("ours", "file")
    path = pod.view("/ours/key")
    inode = path.stat().st_ino
    ns.patch("db", {"key": second})
    pod.wait_content("file", "-", second)
    kinds = {event.kind for event in pod.probed()["file"].events}
    assert {"MODIFY", "CLOSE_WRITE"} <= kinds and "DELETE_SELF" not in kinds
    assert path.stat().st_ino == inode


def test_certificate_that_does_not_fit_is_held(
    node_daemon: Daemon, ns: Namespace, pods: Pods
) -> None:
    """The matching pair stays, the pod gets an Event, and the next matching pair is shown."""
    first, second = (ns.cluster.authority.client_pair(f"web-{i}") for i in (1, 2))
    files = {"tls.crt": first.certificate.read_bytes(), "tls.key": first.key.read_bytes()}
    ns.create("web", files, type="kubernetes.io/tls")
    volumes = {"ours": node_daemon.volume("web", secretName="web", type="tls", tls="hold")}
    pod = pods.make(plain_pod("reader", volumes, ["/bin/sleep", "86400"])).wait_running()
    ns.patch("web", {"tls.crt": second.certificate.read_bytes()})
    told = pod.wait_event("VolumeHeld")
    assert "tls" in told
    view = pod.view("/ours")
    assert {name: (view / name).read_bytes() for name in files} == files
    ns.patch("web", {"tls.key": second.key.read_bytes()})
    until(
        lambda: (view / "tls.key").read_bytes() == second.key.read_bytes(), "the pair is shown"
    )
    assert (view / "tls.crt").read_bytes() == second.certificate.read_bytes()
    pod.wait_event("VolumeCurrent")
