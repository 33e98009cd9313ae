"""Y23: defaultUser of a volume, and user of its items and sources. The API server of a release with
the feature AtomicWriteVolumeUserFields keeps these fields in the pod."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from lib.certificates import make_pair
from lib.kubelet import INVALID_ARGUMENT, PodVolume
from lib.node_daemon import NODE, Node, read
from lib.pods import put_adopted
from lib.sources import Api

NAMES = {"podVolume": "own"}
ITEMS = [{"key": "user", "path": "a", "user": 1001}, {"key": "user", "path": "b"}]
FIELDS = [
    {"path": "a", "fieldRef": {"fieldPath": "metadata.name"}, "user": 1001, "mode": 0o400},
    {"path": "b", "fieldRef": {"fieldPath": "metadata.name"}},
]
TOKEN = {"path": "token", "expirationSeconds": 3600}
BUNDLE = {"name": "ca", "path": "ca.crt"}
CERTIFICATE = {"signerName": "example.com/dummy", "keyType": "ED25519", "keyPath": "key"}
CERTIFICATE["certificateChainPath"] = "chain"


@pytest.fixture
def daemon(daemon: Node, api: Api, area: Path) -> Node:
    api.put_secret({"user": b"admin"})
    api.put_configmap({"user": "admin"}, {}, name="app")
    api.server.put_service_account("default", "default")
    api.server.put_node(NODE, {})
    api.server.put_trust_bundle("ca", make_pair(area, "ca")["tls.crt"].decode())
    return daemon


def projected(*sources: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"projected": {"sources": list(sources), "defaultMode": 0o644, **fields}}


def publish(node: Node, api: Api, entry: dict[str, Any], run_as: int | None = None) -> PodVolume:
    """Of a pod whose one container runs as that user."""
    volume = node.pod(attributes=NAMES)
    context = {} if run_as is None else {"securityContext": {"runAsUser": run_as}}
    container = {"name": "main", "image": "none", **context}
    container["volumeMounts"] = [{"name": volume.volume, "mountPath": "/creds"}]
    put_adopted(api, volume, {"name": "own", **entry}, containers=[container])
    return volume


def owners(volume: PodVolume) -> dict[str, tuple[int, int]]:
    """Mode and owner of each file."""
    files = [path for path in volume.target.iterdir() if not path.name.startswith("..")]
    found = {path.name: path.stat() for path in files}
    return {name: (stat.S_IMODE(status.st_mode), status.st_uid) for name, status in found.items()}


@pytest.mark.parametrize(
    "entry",
    [
        {"secret": {"secretName": "app", "items": ITEMS, "defaultUser": 1000}},
        {"configMap": {"name": "app", "items": ITEMS, "defaultUser": 1000}},
        projected({"secret": {"name": "app", "items": ITEMS}}, defaultUser=1000),
        projected({"configMap": {"name": "app", "items": ITEMS}}, defaultUser=1000),
    ],
    ids=["secret", "configMap", "projected secret", "projected configMap"],
)
def test_item_wins_over_the_volume(daemon: Node, api: Api, entry: dict[str, Any]) -> None:
    """The owner alone: the mode is the volume's, and the containers' user does not count."""
    volume = daemon.publish(publish(daemon, api, entry, run_as=7))
    assert owners(volume) == {"a": (0o644, 1001), "b": (0o644, 1000)}


@pytest.mark.parametrize("is_projected", [False, True])
def test_downward_api(daemon: Node, api: Api, is_projected: bool) -> None:
    entry = {"downwardAPI": {"items": FIELDS, "defaultUser": 1000}}
    if is_projected:
        entry = projected({"downwardAPI": {"items": FIELDS}}, defaultUser=1000)
    volume = daemon.publish(publish(daemon, api, entry, run_as=7))
    assert owners(volume) == {"a": (0o400, 1001), "b": (0o644, 1000)}


@pytest.mark.parametrize("is_whole", [False, True])
def test_without_a_user(daemon: Node, api: Api, is_whole: bool) -> None:
    """Root, also where the containers run as another user; keys of a whole object have the volume's."""
    more = {"defaultUser": 1000} if is_whole else {"items": [{"key": "user", "path": "user"}]}
    entry = {"secret": {"secretName": "app", **more}}
    volume = daemon.publish(publish(daemon, api, entry, run_as=7))
    assert owners(volume) == {"user": (0o644, 1000 if is_whole else 0)}


@pytest.mark.parametrize(
    "run_as, default_user, user, expected",
    [
        (None, None, None, (0o644, 0)),
        (7, None, None, (0o600, 7)),
        (7, 1000, None, (0o600, 1000)),
        (7, 1000, 1001, (0o600, 1001)),
        (7, None, 1001, (0o600, 1001)),
        (None, 1000, None, (0o600, 1000)),
        (None, None, 0, (0o600, 0)),
        (7, 0, None, (0o600, 0)),
    ],
)
def test_tokens_bundles_and_certificates(
    daemon: Node,
    api: Api,
    run_as: int | None,
    default_user: int | None,
    user: int | None,
    expected: tuple[int, int],
) -> None:
    """Y13: the source's user, else the volume's, else that of all containers; and then mode 0600."""
    own = {} if user is None else {"user": user}
    sources = [
        {"serviceAccountToken": {**TOKEN, **own}},
        {"clusterTrustBundle": {**BUNDLE, **own}},
        {"podCertificate": {**CERTIFICATE, **own}},
    ]
    entry = projected(*sources, **({} if default_user is None else {"defaultUser": default_user}))
    volume = daemon.publish(publish(daemon, api, entry, run_as=run_as))
    assert owners(volume) == dict.fromkeys(("token", "ca.crt", "key", "chain"), expected)


@pytest.mark.parametrize("value", ["1000", -1, 1.5, True])
def test_invalid_user(daemon: Node, api: Api, value: object) -> None:
    """The API server refuses these itself."""
    entry = {"secret": {"secretName": "app", "defaultUser": value}}
    answer = publish(daemon, api, entry).publish(daemon.endpoint)
    assert answer.code == INVALID_ARGUMENT and "defaultUser: expected a " in answer.text


# ---- Y24: collisions


@pytest.mark.parametrize("order", [("secret", "configMap"), ("configMap", "secret")])
def test_later_source_wins(daemon: Node, api: Api, order: tuple[str, str]) -> None:
    api.put_configmap({"user": "blue", "more": "dummy"}, {}, name="app")
    entry = projected(*({kind: {"name": "app"}} for kind in order))
    volume = daemon.publish(publish(daemon, api, entry))
    assert read(volume, "user") == (b"admin" if order[1] == "secret" else b"blue")
    assert read(volume, "more") == b"dummy"
