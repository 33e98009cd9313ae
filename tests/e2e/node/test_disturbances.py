"""Pods that come and go while the API server, the daemon or the kubelet is away."""

from __future__ import annotations

import signal
import time
from typing import Callable

import pytest

from lib.kube import Cluster, Node
from lib.kube.cluster import HOST
from lib.kube.daemons import Daemon, Daemons
from lib.kube.namespace import Namespace
from lib.kube.pods import Pod, Pods, plain_pod
from lib.kube.reader import Reader
from lib.kube.requirements import by_signal
from lib.relay import Relay
from lib.waiting import until

SLEEP = ["/bin/sleep", "86400"]
CSI_VOLUME = "volumes/kubernetes.io~csi/ours/mount"


@pytest.fixture
def daemon(daemons: Daemons) -> Daemon:
    """One that may be disturbed, with the kubelet's rights."""
    return daemons.start("node", daemons.kubeconfig("node"))


@pytest.fixture
def far_daemon(daemons: Daemons, relay: Relay) -> Daemon:
    server = f"https://{HOST}:{relay.port}"
    return daemons.start("node", daemons.kubeconfig("node", server=server))


def settled_mounts(daemon: Daemon, pod: Pod) -> int:
    return len(daemon.mounts_of(pod.directory))


# ---- the API server


def test_api_away(far_daemon: Daemon, relay: Relay, ns: Namespace, pods: Pods) -> None:
    """What is shown stays, what changed meanwhile is shown afterwards."""
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    pod = pods.probe("reader", {"ours": far_daemon.volume("db", secretName="db")})
    with Reader([pod.view("/ours/key")], pause=0.002) as reader:
        relay.cut()
        ns.patch("db", {"key": second})
        n_reads = reader.n_reads
        until(lambda: reader.n_reads > n_reads + 100, "it stays readable")
        assert reader.versions == {1}
        relay.resume()
        pod.wait_content("ours", "key", second)


def test_pod_deleted_while_the_api_is_away(
    far_daemon: Daemon, relay: Relay, ns: Namespace, pods: Pods
) -> None:
    ns.create("db", {"key": ns.values.new(1)})
    pod = pods.probe("reader", {"ours": far_daemon.volume("db", secretName="db")})
    relay.cut()
    pod.delete()
    until(pod.is_off_the_node, "nothing is left of it")


def test_pod_made_while_the_api_is_away(
    far_daemon: Daemon, relay: Relay, ns: Namespace, pods: Pods
) -> None:
    """It waits, its events say why, and it starts by itself afterwards."""
    value = ns.values.new(1)
    ns.create("db", {"key": value})
    relay.cut()
    volumes = {"ours": far_daemon.volume("db", secretName="db")}
    pod = pods.make(plain_pod("reader", volumes, SLEEP))
    told = pod.wait_event("FailedMount.*Unavailable")
    assert "db" in told
    assert far_daemon.mounts_of(pod.directory) == []
    relay.resume()
    pod.wait_running()
    assert pod.view("/ours/key").read_bytes() == value


def test_apiserver_restarts_while_a_pod_ends(
    cluster: Cluster, node_daemon: Daemon, ns: Namespace, pods: Pods
) -> None:
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    volumes = {"ours": node_daemon.volume("db", secretName="db")}
    ending, staying = (pods.probe(name, volumes) for name in ("ending", "staying"))
    ending.delete(wait=False)
    cluster.restart_apiserver()
    ending.wait_gone()
    ns.patch("db", {"key": second})
    staying.wait_content("ours", "key", second)


# ---- the daemon


@by_signal
def test_pod_deleted_while_the_daemon_is_down(
    daemon: Daemon, ns: Namespace, pods: Pods, number: signal.Signals
) -> None:
    """The kubelet retries until a daemon responds. That one has never heard of the volume, and
    finds a mount that is dead, if there is one (S10, S11)."""
    ns.create("db", {"key": ns.values.new(1)})
    volumes = {"ours": daemon.volume("db", secretName="db")}
    pod = pods.probe("reader", volumes, terminationGracePeriodSeconds=1)
    daemon.stop(number)
    pod.delete(wait=False)
    until(lambda: not pod.has_containers(), "its containers have ended", pause=0.1)
    assert not pod.is_gone()
    daemon.start()
    pod.wait_gone()
    until(pod.is_off_the_node, "nothing is left of it")


@by_signal
def test_daemon_restarts(
    daemon: Daemon, ns: Namespace, pods: Pods, number: signal.Signals
) -> None:
    """Pods that come later find it as ever."""
    ns.create("db", {"key": ns.values.new(1)})
    volumes = {"ours": daemon.volume("db", secretName="db")}
    before = pods.probe("before", volumes)
    daemon.restart(number)
    after = pods.probe("after", volumes)
    value = ns.values.new(2)
    ns.patch("db", {"key": value})
    after.wait_content("ours", "key", value)
    before.delete()
    until(before.is_off_the_node, "nothing is left of the first")


def test_pod_made_while_the_daemon_is_down(daemon: Daemon, ns: Namespace, pods: Pods) -> None:
    value = ns.values.new(1)
    ns.create("db", {"key": value})
    daemon.stop()
    volumes = {"ours": daemon.volume("db", secretName="db")}
    pod = pods.make(plain_pod("reader", volumes, SLEEP))
    pod.wait_event("FailedMount")
    daemon.start()
    pod.wait_running()
    assert pod.view("/ours/key").read_bytes() == value


def test_daemon_is_killed_under_the_keeper(
    daemons: Daemons, relay: Relay, ns: Namespace, pods: Pods
) -> None:
    """Pods read throughout, also while the API server is away; one of them is deleted meanwhile."""
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    server = f"https://{HOST}:{relay.port}"
    kept = daemons.start_kept("node", daemons.kubeconfig("node", server=server))
    volumes = {"ours": kept.volume("db", secretName="db")}
    pod, ending = (pods.probe(name, volumes) for name in ("reader", "ending"))
    with Reader([pod.view("/ours/key")], pause=0.002) as reader:
        kept.kill()
        relay.cut()
        ending.delete(wait=False)
        kept.kill()
        until(ending.is_off_the_node, "nothing is left of it")
        n_reads = reader.n_reads
        until(lambda: reader.n_reads > n_reads + 100, "the other one stays readable")
        assert reader.versions == {1}
        relay.resume()
        ns.patch("db", {"key": second})
        pod.wait_content("ours", "key", second)
        assert settled_mounts(kept, pod) == 1
        later = pods.probe("later", volumes)
        later.wait_content("ours", "key", second)


# ---- the kubelet


@by_signal
def test_kubelet_restarts(
    node: Node, node_daemon: Daemon, ns: Namespace, pods: Pods, number: signal.Signals
) -> None:
    """It publishes all volumes again (S13): no second mount, no event, no gap for readers."""
    first, second, third = (ns.values.new(i) for i in (1, 2, 3))
    ns.create("db", {"key": first})
    volumes = {"ours": node_daemon.volume("db", secretName="db")}
    pod = pods.probe("reader", volumes)
    registered = len(node_daemon.logged("registered with the kubelet"))
    with Reader([pod.view("/ours/key")], pause=0.002):
        node.stop_kubelet(number)
        ns.patch("db", {"key": second})
        pod.wait_content("ours", "key", second)
        # the last event of an update comes a moment after its content
        until(lambda: pod.probed()["ours"].events[-1].kind == "DELETE|ISDIR", "it is over")
        n_events = len(pod.probed()["ours"].events)
        node.start_kubelet()
        until(
            lambda: len(node_daemon.logged("registered with the kubelet")) > registered,
            "the driver is registered again",
        )
        other = pods.probe("other", volumes)
        assert len(pod.probed()["ours"].events) == n_events
        assert settled_mounts(node_daemon, pod) == 1
        ns.patch("db", {"key": third})
        for each in (pod, other):
            each.wait_content("ours", "key", third)


def test_kubelet_hangs(node: Node, daemons: Daemons, ns: Namespace, pods: Pods) -> None:
    """Pods read new versions, also of a daemon that follows a killed one. Then the kubelet goes on as it was:
    it deletes and starts pods, and the driver is registered."""
    versions = [ns.values.new(i) for i in range(1, 4)]
    ns.create("db", {"key": versions[0]})
    kept = daemons.start_kept("node", daemons.kubeconfig("node"))
    volumes = {"ours": kept.volume("db", secretName="db")}
    pod, ending = (pods.probe(name, volumes) for name in ("reader", "ending"))
    registered = len(kept.logged("registered with the kubelet"))
    with node.hung_kubelet():
        ending.delete(wait=False)
        for version in versions[1:]:
            kept.kill()
            ns.patch("db", {"key": version})
            until(lambda: pod.view("/ours/key").read_bytes() == version, "the update")
    until(ending.is_off_the_node, "nothing is left of it")
    later = pods.probe("later", volumes)
    later.wait_content("ours", "key", versions[-1])
    assert len(kept.logged("registered with the kubelet")) == registered
    assert settled_mounts(kept, pod) == 1


def test_pod_deleted_while_the_kubelet_is_down(
    node: Node, node_daemon: Daemon, ns: Namespace, pods: Pods
) -> None:
    ns.create("db", {"key": ns.values.new(1)})
    pod = pods.probe("reader", {"ours": node_daemon.volume("db", secretName="db")})
    node.stop_kubelet()
    pod.delete_by_force()
    node.start_kubelet()
    until(pod.is_off_the_node, "the kubelet cleans up")


def test_published_again_and_again(
    pod_daemon: Daemon, ns: Namespace, pods: Pods, permit: Callable[..., dict[str, object]]
) -> None:
    """With requiresRepublish every sync of a pod is one more call (U2)."""
    value = ns.values.new(1)
    ns.create("db", {"key": value})
    permit(pod_daemon, secrets=("db",))
    pod = pods.probe("reader", {"ours": pod_daemon.volume(secretName="db")})
    for _ in range(5):
        pod.poke()
        time.sleep(0.2)  # the kubelet gathers what comes faster
    second = ns.values.new(2)
    ns.patch("db", {"key": second})
    pod.wait_content("ours", "key", second)
    assert settled_mounts(pod_daemon, pod) == 1
    events = pod.probed()["ours"].events
    assert sum(event.kind == "MOVED_TO" for event in events) == 1


# ---- many


def test_a_hundred_pods(
    node: Node,
    node_daemon: Daemon,
    ns: Namespace,
    pods: Pods,
    measured: Callable[[str], None],
) -> None:
    """Ten secrets, ten pods with each. All start, all follow, all go."""
    secrets = [f"db-{i}" for i in range(10)]
    for name in secrets:
        ns.create(name, {"key": ns.values.new(1)})
    begin = time.monotonic()
    made = []
    for i in range(100):
        name = secrets[i % 10]
        volumes = {"ours": node_daemon.volume(name, secretName=name)}
        made.append(pods.make(plain_pod(f"pod-{i}", volumes, SLEEP)))
    for pod in made:
        pod.wait_running(300)
    measured(f"100 pods run {time.monotonic() - begin:.0f} s after the first was made")
    paths = [node.path(pod.directory) / CSI_VOLUME / "key" for pod in made]
    newest = {}
    for name in secrets:
        newest[name] = ns.values.new(2)
        ns.patch(name, {"key": newest[name]})
    patched = time.monotonic()
    for i, path in enumerate(paths):
        until(lambda: path.read_bytes() == newest[secrets[i % 10]], f"pod-{i} follows")
    measured(f"100 volumes follow {(time.monotonic() - patched) * 1e3:.0f} ms after the last PATCH")
    assert all(settled_mounts(node_daemon, pod) == 1 for pod in made)
    took = []
    for version in range(3, 33):
        value = ns.values.new(version)
        ns.patch(secrets[0], {"key": value})
        answered = time.monotonic()
        until(lambda: paths[0].read_bytes() == value, "pod-0 follows", pause=0.0005)
        took.append((time.monotonic() - answered) * 1e3)
    took.sort()
    measured(
        f"an update for ten of 100 pods: median {took[len(took) // 2]:.1f} ms, at most "
        f"{took[-1]:.1f} ms, of {len(took)}"
    )
    begin = time.monotonic()
    for pod in made:
        pod.delete(wait=False)
    for pod in made:
        until(pod.is_off_the_node, f"{pod.name} has left the node", pause=0.05)
    measured(f"100 pods are gone {time.monotonic() - begin:.0f} s after the first was deleted")
