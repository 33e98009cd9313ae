"""A real API server takes every manifest of deploy/ and examples/."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.deploy import EXAMPLES, KUSTOMIZATIONS, documents, name_of, of_kind
from lib.kube import Cluster, adoption
from lib.kube.namespace import Namespace


@pytest.mark.parametrize("directory", KUSTOMIZATIONS, ids=name_of)
def test_deployment(
    cluster: Cluster, kubectl: str, directory: Path  # noqa: F811
) -> None:
    """Of objects with a namespace the server asks that it exists. Of the directories with admission
    policies each release serves one version at most (test_adopt_v1beta1.py has the other)."""
    if directory.name.startswith("adopt") and directory != adoption.directory_for(cluster):
        pytest.skip("the API server does not serve this version of admission policies")
    kinds = "/apis/monitoring.coreos.com/v1"
    if directory.name == "monitoring" and not cluster.admin.exists(kinds):
        pytest.skip("the API server does not have the kinds of Prometheus Operator")
    if not cluster.admin.exists("/api/v1/namespaces/secretfs"):
        cluster.kubectl.run("create", "namespace", "secretfs", "--save-config")
    said = cluster.kubectl.run("apply", "--dry-run=server", "-k", directory)
    lines = said.splitlines()
    assert lines and all(line.endswith("(server dry run)") for line in lines), said


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_example(ns: Namespace, path: Path) -> None:
    """What a pod's admission looks for is there before."""
    accounts = {account["metadata"]["name"] for account in of_kind(documents(path), "ServiceAccount")}
    for name in {"default", *accounts}:
        # there is no controller here that would make tokens for it
        body = {"metadata": {"name": name}, "automountServiceAccountToken": False}
        path_of_all = f"/api/v1/namespaces/{ns.name}/serviceaccounts"
        ns.cluster.admin.request("POST", path_of_all, body)
    said = ns.kubectl("apply", "--dry-run=server", "-f", path)
    lines = said.splitlines()
    assert len(lines) == len(documents(path))
    assert all(line.endswith("(server dry run)") for line in lines), said
