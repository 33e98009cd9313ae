"""The remedies of `secretfs doctor` that are commands of kubectl, run as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lib import program
from lib.deploy import TOP
from lib.kube import Cluster

DRIVER = "csi.secretfs.io"


def examine(cluster: Cluster, area: Path, rights: str) -> dict[str, str]:
    """What it says of the CSIDriver object; the other checks are of this host."""
    options = [f"--rights={rights}", "--kubeconfig", cluster.admin_kubeconfig, "--node-id=none"]
    places = ["--kubelet-root", area / "kubelet", "--run-dir", area / "run"]
    done = program.run([program.binary(), "doctor", "-o", "json", *options, *places], home=area)
    found = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    check: dict[str, str] = found["csi-driver"]
    return check


def follow(cluster: Cluster, check: dict[str, str]) -> None:
    """Does what a remedy says, in the directory that it names."""
    pattern = r"(delete it and )?kubectl apply -k (\S+) \(in /usr/share/doc/secretfs\)"
    said = re.match(pattern, check["remedy"])
    assert check["result"] == "fail" and said is not None, check
    if said[1]:
        cluster.kubectl.run("delete", "csidriver", DRIVER)
    cluster.kubectl.run("apply", "-k", TOP / said[2])


@pytest.fixture
def no_driver(cluster: Cluster) -> None:
    cluster.kubectl.run("delete", "csidriver", DRIVER, "--ignore-not-found")


def test_remedies_of_a_csi_driver_help(no_driver: None, cluster: Cluster, tmp_path: Path) -> None:
    """One that is missing, one that is wrong, and one without what other rights need."""
    try:
        follow(cluster, examine(cluster, tmp_path, "node"))
        assert examine(cluster, tmp_path, "node")["result"] == "ok"
        follow(cluster, examine(cluster, tmp_path, "pod"))
        assert examine(cluster, tmp_path, "pod")["result"] == "ok"
        wrong = {"podInfoOnMount": False, "attachRequired": True, "volumeLifecycleModes": ["Persistent"]}
        document = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}, "spec": wrong}
        cluster.kubectl.run("delete", "csidriver", DRIVER)
        cluster.kubectl.run("create", "-f", "-", stdin=json.dumps(document))
        follow(cluster, examine(cluster, tmp_path, "node"))
        assert examine(cluster, tmp_path, "node")["result"] == "ok"
    finally:
        cluster.kubectl.run("delete", "csidriver", DRIVER, "--ignore-not-found")
