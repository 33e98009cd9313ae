"""`report: condition`: the pod's condition says whether all consumers are on the newest version."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import Any

from lib.kubelet import PodVolume
from lib.node_daemon import Node, NodeMaker, read
from lib.pods import put_pod
from lib.sources import Api
from lib.waiting import until

TYPE = "secretfs.io/SecretsCurrent"
REPORT = {"secretName": "app", "report": "condition"}
PAUSE = {"secretfs.io/pause": "true"}
OUTSIDE = "a process outside of the pod"


def start(start_node: NodeMaker, api: Api, *options: str, user: str = "admin") -> Node:
    arguments = ["--rights=daemon", "--kubeconfig", api.kubeconfig(user)]
    return start_node(*arguments, "--consumers=on", *options).wait_ready()


def stop(node: Node) -> None:
    node.signal(signal.SIGTERM)
    node.wait_end()


def publish(node: Node, api: Api, number: int = 0, **attributes: str) -> PodVolume:
    volume = node.pod(number, attributes={**REPORT, **attributes})
    put_pod(api, volume, phase="Running")
    return node.publish(volume)


def condition(api: Api, volume: PodVolume) -> dict[str, Any]:
    pod = api.server.get_object("pods", volume.namespace, volume.pod) or {}
    listed = pod.get("status", {}).get("conditions", [])
    return next((each for each in listed if each["type"] == TYPE), {})


def wait_for(api: Api, volume: PodVolume, status: str, message: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        one = condition(api, volume)
        return one if (one.get("status"), one.get("message")) == (status, message) else None

    return until(found, f"{status}: {message}")


def version(api: Api) -> str:
    found = api.server.get_object("secrets", "default", "app")
    assert found is not None
    return f"secret/default/app@{found['metadata']['resourceVersion']}"


def written(api: Api) -> list[str]:
    """What was written to pods, one after the other; equal ones only once."""
    sent = api.server.requests.select(verb="patch", resource="pods/status")
    bodies = [json.loads(request.body)["status"]["conditions"][0] for request in sent]
    statuses = [f"{body['status']} {body['reason']}" for body in bodies]
    return [each for i, each in enumerate(statuses) if i == 0 or statuses[i - 1] != each]


def test_rotation(start_node: NodeMaker, api: Api) -> None:
    """True, then False until the reader has opened the new version; other metadata is no update."""
    api.put_secret({"password": b"dummy-1"})
    node = start(start_node, api)
    volume = publish(node, api)
    first = wait_for(api, volume, "True", version(api))
    assert first["reason"] == "AllConsumersCurrent"
    read(volume, "password")
    api.put_secret({"password": b"dummy-2"})
    second = version(api)
    held = wait_for(api, volume, "False", f"{second}: not opened yet by {OUTSIDE}")
    assert held["reason"] == "OldVersionInUse"
    assert held["lastTransitionTime"] >= first["lastTransitionTime"]
    api.touch_secret()
    read(volume, "password")
    wait_for(api, volume, "True", second)
    expected = ["True AllConsumersCurrent", "False OldVersionInUse", "True AllConsumersCurrent"]
    assert written(api) == expected


def test_rotation_of_a_volume_with_live_files(start_node: NodeMaker, api: Api) -> None:
    """Such as those by subPath: the daemon notes what it answers."""
    api.put_secret({"password": b"dummy-1"})
    node = start(start_node, api)
    volume = publish(node, api, updates="in-place")
    wait_for(api, volume, "True", version(api))
    with (volume.target / "password").open("rb") as held:
        api.put_secret({"password": b"dummy-2"})
        second = version(api)
        wait_for(api, volume, "False", f"{second}: not opened yet by {OUTSIDE}")
        read(volume, "password")
        wait_for(api, volume, "False", f"{second}: files of an older version are open")
        held.close()
    wait_for(api, volume, "True", second)


def test_container_that_started_earlier(start_node: NodeMaker, api: Api) -> None:
    """It may have read the volume of an earlier process."""
    api.put_secret({"password": b"dummy-1"})
    node = start(start_node, api)
    volume = node.pod(attributes=REPORT)
    running = {"name": "main", "state": {"running": {"startedAt": "2020-01-01T00:00:00Z"}}}
    put_pod(api, volume, phase="Running", containers=[running])
    node.publish(volume)
    text = "a container started before its opens were noted; restart it"
    wait_for(api, volume, "Unknown", f"{version(api)}: {text}")


def test_update_that_is_held(start_node: NodeMaker, api: Api) -> None:
    api.put_secret({"password": b"dummy-1"})
    node = start(start_node, api)
    volume = publish(node, api)
    first = version(api)
    wait_for(api, volume, "True", first)
    api.put_secret({"password": b"dummy-2"}, annotations=PAUSE)
    found = wait_for(api, volume, "False", f"{first}: an update is held")
    assert found["reason"] == "UpdateHeld"
    api.put_secret({"password": b"dummy-2"}, annotations={})
    until(lambda: condition(api, volume)["status"] == "True", "the update")


def test_without_consumers_nothing_is_proven(start_node: NodeMaker, api: Api) -> None:
    api.put_secret({"password": b"dummy-1"})
    node = start(start_node, api, "--consumers=off")
    volume = publish(node, api)
    text = "its consumers are not noted (--consumers)"
    found = wait_for(api, volume, "Unknown", f"{version(api)}: {text}")
    assert found["reason"] == "ConsumersUnknown"


def test_who_asks_for_it(start_node: NodeMaker, api: Api) -> None:
    """By default those that say so; with the option all but those that decline."""
    api.put_secret({"password": b"dummy-1"})
    node = start(start_node, api, "--report-conditions=on")
    declines = publish(node, api, 0, report="none")
    wants = publish(node, api, 1, report="")
    wait_for(api, wants, "True", version(api))
    stop(node)
    node = start(start_node, api)
    silent = publish(node, api, 2, report="")
    asks = publish(node, api, 3)
    wait_for(api, asks, "True", version(api))
    assert condition(api, silent) == condition(api, declines) == {}
    node.finish()  # before the other one is looked at


def test_restart_writes_nothing(start_node: NodeMaker, api: Api) -> None:
    """What was proven stays proven until an update."""
    api.put_secret({"password": b"dummy-1"})
    node = start(start_node, api)
    volume = publish(node, api)
    first = version(api)
    before = wait_for(api, volume, "True", first)
    stop(node)
    pod = api.server.get_object("pods", volume.namespace, volume.pod)
    assert pod is not None
    state = {"running": {"startedAt": "2020-01-01T00:00:00Z"}}
    pod["status"]["containerStatuses"] = [{"name": "main", "state": state}]
    api.server.put_unchecked("pods", volume.namespace, volume.pod, pod)
    node = start(start_node, api)
    volume = node.publish(replace(volume, root=node.root))
    api.put_secret({"password": b"dummy-2"})
    text = "a container started before its opens were noted; restart it"
    wait_for(api, volume, "Unknown", f"{version(api)}: {text}")
    assert before["message"] == first
    assert written(api) == ["True AllConsumersCurrent", "Unknown ConsumersUnknown"]
    node.finish()  # before the other one is looked at


def test_rights_that_are_missing(start_node: NodeMaker, api: Api) -> None:
    """One line in the log; the volume does not mind."""
    user = "daemon-without-status"
    api.server.grant(user, ["get", "list", "watch"], ["secrets", "pods"])
    api.put_secret({"password": b"dummy-1"})
    node = start(start_node, api, user=user)
    volume = publish(node, api)
    until(lambda: "cannot write conditions of pods" in node.log(), "the log line")
    assert "allow this identity to patch pods/status" in node.log()
    assert read(volume, "password") == b"dummy-1"
    other = publish(node, api, 1)
    assert read(other, "password") == b"dummy-1"
    assert condition(api, volume) == {}


def test_pod_that_is_gone(start_node: NodeMaker, api: Api) -> None:
    """Another pod of that name is not changed."""
    api.put_secret({"password": b"dummy-1"})
    node = start(start_node, api)
    first = publish(node, api)
    wait_for(api, first, "True", version(api))
    again = replace(first, uid="22222222-2222-3333-4444-000000000000")
    put_pod(api, again, phase="Running")
    read(first, "password")
    api.put_secret({"password": b"dummy-2"})
    api.server.wait_request(verb="patch", resource="pods/status", code=409)
    assert condition(api, again) == {}
