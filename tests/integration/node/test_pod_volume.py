"""`podVolume: NAME`: the volume is what the pod's own volume NAME says."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import Any

import pytest

from lib.kubelet import INVALID_ARGUMENT, OK, UNAVAILABLE, PodVolume
from lib.live import SubPaths
from lib.node_daemon import DRIVER, Node, NodeMaker, read
from lib.pods import is_live, put_adopted
from lib.sources import Api, Manifests
from lib.waiting import until

SECRET = {"user": b"admin", "password": b"dummy-1"}
NAMES = {"podVolume": "creds-own"}


@pytest.fixture
def daemon(daemon: Node, api: Api) -> Node:
    api.put_secret(SECRET)
    return daemon


def own(**entry: Any) -> dict[str, Any]:
    return {"name": "creds-own", **entry}


def names(volume: PodVolume) -> set[str]:
    return {name for name in os.listdir(volume.target) if not name.startswith("..")}


def mode(volume: PodVolume, name: str) -> int:
    return stat.S_IMODE((volume.target / name).stat().st_mode)


def test_secret(daemon: Node, api: Api) -> None:
    """B2: with items and modes, as the entry says."""
    volume = daemon.pod(attributes=NAMES)
    items = [{"key": "user", "path": "db/name", "mode": 0o400}, {"key": "password", "path": "pw"}]
    secret = {"secretName": "app", "items": items, "defaultMode": 0o440, "optional": False}
    put_adopted(api, volume, own(secret=secret))
    daemon.publish(volume)
    assert names(volume) == {"db", "pw"}
    assert read(volume, "db/name") == b"admin"
    assert (mode(volume, "db/name"), mode(volume, "pw")) == (0o400, 0o440)
    assert stat.S_IMODE(volume.target.stat().st_mode) == 0o1777


def test_configmap(daemon: Node, api: Api) -> None:
    """F6: the root of a ConfigMap's volume is 0777."""
    api.put_configmap({"color": "blue"}, {}, name="look")
    volume = daemon.pod(attributes=NAMES)
    put_adopted(api, volume, own(configMap={"name": "look", "defaultMode": 420}))
    daemon.publish(volume)
    assert read(volume, "color") == b"blue"
    assert stat.S_IMODE(volume.target.stat().st_mode) == 0o777


def test_projected(daemon: Node, api: Api) -> None:
    """Y24, N2: a later source wins."""
    api.put_configmap({"user": "guest", "color": "blue"}, {}, name="look")
    volume = daemon.pod(attributes=NAMES)
    sources = [
        {"configMap": {"name": "look"}},
        {"secret": {"name": "app", "items": [{"key": "user", "path": "user"}]}},
        {"secret": {"name": "missing", "optional": True}},
    ]
    put_adopted(api, volume, own(projected={"sources": sources, "defaultMode": 0o400}))
    daemon.publish(volume)
    assert names(volume) == {"user", "color"}
    assert (read(volume, "user"), mode(volume, "user")) == (b"admin", 0o400)


def test_updates(daemon: Node, api: Api) -> None:
    volume = daemon.pod(attributes=NAMES)
    put_adopted(api, volume, own(secret={"secretName": "app"}))
    daemon.publish(volume)
    api.put_secret({"user": b"root"})
    until(lambda: read(volume, "user") == b"root", "the update")


def test_fs_group(daemon: Node, api: Api) -> None:
    """F11: 0400 becomes 0440."""
    volume = daemon.pod(attributes=NAMES, fs_group=2000)
    put_adopted(api, volume, own(secret={"secretName": "app", "defaultMode": 0o400}))
    daemon.publish(volume)
    assert (mode(volume, "user"), (volume.target / "user").stat().st_gid) == (0o440, 2000)


def test_sub_path(daemon: Node, api: Api, sub_path: SubPaths) -> None:
    """The containers mount the csi volume: its name decides."""
    volume = daemon.pod(attributes=NAMES)
    put_adopted(api, volume, own(secret={"secretName": "app"}), mount={"subPath": "user"})
    daemon.publish(volume)
    assert is_live(daemon, volume)
    alone = sub_path(volume, "user")
    api.put_secret({"user": b"root"})
    until(lambda: alone.read_bytes() == b"root", "the update")


def test_own_options_beside_it(daemon: Node, api: Api) -> None:
    volume = daemon.pod(attributes={**NAMES, "uid": "1000", "updates": "in-place"})
    put_adopted(api, volume, own(secret={"secretName": "app"}))
    daemon.publish(volume)
    assert (volume.target / "user").stat().st_uid == 1000
    assert is_live(daemon, volume)


def test_several_volumes_of_a_pod(daemon: Node, api: Api) -> None:
    """Each csi volume has an entry of its own; the pod is requested once."""
    entries = [own(secret={"secretName": "app"}), {"name": "two", "configMap": {"name": "look"}}]
    api.put_configmap({"color": "blue"}, {}, name="look")
    first = daemon.pod(attributes=NAMES)
    second = replace(first, volume="look", attributes={"podVolume": "two"})
    csi = {"driver": DRIVER, "volumeAttributes": dict(second.attributes)}
    put_adopted(api, first, *entries, {"name": "look", "csi": csi})
    daemon.publish(first)
    daemon.publish(second)
    assert (read(first, "user"), read(second, "color")) == (b"admin", b"blue")


def test_many_volumes_of_a_pod(daemon: Node, api: Api) -> None:
    """All of them are known, as a pod that was adopted may have as many as it likes."""
    volumes = [
        replace(daemon.pod(), volume=f"v{n}", attributes={"podVolume": f"own{n}"}) for n in range(100)
    ]
    entries = [{"name": f"own{n}", "secret": {"secretName": "app"}} for n in range(100)]
    csi = [
        {"name": v.volume, "csi": {"driver": DRIVER, "volumeAttributes": dict(v.attributes)}}
        for v in volumes
    ]
    put_adopted(api, volumes[0], volumes=[*csi, *entries])
    for volume in (volumes[0], volumes[99]):
        daemon.publish(volume)
        assert read(volume, "user") == b"admin"


def test_entry_of_another_namespace_is_not_read(daemon: Node, api: Api) -> None:
    """A pod of the same name and the same volumes, in another namespace."""
    volume = daemon.pod(attributes=NAMES)
    other = replace(volume, namespace="other", uid="11111111-2222-3333-4444-999999999999")
    put_adopted(api, other, own(secret={"secretName": "app", "items": []}))
    put_adopted(api, volume, own(configMap={"name": "look"}))
    api.put_configmap({"color": "blue"}, {}, name="look")
    daemon.publish(volume)
    assert names(volume) == {"color"}


def test_pod_made_again_with_the_same_name(daemon: Node, api: Api) -> None:
    """The uid decides: the entry of a later pod is not this pod's."""
    volume = daemon.pod(attributes=NAMES)
    later = replace(volume, uid="11111111-2222-3333-4444-999999999999")
    put_adopted(api, later, own(secret={"secretName": "app"}))
    answer = volume.publish(daemon.endpoint)
    assert answer.code == UNAVAILABLE
    assert "cannot read the pod default/web-0, which the volume's attributes need" in answer.text


# ---- the secret that no attribute names


def test_secret_of_the_volumes_name(daemon: Node, api: Api) -> None:
    volume = daemon.pod(volume="app", attributes={"defaultMode": "0400"})
    put_adopted(api, volume)
    daemon.publish(volume)
    assert (read(volume, "user"), mode(volume, "user")) == (b"admin", 0o400)


def test_secret_of_the_volumes_name_with_manifests(node: Node) -> None:
    """The pod is not needed."""
    volume = node.publish(node.pod(volume="app", attributes={}))
    assert names(volume)


def test_secret_that_the_volume_names_for_the_kubelet(daemon: Node, api: Api) -> None:
    """nodePublishSecretRef, which the node authorizer needs anyway (Y26)."""
    volume = daemon.pod(attributes={})
    csi = {"driver": DRIVER, "nodePublishSecretRef": {"name": "app"}}
    put_adopted(api, volume, volumes=[{"name": volume.volume, "csi": csi}])
    daemon.publish(volume)
    assert read(volume, "user") == b"admin"


# ---- errors


@pytest.mark.parametrize(
    "entries, words",
    [
        ([], 'the pod has no volume "creds-own"; it has to be the name of an entry'),
        ([own(emptyDir={})], "podVolume.emptyDir: unsupported volume"),
        ([own(csi={"driver": DRIVER})], "podVolume.csi: unsupported volume"),
    ],
    ids=["none", "emptyDir", "csi"],
)
def test_entries_that_make_no_volume(
    daemon: Node, api: Api, entries: list[dict[str, Any]], words: str
) -> None:
    volume = daemon.pod(attributes=NAMES)
    put_adopted(api, volume, *entries)
    answer = volume.publish(daemon.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert words in answer.text
    assert daemon.directories() == set()


def test_beside_a_secret_name(daemon: Node, api: Api) -> None:
    volume = daemon.pod(attributes={**NAMES, "secretName": "app"})
    put_adopted(api, volume, own(secret={"secretName": "app"}))
    answer = volume.publish(daemon.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert "only one of them is allowed" in answer.text


def test_pods_that_may_not_be_read(start_node: NodeMaker, api: Api) -> None:
    api.put_secret(SECRET)
    api.server.grant("plain", ["get", "list", "watch"], ["secrets"])
    node = start_node("--rights=daemon", "--kubeconfig", api.kubeconfig("plain")).wait_ready()
    volume = node.pod(attributes=NAMES)
    put_adopted(api, volume, own(secret={"secretName": "app"}))
    answer = volume.publish(node.endpoint)
    assert answer.code == UNAVAILABLE
    assert "allow this identity to get, list and watch pods" in answer.text
    api.server.grant("plain", ["get", "list", "watch"], ["pods"])
    until(lambda: volume.publish(node.endpoint).code == OK, "the volume")


def test_manifests_have_no_pods(node: Node, manifests: Manifests) -> None:
    answer = node.pod(attributes=NAMES).publish(node.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert "need the pod, which cannot be read: objects come from manifests" in answer.text
    assert "name a secret or configMap instead" in answer.text


# ---- the wait for the pod


def test_cancelled_while_the_pod_is_requested(daemon: Node, api: Api) -> None:
    hold = api.server.hold(verb="get", resource="pods")
    volume = daemon.pod(attributes=NAMES)
    connection, _ = daemon.start_publish(volume)
    hold.wait_held()
    connection.close()
    until(lambda: volume.unpublish(daemon.endpoint).code == OK, "the end of the publish")
    hold.release()
    assert daemon.directories() == set()
    put_adopted(api, volume, own(secret={"secretName": "app"}))
    daemon.publish(volume)
    assert read(volume, "user") == b"admin"


def test_end_while_the_pod_is_requested(daemon: Node, api: Api) -> None:
    """The call is answered or its connection closed, and the daemon ends."""
    hold = api.server.hold(verb="get", resource="pods")
    connection, _ = daemon.start_publish(daemon.pod(attributes=NAMES))
    hold.wait_held()
    daemon.finish()
    hold.release()
    connection.close()


def test_publish_again(daemon: Node, api: Api) -> None:
    """S13: the same call again needs no pod."""
    volume = daemon.pod(attributes=NAMES)
    put_adopted(api, volume, own(secret={"secretName": "app"}))
    daemon.publish(volume)
    daemon.publish(volume)
    assert read(volume, "user") == b"admin"
