"""deploy/adopt: the admission policy that puts csi volumes in the place of pods' own ones."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from lib.deploy import DEPLOY
from lib.waiting import until

from .client import MERGE_PATCH, ApiError
from .cluster import Cluster
from .mounts import Values
from .namespace import Namespace
from .pods import Pod, Pods

DRIVER = "csi.secretfs.io"
SECRET = {"secret": {"secretName": "db", "defaultMode": 420}}
GROUP = "/apis/admissionregistration.k8s.io"


def directory_for(cluster: Cluster) -> Path | None:
    """With the newest version of such policies that the API server serves."""
    for version, name in (("v1", "adopt"), ("v1beta1", "adopt-v1beta1")):
        try:
            served = cluster.admin.request("GET", f"{GROUP}/{version}")
        except ApiError:
            continue
        if any(entry["name"] == "mutatingadmissionpolicies" for entry in served["resources"]):
            return DEPLOY / name
    return None


@contextmanager
def applied(cluster: Cluster) -> Iterator[None]:
    """The policy and its binding, while the block runs. Skips where there are no such policies."""
    directory = directory_for(cluster)
    if directory is None:
        pytest.skip("this API server has no MutatingAdmissionPolicy")
    cluster.kubectl.run("apply", "-k", directory)
    try:
        yield
    finally:
        cluster.kubectl.run("delete", "-k", directory)


def label(ns: Namespace, **labels: str | None) -> None:
    """Labels secretfs.io/NAME, with dashes for underscores; None removes one."""
    named = {f"secretfs.io/{key.replace('_', '-')}": value for key, value in labels.items()}
    patch = {"metadata": {"labels": named}}
    ns.cluster.admin.request("PATCH", f"/api/v1/namespaces/{ns.name}", patch, MERGE_PATCH)


def make_adopted(pods: Pods, content: dict[str, Any], is_adopted: Callable[[Pod], bool]) -> Pod:
    """Makes it again until it is: the policy applies to a namespace some time after its label."""

    def make() -> Pod | None:
        pod = pods.make(content)
        if is_adopted(pod):
            return pod
        pod.delete_by_force()
        until(pod.is_gone, "the pod is gone", pause=0.05)
        return None

    made = until(make, "the policy applies", pause=0.1)
    assert made is not None
    return made


def namespace_with_account(cluster: Cluster, values: Values) -> Namespace:
    """With the service account that its pods have, where no controller makes it."""
    made = Namespace(cluster, values)
    account = {"metadata": {"name": "default"}}
    path = f"/api/v1/namespaces/{made.name}/serviceaccounts"
    cluster.admin.request("POST", path, account)
    return made


def pod(name: str, **more: Any) -> dict[str, Any]:
    """With one Secret's volume, unless `more` says otherwise; no node runs it."""
    mounts = [{"name": "own", "mountPath": "/own"}]
    spec = {
        "automountServiceAccountToken": False,
        "containers": [{"name": "main", "image": "none", "volumeMounts": mounts}],
        "volumes": [{"name": "own", **SECRET}],
    }
    metadata = {"name": name, **more.pop("metadata", {})}
    spec.update(more)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def admitted(cluster: Cluster, ns: Namespace, content: dict[str, Any]) -> dict[str, Any]:
    """What the API server makes of a pod that is not created."""
    path = f"/api/v1/namespaces/{ns.name}/pods?dryRun=All"
    made: dict[str, Any] = cluster.admin.request("POST", path, content)
    return made


def volumes(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {v["name"]: {k: w for k, w in v.items() if k != "name"} for v in made["spec"]["volumes"]}


def csi(name: str) -> dict[str, Any]:
    attributes = {"podVolume": f"{name}-secretfs"}
    return {"csi": {"driver": DRIVER, "readOnly": True, "volumeAttributes": attributes}}
