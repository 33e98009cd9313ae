"""podCertificate sources: keys made here, certificates of a signer, both replaced in time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from lib import program
from lib.devserver.signer import DENY, FAIL, ISSUE, WAIT
from lib.kubelet import INVALID_ARGUMENT, OK, UNAVAILABLE, PodVolume
from lib.node_daemon import NODE, Node, NodeMaker, read
from lib.pods import put_adopted
from lib.sources import Api, Manifests
from lib.waiting import until

NAMES = {"podVolume": "certificate-own"}
RESOURCE = "podcertificaterequests"
SIGNER = "example.com/dummy"
KEY_BEGINS = b"-----BEGIN PRIVATE KEY-----\n"


@pytest.fixture
def daemon(daemon: Node, api: Api) -> Node:
    prepare(api)
    return daemon


def prepare(api: Api) -> None:
    api.put_secret({"user": b"admin"})
    api.server.put_service_account("default", "default")
    api.server.put_service_account("default", "web")
    api.server.put_node(NODE, {})


def source(key_type: str = "ED25519", **fields: Any) -> dict[str, Any]:
    paths = {} if any(name.endswith("Path") for name in fields) else {"credentialBundlePath": "pair"}
    return {"podCertificate": {"signerName": SIGNER, "keyType": key_type, **paths, **fields}}


def projected(*sources: dict[str, Any]) -> dict[str, Any]:
    return {"name": "certificate-own", "projected": {"sources": list(sources), "defaultMode": 0o644}}


def put(node: Node, api: Api, *sources: dict[str, Any], **pod: Any) -> PodVolume:
    volume = node.pod(attributes=NAMES, **pod)
    put_adopted(api, volume, projected(*sources))
    return volume


def state(node: Node, volume: PodVolume) -> dict[str, Any]:
    told: dict[str, Any] = node.status()["volumes"][str(volume.target)]["volume"]
    return told


def error(node: Node, volume: PodVolume) -> str:
    return str(state(node, volume).get("error", ""))


def openssl(*arguments: str, text: bytes) -> bytes:
    done = subprocess.run(["openssl", *arguments], input=text, capture_output=True, check=True)
    return done.stdout


def is_pair(bundle: bytes) -> bool:
    """Whether key and first certificate belong together."""
    return openssl("pkey", "-pubout", text=bundle) == openssl("x509", "-noout", "-pubkey", text=bundle)


# ---- the request and the files


def test_request(daemon: Node, api: Api) -> None:
    """Y18: for the pod, its account and its node."""
    annotations = {"example.com/host": "a.example.com"}
    volume = put(
        daemon,
        api,
        source("ECDSAP256", maxExpirationSeconds=7200, userAnnotations=annotations),
        service_account="web",
    )
    daemon.publish(volume)
    (request,) = api.server.certificate_requests()
    assert request["metadata"]["namespace"] == "default"
    assert request["metadata"]["name"].startswith("req-")
    owner = {"apiVersion": "v1", "kind": "Pod", "name": volume.pod, "uid": volume.uid}
    assert request["metadata"]["ownerReferences"] == [owner]
    spec = dict(request["spec"])
    assert spec.pop("stubPKCS10Request")
    assert spec == {
        "signerName": SIGNER,
        "podName": volume.pod,
        "podUID": volume.uid,
        "serviceAccountName": "web",
        "serviceAccountUID": "uid-default-web",
        "nodeName": NODE,
        "nodeUID": f"uid-{NODE}",
        "maxExpirationSeconds": 7200,
        "unverifiedUserAnnotations": annotations,
    }


def test_files(daemon: Node, api: Api) -> None:
    """Y19: key and chain, as one file or as two."""
    volume = put(
        daemon,
        api,
        source(credentialBundlePath="a/pair", keyPath="key", certificateChainPath="chain"),
        {"secret": {"name": "app"}},
    )
    daemon.publish(volume)
    key, chain = read(volume, "key"), read(volume, "chain")
    assert read(volume, "a/pair") == key + chain
    assert is_pair(key + chain)
    assert key.startswith(KEY_BEGINS) and key.endswith(b"-----END PRIVATE KEY-----\n")
    assert chain.count(b"-----BEGIN CERTIFICATE-----\n") == 2
    assert read(volume, "user") == b"admin"
    secret = key.splitlines()[1].decode()
    told = program.run([program.binary(), "status", volume.target], home=daemon.home).stdout
    assert "PodCertificate" in told
    assert secret not in told + daemon.log() + json.dumps(api.server.certificate_requests())


@pytest.mark.parametrize("key_type", ["RSA3072", "ECDSAP384", "ECDSAP521"])
def test_key_types(daemon: Node, api: Api, key_type: str) -> None:
    volume = put(daemon, api, source(key_type))
    until(lambda: volume.publish(daemon.endpoint).code == OK, "the volume")
    assert is_pair(read(volume, "pair"))


def test_shared_by_sources_that_ask_for_the_same(daemon: Node, api: Api) -> None:
    volume = put(
        daemon, api, source(keyPath="one"), source(keyPath="two"), source("ECDSAP256", keyPath="three")
    )
    daemon.publish(volume)
    assert read(volume, "one") == read(volume, "two") != read(volume, "three")
    assert len(api.server.certificate_requests()) == 2


def test_in_attributes(daemon: Node, api: Api) -> None:
    """Y13: mode and owner by the user of the pod's containers."""
    volume = daemon.pod(attributes={"sources": json.dumps([source()])})
    user = {"name": "main", "image": "none", "securityContext": {"runAsUser": 1000}}
    put_adopted(api, volume, {"name": "other", "emptyDir": {}}, containers=[user])
    daemon.publish(volume)
    found = (volume.target / "pair").stat()
    assert (found.st_mode & 0o777, found.st_uid) == (0o600, 1000)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"key_type": "DSA"}, "podCertificate.keyType: invalid key type"),
        ({"signerName": "none"}, 'podCertificate.signerName: "none" is not a valid name'),
        ({"maxExpirationSeconds": 3599}, "maxExpirationSeconds: expected 3600 to 7862400 seconds"),
        ({"keyPath": ""}, "expected credentialBundlePath, keyPath or certificateChainPath"),
        ({"keyPath": "../k"}, "podCertificate.keyPath: invalid path"),
        ({"userAnnotations": {"a": 1}}, "userAnnotations.a: expected a string"),
    ],
    ids=str,
)
def test_invalid_source(daemon: Node, api: Api, fields: dict[str, Any], message: str) -> None:
    answer = put(daemon, api, source(**fields)).publish(daemon.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert message in answer.text


# ---- renewal


def test_renewal(daemon: Node, api: Api) -> None:
    """Y20: a new key and a new certificate, in one update, before the old one expires."""
    api.server.signer.lifetime, api.server.signer.refresh = 12, 2
    volume = put(daemon, api, source(), {"secret": {"name": "app"}})
    daemon.publish(volume)
    for _ in range(2):
        before = read(volume, "pair")
        until(lambda old=before: read(volume, "pair") != old, "the renewal")
        assert is_pair(read(volume, "pair"))
    assert error(daemon, volume) == ""


@pytest.mark.parametrize("answer", [DENY, FAIL])
def test_renewal_that_is_refused(daemon: Node, api: Api, answer: str) -> None:
    """Y21 differs: the last pair stays, status, log and Event say why, other sources update."""
    api.server.signer.lifetime, api.server.signer.refresh = 12, 2
    volume = put(daemon, api, source(), {"secret": {"name": "app"}})
    daemon.publish(volume)
    api.server.signer.answer = answer
    until(lambda: state(daemon, volume)["state"] == "disconnected", "the state")
    pair = read(volume, "pair")
    why = error(daemon, volume)
    assert f"cannot renew the certificate of signer {SIGNER}, which expires at 2" in why
    assert "podcertificaterequest req-" in why and "Scripted: by the test" in why
    until(lambda: "cannot renew the certificate" in daemon.log(), "the log")
    event = until(lambda: events(api), "the event")[0]
    assert (event["type"], event["reason"]) == ("Warning", "CertificateNotRenewed")
    assert "Scripted: by the test" in event["message"]
    api.put_secret({"user": b"root"})
    until(lambda: read(volume, "user") == b"root", "the update")
    assert read(volume, "pair") == pair


def events(api: Api) -> list[dict[str, Any]]:
    asked = api.server.requests.select(verb="create", resource="events")
    return [json.loads(request.body) for request in asked]


def test_renewal_after_failures(daemon: Node, api: Api) -> None:
    """Requests that fail are repeated; the volume is current again when one succeeds."""
    api.server.signer.lifetime, api.server.signer.refresh = 12, 2
    volume = put(daemon, api, source())
    daemon.publish(volume)
    pair = read(volume, "pair")
    api.server.fail(503, verb="create", resource=RESOURCE, times=None)
    until(lambda: "cannot create a podcertificaterequest" in error(daemon, volume), "the error")
    assert read(volume, "pair") == pair
    api.server.clear_faults()
    until(lambda: read(volume, "pair") != pair, "the renewal")
    until(lambda: state(daemon, volume)["state"] == "current", "the state")


def test_forgotten_with_its_last_volume(daemon: Node, api: Api) -> None:
    volume = put(daemon, api, source())
    daemon.publish(volume)
    pair = read(volume, "pair")
    daemon.unpublish(volume)
    until(lambda: daemon.directories() == set(), "the end of the volume")
    daemon.publish(volume)
    assert read(volume, "pair") != pair


# ---- the signer


def pending(api: Api) -> dict[str, Any]:
    until(lambda: api.server.certificate_requests() != [], "the request")
    return api.server.certificate_requests()[-1]


def test_signer_that_takes_its_time(daemon: Node, api: Api) -> None:
    """Until then the pod waits, and the error says for what."""
    api.server.signer.answer = WAIT
    volume = put(daemon, api, source())
    answer = volume.publish(daemon.endpoint)
    request = pending(api)
    assert answer.code == UNAVAILABLE
    assert f"podcertificaterequest default/{request['metadata']['name']} waits for" in answer.text
    api.server.decide(request, ISSUE)
    until(lambda: volume.publish(daemon.endpoint).code == OK, "the volume")
    assert is_pair(read(volume, "pair"))
    assert len(api.server.certificate_requests()) == 1


@pytest.mark.parametrize("break_watch", ["close_watches", "abort_watches", "send_error"])
def test_watch_that_ends(daemon: Node, api: Api, break_watch: str) -> None:
    """The next watch brings what was decided meanwhile."""
    api.server.signer.answer = WAIT
    volume = put(daemon, api, source())
    connection, call = daemon.start_publish(volume)
    api.server.wait_watches(1, resource=RESOURCE)
    end: Callable[..., object] = getattr(api.server, break_watch)
    end(resource=RESOURCE)
    api.server.decide(pending(api), ISSUE)
    until(lambda: volume.publish(daemon.endpoint).code == OK, "the volume")
    assert is_pair(read(volume, "pair"))
    connection.close()


def test_first_request_that_is_denied(daemon: Node, api: Api) -> None:
    api.server.signer.answer = DENY
    answer = put(daemon, api, source()).publish(daemon.endpoint)
    assert answer.code == UNAVAILABLE
    assert f"cannot get a certificate of signer {SIGNER}: the signer denied" in answer.text
    assert "Scripted: by the test" in answer.text
    assert len(api.server.certificate_requests()) == 1


# ---- rights


def test_authorizer_that_is_late(daemon: Node, api: Api) -> None:
    """K3: the first refusals are retried soon, with the same key."""
    api.server.fail(403, verb="create", resource=RESOURCE, times=2)
    volume = put(daemon, api, source())
    daemon.publish(volume)
    assert is_pair(read(volume, "pair"))
    asked = api.server.requests.select(verb="create", resource=RESOURCE)
    keys = {json.loads(request.body)["spec"]["stubPKCS10Request"] for request in asked}
    assert (len(asked), len(keys)) == (3, 1)


@pytest.mark.parametrize(
    "verbs, resource",
    [
        (["get"], "serviceaccounts"),
        (["get"], "nodes"),
        (["create"], RESOURCE),
        (["list", "watch"], RESOURCE),
    ],
)
def test_right_that_is_missing(
    start_node: NodeMaker, api: Api, verbs: list[str], resource: str
) -> None:
    """With --rights daemon: the error names it, and the volume comes with the right."""
    prepare(api)
    rights = [
        (["get", "list", "watch"], "pods"),
        (["get"], "serviceaccounts"),
        (["get"], "nodes"),
        (["create"], RESOURCE),
        (["list", "watch"], RESOURCE),
    ]
    for granted in rights:
        if granted != (verbs, resource):
            api.server.grant("plain", granted[0], [granted[1]])
    node = start_node("--rights=daemon", "--kubeconfig", api.kubeconfig("plain")).wait_ready()
    volume = put(node, api, source())
    answer = volume.publish(node.endpoint)
    assert answer.code == UNAVAILABLE
    assert f"allow this identity to {' and '.join(verbs)} {resource}" in answer.text
    api.server.grant("plain", verbs, [resource])
    until(lambda: volume.publish(node.endpoint).code == OK, "the volume")


def test_server_without_the_api(daemon: Node, api: Api) -> None:
    api.server.fail(404, verb="create", resource=RESOURCE, times=None, body=b"404 page not found\n")
    answer = put(daemon, api, source()).publish(daemon.endpoint)
    assert answer.code == UNAVAILABLE
    assert "the API server has no PodCertificateRequests" in answer.text


# ---- ends


@pytest.mark.parametrize(
    "held",
    [
        {"verb": "get", "resource": "serviceaccounts"},
        {"verb": "create", "resource": RESOURCE},
        {"verb": "watch", "resource": RESOURCE},
    ],
    ids=lambda held: "-".join(held.values()),
)
def test_end_of_the_daemon_during_a_request(daemon: Node, api: Api, held: dict[str, str]) -> None:
    hold = api.server.hold(**held)
    connection, _ = daemon.start_publish(put(daemon, api, source()))
    hold.wait_held()
    daemon.finish()
    hold.release()
    connection.close()


def test_end_of_the_daemon_while_a_key_is_made(daemon: Node, api: Api, tmp_path: Path) -> None:
    """A key of this type takes seconds; the end does not wait for it."""
    connection, _ = daemon.start_publish(put(daemon, api, source("RSA4096")))
    api.server.wait_request(verb="get", resource="nodes")
    daemon.finish()
    connection.close()


def test_manifests_have_no_certificates(node: Node, manifests: Manifests) -> None:
    answer = node.pod(attributes={"sources": json.dumps([source()])}).publish(node.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert "need the pod, which cannot be read: objects come from manifests" in answer.text
