"""clusterTrustBundle sources: certificates of one bundle, or of all that a selector finds."""

from __future__ import annotations

import json
import re
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest

from lib import program
from lib.certificates import make_pair
from lib.kubelet import INVALID_ARGUMENT, NOT_FOUND, OK, UNAVAILABLE, PodVolume
from lib.node_daemon import Node, NodeMaker, read
from lib.pods import put_adopted
from lib.sources import Api, Manifests
from lib.waiting import until

NAMES = {"podVolume": "trust-own"}
RESOURCE = "clustertrustbundles"
SIGNER = "example.com/signer"
SIGNERS = {"signerName": SIGNER, "labelSelector": {}}


@pytest.fixture
def daemon(daemon: Node, api: Api) -> Node:
    api.put_secret({"user": b"admin"})
    return daemon


@pytest.fixture
def pems(area: Path) -> list[str]:
    """Three certificates, in the order in which a file has them."""
    made = [make_pair(area, f"ca-{i}")["tls.crt"].decode() for i in range(3)]
    return sorted(made, key=ssl.PEM_cert_to_DER_cert)


def source(path: str = "ca.crt", **fields: Any) -> dict[str, Any]:
    return {"clusterTrustBundle": {"path": path, **fields}}


def projected(*sources: dict[str, Any], mode: int = 0o644) -> dict[str, Any]:
    return {"name": "trust-own", "projected": {"sources": list(sources), "defaultMode": mode}}


def put(api: Api, volume: PodVolume, *sources: dict[str, Any], **more: Any) -> None:
    put_adopted(api, volume, projected(*sources, mode=more.pop("mode", 0o644)), **more)


def state(node: Node, volume: PodVolume) -> dict[str, Any]:
    told: dict[str, Any] = node.status()["volumes"][str(volume.target)]["volume"]
    return told


def watches(node: Node) -> int:
    return sum(source["watches"] for source in node.status()["sources"])


def wait_content(volume: PodVolume, path: str, content: bytes) -> None:
    """A reader that is slow between ..data and the file may find the generation removed."""
    until(lambda: read(volume, path) == content, path)


def shows(volume: PodVolume, *pems: str, path: str = "ca.crt") -> None:
    wait_content(volume, path, "".join(pems).encode())


# ---- which bundles


def test_by_name(daemon: Node, api: Api, pems: list[str]) -> None:
    """Y15, Y16: one bundle, without what is around its certificates, each of them once."""
    name = "example.com:signer:one"
    text = f"A comment\n{pems[1]}{pems[0]}\n{pems[1]}"
    api.server.put_trust_bundle(name, text, SIGNER)
    volume = daemon.pod(attributes=NAMES)
    put(api, volume, source(name=name), {"secret": {"name": "app"}})
    daemon.publish(volume)
    assert read(volume, "ca.crt").decode() == pems[0] + pems[1]
    assert read(volume, "user") == b"admin"
    api.server.put_trust_bundle(name, pems[2], SIGNER)
    shows(volume, pems[2])


def test_by_signer(daemon: Node, api: Api, pems: list[str]) -> None:
    """Y15: all of the signer that fit; they join and leave with their labels."""
    api.server.put_trust_bundle("one", pems[1], SIGNER, {"live": "yes"})
    api.server.put_trust_bundle("two", pems[0], SIGNER, {"live": "no"})
    api.server.put_trust_bundle("other", pems[2], "example.com/other", {"live": "yes"})
    live = {"matchLabels": {"live": "yes"}}
    stale = {"matchExpressions": [{"key": "live", "operator": "NotIn", "values": ["yes"]}]}
    volume = daemon.pod(attributes=NAMES)
    put(
        api,
        volume,
        source("live", signerName=SIGNER, labelSelector=live),
        source("stale", signerName=SIGNER, labelSelector=stale),
        source("all", signerName=SIGNER, labelSelector={}),
    )
    daemon.publish(volume)
    found = [read(volume, name).decode() for name in ("live", "stale", "all")]
    assert found == [pems[1], pems[0], pems[0] + pems[1]]
    api.server.put_trust_bundle("three", pems[0], SIGNER, {"live": "yes"})
    shows(volume, pems[0], pems[1], path="live")
    api.server.put_trust_bundle("one", pems[1], SIGNER, {"live": "no"})
    shows(volume, pems[0], path="live")
    shows(volume, pems[0], pems[1], path="stale")


def test_nothing_is_written_without_a_change(daemon: Node, api: Api, pems: list[str]) -> None:
    """Y16, but for the order: a bundle that adds no certificate changes no file."""

    def updates() -> int:
        status = daemon.status()["volumes"][str(volume.target)]
        return int(status["lastUpdate"]["count"])

    api.server.put_trust_bundle("one", pems[0] + pems[1], SIGNER)
    volume = daemon.pod(attributes=NAMES)
    put(api, volume, source(**SIGNERS), {"secret": {"name": "app"}})
    daemon.publish(volume)
    before = updates()
    for text in (pems[1] + pems[0], pems[1], f"{pems[0]}comment\n{pems[0]}"):
        api.server.put_trust_bundle("two", text, SIGNER)
    api.server.put_trust_bundle("three", pems[2], SIGNER)
    shows(volume, *pems)
    until(lambda: updates() > before, "the update in the status")
    assert updates() == before + 1


def test_watch_is_shared(daemon: Node, api: Api, pems: list[str]) -> None:
    """One watch for all volumes, of any namespace, that want the same."""
    api.server.put_trust_bundle("one", pems[0], SIGNER)
    volumes = [daemon.pod(i, attributes=NAMES) for i in range(3)]
    for volume in volumes:
        put(api, volume, source(name="one"), source("all", **SIGNERS))
        daemon.publish(volume)
    until(lambda: watches(daemon) == 2, "the watches")
    assert len(api.server.requests.select(verb="list", resource=RESOURCE)) == 2
    for volume in volumes:
        daemon.unpublish(volume)
    until(lambda: watches(daemon) == 0, "the end of the watches")


# ---- bundles that are missing


@pytest.mark.parametrize(
    "which, error",
    [
        ({"name": "one"}, 'clustertrustbundle "one" not found'),
        (SIGNERS, f'no clustertrustbundle has the signerName "{SIGNER}" and fits the labelSelector'),
        (
            {"signerName": SIGNER},
            f'signerName "{SIGNER}" without a labelSelector selects no clustertrustbundle',
        ),
    ],
    ids=["name", "signer", "no-selector"],
)
def test_missing(
    daemon: Node, api: Api, pems: list[str], which: dict[str, Any], error: str
) -> None:
    """Y15: an error, or with `optional` an empty file."""
    api.server.put_trust_bundle("two", pems[0], "example.com/other")
    volume = daemon.pod(attributes=NAMES)
    put(api, volume, source(**which))
    answer = volume.publish(daemon.endpoint)
    assert answer.code == NOT_FOUND and error in answer.text
    put(api, volume, source(**which, optional=True))
    until(lambda: volume.publish(daemon.endpoint).code == OK, "the volume")
    assert read(volume, "ca.crt") == b""
    assert (volume.target / "ca.crt").stat().st_size == 0


def test_deleted(daemon: Node, api: Api, pems: list[str]) -> None:
    """The last certificates stay (H8), or with `optional` go; a new bundle brings others."""
    api.server.put_trust_bundle("one", pems[0])
    volumes = [daemon.pod(i, attributes=NAMES) for i in range(2)]
    for volume, optional in zip(volumes, (False, True)):
        put(api, volume, source(name="one", optional=optional))
        daemon.publish(volume)
    api.server.delete_trust_bundle("one")
    shows(volumes[1])
    until(lambda: state(daemon, volumes[0])["state"] == "stale", "the state")
    assert 'clustertrustbundle "one" not found' in state(daemon, volumes[0])["error"]
    assert read(volumes[0], "ca.crt").decode() == pems[0]
    api.server.put_trust_bundle("one", pems[1])
    for volume in volumes:
        shows(volume, pems[1])


def test_invalid_bundle(daemon: Node, api: Api, pems: list[str]) -> None:
    """What an API server refuses (Y17) replaces nothing, and other sources continue to update."""
    api.server.put_trust_bundle("one", pems[0], SIGNER)
    volume = daemon.pod(attributes=NAMES)
    put(api, volume, source(**SIGNERS), {"secret": {"name": "app"}})
    daemon.publish(volume)
    api.server.put_trust_bundle("two", "dummy", SIGNER)
    until(lambda: state(daemon, volume)["state"] == "disconnected", "the state")
    assert "clustertrustbundle two: it contains no certificate" in state(daemon, volume)["error"]
    api.put_secret({"user": b"root"})
    wait_content(volume, "user", b"root")
    assert read(volume, "ca.crt").decode() == pems[0]
    api.server.delete_trust_bundle("two")
    until(lambda: state(daemon, volume)["state"] == "current", "the state")


# ---- the API


@pytest.mark.parametrize("version", ["v1beta1", "v1alpha1"])
def test_older_versions(daemon: Node, api: Api, pems: list[str], version: str) -> None:
    """Y14: the newest one that is served."""
    api.server.settings.group_versions = (version,)
    api.server.put_trust_bundle("one", pems[0])
    volume = daemon.pod(attributes=NAMES)
    put(api, volume, source(name="one"))
    daemon.publish(volume)
    (watch,) = api.server.wait_watches(resource=RESOURCE)
    assert watch.request.path == f"/apis/certificates.k8s.io/{version}/{RESOURCE}"
    api.server.put_trust_bundle("one", pems[1])
    shows(volume, pems[1])


def test_not_served(daemon: Node, api: Api, pems: list[str]) -> None:
    """The error names the group; an optional source waits as well (Y14)."""
    api.server.settings.group_versions = ()
    api.server.put_trust_bundle("one", pems[0])
    volume = daemon.pod(attributes=NAMES)
    put(api, volume, source(name="one", optional=True))
    answer = volume.publish(daemon.endpoint)
    assert answer.code == UNAVAILABLE
    assert "the API server has no ClusterTrustBundles" in answer.text
    assert "404 Not Found for certificates.k8s.io/v1, v1beta1 and v1alpha1" in answer.text
    api.server.settings.group_versions = ("v1",)
    until(lambda: volume.publish(daemon.endpoint).code == OK, "the volume")
    assert read(volume, "ca.crt").decode() == pems[0]


def test_right_that_is_missing(start_node: NodeMaker, api: Api, pems: list[str]) -> None:
    """With --rights daemon: the error names it, and the volume comes with the right."""
    api.server.grant("plain", ["get", "list", "watch"], ["pods"])
    api.server.put_trust_bundle("one", pems[0])
    node = start_node("--rights=daemon", "--kubeconfig", api.kubeconfig("plain")).wait_ready()
    volume = node.pod(attributes=NAMES)
    put(api, volume, source(name="one"))
    answer = volume.publish(node.endpoint)
    assert answer.code != OK
    assert "allow this identity to get, list and watch clustertrustbundles" in answer.text
    api.server.grant("plain", ["get", "list", "watch"], [RESOURCE])
    until(lambda: volume.publish(node.endpoint).code == OK, "the volume")


def test_manifests_have_none(node: Node, manifests: Manifests) -> None:
    answer = node.pod(attributes={"sources": json.dumps([source(name="one")])}).publish(
        node.endpoint
    )
    assert answer.code == INVALID_ARGUMENT
    assert "need the pod, which cannot be read: objects come from manifests" in answer.text


# ---- files


def containers(*users: int) -> list[dict[str, Any]]:
    return [
        {"name": f"c-{u}", "image": "none", "securityContext": {"runAsUser": u}} for u in users
    ]


def owner(volume: PodVolume) -> tuple[int, int, int]:
    found = (volume.target / "ca.crt").stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


@pytest.mark.parametrize("attributes", [NAMES, {"sources": json.dumps([source(name="one")])}])
def test_owner(daemon: Node, api: Api, pems: list[str], attributes: dict[str, str]) -> None:
    """Y13: the one user that all containers run as."""
    api.server.put_trust_bundle("one", pems[0])
    volume = daemon.pod(attributes=attributes)
    put(api, volume, source(name="one"), containers=containers(1000))
    daemon.publish(volume)
    assert owner(volume)[:2] == (0o600, 1000)


def test_fs_group(daemon: Node, api: Api) -> None:
    """Y13, also of an empty file."""
    volume = daemon.pod(attributes=NAMES, fs_group=2000)
    put(api, volume, source(name="one", optional=True), mode=0o400)
    daemon.publish(volume)
    assert (owner(volume)[0], owner(volume)[2]) == (0o640, 2000)


def test_versions_in_the_status(daemon: Node, api: Api, pems: list[str]) -> None:
    """Two selectors of one signer are two objects, also while the volume is not current."""
    sources = []
    for pem, live in zip(pems, ("yes", "no")):
        api.server.put_trust_bundle(f"live-{live}", pem, SIGNER, {"live": live})
        selector = {"matchLabels": {"live": live}}
        sources.append(source(live, signerName=SIGNER, labelSelector=selector))
    volume = daemon.pod(attributes=NAMES)
    put(api, volume, *sources, {"secret": {"name": "app"}})
    daemon.publish(volume)

    def versions() -> list[str]:
        objects = daemon.status()["volumes"][str(volume.target)]["objects"]
        return [entry["resourceVersion"] for entry in objects if "Bundle" in entry["kind"]]

    before = versions()
    assert before[0] != before[1]
    api.delete_secret()
    until(lambda: state(daemon, volume)["state"] == "stale", "the state")
    assert versions() == before


def test_status(daemon: Node, api: Api, pems: list[str]) -> None:
    """`secretfs status` names what has no namespace."""
    api.server.put_trust_bundle("one", pems[0])
    volume = daemon.pod(attributes=NAMES)
    put(api, volume, source(name="one"))
    daemon.publish(volume)
    told = program.run([program.binary(), "status", volume.target], home=daemon.home).stdout
    assert re.search(r"^Object: +ClusterTrustBundle one$", told, re.MULTILINE)
    table = program.run([program.binary(), "status"], home=daemon.home).stdout
    assert "clustertrustbundle/one" in table
