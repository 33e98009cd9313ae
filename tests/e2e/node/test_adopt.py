"""Pods that the admission policy of deploy/adopt changes, beside the same pods that it leaves."""

from __future__ import annotations

import statistics
import time
from typing import Any, Callable

import pytest

from lib.kube import Cluster
from lib.kube.adoption import label, make_adopted
from lib.kube.client import MERGE_PATCH
from lib.kube.daemons import Daemon
from lib.kube.namespace import Namespace
from lib.kube.pods import CONTAINER, Listed, Pod, Pods, probe_pod
from lib.waiting import until

FIELDS = [
    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
    {"path": "uid", "fieldRef": {"fieldPath": "metadata.uid"}, "mode": 0o400},
    {"path": "space/name", "fieldRef": {"fieldPath": "metadata.namespace"}},
    {"path": "cpu", "resourceFieldRef": {"containerName": CONTAINER, "resource": "limits.cpu"}},
    {
        "path": "memory",
        "resourceFieldRef": {"containerName": CONTAINER, "resource": "requests.memory"},
    },
]
VOLUMES: dict[str, Any] = {
    "secret": {"secret": {"secretName": "db", "defaultMode": 0o440}},
    "configmap": {"configMap": {"name": "look", "items": [{"key": "color", "path": "a/color"}]}},
    "fields": {"downwardAPI": {"items": FIELDS}},
    "mixed": {
        "projected": {
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                {"serviceAccountToken": {"path": "vault", "audience": "vault"}},
                {"secret": {"name": "db", "items": [{"key": "user", "path": "user"}]}},
                {"downwardAPI": {"items": FIELDS[:1]}},
            ]
        }
    },
}


@pytest.fixture
def adopting(policy: None, ns: Namespace) -> Namespace:
    label(ns, adopt="enabled")
    ns.create("db", {"user": b"dummy-1", "password": b"dummy-2"})
    ns.create("look", {"color": b"blue"}, "configmaps")
    return ns


def manifest(name: str, **options: Any) -> dict[str, Any]:
    made = probe_pod(name, VOLUMES, **options)
    made["metadata"]["labels"] = {"app": "web", "tier": "front"}
    return made


def is_adopted(pod: Pod) -> bool:
    return any(volume["name"] == "secret-secretfs" for volume in pod.get()["spec"]["volumes"])


def has_adopted_token(pod: Pod) -> bool:
    names = [volume["name"] for volume in pod.get()["spec"]["volumes"]]
    return any(n.startswith("kube-api-access-") and n.endswith("-secretfs") for n in names)


def adopted(
    pods: Pods, name: str, is_done: Callable[[Pod], bool] = is_adopted, **options: Any
) -> Pod:
    return make_adopted(pods, manifest(name, **options), is_done)


def without_sizes(listed: list[Listed]) -> list[Listed]:
    """Tokens differ in length."""
    return [entry._replace(size=0) for entry in listed]


@pytest.mark.parametrize(
    "options",
    [{}, {"fs_group": 2000}, {"securityContext": {"runAsUser": 0}}, {"hostUsers": False}],
    ids=["plain", "fsGroup", "runAsUser", "hostUsers"],
)
def test_looks_like_the_kubelets(
    node_daemon: Daemon, adopting: Namespace, pods: Pods, options: dict[str, Any]
) -> None:
    """Names, types, modes and owners (B, F, Y7, Y13), and content but for the tokens."""
    ours = adopted(pods, "pod-a", **options)
    if "hostUsers" in options and "hostUsers" not in ours.get()["spec"]:
        pytest.skip("this API server has no user namespaces")
    kept = manifest("pod-b", **options)
    kept["metadata"]["annotations"] = {"secretfs.io/adopt": "disabled"}
    theirs = pods.make(kept)
    views = [pod.wait_probed(*VOLUMES) for pod in (ours, theirs)]
    for name in VOLUMES:
        seen, expected = (view[name] for view in views)
        assert without_sizes(seen.comparable()) == without_sizes(expected.comparable()), name
        assert seen.errors == expected.errors == []
    for name, file in (
        ("secret", "password"),
        ("configmap", "a/color"),
        ("fields", "labels"),
        ("fields", "cpu"),
        ("fields", "memory"),
        ("fields", "space/name"),
        ("mixed", "user"),
        ("mixed", "labels"),
    ):
        paths = [pod.view(f"/{name}") / file for pod in (ours, theirs)]
        assert paths[0].read_bytes() == paths[1].read_bytes(), (name, file)
    assert (ours.view("/fields") / "uid").read_text() == ours.uid
    assert not ours.volume_path("kubernetes.io~secret", "secret-secretfs").exists()


def test_changed_label(node_daemon: Daemon, adopting: Namespace, pods: Pods) -> None:
    """Y7, with the kubelet's own rights to watch its pods (Y27)."""
    pod = adopted(pods, "web")
    pod.wait_probed(*VOLUMES)
    path = f"/api/v1/namespaces/{adopting.name}/pods/{pod.name}"
    change = {"metadata": {"labels": {"tier": "back"}}}
    adopting.cluster.admin.request("PATCH", path, change, MERGE_PATCH)
    pod.wait_content("fields", "labels", b'app="web"\ntier="back"')
    pod.wait_content("mixed", "labels", b'app="web"\ntier="back"')


def test_token_is_the_pods(
    node_daemon: Daemon, adopting: Namespace, pods: Pods, cluster: Cluster
) -> None:
    """Y8, Y28: bound to the pod; the API server accepts it."""
    pod = adopted(pods, "web")
    pod.wait_probed(*VOLUMES)
    for file, audiences in (("token", None), ("vault", ["vault"])):
        token = (pod.view("/mixed") / file).read_text()
        review: dict[str, Any] = {"spec": {"token": token}}
        if audiences is not None:
            review["spec"]["audiences"] = audiences
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        status = cluster.admin.request("POST", path, review)["status"]
        assert status["authenticated"], status
        assert status["user"]["username"] == f"system:serviceaccount:{adopting.name}:default"
        assert status["user"]["extra"]["authentication.kubernetes.io/pod-uid"] == [pod.uid]


def test_injected_token(
    node_daemon: Daemon, adopting: Namespace, pods: Pods, cluster: Cluster
) -> None:
    """Y9: the volume that the API server adds to each pod, in a namespace with a second label."""
    label(adopting, adopt_service_account_tokens="enabled")
    directory = "/var/run/secrets/kubernetes.io/serviceaccount"
    pod = adopted(pods, "web", has_adopted_token, automountServiceAccountToken=True)
    pod.wait_running()
    seen = pod.view(directory)
    review = {"spec": {"token": (seen / "token").read_text()}}
    status = cluster.admin.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
    assert status["status"]["user"]["username"] == f"system:serviceaccount:{adopting.name}:default"
    assert (seen / "namespace").read_text() == adopting.name
    assert "BEGIN CERTIFICATE" in (seen / "ca.crt").read_text()


def test_end(node_daemon: Daemon, adopting: Namespace, pods: Pods) -> None:
    """The pod leaves the node as one with the kubelet's volumes does."""
    pod = adopted(pods, "web")
    pod.wait_probed(*VOLUMES)
    pod.delete()
    until(pod.is_off_the_node, "nothing is left")
    assert node_daemon.mounts_of(pod.directory) == []


def start_side_by_side(pods: Pods, contents: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Seconds from the request that creates a pod until it runs, of pods that start together."""
    begin: dict[str, float] = {}
    made: dict[str, Pod] = {}
    taken: dict[str, float] = {}
    for who, content in contents.items():
        begin[who] = time.monotonic()
        made[who] = pods.make(content)

    def all_run() -> bool:
        for who, pod in made.items():
            if who not in taken and pod.phase() == "Running":
                taken[who] = time.monotonic() - begin[who]
        return len(taken) == len(made)

    until(all_run, "the pods run", pause=0.01)
    for who, pod in made.items():
        assert is_adopted(pod) == (who == "secretfs")
        pod.delete_by_force()
    return taken


def test_time_to_start(
    node_daemon: Daemon,
    adopting: Namespace,
    pods: Pods,
    measured: Callable[[str], None],
) -> None:
    """Twenty pods each, in pairs; who comes first changes from pair to pair."""
    adopted(pods, "first").wait_running()
    times: dict[str, list[float]] = {"secretfs": [], "kubelet": []}
    for number in range(20):
        contents = {}
        for who in sorted(times, reverse=number % 2 == 0):
            annotation = "enabled" if who == "secretfs" else "disabled"
            contents[who] = manifest(f"{who}-{number}")
            contents[who]["metadata"]["annotations"] = {"secretfs.io/adopt": annotation}
        for who, seconds in start_side_by_side(pods, contents).items():
            times[who].append(seconds)
    for who, taken in times.items():
        measured(f"a pod of four volumes starts in {statistics.median(taken):.2f} s with {who}")
