"""One cluster for all tests, and for each test a namespace and mounts of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator

import pytest

from lib.kube import Cluster
from lib.kube.adoption import applied
from lib.kube.assets import VARIABLE
from lib.kube.cluster import HOST, free_port
from lib.kube.mounts import Mounts, Values
from lib.kube.namespace import Namespace
from lib.kube.requirements import required_assets
from lib.relay import Relay


def pytest_runtest_setup() -> None:
    # here and not in a fixture, so that one line tells for all of them
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} is not set: it names a directory with kube-apiserver and etcd")


@pytest.fixture(scope="session")
def cluster_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(required_assets(), tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(cluster_for_all: Cluster) -> Iterator[Cluster]:
    cluster_for_all.ensure_running()
    yield cluster_for_all


@pytest.fixture
def values() -> Values:
    return Values()


@pytest.fixture
def ns(cluster: Cluster, values: Values) -> Namespace:
    return Namespace(cluster, values)


@pytest.fixture
def mounts(tmp_path: Path, cluster: Cluster, values: Values) -> Iterator[Mounts]:
    made = Mounts(tmp_path, cluster.kubectl.environment(), values)
    yield made
    made.finish()


@pytest.fixture
def relay(cluster: Cluster) -> Iterator[Relay]:
    """Stands between one client, a mount or a daemon, and the API server."""
    made = Relay(free_port(), (HOST, cluster.port))
    yield made
    made.close()


@pytest.fixture
def admin_args(cluster: Cluster, ns: Namespace) -> list[str]:
    """How most tests mount: as the cluster's administrator, in the test's namespace."""
    return [f"--kubeconfig={cluster.admin_kubeconfig}", f"--namespace={ns.name}"]


@pytest.fixture(scope="module")
def policy(cluster_for_all: Cluster) -> Iterator[None]:
    """Pods in labelled namespaces are adopted; skips where the API server has no such policies."""
    with applied(cluster_for_all):
        yield


@pytest.fixture
def needs_controller_manager(cluster: Cluster) -> None:
    if cluster.assets.controller_manager is None:
        pytest.skip(f"there is no kube-controller-manager in {VARIABLE}")
