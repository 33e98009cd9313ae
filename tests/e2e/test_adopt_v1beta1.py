"""deploy/adopt-v1beta1, on an API server that serves this version of such policies."""

from __future__ import annotations

from typing import Iterator

import pytest

from lib.deploy import DEPLOY
from lib.kube import Cluster
from lib.kube.adoption import (
    SECRET,
    admitted,
    csi,
    directory_for,
    label,
    namespace_with_account,
    pod,
    volumes,
)
from lib.kube.mounts import Values
from lib.waiting import until

DIRECTORY = DEPLOY / "adopt-v1beta1"


@pytest.fixture
def older_api(cluster: Cluster) -> Iterator[Cluster]:
    """It serves the older version beside the newest one that it has."""
    if directory_for(cluster) is None:
        pytest.skip("this API server has no MutatingAdmissionPolicy")
    cluster.restart_apiserver("--runtime-config=admissionregistration.k8s.io/v1beta1=true")
    yield cluster
    cluster.restart_apiserver()


def test_it_is_valid(older_api: Cluster) -> None:
    said = older_api.kubectl.run("apply", "--dry-run=server", "-k", DIRECTORY).splitlines()
    assert len(said) == 2 and all(line.endswith("(server dry run)") for line in said), said


def test_it_adopts(older_api: Cluster, values: Values) -> None:
    """As the newest version does."""
    ns = namespace_with_account(older_api, values)
    older_api.kubectl.run("apply", "-k", DIRECTORY)
    try:
        label(ns, adopt="enabled")
        expected = {"own": csi("own"), "own-secretfs": SECRET}
        until(lambda: volumes(admitted(older_api, ns, pod("web"))) == expected, "the policy")
    finally:
        older_api.kubectl.run("delete", "-k", DIRECTORY)
