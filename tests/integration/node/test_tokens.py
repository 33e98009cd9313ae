"""serviceAccountToken sources: tokens of the pod's service account, renewed in time."""

from __future__ import annotations

import json
import os
import stat
from typing import Any

import pytest

from lib import program
from lib.kubelet import INVALID_ARGUMENT, OK, UNAVAILABLE, PodVolume
from lib.node_daemon import Node, NodeMaker, read
from lib.pods import put_adopted
from lib.sources import Api, Manifests
from lib.waiting import until

NAMES = {"podVolume": "token-own"}
RESOURCE = "serviceaccounts/token"


@pytest.fixture
def daemon(daemon: Node, api: Api) -> Node:
    api.put_secret({"user": b"admin"})
    return daemon


def source(path: str = "token", audience: str = "", seconds: int = 3600) -> dict[str, Any]:
    token = {"path": path, "expirationSeconds": seconds}
    return {"serviceAccountToken": token | ({"audience": audience} if audience else {})}


def projected(*sources: dict[str, Any], mode: int = 0o644) -> dict[str, Any]:
    return {"name": "token-own", "projected": {"sources": list(sources), "defaultMode": mode}}


def user(number: int | None) -> dict[str, Any]:
    return {} if number is None else {"securityContext": {"runAsUser": number}}


def containers(*users: int | None) -> list[dict[str, Any]]:
    return [{"name": f"c-{i}", "image": "none", **user(u)} for i, u in enumerate(users)]


def owner(volume: PodVolume, name: str = "token") -> tuple[int, int, int]:
    found = (volume.target / name).stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def state(node: Node, volume: PodVolume) -> dict[str, Any]:
    told: dict[str, Any] = node.status()["volumes"][str(volume.target)]["volume"]
    return told


# ---- the request


@pytest.mark.parametrize("audience", ["", "vault"])
def test_request(daemon: Node, api: Api, audience: str) -> None:
    """Y8: for the pod's account and bound to the pod; the file is the token alone."""
    volume = daemon.pod(attributes=NAMES, service_account="web")
    put_adopted(api, volume, projected(source("a/token", audience, 7200)))
    daemon.publish(volume)
    (issued,) = api.server.tokens.issued
    assert (issued.namespace, issued.account) == ("default", "web")
    bound = {"apiVersion": "v1", "kind": "Pod", "name": volume.pod, "uid": volume.uid}
    audiences = [audience] if audience else []
    expected = {"audiences": audiences, "expirationSeconds": 7200, "boundObjectRef": bound}
    assert issued.spec == expected
    assert read(volume, "a/token") == issued.token.encode()
    assert issued.token not in daemon.log()


def test_injected_volume(daemon: Node, api: Api) -> None:
    """Y9: what the API server injects into each pod."""
    api.put_configmap({"ca.crt": "dummy"}, {}, name="kube-root-ca.crt")
    volume = daemon.pod(attributes=NAMES)
    item = {"key": "ca.crt", "path": "ca.crt"}
    namespace = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        source("token", "", 3607),
        {"configMap": {"name": "kube-root-ca.crt", "items": [item]}},
        {"downwardAPI": {"items": [{"path": "namespace", **namespace}]}},
    ]
    put_adopted(api, volume, projected(*sources))
    daemon.publish(volume)
    (issued,) = api.server.tokens.issued
    assert read(volume, "token") == issued.token.encode()
    assert (read(volume, "ca.crt"), read(volume, "namespace")) == (b"dummy", b"default")
    assert {owner(volume, name)[0] for name in ("token", "ca.crt", "namespace")} == {0o644}


def test_shared_by_volumes_of_a_pod(daemon: Node, api: Api) -> None:
    """Y10: one token for the same request; another for another audience or pod."""
    sources = [source("one"), source("two"), source("other", "vault")]
    first, second = daemon.pod(0, attributes=NAMES), daemon.pod(1, attributes=NAMES)
    for volume in (first, second):
        put_adopted(api, volume, projected(*sources))
        daemon.publish(volume)
    assert read(first, "one") == read(first, "two")
    tokens = {read(v, name) for v in (first, second) for name in ("one", "other")}
    assert len(tokens) == len(api.server.tokens.issued) == 4


def test_in_attributes(daemon: Node, api: Api) -> None:
    volume = daemon.pod(attributes={"sources": json.dumps([source()])})
    put_adopted(api, volume, {"name": "other", "emptyDir": {}}, containers=containers(1000))
    daemon.publish(volume)
    assert read(volume, "token").startswith(b"dummy-default-default-")
    assert owner(volume)[:2] == (0o600, 1000)


def test_too_short(daemon: Node, api: Api) -> None:
    """Y8: 600 seconds are the least."""
    volume = daemon.pod(attributes=NAMES)
    put_adopted(api, volume, projected(source(seconds=599)))
    answer = volume.publish(daemon.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert "serviceAccountToken.expirationSeconds: expected at least 600 seconds" in answer.text


def test_status(daemon: Node, api: Api) -> None:
    """`secretfs status` names the sources, without the token."""
    volume = daemon.pod(attributes=NAMES, service_account="web")
    fields = [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]
    put_adopted(api, volume, projected(source(), {"downwardAPI": {"items": fields}}))
    daemon.publish(volume)
    told = program.run([program.binary(), "status", volume.target], home=daemon.home).stdout
    (issued,) = api.server.tokens.issued
    assert "ServiceAccountToken" in told and "DownwardAPI" in told
    assert issued.token not in told


# ---- modes and owners


@pytest.mark.parametrize(
    "pod, expected",
    [
        ({"containers": containers(None)}, (0o444, 0)),
        ({"containers": containers(1000)}, (0o600, 1000)),
        ({"containers": containers(0)}, (0o600, 0)),
        ({"containers": containers(1000, 1001)}, (0o444, 0)),
        ({"containers": containers(1000, None)}, (0o444, 0)),
        ({"containers": containers(None, None), **user(1000)}, (0o600, 1000)),
        ({"containers": containers(1000, None), **user(1000)}, (0o600, 1000)),
        ({"containers": containers(1000), "initContainers": containers(1001)}, (0o444, 0)),
        ({"containers": containers(1000), "ephemeralContainers": containers(7)}, (0o444, 0)),
    ],
    ids=str,
)
def test_owner(
    daemon: Node, api: Api, pod: dict[str, Any], expected: tuple[int, int]
) -> None:
    """Y13: the one user that all containers run as."""
    volume = daemon.pod(attributes=NAMES)
    put_adopted(api, volume, projected(source(), {"secret": {"name": "app"}}, mode=0o444), **pod)
    daemon.publish(volume)
    assert owner(volume)[:2] == expected
    assert owner(volume, "user")[:2] == (0o444, 0)


def test_fs_group(daemon: Node, api: Api) -> None:
    """Y13: 0640, even with a default mode of 0400."""
    volume = daemon.pod(attributes=NAMES, fs_group=2000)
    put_adopted(api, volume, projected(source(), mode=0o400), containers=containers(1000))
    daemon.publish(volume)
    assert owner(volume) == (0o640, 1000, 2000)


# ---- renewal


def test_renewal(daemon: Node, api: Api) -> None:
    """Y11: replaced before it expires, as often as needed."""
    api.server.tokens.lifetime = 3
    volume = daemon.pod(attributes=NAMES)
    put_adopted(api, volume, projected(source(), {"secret": {"name": "app"}}))
    daemon.publish(volume)
    for number in range(2, 5):
        until(lambda n=number: read(volume, "token") == f"dummy-default-default-{n}".encode(), "it")
    assert state(daemon, volume)["state"] == "current"


def test_renewal_that_fails(daemon: Node, api: Api) -> None:
    """Y12: the last token stays, the volume says why, and other sources continue to update."""
    api.server.tokens.lifetime = 2
    volume = daemon.pod(attributes=NAMES)
    put_adopted(api, volume, projected(source(), {"secret": {"name": "app"}}))
    daemon.publish(volume)
    api.server.fail(403, verb="create", resource=RESOURCE, times=None)
    before = read(volume, "token")
    until(lambda: state(daemon, volume)["state"] == "disconnected", "the state")
    error = state(daemon, volume)["error"]
    assert "cannot renew the token of service account default, which expires at 2" in error
    assert "allow this identity to create serviceaccounts/token" in error
    api.put_secret({"user": b"root"})
    until(lambda: read(volume, "user") == b"root", "the update")
    api.server.clear_faults()
    until(lambda: read(volume, "token") != before, "the new token")
    until(lambda: state(daemon, volume)["state"] == "current", "the state")


def test_forgotten_with_its_last_volume(daemon: Node, api: Api) -> None:
    """Y10: no request is made for a volume that is gone."""
    api.server.tokens.lifetime = 1
    volume = daemon.pod(attributes=NAMES)
    put_adopted(api, volume, projected(source()))
    daemon.publish(volume)
    daemon.unpublish(volume)
    until(lambda: daemon.directories() == set(), "the end of the volume")
    count = len(api.server.tokens.issued)
    api.server.tokens.lifetime = 3600
    daemon.publish(volume)
    assert len(api.server.tokens.issued) <= count + 1
    assert read(volume, "token") == api.server.tokens.issued[-1].token.encode()


# ---- failures


def test_authorizer_that_is_late(daemon: Node, api: Api) -> None:
    """K3: the first refusals are retried soon."""
    api.server.fail(403, verb="create", resource=RESOURCE, times=2)
    volume = daemon.pod(attributes=NAMES)
    put_adopted(api, volume, projected(source()))
    daemon.publish(volume)
    assert read(volume, "token")


def test_right_that_is_missing(start_node: NodeMaker, api: Api) -> None:
    """With --rights daemon: the error names it, and the volume comes with the right."""
    api.server.grant("plain", ["get", "list", "watch"], ["pods"])
    node = start_node("--rights=daemon", "--kubeconfig", api.kubeconfig("plain")).wait_ready()
    volume = node.pod(attributes=NAMES)
    put_adopted(api, volume, projected(source()))
    answer = volume.publish(node.endpoint)
    assert answer.code == UNAVAILABLE
    assert "cannot get a token of service account default: " in answer.text
    assert "allow this identity to create serviceaccounts/token" in answer.text
    api.server.grant("plain", ["create"], [RESOURCE])
    until(lambda: volume.publish(node.endpoint).code == OK, "the volume")


def test_token_that_has_expired_already(daemon: Node, api: Api) -> None:
    """It is shown, as there is no better one, and replaced soon."""
    api.server.tokens.lifetime = -1
    volume = daemon.pod(attributes=NAMES)
    put_adopted(api, volume, projected(source()))
    daemon.publish(volume)
    api.server.tokens.lifetime = 3600
    until(lambda: read(volume, "token") == api.server.tokens.issued[-1].token.encode(), "it")


def test_end_of_the_daemon_during_a_request(daemon: Node, api: Api) -> None:
    hold = api.server.hold(verb="create", resource=RESOURCE)
    volume = daemon.pod(attributes=NAMES)
    put_adopted(api, volume, projected(source()))
    connection, _ = daemon.start_publish(volume)
    hold.wait_held()
    daemon.finish()
    hold.release()
    connection.close()


def test_manifests_have_no_tokens(node: Node, manifests: Manifests) -> None:
    answer = node.pod(attributes={"sources": json.dumps([source()])}).publish(node.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert "need the pod, which cannot be read: objects come from manifests" in answer.text
    assert os.listdir(node.run_dir / "fs") == []
