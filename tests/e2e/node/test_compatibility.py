"""The rows of docs/compatibility.md: the kubelet's volume and secretfs', in one container."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
import yaml

from lib.certificates import make_pair
from lib.compatibility import BUNDLE, COLUMNS, ROWS, SIGNER, Row
from lib.deploy import DEPLOY
from lib.kube import ApiError, Cluster, Identity, signer
from lib.kube.daemons import Daemon, role
from lib.kube.namespace import Namespace
from lib.kube.pods import Listed, Pod, Pods, View, plain_pod

RESOURCES = {"limits": {"cpu": "250m", "memory": "64Mi"}}


@pytest.fixture
def objects(ns: Namespace) -> None:
    ns.create("db", {"user": b"dummy-1", "password": b"dummy-2"})
    ns.create("fixed", {"user": b"dummy-3"}, immutable=True)
    text, raw = {"color": "blue"}, {"raw": "AP8="}
    body = {"metadata": {"name": "look"}, "data": text, "binaryData": raw}
    ns.cluster.admin.request("POST", f"/api/v1/namespaces/{ns.name}/configmaps", body)


@pytest.fixture
def granted(cluster: Cluster, ns: Namespace) -> None:
    """What the modes need: see docs/compatibility.md."""
    account = Identity(f"system:serviceaccount:{ns.name}:default")
    cluster.grant(ns.name, "reader", account, *role("db", "fixed", "look", "none"))
    document, _ = yaml.safe_load_all(
        (DEPLOY / "rbac" / "tokens" / "clusterrole.yaml").read_text()
    )
    for user in ("secretfs-pod", "secretfs-daemon"):
        cluster.grant(ns.name, f"tokens-{user}", Identity(user), *document["rules"])


@pytest.fixture
def run_signer(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """With the right of both daemons to request certificates."""
    binding = {
        "metadata": {"name": "compatibility-certificates"},
        "roleRef": {"kind": "ClusterRole", "name": "secretfs-certificates"},
        "subjects": [{"kind": "User", "name": f"secretfs-{name}"} for name in ("pod", "daemon")],
    }
    path = "/apis/rbac.authorization.k8s.io/v1"
    with ExitStack() as stack:

        def run() -> None:
            if not signer.is_served(cluster):
                pytest.skip("this API server has no PodCertificateRequests in certificates.k8s.io/v1")
            file = DEPLOY / "rbac" / "certificates" / "clusterrole.yaml"
            rules, _ = yaml.safe_load_all(file.read_text())
            for kind, body in (("clusterroles", rules), ("clusterrolebindings", binding)):
                cluster.admin.request("POST", f"{path}/{kind}", body)
                name = body["metadata"]["name"]
                stack.callback(cluster.admin.request, "DELETE", f"{path}/{kind}/{name}")
            stack.enter_context(signer.running(cluster, SIGNER, tmp_path))

        yield run


BUNDLES = "/apis/certificates.k8s.io/v1/clustertrustbundles"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


@pytest.fixture(scope="module")
def make_bundle(
    cluster_for_all: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], None]]:
    """With the right of the daemon's user to read such bundles. All rows have the same one: the kubelet
    keeps for minutes what it has read."""
    made: list[str] = []

    def make() -> None:
        if made:
            return
        try:
            cluster_for_all.admin.request("GET", BUNDLES)
        except ApiError as error:
            assert error.code == 404
            pytest.skip("this API server has no ClusterTrustBundles in certificates.k8s.io/v1")
        pem = make_pair(tmp_path_factory.mktemp("bundle"), "ca")["tls.crt"].decode()
        bundle = {"metadata": {"name": BUNDLE}, "spec": {"trustBundle": pem}}
        bundle["spec"]["signerName"] = BUNDLE.partition(":")[0] + "/compatibility"
        binding = {
            "metadata": {"name": "compatibility"},
            "roleRef": {"kind": "ClusterRole", "name": "system:cluster-trust-bundle-discovery"},
            "subjects": [{"kind": "User", "name": "secretfs-daemon"}],
        }
        for path, body in ((BUNDLES, bundle), (BINDINGS, binding)):
            cluster_for_all.admin.request("POST", path, body)
            made.append(f"{path}/{body['metadata']['name']}")

    yield make
    for path in made:
        cluster_for_all.admin.request("DELETE", path)


def manifest(row: Row, daemons: dict[str, Daemon]) -> dict[str, Any]:
    volumes = {"kubelet": row.volume}
    volumes |= {name: daemon.volume(podVolume="kubelet") for name, daemon in daemons.items()}
    mounts = [{"name": name, "mountPath": f"/{name}", **row.mount} for name in COLUMNS]
    command = ["/bin/probe", *(f"{name}=/{name}" for name in COLUMNS)]
    made = plain_pod("reader", volumes, command, mounts=mounts, **row.spec)
    made["metadata"]["labels"] = {"app": "web", "tier": "front"}
    container = made["spec"]["containers"][0]
    container["env"] = [{"name": "KEY", "value": "user"}]
    container["resources"] = RESOURCES
    return made


def listing(row: Row, view: View) -> list[Listed]:
    """Tokens and certificates differ in length; the owners of links are in docs/differences.md."""
    listed = view.comparable()
    if row.has_certificate or row.has_token:
        listed = [entry._replace(size=0) for entry in listed]
    if row.has_owners or row.has_token:
        listed = [entry._replace(uid=0) if entry.type == "l" else entry for entry in listed]
    return listed


def files(pod: Pod, view: View, name: str) -> dict[str, bytes]:
    """By path, as the container reads them."""
    root = pod.view(f"/{name}")
    if root.is_file():
        return {"": root.read_bytes()}
    return {
        entry.path: (root / entry.path).read_bytes()
        for entry in view.listing
        if not entry.path.startswith("..") and (root / entry.path).is_file()
    }


def token_user(cluster: Cluster, token: bytes) -> tuple[str, list[str]]:
    review = {"spec": {"token": token.decode(), "audiences": ["vault"]}}
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    status = cluster.admin.request("POST", path, review)["status"]
    assert status["authenticated"], status
    return (
        status["user"]["username"],
        status["user"]["extra"]["authentication.kubernetes.io/pod-uid"],
    )


def openssl(*arguments: str, text: bytes) -> bytes:
    done = subprocess.run(["openssl", *arguments], input=text, capture_output=True, check=True)
    return done.stdout


def assert_pair(seen: dict[str, bytes]) -> None:
    """Y19: the same key in all files."""
    pair, key, chain = (seen[name] for name in ("pair.pem", "key.pem", "chain.pem"))
    assert pair == key + chain and key.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    public = openssl("pkey", "-pubout", text=key)
    assert openssl("x509", "-noout", "-pubkey", text=chain) == public


def assert_read_only(pod: Pod, name: str) -> None:
    path = f"/{name}"
    options = [
        line.split()[5].split(",")
        for line in pod.view("/proc/1/mountinfo").read_text().splitlines()
        if line.split()[4] == path
    ]
    assert options and "ro" in options[-1], (name, options)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(
    node_daemon: Daemon,
    pod_daemon: Daemon,
    daemon_daemon: Daemon,
    cluster: Cluster,
    ns: Namespace,
    objects: None,
    granted: None,
    make_bundle: Callable[[], None],
    run_signer: Callable[[], None],
    pods: Pods,
    row: Row,
) -> None:
    if row.needs_bundle:
        make_bundle()
    if row.has_certificate:
        run_signer()
    daemons = {"node": node_daemon, "pod": pod_daemon, "daemon": daemon_daemon}
    pod = pods.make(manifest(row, daemons))
    stored = pod.get()["spec"]
    for asked, found in ((row.spec, stored), (row.mount, stored["containers"][0]["volumeMounts"][0])):
        if missing := asked.keys() - found.keys():
            pytest.skip(f"this API server does not know {', '.join(missing)}")
    views = pod.wait_probed(*COLUMNS)
    expected = files(pod, views["kubelet"], "kubelet")
    for name in COLUMNS:
        assert listing(row, views[name]) == listing(row, views["kubelet"]), name
        assert views[name].errors == [], name
        seen = files(pod, views[name], name)
        assert set(seen) == set(expected), name
        if row.has_certificate:
            assert_pair(seen)
            assert (seen["pair.pem"] == expected["pair.pem"]) == (name == "kubelet")
        elif row.has_token:
            assert token_user(cluster, seen["token"]) == (
                f"system:serviceaccount:{ns.name}:default",
                [pod.uid],
            )
        else:
            assert seen == expected, name
        assert_read_only(pod, name)
