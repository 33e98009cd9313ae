"""clusterTrustBundle sources of real pods, beside the kubelet's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Iterator

import pytest

from lib.certificates import make_pair
from lib.kube import ApiError, Cluster
from lib.kube.adoption import label, make_adopted
from lib.kube.daemons import Daemon
from lib.kube.namespace import Namespace
from lib.kube.pods import Pod, Pods, probe_pod
from lib.waiting import until

BUNDLES = "/apis/certificates.k8s.io/v1/clustertrustbundles"


class Bundles:
    """Those of one signer of the test's own."""

    def __init__(self, cluster: Cluster, ns: Namespace, directory: Path) -> None:
        self._admin = cluster.admin
        self._directory = directory
        self._names: list[str] = []
        self.signer = f"example.com/{ns.name}"
        self.prefix = self.signer.replace("/", ":")

    def pem(self, name: str) -> str:
        return make_pair(self._directory, name)["tls.crt"].decode()

    def put(self, name: str, *pems: str, live: str = "yes") -> None:
        """Creates one, or replaces its certificates."""
        full = f"{self.prefix}:{name}"
        spec = {"signerName": self.signer, "trustBundle": "".join(pems)}
        body: dict[str, Any] = {"metadata": {"name": full, "labels": {"live": live}}, "spec": spec}
        if full in self._names:
            found = self._admin.request("GET", f"{BUNDLES}/{full}")
            body["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
            self._admin.request("PUT", f"{BUNDLES}/{full}", body)
        else:
            self._admin.request("POST", BUNDLES, body)
            self._names.append(full)

    def source(self, path: str, **which: Any) -> dict[str, Any]:
        return {"clusterTrustBundle": {"path": path, **which}}

    def drop_all(self) -> None:
        for name in self._names:
            self._admin.request("DELETE", f"{BUNDLES}/{name}")


@pytest.fixture
def bundles(cluster: Cluster, ns: Namespace, tmp_path: Path) -> Iterator[Bundles]:
    try:
        cluster.admin.request("GET", BUNDLES)
    except ApiError as error:
        assert error.code == 404
        pytest.skip("this API server has no ClusterTrustBundles in certificates.k8s.io/v1")
    made = Bundles(cluster, ns, tmp_path)
    yield made
    made.drop_all()


def volumes(bundles: Bundles) -> dict[str, Any]:
    """Without a signerName that has no labelSelector: the kubelet's cache takes that for {}."""
    live = {"matchLabels": {"live": "yes"}}
    sources = [
        bundles.source("one", name=f"{bundles.prefix}:one"),
        bundles.source("live", signerName=bundles.signer, labelSelector=live),
        bundles.source("all", signerName=bundles.signer, labelSelector={}),
        bundles.source("none", name=f"{bundles.prefix}:none", optional=True),
    ]
    return {"trust": {"projected": {"sources": sources}}}


def is_adopted(pod: Pod) -> bool:
    return any(volume["name"] == "trust-secretfs" for volume in pod.get()["spec"]["volumes"])


def adopted(pods: Pods, name: str, bundles: Bundles, **options: Any) -> Pod:
    return make_adopted(pods, probe_pod(name, volumes(bundles), **options), is_adopted)


def left_alone(pods: Pods, name: str, bundles: Bundles, **options: Any) -> Pod:
    content = probe_pod(name, volumes(bundles), **options)
    content["metadata"]["annotations"] = {"secretfs.io/adopt": "disabled"}
    return pods.make(content)


def certificates(text: str) -> list[str]:
    return re.findall(r"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----\n", text, re.S)


def read(pod: Pod, name: str) -> str:
    return (pod.view("/trust") / name).read_text()


@pytest.mark.parametrize(
    "options",
    [{}, {"fs_group": 2000}, {"securityContext": {"runAsUser": 0}}],
    ids=["plain", "fsGroup", "runAsUser"],
)
def test_looks_like_the_kubelets(
    node_daemon: Daemon,
    policy: None,
    ns: Namespace,
    pods: Pods,
    bundles: Bundles,
    options: dict[str, Any],
) -> None:
    """Y13, Y15, Y16: names, modes, owners and certificates; the kubelet's order is random."""
    label(ns, adopt="enabled")
    first, second, third = (bundles.pem(name) for name in ("first", "second", "third"))
    bundles.put("one", f"{second}{first}")
    bundles.put("two", third, live="no")
    ours = adopted(pods, "pod-a", bundles, **options)
    theirs = left_alone(pods, "pod-b", bundles, **options)
    views = [pod.wait_probed("trust")["trust"] for pod in (ours, theirs)]
    assert views[0].comparable() == views[1].comparable()
    assert views[0].errors == views[1].errors == []
    for name in ("one", "live", "all", "none"):
        seen, expected = (certificates(read(pod, name)) for pod in (ours, theirs))
        assert sorted(seen) == sorted(expected), name
    assert sorted(certificates(read(ours, "all"))) == sorted([first, second, third])


def test_update(
    node_daemon: Daemon, policy: None, ns: Namespace, pods: Pods, bundles: Bundles
) -> None:
    """Y14: the node's rights are enough to watch bundles."""
    label(ns, adopt="enabled")
    first, second = bundles.pem("first"), bundles.pem("second")
    bundles.put("one", first)
    pod = adopted(pods, "web", bundles)
    pod.wait_probed("trust")
    bundles.put("one", second)
    until(lambda: read(pod, "one") == second, "the certificates")
    bundles.put("two", first)
    both = sorted([first, second])
    until(lambda: sorted(certificates(read(pod, "live"))) == both, "the certificates")
    until(lambda: read(pod, "all") == read(pod, "live"), "the certificates")
