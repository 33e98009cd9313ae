"""Objects from an API server: whose rights, how many watches, and what happens when it is away."""

from __future__ import annotations

import json
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

import pytest

from lib.kubelet import DEADLINE_EXCEEDED, OK, UNAVAILABLE, PodVolume
from lib.namespace import hiding
from lib.node_daemon import Node, NodeMaker, is_shown, keys, read
from lib.sources import Api
from lib.waiting import until

PERMISSION_DENIED = 7
SECRET = {"user": b"admin"}
KUBELET = "system:node:node-0"


def watches(api: Api, name: str = "app") -> int:
    return len(api.server.open_watches(name=name))


# ---- watches


def test_one_watch_for_many_volumes(daemon: Node, api: Api) -> None:
    """Dropped with the last of them: the server learns it while the connection carries nothing
    else, though the watch of pods stays open on it."""
    api.server.settings.bookmark_interval = 3600
    api.put_secret(SECRET)
    volumes = [daemon.publish(daemon.pod(number)) for number in range(10)]
    until(lambda: watches(api) == 1, "the watch")
    for volume in volumes[1:]:
        daemon.unpublish(volume)
    api.put_secret({"user": b"root"})
    until(lambda: read(volumes[0], "user") == b"root", "the update")
    assert watches(api) == 1
    daemon.unpublish(volumes[0])
    until(lambda: watches(api) == 0, "the watch's end")
    assert len(api.server.requests.select(verb="watch", resource="secrets")) == 1


def test_no_watch_for_what_could_not_be_published(daemon: Node, api: Api) -> None:
    assert daemon.pod(secret="none").publish(daemon.endpoint).code != OK
    until(lambda: watches(api, "none") == 0, "the watch's end")


def connections_to(port: int) -> int:
    """TCP connections in state ESTABLISHED, seen from their clients' end."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(fields[2].endswith(f":{port:04X}") and fields[3] == "01" for fields in lines)


def test_few_connections(daemon: Node, api: Api) -> None:
    for number in range(30):
        api.put_secret(SECRET, name=f"s{number}")
    for number in range(30):
        daemon.publish(daemon.pod(number, secret=f"s{number}"))
    until(lambda: len(api.server.open_watches(resource="secrets")) == 30, "the watches")
    assert api.proxy is not None
    assert 1 <= connections_to(api.proxy.port) <= 2


# ---- the API server is away


def test_starts_without_the_api_server(start_node: NodeMaker, api: Api) -> None:
    """The kubelet gets an error, and the work continues meanwhile."""
    api.put_secret(SECRET)
    api.server.stop_listening()
    node = start_node("--rights=daemon", *api.arguments).wait_ready()
    assert node.is_ready()
    volume = node.pod()
    answer = volume.publish(node.endpoint)
    assert answer.code == UNAVAILABLE
    assert "secret/default/app" in answer.text
    assert not volume.target.exists()
    api.server.start_listening()
    until(lambda: volume.publish(node.endpoint).code == OK, "the API server")
    assert read(volume, "user") == b"admin"


def test_kubelet_gives_up_waiting(daemon: Node, api: Api) -> None:
    """Nothing is shown without a waiting request; a repeated request does not start again."""
    api.put_secret(SECRET)
    hold = api.server.hold(name="app")
    volume = daemon.pod()
    connection, stream = daemon.start_publish(volume, grpc_timeout="300m")
    assert connection.finish(stream).code == DEADLINE_EXCEEDED
    hold.release()
    until(lambda: volume.volume_id in daemon.directories(), "the content")
    assert not is_shown(volume)
    requests = len(api.server.requests.select(name="app"))
    daemon.publish(volume)
    assert read(volume, "user") == b"admin"
    assert len(api.server.requests.select(verb="list", name="app")) <= requests


def test_unpublish_without_a_waiting_publish(daemon: Node, api: Api) -> None:
    api.put_secret(SECRET)
    hold = api.server.hold(name="app")
    volume = daemon.pod()
    connection, _ = daemon.start_publish(volume)
    hold.wait_held()
    connection.close()
    until(lambda: volume.unpublish(daemon.endpoint).code == OK, "the end of the publish")
    hold.release()
    assert daemon.directories() == set()
    until(lambda: watches(api) == 0, "the watch's end")


def test_waiting_publish_is_answered_when_its_pod_is_gone(daemon: Node, api: Api) -> None:
    """T2: the orphaned volume is removed with its call; the id is not busy for ever."""
    api.put_secret(SECRET)
    hold = api.server.hold(name="app")
    volume = daemon.pod()
    connection, stream = daemon.start_publish(volume, grpc_timeout="20S")
    hold.wait_held()
    shutil.rmtree(daemon.root / "pods" / volume.uid)
    daemon.signal(signal.SIGHUP)
    assert connection.finish(stream).code == UNAVAILABLE
    hold.release()
    until(lambda: watches(api) == 0, "the watch's end")
    assert daemon.publish(volume)


@contextmanager
def no_server(api: Api) -> Iterator[None]:
    api.server.stop_listening()
    api.server.end_connections()
    yield
    api.server.start_listening()


def test_published_volumes_outlive_the_api_server(daemon: Node, api: Api) -> None:
    api.put_secret(SECRET)
    volume = daemon.publish(daemon.pod())
    until(lambda: watches(api) == 1, "the watch")
    with no_server(api):
        until(lambda: "source failed, retrying" in daemon.log(), "word of it")
        daemon.publish(volume)
        assert read(volume, "user") == b"admin"
        daemon.unpublish(volume)


def test_failure_of_all_is_logged_a_few_times(daemon: Node, api: Api) -> None:
    api.put_secret(SECRET)
    for number in range(30):
        daemon.publish(daemon.pod(number))
    until(lambda: watches(api) == 1, "the watch")
    with no_server(api):
        until(lambda: daemon.log().count("source failed, retrying") == 10, "word of it")
    until(lambda: watches(api) == 1, "the watch")
    api.put_secret({"user": b"root"})
    until(lambda: read(daemon.pod(), "user") == b"root", "the update")
    assert daemon.log().count("source failed, retrying") == 10


# ---- the node's rights


@pytest.fixture
def kubelet(start_node: NodeMaker, api: Api, shared_root: Path) -> Node:
    """With the kubelet's kubeconfig, where some installers put it, and by default."""
    shutil.copy(api.kubeconfig(KUBELET), shared_root / "kubeconfig")
    return start_node(prefix=hiding("/etc/kubernetes")).wait_ready()


def allow(api: Api, user: str, name: str = "app", namespace: str = "default") -> None:
    """As the node authorizer does for a pod that names the secret."""
    verbs = ["get", "list", "watch"]
    api.server.grant(user, verbs, ["secrets"], namespace=namespace, names=[name])


def test_node_rights(kubelet: Node, api: Api) -> None:
    api.put_secret(SECRET)
    allow(api, KUBELET)
    volume = kubelet.publish(kubelet.pod())
    assert read(volume, "user") == b"admin"
    assert {r.user for r in api.server.requests.select(name="app")} == {KUBELET}


def test_node_rights_come_a_moment_late(kubelet: Node, api: Api) -> None:
    """K3: the authorizer's view of the pods lags; that is not worth an answer."""
    api.put_secret(SECRET)
    connection, stream = kubelet.start_publish(kubelet.pod())
    api.server.wait_request(name="app")
    allow(api, KUBELET)
    assert connection.finish(stream).code == OK
    connection.close()


def test_node_rights_are_not_there(kubelet: Node, api: Api) -> None:
    api.put_secret(SECRET)
    volume = kubelet.pod()
    answer = volume.publish(kubelet.endpoint)
    assert answer.code == PERMISSION_DENIED
    assert "nodePublishSecretRef" in answer.text
    assert not volume.target.exists()


@pytest.mark.usefixtures("shared_root")
def test_no_kubeconfig_yet(start_node: NodeMaker, api: Api, area: Path) -> None:
    """A node that is being set up: the program starts before the kubelet has credentials."""
    api.put_secret(SECRET)
    node = start_node(prefix=hiding("/etc/kubernetes")).wait_ready()
    volume = node.pod()
    answer = volume.publish(node.endpoint)
    assert answer.code == UNAVAILABLE
    assert f"{area}/kubelet/kubeconfig" in answer.text
    shutil.copy(api.kubeconfig("admin"), area / "kubelet" / "kubeconfig")
    node.publish(volume)


# ---- each pod's rights


def account(name: str, namespace: str = "default") -> str:
    return f"system:serviceaccount:{namespace}:{name}"


@pytest.fixture
def pod_rights(start_node: NodeMaker, api: Api) -> Node:
    return start_node("--rights=pod", *api.arguments).wait_ready()


@pytest.fixture
def pod(pod_rights: Node, api: Api) -> Iterator[Callable[..., PodVolume]]:
    """A pod's volume with a token of its service account."""

    def make(number: int, name: str, **fields: object) -> PodVolume:
        token = api.server.add_token(account(name))
        tokens = {"": {"token": token, "expirationTimestamp": "2100-01-01T00:00:00Z"}}
        return pod_rights.pod(number, service_account=name, tokens=json.dumps(tokens), **fields)

    yield make


def test_pod_rights(pod_rights: Node, pod: Callable[..., PodVolume], api: Api) -> None:
    """What one may see, another is not shown, though the object is there already."""
    api.put_secret(SECRET)
    allow(api, account("may"))
    volume = pod_rights.publish(pod(0, "may"))
    assert read(volume, "user") == b"admin"
    answer = pod(1, "may-not").publish(pod_rights.endpoint)
    assert answer.code == PERMISSION_DENIED
    assert account("may-not") in answer.text
    assert account("may") in {r.user for r in api.server.requests.select(name="app")}


def test_newest_token_is_used(pod_rights: Node, pod: Callable[..., PodVolume], api: Api) -> None:
    """requiresRepublish brings it; what is shown stays while there is none that is good."""
    api.put_secret(SECRET)
    allow(api, account("may"))
    volume = pod_rights.publish(pod(0, "may"))
    until(lambda: watches(api) == 1, "the watch")
    old = json.loads(volume.tokens or "")[""]["token"]
    api.server.revoke_token(old)
    api.server.close_watches(name="app")
    until(lambda: "source failed, retrying" in pod_rights.log(), "word of it")
    pod_rights.publish(volume)
    assert read(volume, "user") == b"admin"
    api.put_secret({"user": b"root"})
    pod_rights.publish(pod(0, "may"))
    until(lambda: read(volume, "user") == b"root", "the update")


def test_one_watch_for_each_account(
    pod_rights: Node, pod: Callable[..., PodVolume], api: Api
) -> None:
    api.put_secret(SECRET)
    allow(api, account("a"))
    allow(api, account("b"))
    volumes = [pod_rights.publish(pod(n, "a" if n < 3 else "b")) for n in range(6)]
    until(lambda: watches(api) == 2, "the watches")
    for volume in volumes:
        pod_rights.unpublish(volume)
    until(lambda: watches(api) == 0, "the watches' end")


def test_pod_without_token(pod_rights: Node, api: Api) -> None:
    api.put_secret(SECRET)
    answer = pod_rights.pod().publish(pod_rights.endpoint)
    assert answer.code == PERMISSION_DENIED
    assert "tokenRequests" in answer.text


def test_tokens_are_not_logged(start_node: NodeMaker, api: Api) -> None:
    api.put_secret(SECRET)
    allow(api, account("may"))
    node = start_node("--rights=pod", "--v=9", *api.arguments).wait_ready()
    token = api.server.add_token(account("may"))
    tokens = json.dumps({"": {"token": token}})
    node.publish(node.pod(service_account="may", tokens=tokens))
    assert token not in node.log()
    assert "admin" not in node.log()


def test_update_is_for_all_that_follow(daemon: Node, api: Api) -> None:
    api.put_secret(SECRET)
    volumes = [daemon.publish(daemon.pod(number)) for number in range(3)]
    api.put_secret({"other": b"dummy"})
    for volume in volumes:
        until(lambda v=volume: keys(v) == {"other"}, "the update")


@pytest.mark.parametrize("as_event", [False, True])
def test_expired_version_is_not_worth_a_line(daemon: Node, api: Api, as_event: bool) -> None:
    """J7: history that the API server compacted is ordinary; a list brings what was missed."""
    api.put_secret(SECRET)
    volume = daemon.publish(daemon.pod())
    until(lambda: watches(api) == 1, "the watch")
    api.put_secret({"user": b"guest"})  # a watch without an event would have ended too soon (J6)
    until(lambda: read(volume, "user") == b"guest", "the event")
    logged = len(daemon.log())
    api.server.fail(410, verb="watch", name="app", as_event=as_event)
    api.server.close_watches(name="app")
    api.server.wait_request(verb="list", name="app", count=2)
    api.put_secret({"user": b"root"})
    until(lambda: read(volume, "user") == b"root", "the update")
    until(lambda: watches(api) == 1, "the watch")
    lines = daemon.log()[logged:].splitlines()
    # the update itself is one
    assert [line for line in lines if " DEBUG " not in line and "INFO published" not in line] == []
