"""Which file system a volume goes to: the pod says it, as far as the daemon can read it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lib import program
from lib.kubelet import OK, UNAVAILABLE, PodVolume
from lib.live import SubPaths
from lib.node_daemon import DRIVER, NODE, Node, NodeMaker, read
from lib.pods import container, is_live, put_pod
from lib.sources import Api, Manifests
from lib.waiting import until

SECRET = {"user": b"admin"}


def pod_requests(api: Api, verb: str) -> int:
    return len(api.server.requests.select(verb=verb, resource="pods"))


def wait_watched(api: Api, count: int = 1) -> None:
    """Until the watch was opened for that many times."""
    api.server.wait_request(verb="watch", resource="pods", count=count, code=200)
    api.server.wait_watches(1, resource="pods")


def wait_known(node: Node, *volumes: PodVolume) -> None:
    until(lambda: node.status()["pods"]["known"] == len(volumes), "the pods")


def wait_decided(node: Node, *volumes: PodVolume) -> None:
    """Until it is known where they go, whether their content is there or not."""

    def are_decided() -> bool:
        told = node.status()["volumes"]
        return all("fileSystem" in told.get(str(volume.target), {}) for volume in volumes)

    until(are_decided, "the choice of the file system")


def wait_problem(node: Node, words: str) -> None:
    until(lambda: words in node.status()["pods"].get("error", ""), words)
    assert node.status()["pods"]["readable"] is False


@pytest.fixture
def daemon(daemon: Node, api: Api) -> Node:
    api.put_secret(SECRET)
    return daemon


@pytest.mark.parametrize("mount", [{}, {"subPath": "user"}, {"subPathExpr": "$(KEY)"}], ids=str)
def test_pod_that_was_not_there_before(daemon: Node, api: Api, mount: dict[str, str]) -> None:
    volume = daemon.pod()
    put_pod(api, volume, **mount)
    daemon.publish(volume)
    assert read(volume, "user") == b"admin"
    assert is_live(daemon, volume) == bool(mount)


# ---- from the watch


def test_pods_that_the_watch_brings(daemon: Node, api: Api) -> None:
    """None is asked for. Pods of other nodes, and those without volumes of ours, are not kept."""
    volumes = [daemon.pod(number) for number in range(3)]
    put_pod(api, volumes[0], subPath="user")
    put_pod(api, volumes[1])
    put_pod(api, volumes[2], node="node-1")
    api.server.put_pod("default", "plain", "p", spec={"nodeName": NODE, "containers": []})
    wait_known(daemon, *volumes[:2])
    for volume in volumes[:2]:
        daemon.publish(volume)
    assert [is_live(daemon, volume) for volume in volumes[:2]] == [True, False]
    assert pod_requests(api, "get") == 0
    assert pod_requests(api, "watch") == 1


def test_pods_that_were_there_before_the_daemon(start_node: NodeMaker, api: Api) -> None:
    api.put_secret(SECRET)
    volume = PodVolume(root=api.server.directory, pod="web-0", namespace="default")
    put_pod(api, volume, subPath="user")
    node = start_node("--rights=daemon", *api.arguments).wait_ready()
    wait_known(node, volume)
    volume = replace(volume, root=node.root, attributes={"secretName": "app"})
    node.publish(volume)
    assert is_live(node, volume)
    assert pod_requests(api, "get") == 0


def test_the_watch_is_faster_than_the_request(daemon: Node, api: Api) -> None:
    wait_watched(api)
    hold = api.server.hold(verb="get", resource="pods")
    objects = api.server.hold(verb="list", resource="secrets")
    volume = daemon.pod()
    connection, stream = daemon.start_publish(volume)
    hold.wait_held()
    put_pod(api, volume, subPath="user")
    wait_decided(daemon, volume)
    objects.release()
    assert connection.finish(stream).code == OK
    connection.close()
    assert is_live(daemon, volume)


def test_pod_made_again_with_the_same_name(daemon: Node, api: Api) -> None:
    """It is another pod: its uid says so, and what it mounts by subPath can be something else."""
    old = daemon.pod(0)
    new = replace(daemon.pod(1), pod=old.pod)
    put_pod(api, old, subPath="user")
    wait_known(daemon, old)
    daemon.publish(old)
    api.server.delete_pod("default", old.pod)
    wait_known(daemon)
    put_pod(api, new)
    wait_known(daemon, new)
    daemon.publish(new)
    assert [is_live(daemon, volume) for volume in (old, new)] == [True, False]
    assert pod_requests(api, "get") == 0


def test_pod_made_again_before_the_watch_tells(daemon: Node, api: Api) -> None:
    """A GET by name finds the other one, which says nothing of this one."""
    old = daemon.pod(0)
    new = replace(daemon.pod(1), pod=old.pod)
    wait_watched(api)
    with api.server.events_held(resource="pods"):
        put_pod(api, new, subPath="user")
        daemon.publish(old)
        assert not is_live(daemon, old)
        daemon.publish(new)
        assert is_live(daemon, new)
    assert pod_requests(api, "get") == 2


def test_pod_that_has_ended_is_not_kept(daemon: Node, api: Api) -> None:
    volume = daemon.pod()
    put_pod(api, volume, subPath="user")
    wait_known(daemon, volume)
    put_pod(api, volume, phase="Succeeded", subPath="user")
    wait_known(daemon)


def test_volumes_of_a_pod_wait_for_one_request(daemon: Node, api: Api) -> None:
    hold = api.server.hold(verb="get", resource="pods")
    objects = api.server.hold(verb="list", resource="secrets")
    volumes = [replace(daemon.pod(), volume=f"creds-{number}") for number in range(5)]
    csi = [{"name": v.volume, "csi": {"driver": DRIVER}} for v in volumes]
    main = container(volumes[3], subPath="user")
    wait_watched(api)
    with api.server.events_held(resource="pods"):
        spec = {"nodeName": NODE, "volumes": csi, "initContainers": [main], "containers": []}
        api.server.put_pod("default", volumes[0].pod, volumes[0].uid, spec=spec)
        calls = [daemon.start_publish(volume) for volume in volumes]
        until(lambda: len(daemon.status()["volumes"]) == len(volumes), "all of them")
        hold.release()
        wait_decided(daemon, *volumes)
        objects.release()
        for connection, stream in calls:
            assert connection.finish(stream).code == OK
            connection.close()
    assert [is_live(daemon, volume) for volume in volumes] == [False, False, False, True, False]
    assert pod_requests(api, "get") == 1


def test_huge_pod_costs_that_pod_only(daemon: Node, api: Api) -> None:
    huge, other = daemon.pod(0), daemon.pod(1)
    csi = {"name": huge.volume, "csi": {"driver": DRIVER}}
    spec = {"nodeName": NODE, "volumes": [csi], "containers": [container(huge, subPath="user")]}
    spec["containers"][0]["args"] = ["x" * (2 << 20)]
    wait_watched(api)
    api.server.put_pod("default", huge.pod, huge.uid, spec=spec)
    put_pod(api, other, subPath="user")
    wait_known(daemon, other)
    for volume in (huge, other):
        daemon.publish(volume)
    assert [is_live(daemon, volume) for volume in (huge, other)] == [False, True]
    assert pod_requests(api, "watch") == 1


# ---- failures of the watch


def cursors(api: Api) -> list[str | None]:
    asked = api.server.requests.select(verb="watch", resource="pods")
    return [request.query.get("resourceVersion") for request in asked]


@pytest.mark.parametrize("how", ["close", "truncate", "abort"])
def test_watch_goes_on_where_it_was(daemon: Node, api: Api, how: str) -> None:
    """After a bookmark, which says that all pods have come."""
    first, second = daemon.pod(0), daemon.pod(1)
    put_pod(api, first, subPath="user")
    wait_known(daemon, first)
    api.server.send_bookmark(resource="pods")
    put_pod(api, second, subPath="user")
    wait_known(daemon, first, second)
    newest = str(api.server.revision)
    getattr(api.server, f"{how}_watches")(resource="pods")
    wait_watched(api, 2)
    assert cursors(api) == [None, newest]
    api.server.delete_pod("default", first.pod)
    wait_known(daemon, second)


def test_watch_that_broke_before_a_bookmark_begins_again(daemon: Node, api: Api) -> None:
    """What went meanwhile is gone when all others have come again."""
    first, second = daemon.pod(0), daemon.pod(1)
    put_pod(api, first, subPath="user")
    put_pod(api, second, subPath="user")
    wait_known(daemon, first, second)
    with api.server.events_held(resource="pods"):
        api.server.delete_pod("default", first.pod)
        api.server.abort_watches(resource="pods")
        wait_watched(api, 2)
    assert cursors(api) == [None, None]
    api.server.send_bookmark(resource="pods")
    wait_known(daemon, second)


@pytest.mark.parametrize("as_event", [False, True])
def test_version_that_is_too_old(daemon: Node, api: Api, as_event: bool) -> None:
    """J7: a new round brings what was missed, without a line in the log."""
    first, second = daemon.pod(0), daemon.pod(1)
    put_pod(api, first, subPath="user")
    wait_known(daemon, first)
    api.server.send_bookmark(resource="pods")
    put_pod(api, first, subPath="user")
    logged = len(daemon.log())
    api.server.fail(410, verb="watch", resource="pods", as_event=as_event)
    api.server.close_watches(resource="pods")
    wait_watched(api, 3 if as_event else 2)
    assert cursors(api)[0] is None and cursors(api)[1] is not None and cursors(api)[2] is None
    put_pod(api, second)
    wait_known(daemon, first, second)
    lines = daemon.log()[logged:].splitlines()
    assert [line for line in lines if " DEBUG " not in line] == []


def test_server_that_is_away(daemon: Node, api: Api) -> None:
    """What is known stays known, and what is not is asked for when the server is back."""
    known, unknown = daemon.pod(0), daemon.pod(1)
    put_pod(api, known, subPath="user")
    put_pod(api, unknown, node="node-1", subPath="user")
    wait_known(daemon, known)
    daemon.publish(known)
    daemon.unpublish(known)
    api.server.stop_listening()
    api.server.end_connections()
    wait_problem(daemon, "")
    calls = [daemon.start_publish(volume) for volume in (known, unknown)]
    api.server.start_listening()
    for connection, stream in calls:
        answer = connection.finish(stream)
        assert answer.code in (OK, UNAVAILABLE), answer.text
        connection.close()
    for volume in (known, unknown):
        until(lambda v=volume: v.publish(daemon.endpoint).code == OK, "the volume")
        assert is_live(daemon, volume)
    until(lambda: daemon.status()["pods"]["readable"], "the watch")


# ---- where pods cannot be read


REMEDY = "volumes that a pod mounts by subPath do not follow updates unless"


def test_pods_that_may_not_be_read(start_node: NodeMaker, api: Api) -> None:
    """It is said once, and not every publish asks."""
    api.put_secret(SECRET)
    api.server.grant("plain", ["get", "list", "watch"], ["secrets"])
    node = start_node("--rights=daemon", "--kubeconfig", api.kubeconfig("plain")).wait_ready()
    wait_problem(node, "allow this identity to get, list and watch pods")
    volumes = [node.pod(number) for number in range(5)]
    for volume in volumes:
        put_pod(api, volume, subPath="user")
        node.publish(volume)
    assert [is_live(node, volume) for volume in volumes] == [False] * 5
    assert pod_requests(api, "get") == 1
    assert node.log().count(REMEDY) == 1
    command = [program.binary(), "status", volumes[0].target]
    told = program.run(command, home=node.home).stdout
    assert "File system:      standard" in told
    assert "Pods:             cannot be read" in told


def test_rights_that_come_later(start_node: NodeMaker, api: Api) -> None:
    api.put_secret(SECRET)
    api.server.grant("plain", ["get", "list", "watch"], ["secrets"])
    node = start_node("--rights=daemon", "--kubeconfig", api.kubeconfig("plain")).wait_ready()
    wait_problem(node, "403")
    api.server.grant("plain", ["get", "list", "watch"], ["pods"])
    until(lambda: node.status()["pods"]["readable"], "the watch")
    assert "pods of this node can be read again" in node.log()
    volume = node.pod()
    put_pod(api, volume, subPath="user")
    node.publish(volume)
    assert is_live(node, volume)


def test_authorizer_that_is_late(daemon: Node, api: Api) -> None:
    """K3: the node authorizer learns of a pod a moment later than the kubelet."""
    volume = daemon.pod()
    wait_watched(api)
    api.server.fail(403, verb="get", resource="pods", times=2)
    with api.server.events_held(resource="pods"):
        put_pod(api, volume, subPath="user")
        daemon.publish(volume)
    assert is_live(daemon, volume)
    assert pod_requests(api, "get") == 3


def test_server_that_fails_when_a_pod_is_asked_for(daemon: Node, api: Api) -> None:
    """It is asked again when the objects are there, however long that takes."""
    wait_watched(api)
    objects = api.server.hold(verb="list", resource="secrets")
    fault = api.server.fail(503, verb="get", resource="pods", times=None)
    volume = daemon.pod()
    with api.server.events_held(resource="pods"):
        put_pod(api, volume, subPath="user")
        connection, stream = daemon.start_publish(volume)
        api.server.wait_request(verb="get", resource="pods", code=503, count=3)
        api.server.clear_faults()
        objects.release()
        assert connection.finish(stream).code == OK
        connection.close()
    assert fault and is_live(daemon, volume)


def test_slow_server_is_not_waited_for(daemon: Node, api: Api) -> None:
    """Content is there, the pod is not: the volume is published without knowing it."""
    hold = api.server.hold(verb="get", resource="pods")
    volume = daemon.pod()
    wait_watched(api)
    with api.server.events_held(resource="pods"):
        put_pod(api, volume, subPath="user")
        daemon.publish(volume)
    hold.release()
    assert not is_live(daemon, volume)
    assert "pod not read in time" in daemon.log()


def test_pod_that_is_not_there(daemon: Node, api: Api) -> None:
    volume = daemon.publish(daemon.pod())
    assert not is_live(daemon, volume)
    assert pod_requests(api, "get") == 1


def test_volume_goes_while_its_pod_is_asked_for(daemon: Node, api: Api) -> None:
    hold = api.server.hold(verb="get", resource="pods")
    volume = daemon.pod()
    connection, _ = daemon.start_publish(volume)
    hold.wait_held()
    connection.close()
    until(lambda: volume.unpublish(daemon.endpoint).code == OK, "the end of the publish")
    hold.release()
    assert daemon.directories() == set()


def test_manifests_say_nothing_of_pods(node: Node, manifests: Manifests) -> None:
    wait_problem(node, "manifests")
    assert node.log().count(REMEDY) == 1
    assert not is_live(node, node.publish(node.pod()))


def test_volume_in_place_needs_no_pod(daemon: Node, api: Api) -> None:
    volume = daemon.pod(attributes={"secretName": "app", "updates": "in-place"})
    daemon.publish(volume)
    assert is_live(daemon, volume)
    assert pod_requests(api, "get") == 0


# ---- whose rights


def test_rights_of_the_node(start_node: NodeMaker, api: Api, area: Path) -> None:
    """The kubelet's credentials: a watch with spec.nodeName of its own node."""
    user = f"system:node:{NODE}"
    api.put_secret(SECRET)
    api.server.grant(user, ["get", "list", "watch"], ["secrets", "pods"])
    node = start_node("--rights=node", "--kubeconfig", api.kubeconfig(user)).wait_ready()
    wait_watched(api)
    volume = node.pod()
    put_pod(api, volume, subPath="user")
    node.publish(volume)
    assert is_live(node, volume)
    asked = api.server.requests.select(resource="pods")
    assert {request.user for request in asked} == {user}
    assert asked[0].query["fieldSelector"] == f"spec.nodeName={NODE}"


def test_rights_of_the_pod(start_node: NodeMaker, api: Api) -> None:
    """Objects are read as the pod, pods as the daemon itself."""
    api.put_secret(SECRET)
    account = "system:serviceaccount:default:default"
    token = api.server.add_token(account)
    api.server.grant(account, ["get", "list", "watch"], ["secrets"])
    node = start_node("--rights=pod", *api.arguments).wait_ready()
    wait_watched(api)
    volume = node.pod(tokens=json.dumps({"": {"token": token}}))
    put_pod(api, volume, subPath="user")
    node.publish(volume)
    assert is_live(node, volume)
    assert {r.user for r in api.server.requests.select(resource="pods")} == {"admin"}
    assert {r.user for r in api.server.requests.select(resource="secrets")} == {account}


def test_credentials_that_are_refused_are_renewed(start_node: NodeMaker, api: Api) -> None:
    """The file is read again when the server does not accept the token any more."""
    user = "renewed"
    api.server.grant(user, ["get", "list", "watch"], ["pods"])
    config = api.kubeconfig(user, auth="token-file")
    content = yaml.safe_load(Path(config).read_text())
    (file,) = [Path(u["user"]["tokenFile"]) for u in content["users"]]
    node = start_node("--rights=daemon", "--kubeconfig", config).wait_ready()
    wait_watched(api)
    renewed = api.server.rotate_token(file.read_text().strip())
    api.server.close_watches(resource="pods")
    wait_problem(node, "401")
    file.write_text(renewed)
    until(lambda: node.status()["pods"]["readable"], "the watch")


def test_file_mounted_alone_follows(daemon: Node, api: Api, sub_path: SubPaths) -> None:
    """What all of this is for."""
    volume = daemon.pod()
    put_pod(api, volume, subPath="user")
    daemon.publish(volume)
    assert is_live(daemon, volume)
    alone = sub_path(volume, "user")
    for number in range(3):
        api.put_secret({"user": b"root-%d" % number})
        until(lambda n=number: alone.read_bytes() == b"root-%d" % n, "the update")
