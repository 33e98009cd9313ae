"""An API server that ends HTTP/2 connections by GOAWAY: at random, and after a request that is not
authenticated (its mitigation against floods of such requests)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable, Iterator

import pytest

from lib import go_front
from lib.go_front import GoFront
from lib.kubelet import UNAVAILABLE
from lib.node_daemon import Node, NodeMaker, read
from lib.sources import Api
from lib.waiting import until

SECRET = {"user": b"admin"}
N_OBJECTS = 20


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go_front.build(tmp_path_factory.mktemp("go"))


@pytest.fixture
def make_api(program: Path, area: Path) -> Iterator[Callable[..., Api]]:
    made: list[Api] = []

    def make(every: int = 0) -> Api:
        made.append(Api(area / "api", front=lambda server: GoFront(program, server, every)))
        return made[-1]

    yield make
    for api in made:
        api.close()


def warnings(node: Node) -> list[str]:
    return [line for line in node.log().splitlines() if " WARN " in line or " ERROR " in line]


@pytest.mark.parametrize("every", [1, 3])
def test_goaway_fails_nothing(
    start_node: NodeMaker, make_api: Callable[..., Api], every: int
) -> None:
    """Streams of the connection go on, and what comes later takes another one."""
    api = make_api(every)
    for number in range(N_OBJECTS):
        api.put_secret(SECRET, name=f"s{number}")
    node = start_node("--rights=daemon", *api.arguments).wait_ready()
    pods = [node.publish(node.pod(n, secret=f"s{n}")) for n in range(N_OBJECTS)]
    until(lambda: len(api.server.open_watches(resource="secrets")) == N_OBJECTS, "the watches")
    # a request may be sent again when its connection ends; a watch that goes on needs none
    n_lists = len(api.server.requests.select(verb="list", resource="secrets"))
    for number in range(N_OBJECTS):
        api.put_secret({"user": b"root"}, name=f"s{number}")
    for pod in pods:
        until(lambda p=pod: read(p, "user") == b"root", "the update")
    assert len(api.server.requests.select(verb="list", resource="secrets")) == n_lists
    assert api.proxy.opened() > 1
    assert warnings(node) == []
    for pod in pods:
        node.unpublish(pod)
    until(lambda: api.server.open_watches(resource="secrets") == [], "the watches' end")


def account(name: str) -> str:
    return f"system:serviceaccount:default:{name}"


def test_refused_credentials_disturb_no_other_pod(
    start_node: NodeMaker, make_api: Callable[..., Api]
) -> None:
    """Each 401 ends the connection that all pods share."""
    api = make_api()
    front = api.proxy
    api.put_secret(SECRET)
    api.server.grant(account("may"), ["get", "list", "watch"], ["secrets"], namespace="default")
    node = start_node("--rights=pod", *api.arguments).wait_ready()

    def tokens(text: str) -> str:
        token = {"token": text, "expirationTimestamp": "2100-01-01T00:00:00Z"}
        return json.dumps({"": token})

    good = tokens(api.server.add_token(account("may")))
    volume = node.publish(node.pod(0, service_account="may", tokens=good))
    until(lambda: len(api.server.open_watches(name="app")) == 1, "the watch")
    requests = len(api.server.requests.select(user=account("may")))
    opened = front.opened()
    for number in range(1, 6):
        pod = node.pod(number, service_account=f"bad-{number}", tokens=tokens(f"bad-{number}"))
        answer = pod.publish(node.endpoint)
        assert answer.code == UNAVAILABLE, answer.text
        assert "401" in answer.text
    assert front.opened() > opened
    api.put_secret({"user": b"root"})
    until(lambda: read(volume, "user") == b"root", "the update")
    assert len(api.server.requests.select(user=account("may"))) == requests
    shown = node.status()["volumes"][str(volume.target)]["volume"]
    assert shown["state"] == "current"
