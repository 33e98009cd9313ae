"""HTTP/2 and gRPC as clients speak them, and as they should not."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

import pytest

from lib import kubelet, wire
from lib.grpc_client import Connection, Gone, call, framed
from lib.harness import Harness, HarnessMaker
from lib.kubelet import PodVolume
from lib.waiting import PATIENCE_SECONDS, until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MESSAGE_MAX = 4 << 20
PROTOCOL_ERROR, REFUSED_STREAM = 1, 7


def is_well(plugin: Harness) -> bool:
    """Whether others are still served."""
    return call(plugin.endpoint, kubelet.PROBE).code == kubelet.OK


# ---- what kubelets do


@pytest.mark.parametrize(
    "authority",
    [
        "/var/lib/kubelet/plugins/csi.secretfs.io/csi.sock",
        "%2Fvar%2Flib%2Fkubelet%2Fplugins%2Fcsi.secretfs.io%2Fcsi.sock",
        "localhost",
        "",
        None,
        "any thing: at \x01 all",
    ],
)
@pytest.mark.parametrize("registration", [False, True])
def test_every_authority(plugin: Harness, authority: str | None, registration: bool) -> None:
    """R11, R11a."""
    path = plugin.registration if registration else plugin.endpoint
    method = kubelet.GET_INFO if registration else kubelet.PROBE
    assert call(path, method, authority=authority).code == kubelet.OK


@pytest.mark.parametrize("goaway", [False, True])
def test_a_connection_for_each_call(plugin: Harness, goaway: bool) -> None:
    """R12."""
    for _ in range(50):
        connection = Connection(plugin.endpoint)
        assert connection.call(kubelet.PROBE).code == kubelet.OK
        if goaway:
            connection.h2.close_connection()
            connection.flush()
            connection.wait_gone()
        connection.close()


def test_goaway_before_the_answer(plugin: Harness) -> None:
    """What was called before is still answered."""
    volume = PodVolume()
    connection, stream = volume.start_publish(plugin.endpoint)
    plugin.wait("publish")
    connection.socket.sendall(bytes([0, 0, 8, 7, 0, 0, 0, 0, 0]) + bytes(8))
    plugin.reply(volume.volume_id)
    assert connection.finish(stream).code == kubelet.OK
    connection.wait_gone()
    connection.close()
    assert plugin.seen("cancelled") == []


def test_many_connections_at_once(plugin: Harness) -> None:
    volumes = [PodVolume(volume=f"v{n}") for n in range(300)]
    calls = [volume.start_publish(plugin.endpoint) for volume in volumes]
    for volume in volumes:
        plugin.wait("publish", volume_id=volume.volume_id)
    for volume in reversed(volumes):
        plugin.reply(volume.volume_id)
    for connection, stream in calls:
        assert connection.finish(stream).code == kubelet.OK
        connection.close()


def test_many_calls_on_a_connection(plugin: Harness) -> None:
    volumes = [PodVolume(volume=f"v{n}") for n in range(30)]
    with Connection(plugin.endpoint) as connection:
        streams = [connection.start(kubelet.PUBLISH, v.publish_request()) for v in volumes]
        for volume in reversed(volumes):
            plugin.wait("publish", volume_id=volume.volume_id)
            plugin.reply(volume.volume_id)
        assert [connection.finish(s).code for s in streams] == [kubelet.OK] * len(streams)


def test_a_byte_at_a_time(plugin: Harness) -> None:
    sending = Connection(plugin.endpoint)
    recorded = bytearray()
    sending.flush = lambda: recorded.extend(sending.h2.data_to_send())  # type: ignore[method-assign]
    stream = sending.start(kubelet.PROBE)
    for byte in recorded:
        sending.socket.sendall(bytes([byte]))
    assert sending.finish(stream).code == kubelet.OK
    sending.close()


def test_pings_are_answered(plugin: Harness) -> None:
    with Connection(plugin.endpoint) as connection:
        for n in range(5):
            connection.h2.ping(bytes([n] * 8))
        connection.flush()
        while connection.pongs < 5:
            connection.receive()


# ---- headers


@pytest.mark.parametrize(
    "content_type",
    ["application/grpc", "application/grpc+proto", "application/grpc;x=y", "application/grpc ; a"],
)
def test_content_types_of_grpc(plugin: Harness, content_type: str) -> None:
    assert call(plugin.endpoint, kubelet.PROBE, content_type=content_type).code == kubelet.OK


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/json", "application/grpc-web", "application/grpc+json", ""],
)
def test_other_content_types(plugin: Harness, content_type: str) -> None:
    answer = call(plugin.endpoint, kubelet.PROBE, content_type=content_type)
    assert answer.headers[":status"] == "415" and answer.code is None


def test_other_methods_of_http(plugin: Harness) -> None:
    with Connection(plugin.endpoint) as connection:
        headers = connection.headers_of(kubelet.PROBE)
        headers[0] = (":method", "GET")
        answer = connection.finish(connection.begin(headers, end=True))
        assert answer.headers[":status"] == "405"


@pytest.mark.parametrize(
    "path",
    ["/csi.v1.Node/NodeExpandVolume", "/", "/csi.v1.Node/", "/" + "x" * 3000, kubelet.PROBE + "/"],
)
def test_methods_that_are_not_there(plugin: Harness, path: str) -> None:
    answer = call(plugin.endpoint, path, b"any bytes")
    assert answer.code == kubelet.UNIMPLEMENTED
    assert path[:100] in answer.text


def test_the_services_are_on_their_own_sockets(plugin: Harness) -> None:
    assert call(plugin.endpoint, kubelet.GET_INFO).code == kubelet.UNIMPLEMENTED
    assert call(plugin.registration, kubelet.PROBE).code == kubelet.UNIMPLEMENTED


@pytest.mark.parametrize("timeout", ["", "1", "S", "-1S", "1s", "1.5S", "123456789S", " 1S"])
def test_invalid_grpc_timeout_is_refused(plugin: Harness, timeout: str) -> None:
    answer = call(plugin.endpoint, kubelet.PROBE, grpc_timeout=timeout)
    assert answer.code == kubelet.INTERNAL and "grpc-timeout" in answer.text


@pytest.mark.parametrize(
    "spoil",
    [
        lambda headers: headers[1:],  # no :method
        lambda headers: [h for h in headers if h[0] != ":scheme"],
        lambda headers: [h for h in headers if h[0] != ":path"],
        lambda headers: headers + [(":path", "/late")],
        lambda headers: [headers[0]] + headers,
        lambda headers: [(":unknown", "x")] + headers,
        lambda headers: headers + [("Upper", "x")],
        lambda headers: headers + [("connection", "close")],
        lambda headers: headers + [("transfer-encoding", "chunked")],
        lambda headers: headers + [("te", "gzip")],
        lambda headers: [(n, "no-slash" if n == ":path" else v) for n, v in headers],
        lambda headers: [(n, "" if n == ":path" else v) for n, v in headers],
        lambda headers: [(n, v + "\0x" if n == ":path" else v) for n, v in headers],
    ],
)
def test_headers_that_http2_forbids(plugin: Harness, spoil) -> None:  # type: ignore[no-untyped-def]
    """They cost the stream; the connection goes on."""
    with Connection(plugin.endpoint) as connection:
        headers = spoil(connection.headers_of(kubelet.PROBE))
        answer = connection.finish(connection.begin(headers, end=True))
        assert answer.reset == PROTOCOL_ERROR
        assert connection.call(kubelet.PROBE).code == kubelet.OK


@pytest.mark.parametrize("value_bytes, count", [(9000, 1), (100, 100), (0, 250)])
def test_headers_that_are_too_large(plugin: Harness, value_bytes: int, count: int) -> None:
    more = [(f"x-{n}", "v" * value_bytes) for n in range(count)]
    with Connection(plugin.endpoint) as connection:
        connection.h2.update_settings({})
        stream = connection.begin(connection.headers_of(kubelet.PROBE) + more, end=True)
        answer = connection.finish(stream)
        assert answer.code == kubelet.RESOURCE_EXHAUSTED and "headers" in answer.text
        assert connection.call(kubelet.PROBE).code == kubelet.OK


def test_headers_that_are_just_small_enough(plugin: Harness) -> None:
    with Connection(plugin.endpoint) as connection:
        headers = connection.headers_of(kubelet.PROBE)
        used = sum(len(name) + len(value) + 32 for name, value in headers)
        stream = connection.begin(headers + [("x", "v" * (8192 - used - 33))])
        connection.send(stream, framed(b""))
        assert connection.finish(stream).code == kubelet.OK


# ---- messages


def test_compressed_messages(plugin: Harness) -> None:
    with Connection(plugin.endpoint) as connection:
        stream = connection.begin(connection.headers_of(kubelet.PROBE))
        connection.send(stream, framed(b"x", flag=1))
        assert connection.finish(stream).code == kubelet.UNIMPLEMENTED
        answer = connection.call(kubelet.PROBE, grpc_encoding="gzip")
        assert answer.code == kubelet.UNIMPLEMENTED
        assert answer.headers["grpc-accept-encoding"] == "identity"
        assert connection.call(kubelet.PROBE, grpc_encoding="identity").code == kubelet.OK


@pytest.mark.parametrize(
    "body, code",
    [
        (b"", kubelet.INTERNAL),
        (b"\0\0", kubelet.INTERNAL),
        (framed(b"short", announced=6), kubelet.INTERNAL),
        (framed(b"") + b"\0", kubelet.INTERNAL),
        (framed(b"") + framed(b""), kubelet.INTERNAL),
        (b"\x02\0\0\0\0", kubelet.INTERNAL),
        (framed(b"", announced=MESSAGE_MAX + 1), kubelet.RESOURCE_EXHAUSTED),
        (framed(b"", announced=0xFFFFFFFF), kubelet.RESOURCE_EXHAUSTED),
    ],
)
def test_bodies_that_are_not_one_message(plugin: Harness, body: bytes, code: int) -> None:
    with Connection(plugin.endpoint) as connection:
        stream = connection.begin(connection.headers_of(kubelet.PROBE))
        connection.send(stream, body)
        assert connection.finish(stream).code == code
        assert connection.call(kubelet.PROBE).code == kubelet.OK


def test_a_request_of_headers_only(plugin: Harness) -> None:
    with Connection(plugin.endpoint) as connection:
        stream = connection.begin(connection.headers_of(kubelet.PROBE), end=True)
        answer = connection.finish(stream)
        assert answer.code == kubelet.INTERNAL and "the message is missing" in answer.text


def test_trailers_of_a_client(plugin: Harness) -> None:
    with Connection(plugin.endpoint) as connection:
        stream = connection.begin(connection.headers_of(kubelet.PROBE))
        connection.send(stream, framed(b""), end=False)
        connection.h2.send_headers(stream, [("x", "y")], end_stream=True)
        connection.flush()
        assert connection.finish(stream).code == kubelet.OK


@pytest.mark.parametrize("end", [False, True])
def test_a_message_that_is_too_large(plugin: Harness, end: bool) -> None:
    """It is refused by its head; the client is asked to stop, and may go on with other calls."""
    with Connection(plugin.endpoint) as connection:
        stream = connection.begin(connection.headers_of(kubelet.PUBLISH))
        connection.send(stream, framed(b"", announced=MESSAGE_MAX + 1), end=False)
        answer = connection.finish(stream)
        assert answer.code == kubelet.RESOURCE_EXHAUSTED
        assert str(MESSAGE_MAX) in answer.text
        if not end:
            while answer.reset is None:
                connection.receive()
            assert answer.reset == 0
        assert connection.call(kubelet.PROBE).code == kubelet.OK


def test_the_largest_message(plugin: Harness) -> None:
    message = PodVolume().publish_request()
    overhead = len(wire.field(99, b"x" * MESSAGE_MAX)) - MESSAGE_MAX
    message += wire.field(99, b"x" * (MESSAGE_MAX - len(message) - overhead))
    assert len(message) == MESSAGE_MAX
    with Connection(plugin.endpoint) as connection:
        connection.start(kubelet.PUBLISH, message)
        plugin.wait("publish")
    plugin.wait("cancelled")


# ---- what is no HTTP/2


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600),
        bytes(64),
        PREFACE + bytes([0, 0xFF, 0xFF, 1, 4, 0, 0, 0, 1]) + b"\xff" * 70000,
        PREFACE + bytes([0, 0, 6, 4, 0, 0, 0, 0, 0]) + b"\0\x05\0\0\0\0",
        PREFACE + bytes([0, 0, 5, 0, 0, 0, 0, 0, 9]) + b"12345",
    ],
    ids=["http1", "tls", "zeros", "large-frame", "bad-setting", "data-without-stream"],
)
def test_garbage_ends_only_its_connection(plugin: Harness, garbage: bytes) -> None:
    """The connection ends; others go on."""
    volume = PodVolume()
    witness, stream = volume.start_publish(plugin.endpoint)
    plugin.wait("publish")
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(PATIENCE_SECONDS)
        raw.connect(str(plugin.endpoint))
        try:
            raw.sendall(garbage)
            while raw.recv(65536):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
    plugin.reply(volume.volume_id)
    assert witness.finish(stream).code == kubelet.OK
    witness.close()


def test_connections_that_say_nothing_and_go(plugin: Harness) -> None:
    for _ in range(50):
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(str(plugin.endpoint))
        raw.close()
    assert is_well(plugin)


def test_a_flood_of_pings(plugin: Harness) -> None:
    """A client that reads nothing and wants thousands of answers."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(PATIENCE_SECONDS)
        raw.connect(str(plugin.endpoint))
        raw.sendall(PREFACE + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        ping = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + bytes(8)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                raw.sendall(ping * 1000)
    assert is_well(plugin)


# ---- clients that are slow

# ms; what is waited for comes after it, whenever that is. Long enough for requests that have to be
# in time on a busy machine.
SHORT = 500


def test_a_client_that_never_begins(start_plugin: HarnessMaker) -> None:
    plugin = start_plugin(receive_ms=SHORT).started()
    with Connection(plugin.endpoint) as connection:
        connection.wait_gone()
        assert connection.goaway == 0
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(PATIENCE_SECONDS)
        raw.connect(str(plugin.endpoint))
        raw.sendall(PREFACE[:10])
        while raw.recv(4096):
            pass


def test_headers_that_never_end(start_plugin: HarnessMaker) -> None:
    plugin = start_plugin(receive_ms=SHORT).started()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(PATIENCE_SECONDS)
        raw.connect(str(plugin.endpoint))
        # HEADERS without END_HEADERS: a stream that no CONTINUATION completes
        raw.sendall(PREFACE + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        raw.sendall(bytes([0, 0, 1, 1, 0, 0, 0, 0, 1]) + b"\x83")
        while raw.recv(4096):
            pass
    assert is_well(plugin)


def test_a_body_that_never_ends(start_plugin: HarnessMaker) -> None:
    plugin = start_plugin(receive_ms=SHORT).started()
    with Connection(plugin.endpoint) as connection:
        stream = connection.begin(connection.headers_of(kubelet.PROBE))
        connection.send(stream, framed(b"", announced=100)[:4], end=False)
        answer = connection.finish(stream)
        assert answer.code == kubelet.DEADLINE_EXCEEDED and "did not arrive" in answer.text
        assert connection.call(kubelet.PROBE).code == kubelet.OK


def test_the_callers_deadline_is_for_its_request_as_well(plugin: Harness) -> None:
    with Connection(plugin.endpoint) as connection:
        stream = connection.begin(connection.headers_of(kubelet.PROBE, grpc_timeout="20m"))
        assert connection.finish(stream).code == kubelet.DEADLINE_EXCEEDED


def test_work_is_not_bounded_by_the_time_to_receive(start_plugin: HarnessMaker) -> None:
    plugin = start_plugin(receive_ms=SHORT).started()
    slow, quick = PodVolume(volume="slow"), PodVolume(volume="quick")
    connection, stream = slow.start_publish(plugin.endpoint)
    plugin.wait("publish")
    # when this one is over, the other's time would have been, too
    with Connection(plugin.endpoint) as other:
        other.wait_gone()
    assert quick.volume_id != slow.volume_id
    plugin.reply(slow.volume_id)
    assert connection.finish(stream).code == kubelet.OK
    connection.close()


def test_a_client_that_does_not_take_its_answer(start_plugin: HarnessMaker) -> None:
    """Its window is closed, so that the answer has no place to go to."""
    plugin = start_plugin(send_ms=SHORT).started()
    with Connection(plugin.endpoint, window=0) as connection:
        connection.start(kubelet.PROBE)
        connection.wait_gone()
    assert is_well(plugin)


def sockets(plugin: Harness) -> int:
    """How many it has, with those that it listens on."""
    count = 0
    for name in os.listdir(f"/proc/{plugin.pid}/fd"):
        try:
            count += os.readlink(f"/proc/{plugin.pid}/fd/{name}").startswith("socket:")
        except FileNotFoundError:
            pass  # closed meanwhile
    return count


def test_a_client_that_reads_nothing(start_plugin: HarnessMaker) -> None:
    """Until the socket's buffer is full, and the answer after that has no place to go to."""
    plugin = start_plugin(send_ms=SHORT).started()
    before = sockets(plugin)
    target = wire.field(2, "/t")  # short, for the server's window
    with Connection(plugin.endpoint) as connection:
        for n in range(400):
            try:
                connection.start(kubelet.UNPUBLISH, wire.field(1, f"csi-{n}") + target)
            except Gone:
                break
            until(lambda: plugin.seen("unpublish") or sockets(plugin) == before)
            if sockets(plugin) == before:
                break  # closed already
            plugin.wait("unpublish")
            plugin.reply(f"csi-{n}", kubelet.INTERNAL, "ü" * 500)
        until(lambda: sockets(plugin) == before, "the connection to be closed")
    assert is_well(plugin)


def test_a_connection_without_a_call(start_plugin: HarnessMaker) -> None:
    plugin = start_plugin(idle_ms=SHORT).started()
    volume = PodVolume()
    with Connection(plugin.endpoint) as connection:
        assert connection.call(kubelet.PROBE).code == kubelet.OK
        connection.wait_gone()
        assert connection.goaway == 0
    # with one, it stays
    connection, stream = volume.start_publish(plugin.endpoint)
    plugin.wait("publish")
    with Connection(plugin.endpoint) as other:
        assert other.call(kubelet.PROBE).code == kubelet.OK
        other.wait_gone()
    plugin.reply(volume.volume_id)
    assert connection.finish(stream).code == kubelet.OK
    connection.close()


# ---- limits


def test_as_many_connections_as_there_can_be(start_plugin: HarnessMaker) -> None:
    plugin = start_plugin(connections=3).started()
    volumes = [PodVolume(volume=f"v{n}") for n in range(3)]
    calls = [volume.start_publish(plugin.endpoint) for volume in volumes]
    for volume in volumes:
        plugin.wait("publish", volume_id=volume.volume_id)
    with pytest.raises(Gone):
        call(plugin.endpoint, kubelet.PROBE)
    plugin.reply(volumes[1].volume_id)
    assert calls[1][0].finish(calls[1][1]).code == kubelet.OK
    # the one that is idle now makes room
    assert is_well(plugin)
    calls[1][0].wait_gone()
    for n in (0, 2):
        plugin.reply(volumes[n].volume_id)
        assert calls[n][0].finish(calls[n][1]).code == kubelet.OK
    for connection, _ in calls:
        connection.close()


def test_descriptors_are_left_to_others(start_plugin: HarnessMaker) -> None:
    plugin = start_plugin(descriptors=60).started()
    others = sockets(plugin)
    with ExitStack() as stack:
        for n in range(60):
            try:
                connection = stack.enter_context(Connection(plugin.endpoint))
                connection.start(kubelet.PUBLISH, PodVolume(volume=f"v{n}").publish_request())
                plugin.wait("publish") if n < 30 else connection.wait_gone()
            except Gone:
                assert n >= 30
        assert sockets(plugin) == others + 30


def test_few_connections_for_registration(plugin: Harness) -> None:
    """Those that are without a call make room for others."""
    before = sockets(plugin)
    with ExitStack() as stack:
        for _ in range(40):
            connection = stack.enter_context(Connection(plugin.registration))
            assert connection.call(kubelet.GET_INFO).code == kubelet.OK
        assert sockets(plugin) == before + 16


def test_as_many_calls_as_a_connection_can_have(start_plugin: HarnessMaker) -> None:
    plugin = start_plugin(streams=2).started()
    volumes = [PodVolume(volume=f"v{n}") for n in range(3)]
    with Connection(plugin.endpoint) as connection:
        for volume in volumes[:2]:
            connection.start(kubelet.PUBLISH, volume.publish_request())
            plugin.wait("publish", volume_id=volume.volume_id)
        while connection.h2.remote_settings.max_concurrent_streams > 100:
            connection.receive()
        assert connection.h2.remote_settings.max_concurrent_streams == 2
        # past what it knows to be allowed
        connection.h2.remote_settings.max_concurrent_streams = 100
        connection.h2.remote_settings.acknowledge()
        try:
            over = connection.start(kubelet.PUBLISH, volumes[2].publish_request())
            answer = connection.finish(over)
            assert answer.reset in (REFUSED_STREAM, PROTOCOL_ERROR)
        except Gone:
            pass  # or the whole connection is refused, as its client knew better
    assert is_well(plugin)


def test_as_many_bytes_as_can_be_on_their_way(start_plugin: HarnessMaker) -> None:
    plugin = start_plugin(received_bytes=50_000).started()
    with Connection(plugin.endpoint) as first, Connection(plugin.endpoint) as second:
        held = first.begin(first.headers_of(kubelet.PROBE))
        first.send(held, framed(b"x" * 40_000, announced=45_000), end=False)
        # nothing but the server's own answer tells that it has taken that in
        assert first.call(kubelet.PROBE).code == kubelet.OK
        answer = second.call(kubelet.PUBLISH, b"y" * 20_000)
        assert answer.code == kubelet.RESOURCE_EXHAUSTED and "try again" in answer.text
        first.h2.reset_stream(held)
        first.flush()

        def is_free() -> bool:
            return second.call(kubelet.PUBLISH, b"y" * 20_000).code != kubelet.RESOURCE_EXHAUSTED

        until(is_free, "the bytes of a call that is reset to count no more")
