"""Rotations: proven by the pods' conditions and by `secretfs rollout status`; staged, and undone."""

from __future__ import annotations

import json
import re
from typing import Any, Iterator

import pytest

from lib.kube import Node
from lib.kube.daemons import Daemon, Daemons
from lib.kube.kubectl import KubectlFailed
from lib.kube.mounts import program
from lib.kube.namespace import Namespace
from lib.kube.pods import CONTAINER, Pod, Pods, plain_pod, probe_pod
from lib.waiting import until

TYPE = "secretfs.io/SecretsCurrent"
MESSAGE = f"jsonpath={{.status.conditions[?(@.type=='{TYPE}')].message}}"
GATE = {"readinessGates": [{"conditionType": TYPE}]}
READ = "read -r key </ours/key"  # by the shell itself
READS_AT_HANGUP = f"trap '{READ}' HUP; {READ}; while :; do sleep 86400 & wait; done"
READS_ONCE = f"{READ}; sleep 86400 & wait"
ALONE = [{"name": "ours", "mountPath": "/ours/key", "subPath": "key"}]
FIRST = "secretfs.io/rollout-first"
PAUSE = "secretfs.io/pause"


@pytest.fixture(scope="module")
def daemon(daemons_for_all: Daemons) -> Daemon:
    """It reads pods with the kubelet's rights, and writes conditions with them."""
    return daemons_for_all.start("node", daemons_for_all.kubeconfig("node"), "--consumers=on")


@pytest.fixture
def volumes(daemon: Daemon) -> dict[str, Any]:
    return {"ours": daemon.volume("db", secretName="db", report="condition")}


class Deployments:
    """Those of a test, with one pod each."""

    def __init__(self, ns: Namespace, pods: Pods) -> None:
        self._ns = ns
        self._pods = pods
        self._names: list[str] = []

    def make(self, app: str, volumes: dict[str, Any], script: str, **spec: Any) -> Pod:
        labels = {"app": app}
        pod = plain_pod(app, volumes, ["/bin/sh", "-c", script], restartPolicy="Always", **spec)
        template = {"metadata": {"labels": labels}, "spec": pod["spec"]}
        body = {"metadata": {"name": app}, "spec": {"selector": {"matchLabels": labels}}}
        body["spec"]["template"] = template
        path = f"/apis/apps/v1/namespaces/{self._ns.name}/deployments"
        self._ns.cluster.admin.request("POST", path, body)
        self._names.append(app)
        return self.pod(app)

    def pod(self, app: str, instead_of: Pod | None = None) -> Pod:
        """The pod of one, once it runs; after a replacement when the former one is gone."""
        if instead_of is not None:
            instead_of.wait_gone()
        path = f"/api/v1/namespaces/{self._ns.name}/pods?labelSelector=app={app}"

        def find() -> Any:
            return self._ns.cluster.admin.request("GET", path)["items"]

        (found,) = until(find, f"{app} has a pod", pause=0.05)
        return self._pods.adopt(found["metadata"]["name"]).wait_running()

    def finish(self) -> None:
        for name in self._names:
            self._ns.kubectl("delete", "deployment", name, "--cascade=foreground")


@pytest.fixture
def deployments(ns: Namespace, pods: Pods) -> Iterator[Deployments]:
    made = Deployments(ns, pods)
    yield made
    made.finish()


# ---- what kubectl and the node say


def wait(ns: Namespace, what: str, *pods: str, timeout: str = "100s") -> None:
    ns.kubectl("wait", "pod", *pods, f"--timeout={timeout}", f"--for={what}")


def change(ns: Namespace, value: bytes | None, **annotations: str | None) -> str:
    """One write by kubectl. Returns the version that it made."""
    patch: dict[str, Any] = {"metadata": {"annotations": annotations}}
    if value is not None:
        patch["stringData"] = {"key": value.decode()}
    version = ["-o", "jsonpath={.metadata.resourceVersion}"]
    return ns.kubectl("patch", "secret", "db", "--type=merge", *version, "-p", json.dumps(patch))


def rollout_status(node: Node, ns: Namespace, *options: str) -> tuple[int, str]:
    """Exit code and output."""
    script = '"$@" 2>&1; echo "$?"'
    command = [program(), "rollout", "status", "secret/db", "-n", ns.name, *options]
    output, _, code = node.run("sh", "-c", script, "sh", *command).rstrip().rpartition("\n")
    return int(code), output


def volume_of(node: Node, pod: Pod) -> dict[str, Any]:
    """The status of its volume."""
    items = json.loads(node.run(program(), "status", "-o", "json"))["items"]
    (item,) = [item for item in items if item.get("pod") == f"{pod.ns.name}/{pod.name}"]
    found: dict[str, Any] = item
    return found


# ---- a rotation


def ready_endpoints(ns: Namespace, service: str) -> list[str]:
    api = "/apis/discovery.k8s.io/v1"  # as of 1.21
    api = api if ns.cluster.admin.exists(api) else f"{api}beta1"
    path = f"{api}/namespaces/{ns.name}/endpointslices"
    selector = f"labelSelector=kubernetes.io/service-name={service}"
    slices = ns.cluster.admin.request("GET", f"{path}?{selector}")["items"]
    endpoints = [endpoint for each in slices for endpoint in each.get("endpoints") or []]
    return [e["targetRef"]["name"] for e in endpoints if e["conditions"]["ready"]]


def test_rotation_of_four_deployments(
    node: Node,
    ns: Namespace,
    volumes: dict[str, Any],
    pods: Pods,
    deployments: Deployments,
) -> None:
    """Two read again when they are signalled, one of them a file by subPath; one is restarted, and one
    ignores the update: it is named until its pod is replaced."""
    ns.create("db", {"key": ns.values.new(1)})
    reloads = deployments.make("reloads", volumes, READS_AT_HANGUP, **GATE)
    alone = deployments.make("alone", volumes, READS_AT_HANGUP, mounts=ALONE)
    restarts = deployments.make("restarts", volumes, READS_ONCE)
    ignores = deployments.make("ignores", volumes, READS_ONCE)
    ns.kubectl("expose", "deployment", "reloads", "--port=443")
    wait(ns, f"condition={TYPE}", "--all")
    until(lambda: ready_endpoints(ns, "reloads") == [reloads.name], "it is in service")
    # each has opened the file: a volume without consumers has no old ones
    until(lambda: rollout_status(node, ns)[1].endswith("consumers (4) have the newest version"))

    version = change(ns, ns.values.new(2))
    shown = f"secret/{ns.name}/db@{version}"
    wait(ns, f"{MESSAGE}={shown}: not opened yet by container {CONTAINER}", "--all")
    until(lambda: ready_endpoints(ns, "reloads") == [], "it is out of service")

    for pod in (reloads, alone):
        ns.kubectl("exec", pod.name, "--", "kill", "-HUP", "1")
    wait(ns, f"{MESSAGE}={shown}", "-l", "app in (reloads, alone)")
    until(lambda: ready_endpoints(ns, "reloads") == [reloads.name], "it is in service again")
    ns.kubectl("rollout", "restart", "deployment/restarts")
    deployments.pod("restarts", instead_of=restarts)
    wait(ns, f"{MESSAGE}={shown}", "-l", "app in (reloads, alone, restarts)")

    with pytest.raises(KubectlFailed, match="timed out"):
        wait(ns, f"condition={TYPE}", ignores.name, timeout="1s")
    code, output = rollout_status(node, ns, "--resource-version", version, "--timeout=1s")
    named = re.findall(rf"^{ns.name}/(\S+): .* has not opened the newest version$", output, re.M)
    assert (code, named) == (1, [ignores.name]), output

    ns.kubectl("delete", "pod", ignores.name)
    deployments.pod("ignores", instead_of=ignores)
    wait(ns, f"{MESSAGE}={shown}", "--all")
    code, output = rollout_status(node, ns, "--resource-version", version, "--timeout=100s")
    assert code == 0, output


# ---- stages


def those_that_hold(node: Node, version: str, pods: list[Pod]) -> list[Pod]:
    """Waits until each volume shows this version of the object, or holds it back."""
    held: list[Pod] = []

    def are_decided() -> bool:
        held.clear()
        for pod in pods:
            volume = volume_of(node, pod)
            newest = volume["object"].get("newestResourceVersion")
            if volume["volume"]["state"] == "held" and newest == version:
                held.append(pod)
            elif volume["object"]["resourceVersion"] != version:
                return False
        return True

    until(are_decided, f"each volume shows or holds version {version}", pause=0.05)
    return held


def test_stages_and_undo(
    node: Node, ns: Namespace, volumes: dict[str, Any], pods: Pods
) -> None:
    """Paused, no pod has the update; then a share has it; undone, the others never see it."""
    shown = ns.values.new(1)
    version = ns.create("db", {"key": shown})["metadata"]["resourceVersion"]
    three = [pods.make(probe_pod(f"probe-{i}", volumes)) for i in range(3)]
    for pod in three:
        pod.wait_probed("ours")

    for attempt in range(40):  # as half of the pods may be none or all of three
        staged = ns.values.new(2 + attempt)
        paused = change(ns, staged, **{FIRST: "50%", PAUSE: "true"})
        assert those_that_hold(node, paused, three) == three
        if attempt == 0:
            held = f"secret/{ns.name}/db@{version}: an update is held"
            wait(ns, f"{MESSAGE}={held}", "--all")
        resumed = change(ns, None, **{PAUSE: None})
        others = those_that_hold(node, resumed, three)
        if 0 < len(others) < 3:
            break
        shown = staged if not others else shown
    canaries = [pod for pod in three if pod not in others]
    assert canaries and others
    for pod in canaries:
        pod.wait_content("ours", "key", staged)

    undone = change(ns, shown, **{FIRST: None})
    assert those_that_hold(node, undone, three) == []
    last = ns.values.new(99)
    change(ns, last)
    for pod in three:
        pod.wait_content("ours", "key", last)
    for pod in others:
        assert pod.probed()["ours"].seen("key", staged) is None
