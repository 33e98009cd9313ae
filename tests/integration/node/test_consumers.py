"""`secretfs node --consumers on`: who has opened what of the volumes of pods."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lib import program
from lib.node_daemon import Node, NodeMaker, PodVolume, read
from lib.pod_processes import PodProcesses
from lib.pods import put_pod
from lib.sources import Api, Manifests
from lib.waiting import until


@pytest.fixture
def node(start_node: Any, manifests: Manifests) -> Node:
    manifests.put_secret({"user": b"admin", "password": b"dummy-1"})
    return start_node("--consumers=on", *manifests.arguments).wait_ready()


def consumers(node: Node, volume: PodVolume) -> list[dict[str, Any]]:
    """This process; others of this host may read the volume as well."""
    command = [program.binary(), "status", "-o", "json", volume.target]
    done = program.run(command, home=node.root)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)["volume"]["consumers"]["list"]
    return [each for each in listed if each.get("pid") == os.getpid()]


@pytest.mark.parametrize("updates", ["generations", "in-place"])
def test_each_volume_has_its_consumers(node: Node, manifests: Manifests, updates: str) -> None:
    attributes = {"secretName": "app", "updates": updates}
    first, second = (node.publish(node.pod(i, attributes=attributes)) for i in range(2))
    read(first, "password")
    until(lambda: consumers(node, first), "the open")
    (found,) = consumers(node, first)
    assert found["state"] == "current"
    assert consumers(node, second) == []
    manifests.put_secret({"user": b"admin", "password": b"dummy-2"})
    until(lambda: consumers(node, first)[0]["state"] == "old", "the update")
    read(first, "password")
    until(lambda: consumers(node, first)[0]["state"] == "current", "the next open")


@pytest.mark.parametrize("updates", ["generations", "in-place"])
def test_volume_that_is_published_again_begins_again(node: Node, updates: str) -> None:
    volume = node.publish(node.pod(attributes={"secretName": "app", "updates": updates}))
    read(volume, "password")
    until(lambda: consumers(node, volume), "the open")
    node.unpublish(volume)
    node.publish(volume)
    assert consumers(node, volume) == []


def test_audit_names_the_pod(start_node: Any, manifests: Manifests, area: Path) -> None:
    log = area / "audit.log"
    manifests.put_secret({"password": b"dummy-1"})
    node = start_node("--consumers=on", f"--audit={log}", *manifests.arguments).wait_ready()
    volume = node.publish(node.pod())

    def lines() -> list[dict[str, Any]]:
        text = log.read_text() if log.exists() else ""
        found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in found if line.get("pid") == os.getpid()]

    read(volume, "password")
    (line,) = until(lines, "the line")
    assert (line["namespace"], line["pod"]) == (volume.namespace, volume.pod)
    assert (line["object"], line["key"]) == (f"secret/{volume.namespace}/app", "password")
    log.rename(log.with_suffix(".1"))
    manifests.put_secret({"password": b"dummy-2"})
    until(lambda: read(volume, "password") == b"dummy-2", "the update")
    until(lines, "the line in the next file")


def test_names_and_labels_of_the_pod(start_node: NodeMaker, api: Api, processes: PodProcesses) -> None:
    """The API server's, of a pod that the daemon can read: a container has its name, and -l selects."""
    api.put_secret({"password": b"dummy-1"})
    arguments = ["--rights=daemon", "--kubeconfig", api.kubeconfig(), "--consumers=on"]
    node = start_node(*arguments).wait_ready()
    volume, other = node.pod(0), node.pod(1)
    group = processes.container(volume)
    started = {"running": {"startedAt": "2026-01-02T03:04:05Z"}}
    status = {"name": "web-with-a-long-name", "containerID": f"containerd://{group.name}", "state": started}
    put_pod(api, volume, phase="Running", labels={"app": "web", "tier": "a"}, containers=[status])
    put_pod(api, other, phase="Running")
    for each in (volume, other):
        node.publish(each)

    def consumers() -> list[dict[str, Any]]:
        shown = node.status()["volumes"][str(volume.target)]
        return [each for each in shown["volume"]["consumers"]["list"] if "container" in each]

    def listed(*selector: str) -> set[str]:
        command = [program.binary(), "status", "-o", "json", *selector]
        found = json.loads(program.run(command, home=node.home).stdout)["items"]
        return {item["mountpoint"] for item in found} & {str(volume.target), str(other.target)}

    processes.start(group, volume, script=f"cat {volume.target}/password >/dev/null")
    until(lambda: [each.get("containerName") for each in consumers()] == ["web-with-a-long-name"], "its name")
    rollout = program.run([program.binary(), "rollout", "status", "--watch=false", volume.target], home=node.home)
    header, line = [text for text in rollout.stdout.splitlines() if "Waiting" not in text][:2]
    assert line.split()[1:3] == ["web-with-a-long-name", "cat"]
    assert header.index("PROCESS") == line.index("cat (")
    assert listed("-l", "app=web,tier in (a, b)") == {str(volume.target)}
    assert listed("-l", "!app") == {str(other.target)}
    assert listed("-l", "app=db") == set()
    refused = program.run([program.binary(), "status", "-l", "app in"], home=node.home)
    assert refused.returncode == 2 and 'invalid selector "app in"' in refused.stderr
