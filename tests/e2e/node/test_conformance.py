"""Kubernetes' own tests, on pods whose volumes secretfs serves, and those of the CSI specification.

They are built with Kubernetes only if asked for; without them this file is skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import pytest

from lib.kube import Cluster, Node, NodeMissing
from lib.kube.adoption import GROUP
from lib.kube.assets import ConformanceAssets, find_conformance_assets
from lib.kube.daemons import Daemon
from lib.kube.node import KUBELET_ROOT

REGISTRY = "docker.io/lab"
IMAGES = {"agnhost": f"{REGISTRY}/agnhost:2.66.1", "busybox": f"{REGISTRY}/busybox:1.37.0-2"}
# the registries that the tests take images from
REGISTRIES = ("promoterE2eRegistry", "gcRegistry", "dockerLibraryRegistry", "sigStorageRegistry",
              "privateRegistry", "gcEtcdRegistry", "buildImageRegistry")
FOCUS = "|".join((
    r"\[sig-storage\] (Secrets|ConfigMap|Projected|Downward API volume|Subpath Atomic writer volumes)",
    r"\[sig-auth\] ServiceAccounts should mount",
    r"\[sig-auth\].*(ClusterTrustBundleProjection|Projected PodCertificate)",
))
# the last one needs cluster DNS, a service network and a registry; what is off by default and in the
# focus is AtomicWriteVolumeUserFields, which is on here
SKIP = r"\[Slow\]|establish an mTLS connection"
# the specification's node and identity services, without what a controller has to prepare
SANITY_FOCUS = "Node Service|Identity Service"
SANITY_SKIP = "should remove target path|volume does not exist on the specified path"
BINDING = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "MutatingAdmissionPolicyBinding",
    "metadata": {"name": "conformance"},
    "spec": {
        "policyName": "adopt.secretfs.io",
        "matchResources": {
            "namespaceSelector": {"matchExpressions": [{"key": "e2e-run", "operator": "Exists"}]}
        },
    },
}


@pytest.fixture(scope="module")
def programs(node_for_all: Node) -> ConformanceAssets:
    try:
        return find_conformance_assets()
    except NodeMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def adopted(programs: ConformanceAssets, policy: None, cluster: Cluster) -> Iterator[None]:
    """In all namespaces that the tests make."""
    path = f"{GROUP}/v1/mutatingadmissionpolicybindings"
    cluster.admin.request("POST", path, BINDING)
    yield
    cluster.admin.request("DELETE", f"{path}/conformance")


def sums(output: str) -> dict[str, int]:
    """The closing line of Ginkgo."""
    line = re.findall(r"^.*\d+ Passed \|.*$", output, re.MULTILINE)[-1]
    counts = re.findall(r"(\d+) (Passed|Failed|Pending|Skipped)", re.sub(r"\x1b\[[\d;]*m", "", line))
    return {word: int(number) for number, word in counts}


def test_volumes_of_pods(
    node_daemon: Daemon,
    programs: ConformanceAssets,
    adopted: None,
    cluster: Cluster,
    node: Node,
    tmp_path: Path,
    measured: Callable[[str], None],
) -> None:
    node.import_busybox_image(IMAGES["agnhost"], "/agnhost", {"/agnhost": programs.agnhost})
    node.import_busybox_image(IMAGES["busybox"], "/bin/sh")
    repositories = tmp_path / "repositories.yaml"
    repositories.write_text("".join(f"{name}: {REGISTRY}\n" for name in REGISTRIES))
    command = [programs.tests, f"--kubeconfig={cluster.admin_kubeconfig}", "--provider=local"]
    command += ["--num-nodes=1", "--minStartupPods=0", "--ginkgo.no-color", "--ginkgo.v"]
    command += [f"--ginkgo.focus={FOCUS}", f"--ginkgo.skip={SKIP}"]
    env = {**os.environ, "KUBE_TEST_REPO_LIST": str(repositories)}
    env["PATH"] = f"{cluster.assets.kubectl.parent}:{env['PATH']}"
    done = subprocess.run(
        command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    (node.directory / "conformance.log").write_text(done.stdout)
    found = sums(done.stdout)
    published = len(node_daemon.logged("published to a pod"))
    measured(f"Kubernetes' own tests of such volumes: {found}; secretfs served {published} volumes")
    failed = "\n".join(re.findall(r"^ +\[FAIL\].*$", done.stdout, re.MULTILINE))
    assert done.returncode == 0, f"{failed}\n{done.stdout[-5000:]}"
    assert found["Failed"] == 0 and found["Passed"] > 0 and published > 0


def test_csi_services(
    node_daemon: Daemon,
    programs: ConformanceAssets,
    node: Node,
    measured: Callable[[str], None],
) -> None:
    pods = KUBELET_ROOT / "pods"
    command = [str(programs.sanity), f"--csi.endpoint={KUBELET_ROOT}/plugins/{node_daemon.driver}/csi.sock"]
    command += [f"--csi.mountdir={pods}/sanity-mount", f"--csi.stagingdir={pods}/sanity-staging"]
    command += ["--ginkgo.no-color", f"--ginkgo.focus={SANITY_FOCUS}", f"--ginkgo.skip={SANITY_SKIP}"]
    found = sums(node.run(*command))
    measured(f"csi-sanity, node and identity services: {found}")
    assert found["Failed"] == 0 and found["Passed"] > 0
