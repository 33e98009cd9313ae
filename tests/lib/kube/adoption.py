"""deploy/adopt: the admission policy that puts csi volumes in the place of pods' own ones."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest

from lib.deploy import DEPLOY

from .client import MERGE_PATCH, ApiError
from .cluster import Cluster
from .namespace import Namespace

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
