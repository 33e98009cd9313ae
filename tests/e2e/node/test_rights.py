"""Whose rights count: what is refused, with which message, and what happens when rights are revoked."""

from __future__ import annotations

from typing import Callable

import pytest

from lib.kube import Cluster, Identity, Node
from lib.kube.cluster import HOST, free_port
from lib.kube.daemons import Daemon, Daemons, role
from lib.kube.namespace import Namespace
from lib.kube.pods import Pod, Pods, plain_pod, probe_pod
from lib.relay import Relay
from lib.waiting import until

SLEEP = ["/bin/sleep", "86400"]


def refused(pod: Pod, daemon: Daemon, *words: str) -> str:
    """What people read; nothing is mounted."""
    told = pod.wait_event("FailedMount.*PermissionDenied")
    for word in words:
        assert word in told
    assert told.partition("rpc error")[2] in pod.describe()
    assert daemon.mounts_of(pod.directory) == []
    return told


# ---- the node's


def test_node_reads_what_the_pod_names(
    node_daemon: Daemon, ns: Namespace, pods: Pods
) -> None:
    """nodePublishSecretRef is enough, and is all that allows it."""
    value = ns.values.new(1)
    ns.create("db", {"key": value})
    pod = pods.probe("reader", {"ours": node_daemon.volume("db", secretName="db")})
    assert pod.probed()["ours"].last("key") == value


def test_node_reads_nothing_else(node_daemon: Daemon, ns: Namespace, pods: Pods) -> None:
    """And `kubectl describe pod` says what to do."""
    ns.create("db", {"key": ns.values.new(1)})
    ns.create("other", {"key": ns.values.new(1)})
    volumes = {"ours": node_daemon.volume("other", secretName="db")}
    pod = pods.make(plain_pod("reader", volumes, SLEEP))
    refused(pod, node_daemon, "nodePublishSecretRef", "db", "403")


def test_node_reads_a_configmap_that_the_pod_names(
    node_daemon: Daemon, ns: Namespace, pods: Pods
) -> None:
    """A plain volume names it, and is never made, as no container has it (P5)."""
    ns.create("app", {"conf": b"level=1"}, "configmaps")
    volumes = {"ours": node_daemon.volume(configMap="app")}
    refused(pods.make(plain_pod("without", volumes, SLEEP)), node_daemon, "app", "403")
    permit = {"permit": {"configMap": {"name": "app"}}}
    pod = pods.probe("with", volumes, unmounted=permit)
    assert pod.probed()["ours"].last("conf") == b"level=1"
    assert not pod.volume_path("kubernetes.io~configmap", "permit").exists()


def test_node_loses_it_with_the_pod(
    node: Node, node_daemon: Daemon, ns: Namespace, pods: Pods
) -> None:
    """The authorizer allows it for as long as a pod of the node names it (K3)."""
    ns.create("db", {"key": ns.values.new(1)})
    client = node.cluster.client(node.identity)
    path = f"/api/v1/namespaces/{ns.name}/secrets/db"

    def may() -> bool:
        review = {
            "spec": {
                "user": node.identity.user,
                "groups": ["system:nodes", "system:authenticated"],
                "resourceAttributes": {
                    "namespace": ns.name, "verb": "get", "resource": "secrets", "name": "db",
                },
            }
        }
        reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool(node.cluster.admin.request("POST", reviews, review)["status"]["allowed"])

    assert not may()
    pod = pods.probe("reader", {"ours": node_daemon.volume("db", secretName="db")})
    assert may() and client.exists(path)
    pod.delete()
    until(lambda: not may(), "the node's right ends with the pod", pause=0.1)
    client.close()


# ---- the pod's


def test_pod_needs_a_role(
    cluster: Cluster, pod_daemon: Daemon, ns: Namespace, pods: Pods
) -> None:
    """nodePublishSecretRef does not help, a Role does, and the pod that waits then starts."""
    value = ns.values.new(1)
    ns.create("db", {"key": value})
    manifest = probe_pod("reader", {"ours": pod_daemon.volume("db", secretName="db")})
    pod = pods.make(manifest)
    user = f"system:serviceaccount:{ns.name}:default"
    refused(pod, pod_daemon, user, "db")
    cluster.grant(ns.name, "reader", Identity(user), *role("db"))
    assert pod.wait_probed("ours")["ours"].last("key") == value


def test_pods_have_their_own_rights(
    cluster: Cluster, pod_daemon: Daemon, ns: Namespace, pods: Pods
) -> None:
    """Two service accounts of one namespace, and one of them may."""
    value = ns.values.new(1)
    ns.create("db", {"key": value})
    for name in ("may", "may-not"):
        cluster.account_identity(ns.name, name)
    user = f"system:serviceaccount:{ns.name}:may"
    cluster.grant(ns.name, "reader", Identity(user), *role("db"))
    volumes = {"ours": pod_daemon.volume(secretName="db")}
    may_not = pods.make(plain_pod("may-not", volumes, SLEEP, serviceAccountName="may-not"))
    may = pods.probe("may", volumes, serviceAccountName="may")
    assert may.probed()["ours"].last("key") == value
    refused(may_not, pod_daemon, f"system:serviceaccount:{ns.name}:may-not")


@pytest.mark.parametrize("removes", [False, True], ids=["keep", "remove"])
def test_pod_loses_its_role(
    cluster: Cluster,
    node: Node,
    daemons: Daemons,
    ns: Namespace,
    pods: Pods,
    removes: bool,
) -> None:
    """By default what was shown stays, as with the kubelet (G15); `onRevoked: remove` takes it away
    and brings it back. A watch that stands is not asked again, so it is cut here."""
    relay = Relay(free_port(), (HOST, cluster.port))
    try:
        kubeconfig = daemons.kubeconfig("pod", server=f"https://{HOST}:{relay.port}")
        daemon = daemons.start("pod", kubeconfig)
        first, second = ns.values.new(1), ns.values.new(2)
        ns.create("db", {"key": first})
        identity = Identity(f"system:serviceaccount:{ns.name}:default")
        rule = role("db")[0]
        cluster.grant(ns.name, "reader", identity, *role("db"))
        option = {"onRevoked": "remove"} if removes else {}
        pod = pods.probe("reader", {"ours": daemon.volume(secretName="db", **option)})
        cluster.revoke(ns.name, "reader", identity, dict(rule))
        relay.disconnect()
        path = pod.view("/ours")
        if removes:
            until(lambda: not (path / "key").exists(), "the files are taken away")
        else:
            until(lambda: daemon.logged("source failed, retrying"), "it was refused")
        assert (path / "key").exists() == (not removes)
        ns.patch("db", {"key": second})
        cluster.grant(ns.name, "reader", identity, *role("db"))
        pod.wait_content("ours", "key", second)
        pod.delete()
    finally:
        relay.close()


# ---- the daemon's


def test_daemon_reads_in_the_pods_namespace_only(
    daemon_daemon: Daemon, cluster: Cluster, ns: Namespace, pods: Pods
) -> None:
    """With any rights of its own: a name is always one of the pod's namespace."""
    ns.create("mine", {"key": ns.values.new(1)})
    body = {"metadata": {"name": f"{ns.name}-other"}}
    cluster.admin.request("POST", "/api/v1/namespaces", body)
    cluster.admin.create("secrets", f"{ns.name}-other", "theirs", {"key": ns.values.new(1)})
    volumes = {"ours": daemon_daemon.volume(secretName="theirs")}
    pod = pods.make(plain_pod("reader", volumes, SLEEP))
    told = pod.wait_event("FailedMount.*NotFound")
    assert "theirs" in told
    own = pods.probe("own", {"ours": daemon_daemon.volume(secretName="mine")})
    assert "key" in own.probed()["ours"].names()


# ---- the wrong way


def test_missing_secret(
    any_daemon: Daemon, ns: Namespace, pods: Pods, permit: Callable[..., dict[str, object]]
) -> None:
    """The pod waits with a warning, and starts when it is there (G1)."""
    more = permit(any_daemon, secrets=("absent",))
    volumes = {"ours": any_daemon.volume(secretName="absent")}
    pod = pods.make(probe_pod("reader", volumes, unmounted=more))
    told = pod.wait_event("FailedMount.*NotFound")
    assert "absent" in told
    assert any_daemon.mounts_of(pod.directory) == []
    value = ns.values.new(1)
    ns.create("absent", {"key": value})
    assert pod.wait_probed("ours")["ours"].last("key") == value
