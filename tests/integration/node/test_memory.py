"""What a kubelet hands over besides the volume's own words, in the daemon's memory: gone."""

from __future__ import annotations

import json
import secrets

import pytest

from lib import kubelet, memory, program
from lib.grpc_client import Connection, framed
from lib.kubelet import INVALID_ARGUMENT, PUBLISH
from lib.node_daemon import Node, NodeMaker, is_shown
from lib.sources import Api
from lib.waiting import until


pytestmark = pytest.mark.skipif(
    program.binary().exists() and program.has_sanitizer(),
    reason="AddressSanitizer keeps freed memory in quarantine",
)


def new_marker() -> str:
    return secrets.token_hex(24)


def tokens_of(token: str) -> str:
    return json.dumps({"": {"token": token, "expirationTimestamp": "2100-01-01T00:00:00Z"}})


def check_nowhere(node: Node, marker: str) -> None:
    memory.wait_gone(node.pid, marker.encode())


@pytest.mark.parametrize("copies", [1, 6000])
@pytest.mark.parametrize("in_secrets", [False, True])
def test_tokens_are_nowhere_after_a_publish(node: Node, copies: int, in_secrets: bool) -> None:
    secret, token = new_marker(), new_marker()
    volume = node.pod(
        secrets={"password": secret * copies, "more": secret},
        tokens=tokens_of(token * copies),
        tokens_in_secrets=in_secrets,
    )
    node.publish(volume)
    assert is_shown(volume)
    check_nowhere(node, secret)
    check_nowhere(node, token)


def test_tokens_are_nowhere_while_a_publish_waits(start_node: NodeMaker, api: Api) -> None:
    """nodePublishSecretRef's secret is not used, so it does not stay as long as the call."""
    api.put_secret({"user": b"admin"})
    node = start_node("--rights=daemon", *api.arguments).wait_ready()
    secret, token = new_marker(), new_marker()
    hold = api.server.hold(name="app")
    volume = node.pod(secrets={"password": secret * 1000}, tokens=tokens_of(token))
    connection, stream = node.start_publish(volume)
    hold.wait_held()
    assert memory.find(node.pid, token.encode()), "the search has to find what is there"
    check_nowhere(node, secret)
    hold.release()
    assert connection.finish(stream).code == kubelet.OK
    connection.close()
    check_nowhere(node, token)


def test_tokens_are_nowhere_after_a_refusal(node: Node) -> None:
    secret, token = new_marker(), new_marker()
    volume = node.pod(
        secrets={"password": secret}, tokens=tokens_of(token), attributes={"x": "y"}
    )
    assert volume.publish(node.endpoint).code == INVALID_ARGUMENT
    volume.pod_info = False
    assert volume.publish(node.endpoint).code == INVALID_ARGUMENT
    check_nowhere(node, secret)
    check_nowhere(node, token)


def test_tokens_are_nowhere_after_half_a_request(node: Node) -> None:
    secret = new_marker()
    message = framed(node.pod(secrets={"password": secret * 3000}).publish_request())
    with Connection(node.endpoint) as connection:
        stream = connection.begin(connection.headers_of(PUBLISH))
        connection.send(stream, message[:-10], end=False)
        # the server has taken it in when it answers something that came later
        assert connection.call(kubelet.PROBE).code == kubelet.OK
        assert memory.find(node.pid, secret.encode()), "the search has to find what is there"
    check_nowhere(node, secret)


def test_tokens_that_are_replaced(start_node: NodeMaker, api: Api) -> None:
    """Of a pod's tokens the newest is kept, as long as the volume is there; an older one as long as
    a request that was sent with it."""
    api.put_secret({"user": b"admin"})
    user = "system:serviceaccount:default:robot"
    api.server.grant(user, ["get", "list", "watch"], ["secrets"], namespace="default")
    node = start_node("--rights=pod", *api.arguments).wait_ready()
    tokens = [api.server.add_token(user) for _ in range(3)]
    for token in tokens:
        node.publish(node.pod(service_account="robot", tokens=tokens_of(token)))
    until(lambda: api.server.open_watches(name="app"), "the watch")
    api.server.close_watches(name="app")
    for token in tokens[:-1]:
        check_nowhere(node, token)
    assert memory.find(node.pid, tokens[-1].encode())
    node.unpublish(node.pod(service_account="robot"))
    check_nowhere(node, tokens[-1])
