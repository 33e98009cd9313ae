"""Mounts that ended with an earlier daemon, in pods that run: what to do is said at the next one's start."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest

from lib.kubelet import PodVolume
from lib.node_daemon import KeptNode, Node, NodeMaker
from lib.pods import put_pod
from lib.sources import Api, Manifests
from lib.volume import abort_connection
from lib.waiting import until

LOST = "WARN mounts have ended with an earlier daemon"


def events(api: Api) -> list[dict[str, Any]]:
    asked = api.server.requests.select(verb="create", resource="events")
    return [json.loads(request.body) for request in asked]


def _kill(node: Node) -> None:
    node.kill()


def _abort(node: Node) -> None:
    """As an administrator does by fusectl."""
    node.expected_exit = 1
    abort_connection(node.mounts()[0].device)
    assert node.wait_end() == 1


def _publish(node: Node, api: Api, number: int) -> PodVolume:
    volume = node.pod(number)
    put_pod(api, volume)
    return node.publish(volume)


@pytest.mark.parametrize("end", [_kill, _abort])
def test_pods_get_an_event(
    node_on_api: Node, start_node: NodeMaker, api: Api, end: Callable[[Node], None]
) -> None:
    volumes = [_publish(node_on_api, api, number) for number in range(2)]
    end(node_on_api)
    following = start_node("--rights=daemon", *api.arguments).wait_ready()
    until(lambda: len(events(api)) == 2, "an event for each pod")
    told = {event["involvedObject"]["uid"]: event for event in events(api)}
    for volume in volumes:
        event = told[volume.uid]
        assert (event["type"], event["reason"]) == ("Warning", "VolumeMountLost")
        assert event["involvedObject"]["name"] == volume.pod
        assert event["message"].startswith(f"volume {volume.volume}: ")
        assert "delete the pod" in event["message"]
    (line,) = following.log_lines(LOST)
    assert 'count="2"' in line and str(volumes[0].target.parent.parent.parent.parent.parent) in line


def test_pod_that_is_deleted_gets_none(node_on_api: Node, start_node: NodeMaker, api: Api) -> None:
    """The kubelet unpublishes its volume."""
    staying, going = (_publish(node_on_api, api, number) for number in range(2))
    node_on_api.kill()
    api.server.delete_pod(going.namespace, going.pod)
    following = start_node("--rights=daemon", *api.arguments).wait_ready()
    until(lambda: events(api), "the event")
    following.unpublish(going)
    assert [event["involvedObject"]["uid"] for event in events(api)] == [staying.uid]


def test_mounts_of_another_driver(node: Node, start_node: NodeMaker, manifests: Manifests) -> None:
    """They are that one's to report."""
    node.publish(node.pod())
    node.kill()
    other = start_node(*manifests.arguments, driver="other.secretfs.io", run="other").wait_ready()
    assert other.log_lines(LOST) == []


def test_mounts_that_are_taken_over(start_node: NodeMaker, manifests: Manifests) -> None:
    """Of both file systems."""
    manifests.put_secret({"user": b"admin"})
    kept = start_node(*manifests.arguments, kind=KeptNode).wait_ready()
    assert isinstance(kept, KeptNode)
    kept.publish(kept.pod())
    kept.publish(kept.pod(1, attributes={"secretName": "app", "updates": "in-place"}))
    kept.kill_daemon()
    assert kept.log_lines("took over volumes")
    assert kept.log_lines(LOST) == []
