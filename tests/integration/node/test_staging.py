"""`secretfs.io/rollout-first` with a label selector: which pods of a node are first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lib.kubelet import PodVolume
from lib.node_daemon import KeptNode, Node, NodeMaker, read
from lib.pods import put_pod
from lib.sources import Api
from lib.waiting import until

FIRST = "secretfs.io/rollout-first"
CANARY = {"canary": "true"}


@pytest.fixture
def node(node_on_api: Node) -> Node:
    return node_on_api


def put(api: Api, password: str, first: str | None = None, **annotations: str) -> None:
    staging = {FIRST: first} if first is not None else {}
    api.put_secret({"password": password.encode()}, annotations={**staging, **annotations})


def publish(node: Node, api: Api, number: int, **labels: str) -> PodVolume:
    volume = node.pod(number)
    put_pod(api, volume, labels=labels)
    return node.publish(volume)


def state(node: Node, volume: PodVolume) -> tuple[str, str]:
    volumes: dict[str, Any] = node.status()["volumes"]
    shown = volumes[str(volume.target)]["volume"]
    return shown["state"], shown.get("error", "")


def wait_held(node: Node, volume: PodVolume, reason: str, content: bytes) -> None:
    def is_held() -> bool:
        name, error = state(node, volume)
        return name == "held" and reason in error

    until(is_held, f"the volume to be held: {reason}")
    assert read(volume, "password") == content


def wait_content(volume: PodVolume, content: bytes) -> None:
    until(lambda: read(volume, "password") == content, f"{content!r}")


def test_selected_pods_are_first(node: Node, api: Api) -> None:
    put(api, "dummy-1")
    canaries = [publish(node, api, 0, **CANARY), publish(node, api, 1, canary="true", tier="b")]
    others = [publish(node, api, 2, canary="false"), publish(node, api, 3)]
    put(api, "dummy-2", "canary in (true, yes), tier notin (a)")
    for volume in canaries:
        wait_content(volume, b"dummy-2")
    for volume in others:
        wait_held(node, volume, f"others are first by annotation {FIRST}", b"dummy-1")
    put(api, "dummy-2", "canary", **{"secretfs.io/rollout-over": "2s"})
    for volume in others:
        wait_content(volume, b"dummy-2")


def test_labels_that_change(node: Node, api: Api) -> None:
    """A pod that waits shows the update when it is selected; one that shows it goes on."""
    put(api, "dummy-1")
    early, late = publish(node, api, 0, **CANARY), publish(node, api, 1)
    put(api, "dummy-2", "canary=true")
    wait_content(early, b"dummy-2")
    wait_held(node, late, "others are first", b"dummy-1")
    put_pod(api, early)
    put_pod(api, late, labels=CANARY)
    wait_content(late, b"dummy-2")
    put(api, "dummy-3", "canary=true")
    wait_content(late, b"dummy-3")
    wait_held(node, early, "others are first", b"dummy-2")


def test_pod_that_cannot_be_read_is_not_first(node: Node, api: Api) -> None:
    put(api, "dummy-1")
    volume = node.publish(node.pod())
    put(api, "dummy-2", "!legacy")
    wait_held(node, volume, "as no labels of a pod are known for this volume", b"dummy-1")
    put_pod(api, volume)
    wait_content(volume, b"dummy-2")


@pytest.mark.parametrize("selector", ["10", "canary=true,", "tier in", "a" * 1025, ""])
def test_invalid_selector_holds_the_update_and_is_named(
    node: Node, api: Api, selector: str
) -> None:
    put(api, "dummy-1")
    volume = publish(node, api, 0, **CANARY)
    put(api, "dummy-2", selector)
    wait_held(node, volume, f"its annotation {FIRST} is invalid: expected ", b"dummy-1")

    posted = until(
        lambda: api.server.requests.select(verb="create", resource="events"), "the Event"
    )
    event = json.loads(posted[0].body)
    assert event["reason"] == "VolumeHeld"
    assert f"annotation {FIRST} is invalid: expected " in event["message"]
    put(api, "dummy-2", "canary=true")
    wait_content(volume, b"dummy-2")


def test_next_process_reads_the_labels_later(start_node: NodeMaker, api: Api) -> None:
    """While it does not know them, no pod is first; then those that are selected are."""
    put(api, "dummy-1")
    node = start_node("--rights=daemon", *api.arguments, kind=KeptNode).wait_ready()
    canary, other = publish(node, api, 0, **CANARY), publish(node, api, 1)
    put(api, "dummy-2", "canary=true", **{"secretfs.io/pause": "true"})
    for volume in (canary, other):
        wait_held(node, volume, "paused", b"dummy-1")
    assert isinstance(node, KeptNode)
    node.kill_daemon()
    put(api, "dummy-2", "canary=true")
    wait_content(canary, b"dummy-2")
    wait_held(node, other, "others are first", b"dummy-1")
