"""Rotations: proven by the pods' conditions and by `secretfs rollout status`; staged, and undone."""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import suppress
from typing import Any, Iterator

import pytest

from lib.deploy import TOP
from lib.kube import Node
from lib.kube.daemons import Daemon, Daemons
from lib.kube.mounts import program
from lib.kube.namespace import Namespace
from lib.kube.pods import Pod, Pods, plain_pod, probe_pod
from lib.recording import Step, steps
from lib.waiting import PATIENCE_SECONDS, until

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


def wait(ns: Namespace, what: str, *pods: str) -> None:
    ns.kubectl("wait", "pod", *pods, "--timeout=100s", f"--for={what}")


def change(ns: Namespace, value: bytes | None, **annotations: str | None) -> str:
    """One write by kubectl. Returns the version that it made."""
    patch: dict[str, Any] = {"metadata": {"annotations": annotations}}
    if value is not None:
        patch["stringData"] = {"key": value.decode()}
    version = ["-o", "jsonpath={.metadata.resourceVersion}"]
    return ns.kubectl("patch", "secret", "db", "--type=merge", *version, "-p", json.dumps(patch))


def rollout_status(node: Node, ns: Namespace) -> str:
    command = f"{program()} rollout status secret/db -n {ns.name}"
    return node.run("sh", "-c", f"{command} 2>&1 || :").rstrip()


def volume_of(node: Node, pod: Pod) -> dict[str, Any]:
    """The status of its volume."""
    items = json.loads(node.run(program(), "status", "-o", "json"))["items"]
    (item,) = [item for item in items if item.get("pod") == f"{pod.ns.name}/{pod.name}"]
    found: dict[str, Any] = item
    return found


# ---- a rotation


PAGE = (TOP / "docs" / "rotation.md").read_text()
SESSION = PAGE.split("\n## From patch to revoking\n")[1].split("\n## ")[0]
CHANGES_NOTHING = ("kubectl get ", "kubectl wait ", "secretfs rollout status ")
# What differs each time, and what stands for it.
CHANGING = (
    (r"\b(web|proxy|api|batch)(-[a-z0-9]+)?-[a-z0-9]{5}\b", r"\1-NAME"),  # pods, EndpointSlices
    (r"\bsh \(\d+\)", "sh (PID)"),
    (r" (\d+[dhms])+$", " AGE"),
    (r"^Waiting for deployment .*\n", ""),  # one line or more
    (r"( deleted) from .* namespace$", r"\1"),  # not of each kubectl
    (r" +", " "),  # columns are as wide as names
)


class Operator:
    """Runs the commands of the page's session: kubectl's, and those of root on the node."""

    def __init__(self, node: Node, ns: Namespace, version: str) -> None:
        """`version`: the Secret's, which is the first one that the page shows."""
        self._node = node
        self._ns = ns
        self._environment = ns.cluster.kubectl.environment()
        self._environment["PATH"] = f"{ns.cluster.kubectl.program.parent}:{os.environ['PATH']}"
        self._versions = [version]
        self._pages_versions = list(dict.fromkeys(re.findall(r"db@(\d+)", SESSION)))
        self._value = ns.values.new(2).decode()

    def _here(self, command: str) -> str:
        """With this cluster's names, values and versions. Waits that are to fail are shorter."""
        command = re.sub(r"\bprod\b", self._ns.name, command).replace("dummy-2", self._value)
        command = re.sub(r"(--timeout[= ])10s\b", r"\g<1>1s", command)
        versions = dict(zip(self._pages_versions, self._versions))
        command = re.sub(r"\b\d+\b", lambda found: versions.get(found[0], found[0]), command)
        return re.sub(r"^secretfs ", f"{program()} ", command)

    def run(self, step: Step) -> tuple[int, str]:
        """Exit code and output."""
        command = self._here(step.command)
        if step.by_root:
            output = self._node.run("sh", "-c", f'{command} 2>&1; echo "$?"').rstrip()
            output, _, code = output.rpartition("\n")
            return int(code), output
        variable = re.match(r"(\w+)=", command)
        if variable is not None:
            command += f' && printf %s "${variable[1]}"'
        done = subprocess.run(
            ["sh", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        if variable is not None and done.returncode == 0:
            self._environment[variable[1]] = done.stdout
            return 0, ""
        return done.returncode, done.stdout

    def _form(self, text: str, namespace: str, versions: list[str]) -> list[str]:
        text = re.sub(rf"\b{namespace}\b", "NAMESPACE", text.strip())
        for pattern, stands_for in CHANGING:
            text = re.sub(pattern, stands_for, text, flags=re.M)
        for i, version in enumerate(versions):
            text = re.sub(rf"\b{version}\b", f"VERSION-{i}", text)
        # secretfs lists volumes by their mount points, which are in the order of the pods' uids
        return sorted(line.strip() for line in text.splitlines())

    def _seen(self, step: Step) -> tuple[int, list[str]]:
        code, text = self.run(step)
        secret = self._ns.cluster.admin.get("secrets", self._ns.name, "db")
        newest = secret["metadata"]["resourceVersion"]
        self._versions = list(dict.fromkeys([*self._versions, newest]))
        return code, self._form(text, self._ns.name, self._versions)

    def compare(self, step: Step) -> None:
        """The output is the page's. A command that changes nothing is repeated until it is."""
        text = "\n".join(step.output)
        fails = "timed out" in text or "has not opened" in text
        expected = int(fails), self._form(text, "prod", self._pages_versions)
        seen = self._seen(step)

        def is_the_pages() -> bool:
            nonlocal seen
            seen = self._seen(step)
            return seen == expected

        if seen != expected and step.command.startswith(CHANGES_NOTHING):
            with suppress(AssertionError):
                until(is_the_pages, pause=0.1)
        assert seen == expected, step.command


def test_session_of_four_deployments(
    node: Node, ns: Namespace, volumes: dict[str, Any], deployments: Deployments
) -> None:
    """docs/rotation.md, command by command: two read again when they are signalled, one of them a file
    by subPath; one is restarted, and one ignores the update: it is named until its pod is replaced."""
    version = ns.create("db", {"key": ns.values.new(1)})["metadata"]["resourceVersion"]
    deployments.make("web", volumes, READS_AT_HANGUP, **GATE)
    deployments.make("proxy", volumes, READS_AT_HANGUP, mounts=ALONE)
    api = deployments.make("api", volumes, READS_ONCE)
    batch = deployments.make("batch", volumes, READS_ONCE)
    ns.kubectl("expose", "deployment", "web", "--port=443")
    wait(ns, f"condition={TYPE}", "--all")
    # each has opened the file: a volume without consumers has no old ones
    until(lambda: rollout_status(node, ns).endswith("consumers (4) have the newest version"))

    operator = Operator(node, ns, version)
    for step in steps(SESSION):
        operator.compare(step)
        # what the page's next command takes for granted
        if step.command.startswith("kubectl rollout status "):
            deployments.pod("api", instead_of=api)
        elif step.command.startswith("kubectl delete pod "):
            deployments.pod("batch", instead_of=batch)


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
