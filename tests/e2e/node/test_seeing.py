"""What people see of a real node: events on pods, the status of volumes, and what a doctor says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib.kube import Node
from lib.kube.daemons import Daemon
from lib.kube.mounts import program
from lib.kube.namespace import Namespace
from lib.kube.node import NAME
from lib.kube.pods import Pod, Pods
from lib.waiting import until

KEYS = {"items": [{"key": "key", "path": "key"}]}


@pytest.fixture(params=["node", "daemon"])
def daemon(request: pytest.FixtureRequest) -> Daemon:
    """Those whose rights let them make events as a rule; pods' service accounts' do not."""
    made: Daemon = request.getfixturevalue(f"{request.param}_daemon")
    return made


def hold(daemon: Daemon, ns: Namespace, pods: Pods) -> Pod:
    """A pod whose volume keeps what it has, as the newest lacks a key that it names."""
    ns.create("db", {"key": ns.values.new(1)})
    pod = pods.probe("reader", {"ours": daemon.volume("db", secretName="db", **KEYS)})
    ns.patch("db", {"key": None, "other": ns.values.new(2)})
    return pod


def test_events_tell_of_an_update_that_is_held(
    daemon: Daemon, ns: Namespace, pods: Pods
) -> None:
    """`kubectl describe pod` has it, and that it is over."""
    pod = hold(daemon, ns, pods)
    told = pod.wait_event("VolumeHeld")
    assert f"secret/{ns.name}/db" in told
    assert "key" in told
    assert "VolumeHeld" in pod.describe()
    ns.patch("db", {"key": ns.values.new(3)})
    pod.wait_event("VolumeCurrent")


def test_no_events_without_the_right(
    pod_daemon: Daemon, permit: Any, ns: Namespace, pods: Pods
) -> None:
    """Then the log has it, and says once why there is no event."""
    permit(pod_daemon, secrets=("db",))
    pod = hold(pod_daemon, ns, pods)
    until(lambda: pod_daemon.logged("cannot update; the last content stays readable"), "a line")
    said = "cannot post events on pods; see this log for their content"
    until(lambda: pod_daemon.logged(said), "a line about events")
    assert not any("VolumeHeld" in text for text in pod.events())
    assert len(pod_daemon.logged(said)) == 1


def test_status_names_pods(node: Node, node_daemon: Daemon, ns: Namespace, pods: Pods) -> None:
    ns.create("db", {"key": ns.values.new(1)})
    pod = pods.probe("reader", {"ours": node_daemon.volume("db", secretName="db")})
    listed = json.loads(node.run(program(), "status", "-o", "json"))
    (item,) = [i for i in listed["items"] if i.get("pod") == f"{ns.name}/reader"]
    assert str(pod.directory) in item["mountpoint"]
    assert item["object"]["name"] == "db"
    table = node.run(program(), "status")
    assert f"{ns.name}/reader" in table
    assert f"secret/{ns.name}/db" in table


def examine(node: Node, daemon: Daemon, *arguments: str | Path) -> dict[str, dict[str, str]]:
    options = [f"--driver-name={daemon.driver}", f"--rights={daemon.rights}", f"--node-id={NAME}"]
    options += [f"--run-dir={daemon.run_dir}", f"--kubeconfig={daemon.kubeconfig}"]
    # it ends with 1 where a check fails, which is the test's to judge
    script = '"$@" || [ $? = 1 ]'
    command = ["sh", "-c", script, "sh", program(), "doctor", "-o", "json", *options, *arguments]
    found = json.loads(node.run(*command))
    return {check["check"]: check for check in found["checks"]}


@pytest.mark.parametrize("rights", ["node", "pod", "daemon"])
def test_doctor_finds_a_node_well(
    request: pytest.FixtureRequest, node: Node, rights: str
) -> None:
    daemon: Daemon = request.getfixturevalue(f"{rights}_daemon")
    checks = examine(node, daemon)
    failed = {name: check for name, check in checks.items() if check["result"] == "fail"}
    assert not failed
    wanted = {"csi-socket", "registered", "api-server"}
    if rights == "node":
        # the others may have no right to look at these
        wanted |= {"csi-driver", "csi-node", "identity", "rights", "events"}
        assert f"system:node:{NAME}" in checks["identity"]["text"]
    for name in wanted:
        assert checks[name]["result"] == "ok", checks[name]


def test_doctor_finds_what_is_wrong(node: Node, node_daemon: Daemon) -> None:
    """Another node's name, and a driver without a CSIDriver object."""
    checks = examine(node, node_daemon, "--node-id=node-of-others")
    assert checks["identity"]["result"] == "fail"
    assert NAME in checks["identity"]["text"]
    checks = examine(node, node_daemon, "--driver-name=unknown.secretfs.io")
    assert checks["csi-driver"]["result"] == "fail"
    assert checks["csi-node"]["result"] == "fail"
    assert checks["csi-socket"]["result"] == "fail"
