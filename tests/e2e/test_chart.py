"""The Helm chart at a real API server: its objects are valid, and a release comes, changes and goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lib.chart import CHART, Helm, arguments_for
from lib.kube import Cluster, adoption
from lib.kube.namespace import Namespace

# All objects of the chart but those of APIs that only Prometheus Operator and OpenShift bring.
FULL: dict[str, Any] = {f"rbac.{role}": True for role in ("tokens", "certificates", "events")}
FULL["metrics.address"] = "[$(HOST_IP)]"
ADOPT_VERSIONS = {"adopt": "v1", "adopt-v1beta1": "v1beta1"}


@pytest.fixture
def helm(helm_program: Path, cluster: Cluster, tmp_path: Path) -> Helm:
    return Helm(helm_program, tmp_path, cluster.admin_kubeconfig)


def adopting(cluster: Cluster) -> dict[str, Any]:
    """Values for the admission policy, in the version that the API server has; none if it has none."""
    directory = adoption.directory_for(cluster)
    if directory is None:
        return {}
    return {"adopt.enabled": True, "adopt.apiVersion": ADOPT_VERSIONS[directory.name]}


@pytest.mark.parametrize("rights", ["node", "pod", "daemon"])
def test_objects_are_valid(helm: Helm, cluster: Cluster, ns: Namespace, rights: str) -> None:
    rendered = helm.template({**FULL, **adopting(cluster), "rights": rights}, namespace=ns.name)
    said = ns.kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(rendered))
    lines = said.splitlines()
    assert len(lines) == len(rendered) and all(line.endswith("(server dry run)") for line in lines), said


def test_release_is_installed_upgraded_and_uninstalled(
    helm: Helm, cluster: Cluster, ns: Namespace
) -> None:
    """A change of the rights changes objects that are there; at the end none is left."""
    driver = f"{ns.name}.secretfs.io"
    values = {"nameOverride": ns.name, "driverName": driver}
    driver_path = f"/apis/storage.k8s.io/v1/csidrivers/{driver}"
    daemon_path = f"/apis/apps/v1/namespaces/{ns.name}/daemonsets/{ns.name}"
    role_path = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{ns.name}-daemon"

    helm.run("install", "chart", CHART, "-n", ns.name, *arguments_for(values))
    assert cluster.admin.exists(driver_path) and cluster.admin.exists(daemon_path)
    assert not cluster.admin.exists(role_path)

    more = arguments_for({"rights": "daemon"})
    helm.run("upgrade", "chart", CHART, "-n", ns.name, "--reset-then-reuse-values", *more)
    daemonset = cluster.admin.request("GET", daemon_path)
    (container,) = daemonset["spec"]["template"]["spec"]["containers"]
    assert "--rights=daemon" in container["args"] and cluster.admin.exists(role_path)

    helm.run("uninstall", "chart", "-n", ns.name)
    left = [path for path in (driver_path, daemon_path, role_path) if cluster.admin.exists(path)]
    assert not left
