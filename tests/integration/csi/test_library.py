"""The plug-in and a client library that is not of our making: gRPC's own C core."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator

import grpc
import pytest

from lib import kubelet, wire
from lib.harness import Harness
from lib.kubelet import PodVolume
from lib.waiting import PATIENCE_SECONDS


def as_it_is(message: bytes) -> bytes:
    return message


class Client:
    def __init__(self, path: Path, **options: Any) -> None:
        self.channel = grpc.insecure_channel(f"unix:{path}", options=list(options.items()))

    def method(self, name: str) -> grpc.UnaryUnaryMultiCallable:
        return self.channel.unary_unary(
            name, request_serializer=as_it_is, response_deserializer=as_it_is
        )

    def call(self, name: str, message: bytes = b"", timeout: float = PATIENCE_SECONDS) -> bytes:
        return self.method(name)(message, timeout=timeout)


@pytest.fixture
def client(plugin: Harness) -> Iterator[Client]:
    made = Client(plugin.endpoint)
    yield made
    made.channel.close()


def test_registration_by_the_library_succeeds(plugin: Harness) -> None:
    client = Client(plugin.registration)
    assert wire.parse(client.call(kubelet.GET_INFO))[0] == (1, b"CSIPlugin")
    assert client.call(kubelet.NOTIFY, wire.field(1, True)) == b""
    assert plugin.wait("registration")["registered"]
    client.channel.close()


def test_errors_in_any_language(client: Client, plugin: Harness) -> None:
    text = "secret/prod/db: 100% nicht da → 作成してください"
    volume = PodVolume()
    call = client.method(kubelet.PUBLISH).future(volume.publish_request())
    plugin.wait("publish")
    plugin.reply(volume.volume_id, kubelet.NOT_FOUND, text)
    assert call.exception(PATIENCE_SECONDS).code() == grpc.StatusCode.NOT_FOUND
    assert call.exception().details() == text


def test_deadline_cancels_the_publish(client: Client, plugin: Harness) -> None:
    volume = PodVolume()
    with pytest.raises(grpc.RpcError) as failed:
        client.call(kubelet.PUBLISH, volume.publish_request(), timeout=0.1)
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    plugin.wait("cancelled")


def test_a_call_that_is_cancelled(client: Client, plugin: Harness) -> None:
    call = client.method(kubelet.PUBLISH).future(PodVolume().publish_request())
    plugin.wait("publish")
    call.cancel()
    plugin.wait("cancelled")


def test_message_larger_than_the_limit_is_refused(client: Client, plugin: Harness) -> None:
    volume = PodVolume(secrets={"key": "dummy" * 200_000})
    call = client.method(kubelet.PUBLISH).future(volume.publish_request())
    plugin.wait("publish")
    plugin.reply(volume.volume_id)
    assert call.result(PATIENCE_SECONDS) == b""
    with pytest.raises(grpc.RpcError) as failed:
        client.call(kubelet.PUBLISH, bytes(5 << 20))
    assert failed.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than the limit" in failed.value.details()


def test_compressed_message_is_unimplemented(plugin: Harness) -> None:
    client = Client(plugin.endpoint)
    with pytest.raises(grpc.RpcError) as failed:
        client.method(kubelet.PROBE)(b"x" * 1000, compression=grpc.Compression.Gzip)
    assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED
    client.channel.close()


def test_more_calls_than_a_connection_can_have(client: Client, plugin: Harness) -> None:
    """The library waits for its turn."""
    volumes = [PodVolume(volume=f"v{n}") for n in range(100)]
    calls = [client.method(kubelet.PUBLISH).future(v.publish_request()) for v in volumes]
    for _ in volumes:
        plugin.reply(plugin.wait("publish")["volume_id"])
    assert [call.result(PATIENCE_SECONDS) for call in calls] == [b""] * len(volumes)


def test_connections_in_many_threads(plugin: Harness) -> None:
    def probe(_: int) -> bytes:
        client = Client(plugin.endpoint, **{"grpc.use_local_subchannel_pool": 1})
        try:
            return client.call(kubelet.PROBE)
        finally:
            client.channel.close()

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(probe, range(200))) == {b"\n\x02\x08\x01"}
