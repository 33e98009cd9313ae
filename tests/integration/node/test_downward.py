"""Sources of fields of the pod: downwardAPI volumes, and downwardAPI in projected ones."""

from __future__ import annotations

import json
import os
import stat
from typing import Any

import pytest

from lib.kubelet import INVALID_ARGUMENT, UNAVAILABLE, PodVolume
from lib.node_daemon import NODE, Node, NodeMaker, read
from lib.pods import put_adopted
from lib.sources import Api, Manifests
from lib.waiting import until

NAMES = {"podVolume": "info-own"}
LABELS = {"app": "web", "tier": "front"}


@pytest.fixture
def daemon(daemon: Node, api: Api) -> Node:
    api.put_secret({"user": b"admin"})
    return daemon


def field(path: str, field_path: str, **more: Any) -> dict[str, Any]:
    reference = {"apiVersion": "v1", "fieldPath": field_path}
    return {"path": path, "fieldRef": reference, **more}


def resource(path: str, name: str, divisor: str = "0", container: str = "main") -> dict[str, Any]:
    reference = {"containerName": container, "resource": name, "divisor": divisor}
    return {"path": path, "resourceFieldRef": reference}


def downward(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "info-own", "downwardAPI": {"items": list(items), "defaultMode": 420, **more}}


def projected(*sources: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "info-own", "projected": {"sources": list(sources), "defaultMode": 420, **more}}


def put(api: Api, volume: PodVolume, entry: dict[str, Any], **pod: Any) -> None:
    pod.setdefault("metadata", {"labels": LABELS, "annotations": {"note": "one"}})
    put_adopted(api, volume, entry, **pod)


def container_with(volume: PodVolume, **resources: dict[str, str]) -> dict[str, Any]:
    mounts = [{"name": volume.volume, "mountPath": "/info"}]
    return {"name": "main", "image": "none", "resources": resources, "volumeMounts": mounts}


def names(volume: PodVolume) -> set[str]:
    return {name for name in os.listdir(volume.target) if not name.startswith("..")}


# ---- values


def test_scalars(daemon: Node, api: Api) -> None:
    """Y1, Y2: raw values; a missing key is an empty file."""
    volume = daemon.pod(attributes=NAMES)
    items = [
        field("name", "metadata.name"),
        field("namespace", "metadata.namespace"),
        field("uid", "metadata.uid"),
        field("app", "metadata.labels['app']"),
        field("note", "metadata.annotations['note']"),
        field("missing", "metadata.labels['missing']"),
        field("also/missing", "metadata.annotations['example.com/Missing']"),
    ]
    put(api, volume, downward(*items))
    daemon.publish(volume)
    expected = {
        "name": volume.pod.encode(),
        "namespace": b"default",
        "uid": volume.uid.encode(),
        "app": b"web",
        "note": b"one",
        "missing": b"",
        "also/missing": b"",
    }
    assert {path: read(volume, path) for path in expected} == expected


def test_whole_maps(daemon: Node, api: Api) -> None:
    """Y3: sorted by bytes, quoted, no newline at the end; an empty map is an empty file."""
    volume = daemon.pod(attributes=NAMES)
    note = 'tab\t"quoted" back\\slash line\nend \x01\x7f \u00a0\u200b\ufeff \u00e4\u4e2d\U0001f600 \u00ad'
    annotations = {"b.example.com/x": note, "B": "", "a": "1"}
    items = [field("labels", "metadata.labels"), field("annotations", "metadata.annotations")]
    put(api, volume, downward(*items), metadata={"annotations": annotations})
    daemon.publish(volume)
    quoted = (
        '"tab\\t\\"quoted\\" back\\\\slash line\\nend \\x01\\x7f \\u00a0\\u200b\\ufeff '
        '\u00e4\u4e2d\U0001f600 \\u00ad"'
    )
    assert read(volume, "annotations").decode() == f'B=""\na="1"\nb.example.com/x={quoted}'
    assert read(volume, "labels") == b""


def test_modes(daemon: Node, api: Api) -> None:
    """Y7: the item's or the default mode, also with an fsGroup (F10); the root is as of a secret."""
    volume = daemon.pod(attributes=NAMES, fs_group=2000)
    items = [field("a", "metadata.name", mode=0o400), field("b", "metadata.name")]
    put(api, volume, downward(*items, defaultMode=0o600))
    daemon.publish(volume)
    found = {n: (volume.target / n).stat() for n in "ab"}
    assert {n: stat.S_IMODE(s.st_mode) for n, s in found.items()} == {"a": 0o440, "b": 0o640}
    assert {s.st_gid for s in found.values()} == {2000}
    assert stat.S_IMODE(volume.target.stat().st_mode) == 0o3777


def test_resources(daemon: Node, api: Api) -> None:
    """Y5: rounded up, cpu in thousandths."""
    volume = daemon.pod(attributes=NAMES)
    limits = {"cpu": "1500m", "memory": "65Mi", "hugepages-2Mi": "4Mi"}
    requests = {"cpu": "250m", "memory": "1000001"}
    items = [
        resource("cpu", "limits.cpu"),
        resource("cpu-m", "limits.cpu", "1m"),
        resource("memory", "limits.memory"),
        resource("memory-gi", "limits.memory", "1Gi"),
        resource("huge", "limits.hugepages-2Mi", "1Mi"),
        resource("request", "requests.cpu"),
        resource("request-k", "requests.memory", "1k"),
        resource("none", "requests.ephemeral-storage"),
        resource("no-huge", "limits.hugepages-1Gi"),
    ]
    main = container_with(volume, limits=limits, requests=requests)
    put(api, volume, downward(*items), containers=[main])
    daemon.publish(volume)
    expected = {
        "cpu": b"2",
        "cpu-m": b"1500",
        "memory": b"68157440",
        "memory-gi": b"1",
        "huge": b"4",
        "request": b"1",
        "request-k": b"1001",
        "none": b"0",
        "no-huge": b"0",
    }
    assert {path: read(volume, path) for path in expected} == expected
    assert api.server.requests.select(verb="get", resource="nodes") == []


def test_limits_that_are_the_nodes(daemon: Node, api: Api) -> None:
    """Y6: unset or zero limits are what the node has."""
    api.server.put_node(NODE, {"cpu": "3920m", "memory": "16Gi", "ephemeral-storage": "100G"})
    volume = daemon.pod(attributes=NAMES)
    items = [
        resource("cpu", "limits.cpu", "1m"),
        resource("memory", "limits.memory", "1Mi"),
        resource("disk", "limits.ephemeral-storage", "1G"),
        resource("init", "limits.cpu", "1m", container="setup"),
    ]
    main = container_with(volume, limits={"memory": "0"})
    setup = {"name": "setup", "image": "none", "resources": {"limits": {"cpu": "100m"}}}
    put(api, volume, downward(*items), containers=[main], initContainers=[setup])
    daemon.publish(volume)
    expected = {"cpu": b"3920", "memory": b"16384", "disk": b"100", "init": b"100"}
    assert {path: read(volume, path) for path in expected} == expected


def test_container_that_does_not_exist(daemon: Node, api: Api) -> None:
    """Y5: not even an ephemeral one."""
    volume = daemon.pod(attributes=NAMES)
    put(
        api,
        volume,
        downward(resource("cpu", "requests.cpu", container="debug")),
        ephemeralContainers=[{"name": "debug", "image": "none"}],
    )
    answer = volume.publish(daemon.endpoint)
    assert answer.code == UNAVAILABLE
    assert "container debug not found in the pod" in answer.text


def test_node_that_may_not_be_read(start_node: NodeMaker, api: Api) -> None:
    api.server.grant("plain", ["get", "list", "watch"], ["pods"])
    node = start_node("--rights=daemon", "--kubeconfig", api.kubeconfig("plain")).wait_ready()
    volume = node.pod(attributes=NAMES)
    put(api, volume, downward(resource("cpu", "limits.cpu")))
    answer = volume.publish(node.endpoint)
    assert answer.code == UNAVAILABLE
    assert f"cannot read the node {NODE}: " in answer.text
    assert "allow this identity to get nodes" in answer.text


# ---- updates


def test_changed_label(daemon: Node, api: Api) -> None:
    """Y7: the file follows the label; nothing else is requested for it."""
    volume = daemon.pod(attributes=NAMES)
    items = [field("labels", "metadata.labels"), field("app", "metadata.labels['app']")]
    put(api, volume, downward(*items))
    daemon.publish(volume)
    asked = len(api.server.requests.select(resource="pods"))
    put(api, volume, downward(*items), metadata={"labels": {"app": "changed"}})
    until(lambda: read(volume, "app") == b"changed", "the label")
    assert read(volume, "labels") == b'app="changed"'
    assert len(api.server.requests.select(resource="pods")) == asked


def test_other_changes_of_the_pod_are_no_update(daemon: Node, api: Api) -> None:
    """E1: events of the pod that change no value write nothing."""
    volume = daemon.pod(attributes=NAMES)
    entry = downward(field("app", "metadata.labels['app']"))
    put(api, volume, entry)
    daemon.publish(volume)
    for number in range(5):
        put(api, volume, entry, metadata={"labels": {**LABELS, "n": str(number)}})
    put(api, volume, entry, metadata={"labels": {"app": "last"}})
    until(lambda: read(volume, "app") == b"last", "the label")
    log = [line for line in daemon.log().splitlines() if " published object=" in line]
    assert len(log) == 2, log


def test_beside_other_sources(daemon: Node, api: Api) -> None:
    """Y24, N2: a later source wins; each follows its own object."""
    volume = daemon.pod(attributes=NAMES)
    fields = [field("user", "metadata.name"), field("app", "metadata.labels['app']")]
    entry = projected({"downwardAPI": {"items": fields}}, {"secret": {"name": "app"}})
    put(api, volume, entry)
    daemon.publish(volume)
    assert names(volume) == {"user", "app"}
    assert (read(volume, "user"), read(volume, "app")) == (b"admin", b"web")
    put(api, volume, entry, metadata={"labels": {"app": "changed"}})
    until(lambda: read(volume, "app") == b"changed", "the label")
    api.put_secret({"user": b"root"})
    until(lambda: read(volume, "user") == b"root", "the secret")
    status = daemon.status()["volumes"][str(volume.target)]
    assert {o["kind"] for o in status["objects"]} == {"DownwardAPI", "Secret"}


def test_label_that_changes_while_the_watch_is_away(daemon: Node, api: Api) -> None:
    """The volume says that it is not current, and has the change when the watch is back."""
    volume = daemon.pod(attributes=NAMES)
    entry = downward(field("app", "metadata.labels['app']"))
    put(api, volume, entry)
    daemon.publish(volume)
    api.server.stop_listening()
    api.server.end_connections()

    def state() -> str:
        return str(daemon.status()["volumes"][str(volume.target)]["volume"]["state"])

    until(lambda: state() == "disconnected", "the state")
    assert read(volume, "app") == b"web"
    put(api, volume, entry, metadata={"labels": {"app": "changed"}})
    api.server.start_listening()
    until(lambda: read(volume, "app") == b"changed", "the label")
    until(lambda: state() == "current", "the state")


def test_deleted_pod(daemon: Node, api: Api) -> None:
    """H8: what was shown stays until the volume is unpublished."""
    volume = daemon.pod(attributes=NAMES)
    put(api, volume, downward(field("app", "metadata.labels['app']")))
    daemon.publish(volume)
    api.server.delete_pod("default", volume.pod)
    until(lambda: daemon.status()["pods"]["known"] == 0, "the end of the pod")
    assert read(volume, "app") == b"web"


# ---- by hand


@pytest.mark.parametrize("as_volume", [False, True])
def test_in_attributes(daemon: Node, api: Api, as_volume: bool) -> None:
    sources = [{"downwardAPI": {"items": [field("app", "metadata.labels['app']")]}}]
    volume = {"projected": {"sources": sources}}
    attributes = (
        {"volume": json.dumps(volume)} if as_volume else {"sources": json.dumps(sources)}
    )
    pod = daemon.pod(attributes=attributes)
    put(api, pod, {"name": "other", "emptyDir": {}})
    daemon.publish(pod)
    assert read(pod, "app") == b"web"


@pytest.mark.parametrize(
    "item, words",
    [
        (field("a", "spec.nodeName"), 'unsupported field "spec.nodeName": use metadata.name'),
        (field("a", "metadata.labels['']"), "unsupported field"),
        (resource("a", "limits.gpu"), 'unsupported resource "limits.gpu"'),
        (resource("a", "limits.cpu", "x"), 'invalid divisor "x"'),
        (field("../a", "metadata.name"), 'invalid path "../a"'),
        ({"path": "a"}, "expected one of: fieldRef, resourceFieldRef"),
    ],
    ids=str,
)
def test_invalid_items(daemon: Node, api: Api, item: dict[str, Any], words: str) -> None:
    """Y1, Y5, Y7: one invalid item fails the volume."""
    volume = daemon.pod(attributes=NAMES)
    put(api, volume, downward(field("ok", "metadata.name"), item))
    answer = volume.publish(daemon.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert words in answer.text


def test_manifests_have_no_pods(node: Node, manifests: Manifests) -> None:
    sources = [{"downwardAPI": {"items": [field("app", "metadata.labels['app']")]}}]
    answer = node.pod(attributes={"sources": json.dumps(sources)}).publish(node.endpoint)
    assert answer.code == UNAVAILABLE
    assert "cannot read the pod: objects come from manifests" in answer.text
