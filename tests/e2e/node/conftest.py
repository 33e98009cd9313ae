"""One node for all tests, and for each test a namespace whose pods are gone at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator

import pytest

from lib.kube import Cluster, Identity, Node, NodeMissing, find_node_assets
from lib.kube.daemons import DRIVER, Daemon, Daemons, grant_daemon, role
from lib.kube.mounts import Values
from lib.kube.namespace import Namespace
from lib.kube.node import apiserver_flags
from lib.kube.pods import Pods
from lib.kube.requirements import required_assets
from lib.waiting import until


def pytest_runtest_setup() -> None:
    # here and not in a fixture, so that one line tells for all of them
    try:
        find_node_assets()
    except NodeMissing as missing:
        pytest.skip(f"no node can be run: {missing}")


_measurements: list[str] = []


@pytest.fixture
def measured() -> Callable[[str], None]:
    """Takes a line that is shown at the end of the run."""
    return _measurements.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _measurements:
        terminalreporter.write_line(f"measured: {line}")


@pytest.fixture(scope="session")
def node_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    assets = required_assets()
    directory = tmp_path_factory.mktemp("node")
    flags = apiserver_flags(assets.apiserver)
    cluster = Cluster(assets, directory, authorization="Node,RBAC", flags=flags)
    cluster.start()
    try:
        node = Node(cluster, find_node_assets(), directory)
        node.start()
        yield node
        node.stop()
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def cluster_for_all(node_for_all: Node) -> Cluster:
    """Instead of the one without a node."""
    return node_for_all.cluster


@pytest.fixture
def node(node_for_all: Node, cluster: Cluster) -> Node:
    node_for_all.ensure_running()
    return node_for_all


@pytest.fixture
def ns(cluster: Cluster, values: Values) -> Namespace:
    """Pods may be made in it."""
    made = Namespace(cluster, values)
    account = f"/api/v1/namespaces/{made.name}/serviceaccounts/default"
    until(lambda: cluster.admin.exists(account), "the namespace has its service account")
    return made


@pytest.fixture
def pods(node: Node, ns: Namespace) -> Iterator[Pods]:
    made = Pods(node, ns)
    yield made
    made.finish()


@pytest.fixture(scope="session")
def example_image(node_for_all: Node) -> None:
    """What examples call for: nothing is pulled here."""
    node_for_all.import_busybox_image("docker.io/library/busybox:1.37", "/bin/sh")


# ---- secretfs node


@pytest.fixture(scope="session")
def values() -> Values:
    """Of all tests, as daemons outlive them."""
    return Values()


@pytest.fixture(scope="session")
def daemons_for_all(
    node_for_all: Node, values: Values, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemons]:
    made = Daemons(node_for_all, tmp_path_factory.mktemp("daemons"), values)
    yield made
    made.finish()


@pytest.fixture
def daemons(node: Node, values: Values, tmp_path: Path) -> Iterator[Daemons]:
    """For a test that does things to its daemon. To be named before `pods`, which end first."""
    made = Daemons(node, tmp_path, values)
    yield made
    made.finish()


@pytest.fixture(scope="session")
def node_daemon(daemons_for_all: Daemons) -> Daemon:
    """With the kubelet's rights, as it is by default."""
    return daemons_for_all.start("node", daemons_for_all.kubeconfig("node"), driver=DRIVER)


@pytest.fixture(scope="session")
def pod_daemon(node_for_all: Node, daemons_for_all: Daemons) -> Daemon:
    """Its own rights are to read pods."""
    identity = node_for_all.cluster.certificate_identity("secretfs-pod")
    grant_daemon(node_for_all, identity, ("pods",))
    return daemons_for_all.start("pod", daemons_for_all.kubeconfig("pod", identity))


@pytest.fixture(scope="session")
def daemon_daemon(node_for_all: Node, daemons_for_all: Daemons) -> Daemon:
    identity = node_for_all.cluster.certificate_identity("secretfs-daemon")
    grant_daemon(node_for_all, identity)
    return daemons_for_all.start("daemon", daemons_for_all.kubeconfig("daemon", identity))


@pytest.fixture(params=["node", "pod", "daemon"])
def any_daemon(request: pytest.FixtureRequest) -> Daemon:
    """In each mode of rights."""
    daemon: Daemon = request.getfixturevalue(f"{request.param}_daemon")
    return daemon


@pytest.fixture
def permit(cluster: Cluster, ns: Namespace) -> Callable[..., dict[str, object]]:
    """Makes what lets pods of a test have objects, in each mode of rights. Returns what goes
    into their specs. With the node's rights that is an unmounted plain volume for each."""

    def do(daemon: Daemon, *, secrets: tuple[str, ...] = (), configmaps: tuple[str, ...] = ()
           ) -> dict[str, object]:
        if daemon.rights == "pod":
            user = f"system:serviceaccount:{ns.name}:default"
            cluster.grant(ns.name, "reader", Identity(user), *role(*secrets, *configmaps))
        if daemon.rights != "node":
            return {}
        plain: dict[str, object] = {}
        for name in secrets:
            plain[f"permit-{name}"] = {"secret": {"secretName": name, "optional": True}}
        for name in configmaps:
            plain[f"permit-{name}"] = {"configMap": {"name": name, "optional": True}}
        return plain

    return do
