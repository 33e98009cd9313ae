"""One node for all tests, and for each test a namespace whose pods are gone at its end."""

from __future__ import annotations

import os
from typing import Callable, Iterator

import pytest

from kube import (
    AssetsUnusable,
    Cluster,
    Node,
    NodeMissing,
    find_assets,
    find_node_assets,
    wait_for,
)
from kube.node import apiserver_flags

from ..conftest import Namespace
from ..mounting import Values, program
from .pods import Pods


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
    try:
        assets = find_assets()
    except AssetsUnusable as error:
        pytest.fail(str(error))
    assert assets is not None
    if not os.access(program(), os.X_OK):
        pytest.fail(f"there is no {program()}: run make first")
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.fail("these tests run containers: run them as root where there is /dev/fuse")
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
    wait_for(lambda: cluster.admin.exists(account), "the namespace has its service account")
    return made


@pytest.fixture
def pods(node: Node, ns: Namespace) -> Iterator[Pods]:
    made = Pods(node, ns)
    yield made
    made.finish()
