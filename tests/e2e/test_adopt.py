"""deploy/adopt: the API server itself puts csi volumes in the place of pods' own ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib import program
from lib.kube import Cluster
from lib.kube.adoption import (
    SECRET,
    admitted,
    csi,
    label,
    namespace_with_account,
    pod,
    volumes,
)
from lib.kube.mounts import Values
from lib.kube.namespace import Namespace
from lib.waiting import until

CONFIGMAP = {"configMap": {"name": "look", "defaultMode": 420}}
DOWNWARD = {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}}


@pytest.fixture
def ns(cluster: Cluster, values: Values) -> Namespace:
    return namespace_with_account(cluster, values)


@pytest.fixture
def adopting(policy: None, cluster: Cluster, ns: Namespace) -> Namespace:
    """A labelled namespace, once the policy applies to it."""
    label(ns, adopt="enabled")
    until(lambda: "own-secretfs" in volumes(admitted(cluster, ns, pod("probe"))), "the policy")
    return ns


def test_all_kinds(cluster: Cluster, adopting: Namespace) -> None:
    """Renamed word for word; the csi volume has the old name."""
    sources = [
        {"secret": {"name": "db"}},
        DOWNWARD,
        {"serviceAccountToken": {"path": "t", "audience": "vault", "expirationSeconds": 600}},
    ]
    bundle = {"signerName": "example.com/signer", "path": "ca.crt", "labelSelector": {}}
    signed = {"signerName": "example.com/signer", "keyType": "ED25519", "keyPath": "key"}
    kinds = {
        "a": SECRET,
        "b": CONFIGMAP,
        "c": {"projected": {"sources": sources, "defaultMode": 256}},
        "d": {"downwardAPI": {**DOWNWARD["downwardAPI"], "defaultMode": 420}},
        "e": {"projected": {"sources": [{"clusterTrustBundle": bundle}], "defaultMode": 420}},
        "f": {"projected": {"sources": [{"podCertificate": signed}], "defaultMode": 420}},
    }
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in kinds]
    content = pod(
        "web",
        volumes=[{"name": name, **kind} for name, kind in kinds.items()],
        containers=[{"name": "main", "image": "none", "volumeMounts": mounts}],
    )
    made = volumes(admitted(cluster, adopting, content))
    assert {name: made[name] for name in kinds} == {name: csi(name) for name in kinds}
    assert set(made) == set(kinds) | {f"{name}-secretfs" for name in kinds}
    assert made["a-secretfs"] == SECRET and made["b-secretfs"] == CONFIGMAP
    assert made["c-secretfs"]["projected"]["sources"][2] == sources[2]
    # an API server before 1.37 drops the source unless its feature gate is on
    assert made["e-secretfs"]["projected"]["sources"][0] in ({"clusterTrustBundle": bundle}, {})
    assert made["f-secretfs"]["projected"]["sources"][0] in ({"podCertificate": signed}, {})


def test_what_is_left_alone(cluster: Cluster, adopting: Namespace) -> None:
    """Volumes of other kinds, and those that no container mounts."""
    long = "n" * 55
    others: dict[str, dict[str, Any]] = {
        "empty": {"emptyDir": {}},
        "unmounted": SECRET,
        long: SECRET,
    }
    mounts = [{"name": n, "mountPath": f"/{n}"} for n in others if n != "unmounted"]
    content = pod(
        "web",
        volumes=[{"name": name, **kind} for name, kind in others.items()],
        containers=[{"name": "main", "image": "none", "volumeMounts": mounts}],
    )
    assert set(volumes(admitted(cluster, adopting, content))) == set(others)


def test_init_containers_and_sub_paths(cluster: Cluster, adopting: Namespace) -> None:
    mounts = [{"name": "init", "mountPath": "/init", "subPath": "user"}]
    init = {"name": "init", "image": "none", "volumeMounts": mounts}
    content = pod("web", volumes=[{"name": "init", **CONFIGMAP}], initContainers=[init])
    content["spec"]["containers"] = [{"name": "main", "image": "none"}]
    made = admitted(cluster, adopting, content)
    assert volumes(made) == {"init": csi("init"), "init-secretfs": CONFIGMAP}
    assert made["spec"]["initContainers"][0]["volumeMounts"][0]["subPath"] == "user"


def test_idempotent(cluster: Cluster, adopting: Namespace) -> None:
    """What was adopted, such as a pod that is created again from its manifest, stays as it is."""
    once = admitted(cluster, adopting, pod("web"))
    for field in ("uid", "creationTimestamp", "resourceVersion", "managedFields"):
        once["metadata"].pop(field, None)
    once.pop("status", None)
    assert volumes(admitted(cluster, adopting, once)) == volumes(once)


@pytest.mark.parametrize(
    "more",
    [
        {"metadata": {"annotations": {"secretfs.io/adopt": "disabled"}}},
        {"os": {"name": "windows"}},
        {"nodeSelector": {"kubernetes.io/os": "windows"}},
    ],
    ids=str,
)
def test_excluded_pods(cluster: Cluster, adopting: Namespace, more: dict[str, Any]) -> None:
    assert volumes(admitted(cluster, adopting, pod("web", **more))) == {"own": SECRET}


def test_other_annotations(cluster: Cluster, adopting: Namespace) -> None:
    content = pod("web", metadata={"annotations": {"note": "one", "secretfs.io/adopt": "enabled"}})
    assert "own-secretfs" in volumes(admitted(cluster, adopting, content))


def test_other_namespaces(policy: None, cluster: Cluster, ns: Namespace) -> None:
    assert volumes(admitted(cluster, ns, pod("web"))) == {"own": SECRET}


def test_label_is_removed(cluster: Cluster, adopting: Namespace) -> None:
    """New pods get the kubelet's volumes again."""
    label(adopting, adopt=None)
    until(lambda: volumes(admitted(cluster, adopting, pod("web"))) == {"own": SECRET}, "the end")


def test_tokens_only_where_asked_for(cluster: Cluster, adopting: Namespace) -> None:
    """The API server's own volume is adopted with a label of its own."""
    name = "kube-api-access-abcde"
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}
    entry = {"name": name, "projected": {"sources": [token], "defaultMode": 420}}
    mounts = [{"name": name, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]
    content = pod(
        "web",
        volumes=[entry],
        containers=[{"name": "main", "image": "none", "volumeMounts": mounts}],
    )
    assert set(volumes(admitted(cluster, adopting, content))) == {name}
    label(adopting, adopt_service_account_tokens="enabled")
    adopted = {name, f"{name}-secretfs"}
    until(lambda: set(volumes(admitted(cluster, adopting, content))) == adopted, "the label")


def test_many_volumes(cluster: Cluster, adopting: Namespace) -> None:
    """The cost of the expressions stays below the API server's limit."""
    names = [f"volume-{number}" for number in range(60)]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in names]
    containers = [{"name": f"c{i}", "image": "none", "volumeMounts": mounts} for i in range(6)]
    content = pod("web", volumes=[{"name": n, **SECRET} for n in names], containers=containers)
    made = volumes(admitted(cluster, adopting, content))
    assert len(made) == 2 * len(names)


# ---- beside `secretfs convert`

TRUST = {"clusterTrustBundle": {"signerName": "example.com/s", "path": "p", "labelSelector": {}}}
POD_FIELDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sub path": {"subPath": "user"},
    "sub path of a variable": {"subPathExpr": "$(NAME)"},
    "read only": {"readOnly": True},
}
VOLUMES: dict[str, dict[str, Any]] = {
    "secret": SECRET,
    "items": {"secret": {"secretName": "db", "items": [{"key": "k", "path": "p", "mode": 256}]}},
    "configmap": CONFIGMAP,
    "downward": DOWNWARD,
    "projected": {"projected": {"sources": [{"secret": {"name": "db"}}, DOWNWARD]}},
    "no-sources": {"projected": {"sources": []}},
    "bundle": {"projected": {"sources": [{"secret": {"name": "db"}}, TRUST]}},
    "empty": {"emptyDir": {}},
    "kube-api-access-x": {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
    "n" * 54: SECRET,
    "m" * 55: SECRET,
    "taken": SECRET,
    "taken-secretfs": {"emptyDir": {}},
    "unmounted": SECRET,
}
EXCLUSIONS: list[dict[str, Any]] = [
    {},
    {"hostUsers": False},
    {"metadata": {"annotations": {"secretfs.io/adopt": "disabled"}}},
    {"metadata": {"annotations": {"secretfs.io/adopt": "other"}}},
    {"os": {"name": "windows"}},
    {"nodeSelector": {"kubernetes.io/os": "windows"}},
    {"nodeSelector": {"kubernetes.io/os": "linux"}},
]


def all_volumes(**more: Any) -> dict[str, Any]:
    """A pod with every kind of volume, half of them in an init container."""
    names = [name for name in VOLUMES if name != "unmounted"]
    fields = list(POD_FIELDS.values())
    mounts = [
        {"name": name, "mountPath": f"/{number}", **fields[number % len(fields)]}
        for number, name in enumerate(names)
    ]
    env = [{"name": "NAME", "value": "x"}]
    containers = [{"name": "main", "image": "none", "env": env, "volumeMounts": mounts[::2]}]
    inits = [{"name": "init", "image": "none", "env": env, "volumeMounts": mounts[1::2]}]
    return pod(
        "web",
        volumes=[{"name": name, **kind} for name, kind in VOLUMES.items()],
        containers=containers,
        initContainers=inits,
        **more,
    )


def converted(directory: Path, text: str) -> Any:
    path = directory / "pod"
    path.write_text(text)
    done = program.run([program.binary(), "convert", "-f", path], home=directory)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


@pytest.mark.parametrize("more", EXCLUSIONS, ids=str)
def test_convert_is_the_policy(
    cluster: Cluster, adopting: Namespace, ns: Namespace, tmp_path: Path, more: dict[str, Any]
) -> None:
    """What the API server stores of a pod: adopted by the policy, or converted before."""
    content = all_volumes(**more)
    expected = admitted(cluster, adopting, content)["spec"]
    label(ns, adopt=None)
    until(
        lambda: "own-secretfs" not in volumes(admitted(cluster, ns, pod("probe"))),
        "the policy leaves the namespace alone",
    )
    for text in (json.dumps(content), yaml.safe_dump(content)):
        made = admitted(cluster, ns, converted(tmp_path, text))["spec"]
        assert made == expected


# ---- beside `secretfs adopt status`


def test_status(cluster: Cluster, adopting: Namespace) -> None:
    """Pods of an API server, by kubectl itself."""
    path = f"/api/v1/namespaces/{adopting.name}/pods"
    cluster.admin.request("POST", path, pod("new"))
    off = {"annotations": {"secretfs.io/adopt": "disabled"}}
    cluster.admin.request("POST", path, pod("off", metadata=off))
    command = [program.binary(), "adopt", "status", "-n", adopting.name]
    command += ["--kubeconfig", cluster.admin_kubeconfig]
    search = f"PATH={cluster.assets.kubectl.parent}:/usr/bin:/bin"
    done = program.run(["env", search, *command], home=cluster.directory)
    assert done.returncode == 0, done.stderr
    assert [line.split(maxsplit=3) for line in done.stdout.splitlines()[1:]] == [
        [adopting.name, "new", "1/1", "-"],
        [adopting.name, "off", "0/1", "the pod is annotated secretfs.io/adopt: disabled"],
    ]
