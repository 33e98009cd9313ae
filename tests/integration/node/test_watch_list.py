"""Streamed lists (WatchList): one request for a list and its watch, where the server has them."""

from __future__ import annotations

import pytest

from lib.kubelet import OK, PodVolume
from lib.node_daemon import Node, NodeMaker, read
from lib.sources import Api
from lib.waiting import until

SECRET = {"user": b"admin"}


def verbs(api: Api, name: str = "app") -> list[str]:
    return [request.verb for request in api.server.requests.select(name=name)]


def start_on(start_node: NodeMaker, api: Api, minor_version: str) -> Node:
    """A daemon that knows its API server's version."""
    api.server.settings.minor_version = minor_version
    node = start_node("--rights=daemon", *api.arguments).wait_ready()
    expected = int(minor_version) >= 34

    def knows_version() -> bool:
        asked = api.server.requests.select(path="/version")
        known = [source["streamsLists"] for source in node.status()["sources"]]
        return bool(asked) and known == [expected]

    until(knows_version, "the API server's version")
    return node


def is_followed(api: Api, volume: PodVolume) -> None:
    api.put_secret({"user": b"root"})
    until(lambda: read(volume, "user") == b"root", "the update")


@pytest.fixture
def streaming(start_node: NodeMaker, api: Api) -> Node:
    api.server.settings.watch_list = True
    return start_on(start_node, api, "37")


def test_one_request(streaming: Node, api: Api) -> None:
    api.put_secret(SECRET)
    volume = streaming.publish(streaming.pod())
    assert read(volume, "user") == b"admin"
    is_followed(api, volume)
    assert verbs(api) == ["watch"]


def test_object_that_comes_later(streaming: Node, api: Api) -> None:
    volume = streaming.pod()
    assert volume.publish(streaming.endpoint).code != OK
    api.put_secret(SECRET)
    until(lambda: volume.publish(streaming.endpoint).code == OK, "the object")
    assert read(volume, "user") == b"admin"
    assert "list" not in verbs(api)


def test_stream_that_ends_within_the_list(streaming: Node, api: Api) -> None:
    """Nothing is shown of it; the next list is a usual one."""
    api.put_secret(SECRET)
    api.server.drop(name="app", verb="watch", times=1)
    volume = streaming.pod()
    until(lambda: volume.publish(streaming.endpoint).code == OK, "the object")
    assert read(volume, "user") == b"admin"
    is_followed(api, volume)
    assert verbs(api)[:3] == ["watch", "list", "watch"]


def test_server_without_the_feature(start_node: NodeMaker, api: Api) -> None:
    """It refuses the first one (422), and gets no other."""
    node = start_on(start_node, api, "37")
    for name in ("app", "other"):
        api.put_secret(SECRET, name=name)
    volume = node.publish(node.pod())
    is_followed(api, volume)
    assert verbs(api) == ["watch", "list", "watch"]
    node.publish(node.pod(1, secret="other"))
    until(lambda: len(verbs(api, "other")) == 2, "the watch")
    assert verbs(api, "other") == ["list", "watch"]


def test_server_of_an_older_version(start_node: NodeMaker, api: Api) -> None:
    """It would ignore the request for a stream, and is not asked for one."""
    api.server.settings.watch_list_known = False
    node = start_on(start_node, api, "26")
    api.put_secret(SECRET)
    is_followed(api, node.publish(node.pod()))
    assert verbs(api) == ["list", "watch"]
