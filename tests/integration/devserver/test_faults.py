"""Everything a test may make the server do wrong, and that it does just that."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from contextlib import ExitStack
from typing import Any, Iterator

import pytest

from lib.devserver.server import DevServer
from lib.devserver.testclient import Client, Stream

SECRETS = "/api/v1/namespaces/default/secrets"
A = f"{SECRETS}/a"
WATCH = f"{SECRETS}?watch=1"


# ---- requests


def test_scripted_answers(server: DevServer, client: Client) -> None:
    server.fail(429, verb="list", times=2, headers={"Retry-After": "7"})
    for _ in range(2):
        answer = client("GET", SECRETS)
        assert (answer.code, answer.headers["Retry-After"]) == (429, "7")
        assert answer.json["reason"] == "TooManyRequests"
    assert client("GET", SECRETS).code == 200
    fault = server.fail(503, lambda request: request.name == "a", times=None)
    assert [client("GET", A).code for _ in range(3)] == [503] * 3
    assert client("GET", f"{SECRETS}?fieldSelector=metadata.name%3Da").code == 503
    fault.clear()
    assert client("GET", A).code == 404 and fault.hits == 4


def test_scripted_bodies(server: DevServer, client: Client) -> None:
    server.fail(200, body=b"<html>", headers={"Content-Type": "text/html"})
    answer = client("GET", SECRETS)
    assert (answer.body, answer.headers.get_all("Content-Type")) == (b"<html>", ["text/html"])
    server.fail(410, verb="watch", as_event=True)
    (event,) = client.watch(WATCH).rest()
    assert event["type"] == "ERROR" and event["object"]["code"] == 410


def test_unknown_attributes_are_an_error(server: DevServer) -> None:
    with pytest.raises(TypeError, match="a request has no vreb"):
        server.fail(500, vreb="list")


# Python's TLS takes a RST for an end of file, so what tells them apart runs on plain HTTP
@pytest.fixture
def plain_server() -> Iterator[DevServer]:
    with DevServer(tls=False) as running:
        yield running


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.mark.parametrize("reset", [True, False])
def test_drop_before_headers(plain_server: DevServer, reset: bool) -> None:
    server = plain_server
    server.drop(verb="create", reset=reset)
    with Client(server) as client, pytest.raises(ConnectionResetError) as raised:
        client("POST", SECRETS, {"metadata": {"name": "a"}})
    assert (raised.type is http.client.RemoteDisconnected) != reset
    assert server.requests[-1].code is None
    assert server.get_object("secrets", "default", "a") is None


@pytest.mark.parametrize("when, length", [("after_headers", 0), ("mid_body", 1)])
def test_drop_in_the_answer(server: DevServer, client: Client, when: str, length: int) -> None:
    server.apply_secret("default", "a", {"k": b"x" * 1000})
    server.drop(when=when, reset=False)
    response = client.start("GET", A)
    assert response.status == 200
    with pytest.raises(http.client.IncompleteRead) as raised:
        response.read()
    assert bool(raised.value.partial) == bool(length)


def test_held_requests(server: DevServer, client: Client) -> None:
    server.apply_secret("default", "a", {"k": b"1"})
    for stage, meanwhile in (("request", b"2"), ("response", b"3")):
        fault = server.hold(verb="get", stage=stage)
        answers: list[dict[str, Any]] = []
        asking = threading.Thread(target=lambda: answers.append(client("GET", A).json))
        asking.start()
        fault.wait_held()
        assert fault.waiting == 1
        server.apply_secret("default", "a", {"k": meanwhile})
        fault.release()
        asking.join()
        assert answers[0]["data"] == {"k": "Mg=="}
    assert client("GET", A).json["data"] == {"k": "Mw=="}


def test_a_held_request_ends_with_its_client(server: DevServer) -> None:
    fault = server.hold(times=None)
    client = Client(server)
    asking = threading.Thread(target=lambda: pytest.raises(OSError, client, "GET", A))
    asking.start()
    fault.wait_held()
    # not SSLSocket's own, which would have the asking thread go on without TLS
    socket.socket.shutdown(client.socket, socket.SHUT_RDWR)
    asking.join()
    client.close()
    assert server.wait_connections(0) == 0 and fault.waiting == 0


def test_silent_connections(server: DevServer) -> None:
    server.silence_new_connections()
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.settimeout(0.05)
        with pytest.raises(TimeoutError):
            raw.recv(1)


def test_log_of_requests(server: DevServer, client: Client) -> None:
    with pytest.raises(TimeoutError, match="0 of 1 awaited requests"):
        server.wait_request(timeout=0.01, verb="list")
    client("GET", f"{SECRETS}?resourceVersion=0", X_Test="yes")
    client("GET", SECRETS)
    first = server.wait_request(verb="list", code=200)
    assert (first.method, first.path, first.query) == ("GET", SECRETS, {"resourceVersion": "0"})
    assert (first.user, first.headers["x-test"], first.resource) == ("admin", "yes", "secrets")
    second = server.wait_request(verb="list", count=2)
    assert second is server.wait_request(after=1)
    assert second.connection == first.connection and second.monotonic > first.monotonic
    assert len(server.requests) == 2
    server.requests.clear()
    assert server.requests.select(verb="list") == []


# ---- watches


def test_ends_of_watches(plain_server: DevServer, stack: ExitStack) -> None:
    server = plain_server
    server.apply_secret("default", "a", {})

    def watching(name: str) -> tuple[Client, Stream]:
        client = stack.enter_context(Client(server))
        stream = client.watch(f"{WATCH}&fieldSelector=metadata.name%3D{name}")
        server.wait_watches(1, name=name)
        return client, stream

    client, stream = watching("clean")
    assert server.close_watches(name="clean") == 1
    assert stream.rest() == [] and client("GET", A).code == 200
    client, stream = watching("cut")
    assert server.truncate_watches(name="cut") == 1
    assert stream.rest() == []
    pytest.raises((OSError, http.client.HTTPException), client, "GET", A)
    client, stream = watching("reset")
    assert server.abort_watches(name="reset") == 1
    pytest.raises(ConnectionResetError, stream.line)
    client, stream = watching("error")
    assert server.send_error(name="error") == 1
    (event,) = stream.rest()
    assert event["object"]["reason"] == "Expired"


def test_injected_bytes_and_events(server: DevServer, client: Client) -> None:
    stream = client.watch(WATCH)
    (watch,) = server.wait_watches()
    server.send_raw(b'{"type":"ADDED","obj\n')
    watch.send_event("STRANGE", {"kind": "Pod", "apiVersion": "v1"})
    server.apply_secret("default", "a", {})
    server.send_bookmark()
    assert stream.line() == b'{"type":"ADDED","obj\n'
    assert stream.event() == {"type": "STRANGE", "object": {"kind": "Pod", "apiVersion": "v1"}}
    assert stream.summary()[:2] == ("ADDED", "a")
    assert stream.summary() == ("BOOKMARK", "", server.revision)


def test_held_events(server: DevServer, client: Client) -> None:
    server.hold_events(name="")
    stream = client.watch(WATCH)
    server.wait_watches()
    for name in ("a", "b", "c"):
        server.apply_secret("default", name, {})
    server.send_raw(b"{}\n")
    assert stream.line() == b"{}\n"
    server.release_events(2)
    assert [stream.summary()[1], stream.summary()[1]] == ["a", "b"]
    server.send_raw(b"{}\n")
    assert stream.line() == b"{}\n"
    server.release_events()
    assert stream.summary()[1] == "c"
    with server.events_held():
        server.apply_secret("default", "d", {})
        server.send_raw(b"{}\n")
        assert stream.line() == b"{}\n"
    assert stream.summary()[1] == "d"


def raw_chunks(response: http.client.HTTPResponse, count: int) -> list[bytes]:
    """The next chunks of an answer as they were framed."""
    chunks = []
    assert response.fp is not None
    for _ in range(count):
        length = int(response.fp.readline(), 16)
        chunks.append(response.fp.read(length))
        response.fp.readline()
    return chunks


def test_shapes_of_chunks(server: DevServer, client: Client) -> None:
    response = client.start("GET", WATCH)
    server.wait_watches()
    server.shape_events(at=[1, 5, -1])
    server.apply_secret("default", "a", {})
    chunks = raw_chunks(response, 4)
    assert [chunks[0], chunks[1], chunks[3]] == [b"{", b'"typ', b"\n"]
    server.shape_events(every=7)
    server.apply_secret("default", "b", {})
    (first,) = raw_chunks(response, 1)
    assert len(first) == 7
    rest = len(b"".join(chunks)) - 7
    raw_chunks(response, (rest + 6) // 7)
    server.shape_events(coalesce=True)
    with server.events_held():
        server.apply_secret("default", "c", {})
        server.apply_secret("default", "d", {})
    (both,) = raw_chunks(response, 1)
    assert both.count(b"\n") == 2
    server.shape_events()
    server.apply_secret("default", "e", {})
    (one,) = raw_chunks(response, 1)
    assert one.endswith(b"}}\n")


# ---- the whole server


def test_stale_reads(server: DevServer, client: Client) -> None:
    server.apply_secret("default", "a", {"k": b"1"})
    old = server.revision
    server.apply_secret("default", "a", {"k": b"2"})
    server.serve_stale(old)
    listed = client("GET", f"{SECRETS}?resourceVersion=0").json
    assert listed["metadata"]["resourceVersion"] == str(old)
    assert listed["items"][0]["data"] == client("GET", A).json["data"] == {"k": "MQ=="}
    assert client("GET", f"{SECRETS}?resourceVersion={server.revision}").code == 504
    server.serve_stale(old, quorum=False)
    assert client("GET", A).json["data"] == {"k": "Mg=="}
    server.serve_stale(None)
    assert client("GET", f"{A}?resourceVersion=0").json["data"] == {"k": "Mg=="}


def test_restart_with_an_older_store(plain_server: DevServer) -> None:
    server, client = plain_server, Client(plain_server)
    server.apply_secret("default", "a", {"k": b"1"})
    old = server.snapshot()
    server.apply_secret("default", "a", {"k": b"2"})
    newest, port = server.revision, server.port
    stream = client.watch(WATCH)
    stream.summary()
    server.restart(old)
    with contextlib.suppress(ConnectionResetError):  # or the stream ends, if the kernel was first
        assert stream.line() == b""
    client.close()
    assert server.port == port and server.revision < newest
    with Client(server) as fresh:
        assert fresh("GET", A).json["data"] == {"k": "MQ=="}
        assert fresh("GET", f"{SECRETS}?resourceVersion={newest}").code == 504
        watching = fresh.watch(f"{WATCH}&resourceVersion={old.revision}")
        server.apply_secret("default", "b", {})
        assert watching.summary()[1] == "b"
    assert old.revision < server.revision


def test_listening_stops_and_starts(server: DevServer, client: Client) -> None:
    assert client("GET", SECRETS).code == 200
    server.stop_listening()
    assert client("GET", SECRETS).code == 200
    with pytest.raises(ConnectionRefusedError):
        Client(server)("GET", SECRETS)
    server.start_listening()
    with Client(server) as fresh:
        assert fresh("GET", SECRETS).code == 200


def test_end_connections(server: DevServer, client: Client) -> None:
    client("GET", SECRETS)
    server.end_connections()
    assert server.connections == 0
    with pytest.raises((OSError, http.client.HTTPException)):
        client("GET", SECRETS)


def test_unchecked_objects(server: DevServer, client: Client) -> None:
    both = {"data": {"k": "text"}, "binaryData": {"k": "AA=="}}
    server.put_unchecked("configmaps", "default", "c", both)
    got = client("GET", "/api/v1/namespaces/default/configmaps/c").json
    assert (got["data"], got["binaryData"]) == (both["data"], both["binaryData"])


def test_a_broken_server_says_so(
    server: DevServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.store, "get", None)
    assert client("GET", A).code == 500


@pytest.mark.parametrize(
    "sent, code",
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"x" * ((1 << 20) + 1), 431),
    ],
    ids=["request line", "length", "chunk", "header", "size"],
)
def test_what_is_not_http(sent: bytes, code: int) -> None:
    with DevServer(tls=False) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(sent)
            assert raw.makefile("rb").readline().startswith(b"HTTP/1.1 %d" % code)


def test_chunked_request_and_continue() -> None:
    with DevServer(tls=False) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            reader = raw.makefile("rb")
            head = f"POST {SECRETS} HTTP/1.1\r\nAuthorization: Bearer {server.admin_token}\r\n"
            head += "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
            raw.sendall(head.encode())
            assert reader.readline() == b"HTTP/1.1 100 Continue\r\n"
            raw.sendall(b'c\r\n{"metadata":\r\ne\r\n{"name": "a"}}\r\n0\r\n\r\n')
            assert reader.readline() == b"\r\n"
            assert reader.readline() == b"HTTP/1.1 201 Created\r\n"
