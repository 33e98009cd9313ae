"""A pod's author chooses its labels, annotations and volumes: they cost that pod's volumes only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib.kubelet import OK, UNAVAILABLE, PodVolume
from lib.node_daemon import DRIVER, Node, read
from lib.pods import put_adopted
from lib.sources import Api
from lib.waiting import until

ANNOTATIONS_MAX_BYTES = 256 << 10  # the API server's limit for all of a pod's
NAMES = {"podVolume": "own"}


@pytest.fixture
def daemon(daemon: Node, api: Api) -> Node:
    api.put_secret({"user": b"admin"})
    return daemon


def put(api: Api, volume: PodVolume, note: str, items: int) -> None:
    fields = [
        {"path": f"f{n}", "fieldRef": {"fieldPath": "metadata.annotations"}} for n in range(items)
    ]
    entry = {"name": "own", "downwardAPI": {"items": fields, "defaultMode": 420}}
    put_adopted(api, volume, entry, metadata={"annotations": {"note": note}})


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [entry for entry in status.splitlines() if entry.startswith("VmRSS:")]
    return int(line.split()[1]) << 10


def serves_others(node: Node, api: Api) -> None:
    other = node.pod(7)
    assert other.publish(node.endpoint).code == OK
    assert read(other, "user") == b"admin"
    node.unpublish(other)


def test_annotations_that_grow_in_quotes(daemon: Node, api: Api) -> None:
    """Four bytes for one; the longest that a pod can have is shown."""
    volume = daemon.pod(attributes=NAMES)
    note = "\x01" * (150 << 10)  # with six bytes each in JSON, the pod is just below its limit
    put(api, volume, note, 1)
    daemon.publish(volume)
    assert read(volume, "f0") == b'note="' + b"\\x01" * len(note) + b'"'
    serves_others(daemon, api)


def test_the_same_annotations_many_times(daemon: Node, api: Api) -> None:
    """Computed and kept once, however many items show them."""
    volume = daemon.pod(attributes=NAMES)
    note = "\x01" * (100 << 10)
    put(api, volume, note, 3000)
    daemon.publish(volume)
    assert len(read(volume, "f2999")) == 4 * len(note) + len('note=""')
    assert resident_bytes(daemon.pid) < 200 << 20
    serves_others(daemon, api)


def test_many_items_and_annotations(daemon: Node, api: Api) -> None:
    """Each change looks all of them up, while others are served."""
    volume = daemon.pod(attributes=NAMES)
    count = 5000
    path = "metadata.annotations['%d']"
    fields = [{"path": f"f{n}", "fieldRef": {"fieldPath": path % n}} for n in range(count)]
    entry = {"name": "own", "downwardAPI": {"items": fields, "defaultMode": 420}}
    annotations = {str(number): "a" for number in range(2 * count)}
    put_adopted(api, volume, entry, metadata={"annotations": annotations})
    daemon.publish(volume)
    for text in ("b", "c"):
        annotations["4999"] = text
        put_adopted(api, volume, entry, metadata={"annotations": annotations})
        until(lambda t=text: read(volume, "f4999") == t.encode(), "the annotation")
        serves_others(daemon, api)


def test_pod_that_is_too_large(daemon: Node, api: Api) -> None:
    """It is not read, and the error says so."""
    volume = daemon.pod(attributes=NAMES)
    put(api, volume, "\x01" * ANNOTATIONS_MAX_BYTES, 1)
    answer = volume.publish(daemon.endpoint)
    assert answer.code == UNAVAILABLE
    assert "larger than 1 MiB" in answer.text
    serves_others(daemon, api)


def test_entries_that_are_not_the_pods(daemon: Node, api: Api) -> None:
    """Neither a path nor another namespace's or pod's volume can be named, only an entry."""
    victim = daemon.pod(1, namespace="victim", attributes=NAMES)
    put_adopted(api, victim, {"name": "own", "secret": {"secretName": "app"}})
    for name in ("victim/own", "../own", "own/", " own", "victim/web-1/own", "*", "[own]"):
        volume = daemon.pod(attributes={"podVolume": name})
        put_adopted(api, volume, {"name": "unused", "emptyDir": {}})
        answer = volume.publish(daemon.endpoint)
        assert answer.code != OK
        assert "the pod has no volume" in answer.text
        api.server.delete_pod("default", volume.pod)


def test_storm_of_labels(daemon: Node, api: Api) -> None:
    """Changes that come faster than they are published: the last one is shown."""
    volume = daemon.pod(attributes=NAMES)
    csi = {"driver": DRIVER, "volumeAttributes": NAMES}
    fields = [{"path": "n", "fieldRef": {"fieldPath": "metadata.labels['n']"}}]
    volumes = [
        {"name": volume.volume, "csi": csi},
        {"name": "own", "downwardAPI": {"items": fields, "defaultMode": 420}},
    ]
    put_adopted(api, volume, volumes=volumes)
    daemon.publish(volume)
    for number in range(1000):
        put_adopted(api, volume, volumes=volumes, metadata={"labels": {"n": str(number)}})
    until(lambda: read(volume, "n") == b"999", "the last label")
    assert json.dumps(daemon.status())
