"""The Helm chart: its values, its schema, and that it makes the objects of the kustomizations."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Iterator, Mapping

import pytest
import yaml

from lib.chart import (
    CHART,
    COPIES,
    Helm,
    HelmFailed,
    default_values,
    described_values,
    page_with_table,
    value_at,
)
from lib.deploy import DEPLOY, EXAMPLES, MANIFESTS, TOP, VERSION, documents, of_kind

RIGHTS = ("node", "pod", "daemon")
PRESETS: dict[str, dict[str, str]] = yaml.safe_load((CHART / "files" / "kubelets.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
# They are no values of the chart's own: Helm sets `global` where the chart is a part of another one.
OF_HELM = {"global"}


@pytest.fixture(scope="session")
def helm(helm_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(helm_program, tmp_path_factory.mktemp("helm"))


def built(kubectl: str, directory: str) -> list[Any]:
    command = [kubectl, "kustomize", str(DEPLOY / directory)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return list(yaml.safe_load_all(said))


# ---- values, without helm


def test_version_is_the_one_of_the_tree() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == VERSION


def test_readme_has_the_table_of_values() -> None:
    page = (CHART / "README.md").read_text()
    assert page == page_with_table(page), "run tools/chart-values.py --write"


def test_copies_are_the_files_of_monitoring() -> None:
    for copy, original in COPIES.items():
        assert copy.read_bytes() == original.read_bytes(), "run tools/chart-values.py --write"


def leaves(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Paths of the values that have no further schema below them."""
    for name, below in schema["properties"].items():
        if "properties" in below:
            yield from leaves(below, f"{path}{name}.")
        else:
            yield path + name


def test_each_value_has_a_description_and_a_schema() -> None:
    described = [value.path for value in described_values()]
    assert set(described) == set(leaves(SCHEMA)) - OF_HELM
    assert len(described) == len(set(described))
    values = default_values()
    for path in described:
        value_at(values, path)
    assert all(value.description.endswith(".") or ";" in value.description for value in described_values())


def test_schema_refuses_unknown_values_everywhere() -> None:
    def closed(schema: Mapping[str, Any]) -> bool:
        below = schema.get("properties", {}).values()
        return not below or (schema["additionalProperties"] is False and all(map(closed, below)))

    assert closed(SCHEMA)


def test_presets_are_those_of_the_schema() -> None:
    assert SCHEMA["properties"]["kubelet"]["properties"]["preset"]["enum"] == list(PRESETS)
    for preset in PRESETS.values():
        assert set(preset) == {"rootDir", "kubeconfig", "certificates"}


# ---- what helm makes of it


def test_lint(helm: Helm) -> None:
    helm.run("lint", "--strict", CHART)


# A kustomization and the values with which the chart makes the same objects, and no others.
ONLY_POLICY = {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"}
EQUAL: dict[str, tuple[dict[str, Any], set[str] | None]] = {
    "daemonset/rights-node": ({}, None),
    "daemonset/rights-pod": ({"rights": "pod"}, None),
    "daemonset/rights-daemon": ({"rights": "daemon"}, None),
    "csidriver": ({}, {"CSIDriver"}),
    "csidriver-tokens": ({"rights": "pod"}, {"CSIDriver"}),
    "monitoring": (
        {"metrics.prometheusRule.enabled": True, "metrics.dashboard.enabled": True},
        {"PrometheusRule", "ConfigMap"},
    ),
    "adopt": ({"adopt.enabled": True}, ONLY_POLICY),
    "adopt-v1beta1": ({"adopt.enabled": True, "adopt.apiVersion": "v1beta1"}, ONLY_POLICY),
}
# Each is a part of the rights or an addition to them.
EQUAL_ROLES = {
    "rbac/daemon": ("secretfs-daemon", {"rights": "daemon"}),
    "rbac/pods": ("secretfs-pods", {"rights": "pod"}),
    "rbac/tokens": ("secretfs-tokens", {"rights": "pod", "rbac.tokens": True}),
    "rbac/certificates": ("secretfs-certificates", {"rights": "pod", "rbac.certificates": True}),
    "rbac/events": ("secretfs-events", {"rights": "daemon", "rbac.events": True}),
    "rbac/conditions": ("secretfs-conditions", {"rights": "daemon", "rbac.conditions": True}),
}
# Users write their own of it, for their applications.
NOT_IN_CHART = {"rbac/pod-example", "daemonset/base"}
HELM_LABELS = {
    "helm.sh/chart": f"secretfs-{VERSION}",
    "app.kubernetes.io/instance": "secretfs",
    "app.kubernetes.io/version": VERSION,
    "app.kubernetes.io/managed-by": "Helm",
}


def without_helm_labels(rendered: list[Any]) -> list[Any]:
    """Each object has these labels, which no kustomization has."""
    for document in rendered:
        labels = document["metadata"]["labels"]
        assert {name: labels.pop(name) for name in HELM_LABELS} == HELM_LABELS
    return rendered


def squeezed(part: Any) -> Any:
    """With the white space of expressions as single spaces: kustomize writes empty lines into them."""
    if isinstance(part, list):
        return [squeezed(entry) for entry in part]
    if not isinstance(part, dict):
        return part
    return {
        key: " ".join(value.split()) if key == "expression" else squeezed(value)
        for key, value in part.items()
    }


def normal(objects: list[Any]) -> list[Any]:
    """With everything whose order has no meaning in an order of its own."""
    for daemonset in of_kind(objects, "DaemonSet"):
        spec = daemonset["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        if "args" in container:
            container["args"][1:] = sorted(container["args"][1:])
        for named in (spec["volumes"], container["volumeMounts"]):
            named.sort(key=lambda entry: str(entry["name"]))
    in_order = sorted(objects, key=lambda made: (made["kind"], made["metadata"]["name"]))
    return [squeezed(made) for made in in_order]


def test_no_kustomization_is_left_out() -> None:
    there = {str(path.parent.relative_to(DEPLOY)) for path in DEPLOY.rglob("kustomization.yaml")}
    assert there == {*EQUAL, *EQUAL_ROLES, *NOT_IN_CHART}


@pytest.mark.parametrize("directory", EQUAL)
def test_objects_are_those_of_the_kustomization(helm: Helm, kubectl: str, directory: str) -> None:
    values, kinds = EQUAL[directory]
    rendered = without_helm_labels(helm.template({**values, "namespace.create": True}))
    if kinds is not None:
        rendered = [document for document in rendered if document["kind"] in kinds]
    assert normal(rendered) == normal(built(kubectl, directory))


@pytest.mark.parametrize("directory", EQUAL_ROLES)
def test_roles_are_those_of_the_kustomization(helm: Helm, kubectl: str, directory: str) -> None:
    name, values = EQUAL_ROLES[directory]
    rendered = without_helm_labels(helm.template(values))
    roles = [document for document in rendered if document["metadata"]["name"] == name]
    assert normal(roles) == normal(built(kubectl, directory))


# ---- combinations


EVERYTHING = {
    "namespace.create": True,
    "image.digest": "sha256:" + "0" * 64,
    "imagePullSecrets": [{"name": "registry"}],
    "commonLabels": {"team": "platform"},
    "rbac.tokens": True,
    "rbac.certificates": True,
    "rbac.events": True,
    "rbac.conditions": True,
    "rbac.namespaces": ["shop", "billing"],
    "adopt.enabled": True,
    "metrics.address": "$(HOST_IP)",
    "metrics.podMonitor.enabled": True,
    "metrics.podMonitor.labels": {"release": "prometheus"},
    "metrics.podMonitor.interval": "30s",
    "metrics.serviceMonitor.enabled": True,
    "metrics.prometheusRule.enabled": True,
    "metrics.prometheusRule.labels": {"release": "prometheus"},
    "metrics.prometheusRule.runbookBaseUrl": "https://git.example.com/secretfs/",
    "metrics.dashboard.enabled": True,
    "metrics.dashboard.labels": {"dashboards": "yes"},
    "metrics.dashboard.annotations": {"grafana_folder": "Nodes"},
    "openshift.scc": True,
    "log.level": "debug",
    "extraArgs": ["--kube-api-qps=100"],
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "podAnnotations": {"example.com/note": "1"},
    "podLabels": {"example.com/kind": "agent"},
    "serviceAccount.annotations": {"example.com/note": "1"},
}


def daemonset(rendered: list[Any], name: str = "secretfs") -> Any:
    (made,) = [made for made in of_kind(rendered, "DaemonSet") if made["metadata"]["name"] == name]
    return made


def daemon(rendered: list[Any], name: str = "secretfs") -> tuple[Any, Any]:
    """Spec and container of the daemon's pods, or of the keeper's."""
    spec = daemonset(rendered, name)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container


def host_paths(spec: Any) -> dict[str, str]:
    return {entry["name"]: entry["hostPath"]["path"] for entry in spec["volumes"] if "hostPath" in entry}


@pytest.mark.parametrize(
    ("rights", "preset", "more"), itertools.product(RIGHTS, PRESETS, ("defaults", "everything"))
)
def test_combination_is_complete(helm: Helm, rights: str, preset: str, more: str) -> None:
    """Paths fit together, each mount has its volume, each object its name once."""
    values = EVERYTHING if more == "everything" else {}
    rendered = helm.template({**values, "rights": rights, "kubelet.preset": preset})
    names = [
        (document["kind"], document["metadata"].get("namespace"), document["metadata"]["name"])
        for document in rendered
    ]
    assert len(names) == len(set(names))
    spec, container = daemon(rendered)
    paths = host_paths(spec)
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {**paths, "tmp": "/tmp"}
    kubelet = PRESETS[preset]
    assert f"--kubelet-root={kubelet['rootDir']}" in container["args"]
    assert paths["pods"] == f"{kubelet['rootDir']}/pods"
    kubeconfig = f"--kubeconfig={kubelet['kubeconfig']}"
    assert (kubeconfig in container["args"]) == (rights == "node")
    assert (kubelet["certificates"] in paths.values()) == (rights == "node")
    if rights == "node":
        assert any(kubelet["kubeconfig"].startswith(path) for path in paths.values())
        assert not [document for document in rendered if "rules" in document]


def test_values_arrive(helm: Helm) -> None:
    """Each of EVERYTHING is seen where it belongs."""
    rendered = helm.template({**EVERYTHING, "rights": "daemon"})
    spec, container = daemon(rendered)
    assert container["image"] == "secretfs@sha256:" + "0" * 64
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert {"--log-level=debug", "--kube-api-qps=100"} <= set(container["args"])
    assert "--metrics-bind-address=$(HOST_IP):9811" in container["args"]
    assert container["ports"] == [{"name": "metrics", "containerPort": 9811}]
    names = [variable["name"] for variable in container["env"]]
    assert names == ["NODE_NAME", "HOST_IP", "SECRETFS_KEEPER_SOCKET", "HTTPS_PROXY"]
    bound = {
        (binding["metadata"]["namespace"], binding["roleRef"]["name"])
        for binding in of_kind(rendered, "RoleBinding")
    }
    assert bound == set(itertools.product(("shop", "billing"), ("secretfs-daemon", "secretfs-tokens")))
    (monitor,) = of_kind(rendered, "PodMonitor")
    assert monitor["spec"]["podMetricsEndpoints"] == [
        {"port": "metrics", "path": "/metrics", "interval": "30s"}
    ]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (rule,) = of_kind(rendered, "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    (group,) = rule["spec"]["groups"]
    runbook = "https://git.example.com/secretfs/docs/troubleshooting.md#"
    for alert in group["rules"]:
        assert alert["annotations"]["runbook_url"] == runbook + alert["alert"].lower()
    (dashboard,) = of_kind(rendered, "ConfigMap")
    assert dashboard["metadata"]["labels"]["dashboards"] == "yes"
    assert dashboard["metadata"]["annotations"] == {"grafana_folder": "Nodes"}
    (constraints,) = of_kind(rendered, "SecurityContextConstraints")
    account = "system:serviceaccount:secretfs:secretfs"
    assert constraints["users"] == [account, f"{account}-keeper"]
    labels = daemonset(rendered)["spec"]["template"]["metadata"]["labels"]
    assert labels == {
        "app.kubernetes.io/name": "secretfs",
        "secretfs.io/driver": "csi.secretfs.io",
        "example.com/kind": "agent",
    }
    assert all(document["metadata"]["labels"]["team"] == "platform" for document in rendered)


@pytest.mark.parametrize("rights", RIGHTS)
def test_tokens_in_secrets(helm: Helm, rights: str) -> None:
    """U8: the API server takes the field with tokenRequests only."""
    values = {"rights": rights, "csiDriver.serviceAccountTokenInSecrets": True}
    (driver,) = of_kind(helm.template(values), "CSIDriver")
    assert ("serviceAccountTokenInSecrets" in driver["spec"]) == (rights == "pod")


def test_second_release_has_names_of_its_own(helm: Helm) -> None:
    values = {"rights": "daemon", "adopt.enabled": True}
    values |= {"metrics.prometheusRule.enabled": True, "metrics.dashboard.enabled": True}
    other = {"nameOverride": "canary", "driverName": "canary.secretfs.io", "runDir": "/run/canary"}
    first, second = helm.template(values), helm.template({**values, **other, "metrics.port": 9812})

    def names(rendered: list[Any]) -> set[tuple[str, str]]:
        return {(document["kind"], document["metadata"]["name"]) for document in rendered}

    assert len(names(first)) == len(names(second)) and not names(first) & names(second)
    for name in ("canary", "canary-keeper"):
        volumes = [volume for volume in daemon(second, name)[0]["volumes"] if volume["name"] != "status"]
        assert "secretfs" not in str(volumes).replace("canary.secretfs.io", "")
    # `secretfs status` looks for sockets of all daemons in one directory
    assert host_paths(daemon(second, "canary")[0])["status"] == "/run/secretfs"
    assert "status" not in host_paths(daemon(first)[0])


def test_keeper_serves_its_daemon(helm: Helm) -> None:
    """They meet in one directory, which is not the one with the mounts."""
    rendered = helm.template({"runDir": "/run/other", "imagePullSecrets": [{"name": "registry"}]})
    (spec, container), (keeper_spec, keeper) = daemon(rendered), daemon(rendered, "secretfs-keeper")
    (environment,) = [v for v in container["env"] if v["name"] == "SECRETFS_KEEPER_SOCKET"]
    assert keeper["command"] == ["/usr/bin/secretfs-keeper", f"--socket={environment['value']}"]
    directory = str(Path(environment["value"]).parent)
    assert host_paths(keeper_spec) == {"socket": directory}
    assert host_paths(spec)["keeper"] == directory != "/run/other"
    assert keeper["image"] == container["image"]
    assert keeper_spec["imagePullSecrets"] == spec["imagePullSecrets"]


def test_without_a_keeper(helm: Helm) -> None:
    rendered = helm.template({"keeper.enabled": False, "openshift.scc": True})
    spec, container = daemon(rendered)
    assert len(of_kind(rendered, "DaemonSet")) == len(of_kind(rendered, "ServiceAccount")) == 1
    assert "hostPID" not in spec and "command" not in container and "keeper" not in str(spec)
    (constraints,) = of_kind(rendered, "SecurityContextConstraints")
    assert constraints["allowHostPID"] is False and len(constraints["users"]) == 1


WRONG: list[tuple[str, Any]] = [
    ("rights", "root"),
    ("keeper.enabled", "yes"),
    ("right", "node"),
    ("image.tag", "latest"),
    ("image.digest", "sha256:abc"),
    ("image.pullPolicy", "Sometimes"),
    ("driverName", "csi/secretfs"),
    ("kubelet.preset", "minikube"),
    ("kubelet.rootDir", "/var/lib/kubelet/"),
    ("kubelet.rootDir", "relative"),
    ("metrics.port", 0),
    ("metrics.port", "9811"),
    ("metrics.address", "http://10.0.0.1"),
    ("metrics.podMonitor.interval", "soon"),
    ("metrics.prometheusRule.enabled", "yes"),
    ("metrics.prometheusRule.rules", []),
    ("metrics.prometheusRule.runbookBaseUrl", "git.example.com"),
    ("metrics.dashboard.labels", ["grafana_dashboard"]),
    ("adopt.apiVersion", "v1alpha1"),
    ("rbac.namespaces", "shop"),
    ("imagePullSecrets", ["registry"]),
    ("extraArgs", ["node"]),
    ("log.format", "xml"),
    ("runDir", "/"),
]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=lambda part: json.dumps(part))
def test_wrong_value_is_refused_by_its_name(helm: Helm, path: str, value: Any) -> None:
    with pytest.raises(HelmFailed) as refused:
        helm.template({path: value})
    assert path.rpartition(".")[2] in str(refused.value)


@pytest.mark.parametrize("monitor", ["podMonitor", "serviceMonitor"])
def test_monitor_of_the_loopback_address_is_refused(helm: Helm, monitor: str) -> None:
    """Prometheus would find every target down."""
    with pytest.raises(HelmFailed, match=r"set it to \$\(HOST_IP\) or 0\.0\.0\.0"):
        helm.template({f"metrics.{monitor}.enabled": True})


def test_options_are_known(helm: Helm) -> None:
    program = os.environ.get("SECRETFS", TOP / "build" / "debug" / "secretfs")
    told = subprocess.run([program, "node", "--help"], capture_output=True, text=True, check=True)
    _, container = daemon(helm.template(EVERYTHING))
    options = {argument.partition("=")[0] for argument in container["args"][1:]}
    assert len(options) > 8 and all(option in told.stdout for option in options)


# ---- images


def images(documents: list[Any]) -> Iterator[str]:
    for document in documents:
        for holder in (document["spec"], document["spec"].get("template", {}).get("spec", {})):
            for kind in ("containers", "initContainers"):
                # a patch of a container has none
                yield from (made["image"] for made in holder.get(kind, []) if "image" in made)


def test_images_name_a_version() -> None:
    """Not latest or stable, which change under a DaemonSet; ours is that of the tree."""
    named = []
    for path in (*MANIFESTS, *EXAMPLES):
        named += list(images([document for document in documents(path) if "spec" in document]))
    assert len(named) > 5
    for image in named:
        assert re.fullmatch(r"[^:@]+:v?\d+(\.\d+)+", image), image
    # of the daemon and of the keeper
    assert [image for image in named if image.startswith("secretfs:")] == [f"secretfs:{VERSION}"] * 2


def test_image_of_the_chart_is_that_of_the_tree(helm: Helm) -> None:
    assert list(images(of_kind(helm.template({}), "DaemonSet"))) == [f"secretfs:{VERSION}"] * 2
