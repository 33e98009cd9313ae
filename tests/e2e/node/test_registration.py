"""How the kubelet finds the plug-in, refuses it, and finds it again; a driver that is not told whose
its volumes are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Iterator

import pytest

from lib.kube import Node
from lib.kube.daemons import Daemon, Daemons
from lib.kube.namespace import Namespace
from lib.kube.node import KUBELET_ROOT
from lib.kube.pods import Pods, plain_pod
from lib.process import Process
from lib.waiting import until

SLEEP = ["/bin/sleep", "86400"]
REGISTRY = KUBELET_ROOT / "plugins_registry"


@pytest.fixture
def daemon(daemons: Daemons) -> Daemon:
    return daemons.start("node", daemons.kubeconfig("node"))


def check_serves(daemon: Daemon, ns: Namespace, pods: Pods, name: str) -> None:
    """A pod that is made now gets its secret."""
    value = ns.values.new(len(name))
    ns.create(name, {"key": value})
    volumes = {"ours": daemon.volume(name, secretName=name)}
    pod = pods.run(plain_pod(name, volumes, SLEEP))
    assert pod.view("/ours/key").read_bytes() == value


def test_sockets_are_wiped(daemon: Daemon, ns: Namespace, pods: Pods) -> None:
    """As when a node is reset; the daemon is not restarted (R9)."""
    registered = len(daemon.logged("registered with the kubelet"))
    daemon.node.path(REGISTRY / f"{daemon.driver}-reg.sock").unlink()
    shutil.rmtree(daemon.node.path(KUBELET_ROOT / "plugins" / daemon.driver))
    until(
        lambda: len(daemon.logged("registered with the kubelet")) > registered,
        "the driver is registered again",
    )
    check_serves(daemon, ns, pods, "afterwards")


@pytest.fixture
def rival(node: Node, daemon: Daemon, tmp_path: Path) -> Iterator[Daemon]:
    """Another daemon that goes by the name of the first."""
    made = Daemon.__new__(Daemon)
    made.__dict__.update(daemon.__dict__)
    made.run_dir = Path(f"{daemon.run_dir}-rival")
    made._log = tmp_path / "rival.log"
    made._command = [
        part for part in daemon._command if not str(part).startswith("--run-dir=")
    ] + [
        f"--run-dir={made.run_dir}",
        f"--endpoint={KUBELET_ROOT}/plugins/rival.secretfs.io/csi.sock",
        f"--registration-path={REGISTRY}/rival.secretfs.io-reg.sock",
    ]
    process: Process = node.process("rival", made._command, made._log)
    made._process = process
    yield made
    made.stop()


def test_refused_and_taken_later(
    daemon: Daemon, rival: Daemon, ns: Namespace, pods: Pods
) -> None:
    """R7, R8: the kubelet has a driver of that name, and says so each time; once that one is gone
    it takes the other, which has kept asking."""
    refusal = "the kubelet refuses the driver"
    until(lambda: len(rival.logged(refusal)) >= 2, "the second one is refused twice")
    assert daemon.driver in rival.logged(refusal)[0]["reason"]
    check_serves(daemon, ns, pods, "before")
    daemon.stop()
    until(lambda: rival.logged("registered with the kubelet"), "the second one is registered")
    check_serves(rival, ns, pods, "after")


# ---- without podInfoOnMount (S5)


@pytest.fixture
def uninformed(node: Node, daemon: Daemon) -> Daemon:
    """A driver whose CSIDriver object lacks what everybody forgets first."""
    path = f"/apis/storage.k8s.io/v1/csidrivers/{daemon.driver}"
    api = node.cluster.admin
    document = api.request("GET", path)
    api.request("DELETE", path)
    document["spec"]["podInfoOnMount"] = False
    document["metadata"] = {"name": daemon.driver}
    api.request("POST", path.rpartition("/")[0], document)
    return daemon


CLAIMS = {
    "csi.storage.k8s.io/pod.name": "any",
    "csi.storage.k8s.io/pod.namespace": "kube-system",
    "csi.storage.k8s.io/pod.uid": "0",
    "csi.storage.k8s.io/serviceAccount.name": "default",
    "csi.storage.k8s.io/ephemeral": "true",
}


@pytest.mark.parametrize("claims", [{}, CLAIMS], ids=["honest", "lying"])
def test_without_pod_info(
    uninformed: Daemon, ns: Namespace, pods: Pods, claims: dict[str, Any]
) -> None:
    """No volume, for any attributes of the pod; the error says what to set."""
    ns.create("db", {"key": ns.values.new(1)})
    volumes = {"ours": uninformed.volume("db", secretName="db", **claims)}
    pod = pods.make(plain_pod("reader", volumes, SLEEP))
    told = pod.wait_event("FailedMount.*InvalidArgument")
    assert f"podInfoOnMount: true in the spec of the CSIDriver object {uninformed.driver}" in told
    assert uninformed.mounts_of(pod.directory) == []
