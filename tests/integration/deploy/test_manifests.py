"""Manifests parse, fit together, and grant no more than they say."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib.deploy import (
    DEPLOY,
    EXAMPLES,
    KUSTOMIZATIONS,
    MANIFESTS,
    csi_volumes,
    documents,
    name_of,
    of_kind,
)

DAEMONSETS = sorted((DEPLOY / "daemonset").glob("rights-*"))


def built(kubectl: str, directory: Path) -> list[Any]:
    command = [kubectl, "kustomize", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # nothing deprecated either
    return list(yaml.safe_load_all(done.stdout))


def daemonset_of(kubectl: str, directory: Path, name: str) -> Any:
    made = of_kind(built(kubectl, directory), "DaemonSet")
    (found,) = [daemonset for daemonset in made if daemonset["metadata"]["name"] == name]
    return found


@pytest.mark.parametrize("path", [*MANIFESTS, *EXAMPLES], ids=name_of)
def test_manifest_parses_as_kubernetes_objects(path: Path) -> None:
    loaded = documents(path)
    assert loaded
    for document in loaded:
        assert document["apiVersion"] and document["kind"]


@pytest.mark.parametrize("directory", KUSTOMIZATIONS, ids=name_of)
def test_kustomization_builds(kubectl: str, directory: Path) -> None:
    assert built(kubectl, directory)


def test_csidriver_requests_tokens_only_where_used(kubectl: str) -> None:
    """R1, R2, and tokens only where they are used."""
    (plain,) = built(kubectl, DEPLOY / "csidriver")
    assert plain["metadata"]["name"] == "csi.secretfs.io"
    assert plain["spec"] == {
        "attachRequired": False,
        "podInfoOnMount": True,
        "volumeLifecycleModes": ["Ephemeral"],
        "fsGroupPolicy": "None",
    }
    (tokens,) = built(kubectl, DEPLOY / "csidriver-tokens")
    more = {key: value for key, value in tokens["spec"].items() if key not in plain["spec"]}
    assert more["requiresRepublish"] is True
    (request,) = more["tokenRequests"]
    assert request["audience"] == "" and request["expirationSeconds"] >= 600


@pytest.mark.parametrize("directory", DAEMONSETS, ids=name_of)
def test_service_account_can_only_read(kubectl: str, directory: Path) -> None:
    """Only the daemon's own service account comes with rules, and these cannot write."""
    loaded = built(kubectl, directory)
    rights = directory.name.removeprefix("rights-")
    daemonset = daemonset_of(kubectl, directory, "secretfs")
    (container,) = daemonset["spec"]["template"]["spec"]["containers"]
    assert f"--rights={rights}" in container["args"]
    driver = daemonset["spec"]["template"]["metadata"]["labels"]["secretfs.io/driver"]
    assert f"--driver-name={driver}" in container["args"]
    roles = [document for document in loaded if "rules" in document]
    objects = {"secrets", "configmaps"} if rights == "daemon" else set()
    pods = {"pods", "nodes"} if rights != "node" else set()
    rules = [rule for role in roles for rule in role["rules"]]
    assert {resource for rule in rules for resource in rule["resources"]} == objects | pods
    for rule in rules:
        reads = {"get"} if rule["resources"] == ["nodes"] else {"get", "list", "watch"}
        assert set(rule["verbs"]) == reads
    account = {"kind": "ServiceAccount", "name": "secretfs", "namespace": "secretfs"}
    for binding in of_kind(loaded, "ClusterRoleBinding"):
        assert binding["subjects"] == [account]
    (driver,) = of_kind(loaded, "CSIDriver")
    assert ("tokenRequests" in driver["spec"]) == (rights == "pod")


@pytest.mark.parametrize("directory", DAEMONSETS, ids=name_of)
def test_keeper_has_the_least_rights(kubectl: str, directory: Path) -> None:
    """No rights on the API, no capability, no mount of the host, no process of another container."""
    daemonset = daemonset_of(kubectl, directory, "secretfs-keeper")
    assert daemonset["spec"]["updateStrategy"] == {"type": "OnDelete"}
    spec = daemonset["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "secretfs-keeper"
    assert spec["automountServiceAccountToken"] is False
    assert spec["priorityClassName"] == "system-node-critical"
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert not {"hostPID", "hostIPC", "shareProcessNamespace"} & set(spec)
    (container,), (volume,) = spec["containers"], spec["volumes"]
    rights = container["securityContext"]
    assert rights["capabilities"] == {"drop": ["ALL"]} and rights["readOnlyRootFilesystem"]
    assert not rights["privileged"] and not rights["allowPrivilegeEscalation"]
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
    (mount,) = container["volumeMounts"]
    assert mount == {"name": volume["name"], "mountPath": volume["hostPath"]["path"]}
    assert container["command"][1:] == [f"--socket={mount['mountPath']}/socket"]


@pytest.mark.parametrize("directory", DAEMONSETS, ids=name_of)
def test_daemonset_shares_paths(kubectl: str, directory: Path) -> None:
    daemonset = daemonset_of(kubectl, directory, "secretfs")
    spec = daemonset["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert daemonset["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1}
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "system-node-critical"
    # thread ids mean the same to the daemon that mounted and to the one that takes the mount over
    assert spec["hostPID"] and not {"hostIPC", "shareProcessNamespace"} & set(spec)
    hosts = [volume for volume in spec["volumes"] if "hostPath" in volume]
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in hosts}
    # every path is the same inside and outside, as the kubelet and the daemon tell each other paths
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    places = {name: mount["mountPath"] for name, mount in mounts.items()}
    assert places == {**paths, "tmp": "/tmp"}
    for name in ("pods", "run"):
        assert mounts[name]["mountPropagation"] == "Bidirectional"
    # users of the node can connect to the HTTP pages, and not to the socket of `secretfs health`
    run_dir = f"--run-dir={paths['run']}"
    health = ["/usr/bin/secretfs", "health"]
    assert run_dir in container["args"]
    assert container["livenessProbe"]["exec"]["command"] == [*health, run_dir]
    assert container["readinessProbe"]["exec"]["command"] == [*health, "--ready", run_dir]
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["timeoutSeconds"] > 2


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_example_is_complete_and_described(path: Path) -> None:
    """It is complete, for our driver, and says in its own words what it shows."""
    assert path.read_text().startswith("# ")
    assert f"({path.name})" in (path.parent / "README.md").read_text()
    loaded = documents(path)
    secrets = [secret["metadata"]["name"] for secret in of_kind(loaded, "Secret")]
    (pod,) = of_kind(loaded, "Pod")
    (csi,) = csi_volumes(loaded)
    assert csi["driver"] == "csi.secretfs.io"
    for key, value in csi["volumeAttributes"].items():
        assert isinstance(value, str), f"{key} has to be text"
    if "nodePublishSecretRef" in csi:
        assert csi["nodePublishSecretRef"]["name"] in secrets
    mounted = {
        mount["name"] for container in pod["spec"]["containers"] for mount in container["volumeMounts"]
    }
    others = [volume["name"] for volume in pod["spec"]["volumes"] if "csi" not in volume]
    assert all(name.startswith("permit") and name not in mounted for name in others)


def test_examples_have_nothing_real() -> None:
    for path in EXAMPLES:
        for secret in of_kind(documents(path), "Secret"):
            values = "".join(secret["stringData"].values())
            assert "dummy" in values or "level" in values or secret["type"] == "kubernetes.io/tls"
