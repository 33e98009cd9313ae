"""clusterTrustBundle sources of real pods, beside the kubelet's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from lib.certificates import make_pair
from lib.kube import ApiError, Cluster
from lib.kube.adoption import label
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


def adopted(pods: Pods, name: str, bundles: Bundles, **options: Any) -> Pod:
    """The policy applies to a namespace some time after its label."""

    def make() -> Pod | None:
        pod = pods.make(probe_pod(name, volumes(bundles), **options))
        if any(volume["name"] == "trust-secretfs" for volume in pod.get()["spec"]["volumes"]):
            return pod
        pod.delete_by_force()
        until(pod.is_gone, "the pod is gone", pause=0.05)
        return None

    pod = until(make, "the policy applies", pause=0.1)
    assert pod is not None
    return pod


def left_alone(pods: Pods, name: str, bundles: Bundles, **options: Any) -> Pod:
    content = probe_pod(name, volumes(bundles), **options)
    content["metadata"]["annotations"] = {"secretfs.io/adopt": "disabled"}
    return pods.make(content)


def certificates(text: str) -> list[str]:
    return re.findall(r"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----\n", text, re.S)


def read(pod: Pod, name: str) -> str:
    return (pod.view("/trust") / name).read_text()


def wait(is_seen: Callable[[], bool]) -> None:
    """A reader that is slow between ..data and the file may find the generation removed."""
    until(is_seen, "the certificates")


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
    wait(lambda: read(pod, "one") == second)
    bundles.put("two", first)
    wait(lambda: sorted(certificates(read(pod, "live"))) == sorted([first, second]))
    wait(lambda: read(pod, "all") == read(pod, "live"))
