"""Files and directories that containers mount by subPath: they follow, in every container."""

from __future__ import annotations

import signal
from typing import Any, Callable

import pytest

from lib.kube import Node
from lib.kube.daemons import Daemon, Daemons
from lib.kube.namespace import Namespace
from lib.kube.node import IMAGE
from lib.kube.pods import CONTAINER, Pod, Pods, plain_pod
from lib.waiting import until

Permit = Callable[..., dict[str, object]]
SLEEP = ["/bin/sleep", "86400"]
NESTED = "[{key: key, path: deep/key}, {key: other, path: deep/er/other}, {key: key, path: key}]"


def container(name: str, command: list[str] = SLEEP, **mount: Any) -> dict[str, Any]:
    mounts = [{"name": "ours", "mountPath": "/alone", **mount}]
    base = {"name": name, "image": IMAGE, "imagePullPolicy": "Never"}
    return {**base, "command": command, "volumeMounts": mounts}


def wait_read(pod: Pod, data: bytes, name: str = CONTAINER, path: str = "/alone") -> None:
    def is_read() -> bool:
        return pod.view(path, name).read_bytes() == data

    until(is_read, f"{path} in {name} of {pod.name} is new", pause=0.02)


def make(pods: Pods, volume: dict[str, Any], *containers: dict[str, Any], **spec: Any) -> Pod:
    manifest = plain_pod("reader", {"ours": volume}, SLEEP, **spec)
    manifest["spec"]["containers"] = list(containers)
    return pods.run(manifest)


def test_in_several_containers(
    any_daemon: Daemon, ns: Namespace, pods: Pods, permit: Permit
) -> None:
    """A file, a directory and what subPathExpr names, of an init container's pod."""
    first = ns.values.new(1)
    ns.create("db", {"key": first, "other": ns.values.new(10)})
    volume = any_daemon.volume("db", secretName="db", items=NESTED)
    expression = container("expression", subPathExpr="$(WHAT)")
    expression["env"] = [{"name": "WHAT", "value": "deep/key"}]
    pod = make(
        pods,
        volume,
        container("file", subPath="key"),
        container("directory", subPath="deep"),
        expression,
        unmounted=permit(any_daemon, secrets=("db",)),
        initContainers=[container("first", ["/bin/sleep", "0"], subPath="key")],
    )
    for number in (2, 3):
        value, other = ns.values.new(number), ns.values.new(10 + number)
        ns.patch("db", {"key": value, "other": other})
        wait_read(pod, value, "file")
        wait_read(pod, value, "directory", "/alone/key")
        wait_read(pod, other, "directory", "/alone/er/other")
        wait_read(pod, value, "expression")


def test_key_that_disappears_and_returns(node_daemon: Daemon, ns: Namespace, pods: Pods) -> None:
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first, "other": b"dummy"})
    pod = make(pods, node_daemon.volume("db", secretName="db"),
               container("file", subPath="key"), container("whole"))
    inode = pod.view("/alone", "file").stat().st_ino
    ns.patch("db", {"key": None})
    until(lambda: not pod.view("/alone/key", "whole").exists(), "the key is gone", pause=0.02)
    assert pod.view("/alone", "file").read_bytes() == first
    ns.patch("db", {"key": second})
    wait_read(pod, second, "file")
    assert pod.view("/alone", "file").stat().st_ino == inode


def restarts(pod: Pod, name: str) -> int:
    statuses = {status["name"]: status for status in pod.get()["status"]["containerStatuses"]}
    return statuses[name]["restartCount"] if "running" in statuses[name]["state"] else -1


def test_container_that_starts_again(node_daemon: Daemon, ns: Namespace, pods: Pods) -> None:
    """The kubelet mounts the file of the generation that is current then, for that container; the
    other one's stays live."""
    ns.create("db", {"key": ns.values.new(1)})
    pod = make(pods, node_daemon.volume("db", secretName="db"),
               container("short", ["/bin/sleep", "3"], subPath="key"),
               container("long", subPath="key"), restartPolicy="Always")
    second, third = ns.values.new(2), ns.values.new(3)
    ns.patch("db", {"key": second})
    wait_read(pod, second, "long")
    until(lambda: restarts(pod, "short") > 0, "the container starts again", pause=0.1)
    wait_read(pod, second, "short")
    ns.patch("db", {"key": third})
    wait_read(pod, third, "long")
    until(lambda: restarts(pod, "short") > 0, "the container runs", pause=0.1)
    wait_read(pod, third, "short")


def test_pod_deleted_during_updates(
    node_daemon: Daemon, node: Node, ns: Namespace, pods: Pods
) -> None:
    ns.create("db", {"key": ns.values.new(1)})
    pod = make(pods, node_daemon.volume("db", secretName="db"), container("file", subPath="key"))
    ns.patch("db", {"key": ns.values.new(2)})
    pod.delete(wait=False)
    number = 3
    while not pod.is_off_the_node():
        ns.patch("db", {"key": ns.values.new(number)})
        number += 1
    until(lambda: not node.path(pod.directory).exists(), "the pod's directory is gone")
    live = node.path(node_daemon.run_dir / "fs-live")
    left = [path for path in live.iterdir() if path.name != ".live"]
    until(lambda: not any((live / ".live").iterdir()), "no live file is left", pause=0.05)
    assert not any(pod.uid in path.name for path in left)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_daemon_that_starts_again(
    daemons: Daemons, node: Node, ns: Namespace, pods: Pods, number: signal.Signals
) -> None:
    """Containers that start after it have live files; those before it keep dead mounts, until their
    pod ends."""
    daemon = daemons.start("node", daemons.kubeconfig("node"))
    ns.create("db", {"key": ns.values.new(1), "other": ns.values.new(10)})
    volume = daemon.volume("db", secretName="db", items=NESTED)
    earlier = make(
        pods, volume, container("file", subPath="key"), container("directory", subPath="deep")
    )
    daemon.restart(number)
    ns.patch("db", {"key": ns.values.new(2)})
    manifest = plain_pod("later", {"ours": volume}, SLEEP)
    manifest["spec"]["containers"] = [container("file", subPath="key")]
    later = pods.run(manifest)
    third = ns.values.new(3)
    ns.patch("db", {"key": third})
    wait_read(later, third, "file")
    earlier.delete()
    until(lambda: not node.path(earlier.directory).exists(), "the pod's directory is gone")


def test_pod_that_cannot_be_read(daemons: Daemons, ns: Namespace, pods: Pods, permit: Permit) -> None:
    """Without the right to read pods the file stays as with the kubelet (P2), unless the volume is
    updated in place."""
    daemon = daemons.start("pod", daemons.kubeconfig("pod"))
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    permit(daemon, secrets=("db",))
    manifest = plain_pod(
        "reader",
        {
            "ours": daemon.volume(secretName="db"),
            "stays": daemon.volume(secretName="db", updates="in-place"),
        },
        SLEEP,
    )
    mounts = [
        {"name": name, "mountPath": f"/{name}", "subPath": "key"} for name in ("ours", "stays")
    ]
    whole = {"name": "ours", "mountPath": "/whole"}
    manifest["spec"]["containers"][0]["volumeMounts"] = [*mounts, whole]
    pod = pods.run(manifest)
    ns.patch("db", {"key": second})
    wait_read(pod, second, path="/stays")
    wait_read(pod, second, path="/whole/key")
    assert pod.view("/ours").read_bytes() == first
