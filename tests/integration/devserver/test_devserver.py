"""The honest server: objects, validity, list, watch, users, TLS, the command, many at once."""

from __future__ import annotations

import base64
import gzip
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lib.deploy import TOP
from lib.devserver.h2proxy import H2Proxy
from lib.devserver.protobuf import MEDIA_TYPE, field, text
from lib.devserver.server import DevServer
from lib.devserver.testclient import Client
from lib.waiting import PATIENCE_SECONDS

SECRETS = "/api/v1/namespaces/default/secrets"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
A = f"{SECRETS}/a"
ONLY_A = "fieldSelector=metadata.name%3Da"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}, **fields}


def configmap(name: str = "c", **fields: Any) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, **fields}


# ---- objects


def test_create_fills_in_what_the_server_owns(client: Client) -> None:
    answer = client("POST", SECRETS, secret(stringData={"k": "v"}, data={"k": b64("old")}))
    assert answer.code == 201
    made = answer.json
    assert (made["kind"], made["apiVersion"], made["type"]) == ("Secret", "v1", "Opaque")
    assert made["data"] == {"k": b64("v")} and "stringData" not in made
    assert made["metadata"]["uid"] and made["metadata"]["creationTimestamp"].endswith("Z")
    assert int(made["metadata"]["resourceVersion"]) > 0
    assert client("GET", A).json == made


def test_generate_name(client: Client) -> None:
    body = {"metadata": {"generateName": "gen-"}}
    name = client("POST", SECRETS, body).json["metadata"]["name"]
    assert name.startswith("gen-") and len(name) == len("gen-") + 5


@pytest.mark.parametrize(
    "code, reason, method, path, body, message",
    [
        (404, "NotFound", "GET", A, None, 'secrets "a" not found'),
        (404, "NotFound", "DELETE", A, None, 'secrets "a" not found'),
        (404, "NotFound", "PUT", A, secret(), 'secrets "a" not found'),
        (404, "NotFound", "POST", SECRETS.replace("default", "x"), secret(), 'namespaces "x" not'),
        (409, "AlreadyExists", "POST", SECRETS, secret("b"), 'secrets "b" already exists'),
        (405, "MethodNotAllowed", "PUT", SECRETS, secret(), "does not allow this method"),
        (400, "BadRequest", "POST", SECRETS, b"{", "json parse error"),
        (400, "BadRequest", "POST", SECRETS, configmap(), "cannot be handled as a Secret"),
        (400, "BadRequest", "PUT", f"{SECRETS}/b", secret("x"), "does not match the name on the"),
        (400, "BadRequest", "GET", f"{SECRETS}?fieldSelector=x%3Dy", None, "field label not supp"),
        (403, "Forbidden", "DELETE", "/api/v1/namespaces/default", None, "may not be deleted"),
    ],
)
def test_invalid_requests_are_refused_with_a_status(
    server: DevServer, client: Client, code: int, reason: str, method: str, path: str, body: Any,
    message: str,
) -> None:  # fmt: skip
    server.apply_secret("default", "b", {})
    answer = client(method, path, body)
    assert (answer.code, answer.json["code"], answer.json["reason"]) == (code, code, reason)
    assert answer.json["kind"] == "Status" and message in answer.json["message"]


@pytest.mark.parametrize(
    "value", ["YQ", "YQ=", "YQ===", "Y Q=", "-_==", "YQ==YQ==", "YWJ=jZA==", 1, ["YQ=="]]
)
def test_bad_base64_is_refused(client: Client, value: Any) -> None:
    answer = client("POST", SECRETS, secret(data={"k": value}))
    assert answer.code == 400 and "cannot be handled as a Secret" in answer.json["message"]


@pytest.mark.parametrize("value, kept", [("Y\nQ=\r\n=", "YQ=="), ("", ""), (None, "")])
def test_base64_that_go_accepts(client: Client, value: str | None, kept: str) -> None:
    assert client("POST", SECRETS, secret(data={"k": value})).json["data"] == {"k": kept}


@pytest.mark.parametrize("key", [".hidden", "-x", "9", "a..b", "k" * 253])
def test_valid_keys(client: Client, key: str) -> None:
    assert client("POST", SECRETS, secret(stringData={key: "v"})).code == 201
    assert client("POST", CONFIGMAPS, configmap(data={key: "v"})).code == 201


@pytest.mark.parametrize("key", ["", ".", "..", "..x", "a b", "a/b", "ä", "k" * 254, "a\n"])
def test_invalid_keys(client: Client, key: str) -> None:
    for answer in (
        client("POST", SECRETS, secret(stringData={key: "v"})),
        client("POST", CONFIGMAPS, configmap(data={key: "v"})),
        client("POST", CONFIGMAPS, configmap(binaryData={key: ""})),
    ):
        assert (answer.code, answer.json["reason"]) == (422, "Invalid")
        assert answer.json["details"]["causes"][0]["field"].endswith(f"ata[{key}]")


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a..b", "a" * 254])
def test_invalid_names(client: Client, name: str) -> None:
    assert client("POST", SECRETS, secret(name)).code == 422


def test_size_limit_is_exact(client: Client) -> None:
    half = b64("x" * (1 << 19))
    assert client("POST", SECRETS, secret(data={"a": half, "b": half})).code == 201
    answer = client("POST", SECRETS, secret("b", data={"a": half, "b": half, "c": b64("x")}))
    assert answer.code == 422
    assert answer.json["message"].endswith("data: Too long: must have at most 1048576 bytes")
    split = configmap(data={"a": "x" * (1 << 20)}, binaryData={"b": b64("x")})
    assert client("POST", CONFIGMAPS, split).code == 422
    answer = client("POST", CONFIGMAPS, b"x" * ((3 << 20) + 1))
    assert (answer.code, answer.json["reason"]) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize(
    "secret_type, data, code",
    [
        ("dockercfg", {}, 422),
        ("dockercfg", {".dockercfg": "[]"}, 422),
        ("dockercfg", {".dockercfg": "{}"}, 201),
        ("dockerconfigjson", {".dockerconfigjson": "no"}, 422),
        ("dockerconfigjson", {".dockerconfigjson": "{}"}, 201),
        ("basic-auth", {}, 422),
        ("basic-auth", {"username": ""}, 201),
        ("ssh-auth", {"ssh-privatekey": ""}, 422),
        ("ssh-auth", {"ssh-privatekey": "dummy"}, 201),
        ("tls", {"tls.crt": ""}, 422),
        ("tls", {"tls.crt": "", "tls.key": ""}, 201),
        ("service-account-token", {}, 422),
        ("something-else", {}, 201),
    ],
)
def test_secret_types(client: Client, secret_type: str, data: dict[str, str], code: int) -> None:
    body = secret(type=f"kubernetes.io/{secret_type}", stringData=data)
    assert client("POST", SECRETS, body).code == code


def test_a_key_is_in_one_map_of_a_configmap(client: Client) -> None:
    answer = client("POST", CONFIGMAPS, configmap(data={"k": "v"}, binaryData={"k": ""}))
    assert answer.code == 422 and "duplicate of key present" in answer.json["message"]


def test_type_and_immutability(client: Client) -> None:
    client("POST", SECRETS, secret(stringData={"k": "v"}))
    answer = client.patch(A, {"type": "other"})
    assert answer.code == 422 and "type: Invalid value" in answer.json["message"]
    assert client.patch(A, {"immutable": True}).code == 200
    for change in ({"data": {"k": None}}, {"immutable": False}, {"immutable": None}):
        answer = client.patch(A, change)
        assert answer.code == 422 and "is immutable when `immutable`" in answer.json["message"]
    assert client.patch(A, {"metadata": {"labels": {"x": "y"}}}).code == 200


def test_update_conflicts(client: Client) -> None:
    old = client("POST", SECRETS, secret(stringData={"k": "1"})).json
    new = client("PUT", A, secret(stringData={"k": "2"})).json
    assert new["metadata"]["uid"] == old["metadata"]["uid"]
    answer = client("PUT", A, old)
    assert (answer.code, answer.json["reason"]) == (409, "Conflict")
    stale = {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}}
    assert client.patch(A, stale).code == 409
    assert client("DELETE", A, {"preconditions": {"uid": "other"}}).code == 409


def test_a_write_that_changes_nothing_is_none(server: DevServer, client: Client) -> None:
    made = client("POST", SECRETS, secret(stringData={"k": "v"})).json
    revision = server.revision
    assert client("PUT", A, made).json == made
    assert client.patch(A, {"stringData": {"k": "v"}}).json == made
    assert server.revision == revision


def test_patches_of_each_kind_are_applied(client: Client) -> None:
    client("POST", CONFIGMAPS, configmap("a", data={"x": "1", "y": "2"}))
    path = f"{CONFIGMAPS}/a"
    assert client.patch(path, {"data": {"x": None, "z": "3"}}).json["data"] == {"y": "2", "z": "3"}
    operations = [
        {"op": "test", "path": "/data/y", "value": "2"},
        {"op": "move", "from": "/data/y", "path": "/data/w"},
        {"op": "copy", "from": "/data/z", "path": "/data/c"},
        {"op": "replace", "path": "/data/z", "value": "4"},
        {"op": "add", "path": "/metadata/labels", "value": {"a/b": "c"}},
        {"op": "remove", "path": "/metadata/labels/a~1b"},
    ]
    patched = client.patch(path, operations, "json-patch").json
    assert patched["data"] == {"c": "3", "w": "2", "z": "4"} and "labels" not in patched["metadata"]
    strategic = {"data": {"$patch": "replace", "only": "1"}, "metadata": {"finalizers": ["a/b"]}}
    patched = client.patch(path, strategic, "strategic-merge-patch").json
    assert patched["data"] == {"only": "1"} and patched["metadata"]["finalizers"] == ["a/b"]
    more = {"metadata": {"finalizers": ["c/d"], "$deleteFromPrimitiveList/finalizers": ["a/b"]}}
    patched = client.patch(path, more, "strategic-merge-patch").json
    assert patched["metadata"]["finalizers"] == ["c/d"]


def test_bad_patches(client: Client) -> None:
    client("POST", SECRETS, secret())
    missing = [{"op": "remove", "path": "/data/no"}]
    assert client.patch(A, missing, "json-patch").code == 422
    failing = [{"op": "test", "path": "/type", "value": "other"}]
    assert client.patch(A, failing, "json-patch").code == 422
    assert client.patch(A, {}, "json-patch").code == 400
    assert client.patch(A, {}, "apply-patch").code == 415


def test_finalizers_delay_deletion(client: Client) -> None:
    client("POST", SECRETS, {"metadata": {"name": "a", "finalizers": ["example.com/x"]}})
    assert client("DELETE", A).json["metadata"]["deletionTimestamp"]
    assert client("GET", A).code == 200
    client.patch(A, {"metadata": {"finalizers": None}})
    assert client("GET", A).code == 404


def test_dry_run_and_field_validation(client: Client) -> None:
    assert client("POST", f"{SECRETS}?dryRun=All", secret()).code == 201
    assert client("GET", A).code == 404
    wrong = secret(datum={})
    answer = client("POST", f"{SECRETS}?fieldValidation=Strict", wrong)
    assert answer.code == 400 and 'unknown field "datum"' in answer.json["message"]
    answer = client("POST", SECRETS, wrong)
    assert answer.code == 201 and "unknown field" in answer.headers["Warning"]
    assert "datum" not in answer.json
    client("DELETE", f"{A}?dryRun=All")
    assert client("GET", A).code == 200


def test_delete_collection_and_namespace(server: DevServer, client: Client) -> None:
    for name in ("a", "b"):
        server.apply_secret("team", name, {}, labels={"n": name})
    path = "/api/v1/namespaces/team/secrets"
    assert len(client("DELETE", f"{path}?labelSelector=n%3Da").json["items"]) == 1
    assert [item["metadata"]["name"] for item in client("GET", path).json["items"]] == ["b"]
    assert client("DELETE", "/api/v1/namespaces/team").code == 200
    assert client("GET", path).json["items"] == []


def test_go_json_escapes(client: Client) -> None:
    client("POST", CONFIGMAPS, configmap(data={"k": "<&>\u2028é"}))
    body = client("GET", f"{CONFIGMAPS}/c").body
    assert b"\\u003c\\u0026\\u003e\\u2028\xc3\xa9" in body


def test_protobuf_body(client: Client) -> None:
    metadata = text(1, "a") + field(11, text(1, "l") + text(2, "v")) + field(8, b"")
    entry = text(1, "k") + field(2, b"\x00\xff")
    message = field(1, metadata) + field(2, entry) + text(3, "Opaque")
    envelope = b"k8s\x00" + field(1, text(1, "v1") + text(2, "Secret")) + field(2, message)
    made = client("POST", SECRETS, envelope, Content_Type=MEDIA_TYPE).json
    assert made["data"] == {"k": "AP8="} and made["metadata"]["labels"] == {"l": "v"}
    for broken in (b"k8s\x00\xff", b"k8s", envelope[:-3]):
        assert client("POST", SECRETS, broken, Content_Type=MEDIA_TYPE).code == 400


# ---- list


def test_a_missing_object_is_an_empty_list(server: DevServer, client: Client) -> None:
    answer = client("GET", f"{SECRETS}?{ONLY_A}&limit=500&resourceVersion=0")
    assert answer.code == 200
    assert answer.json["kind"] == "SecretList" and answer.json["items"] == []
    assert answer.json["metadata"]["resourceVersion"] == str(server.revision)


def test_selectors(server: DevServer, client: Client) -> None:
    server.apply_secret("default", "a", {}, labels={"x": "1"})
    server.apply_secret("default", "b", {}, labels={"x": "2", "y": ""})
    server.apply_secret("team", "a", {}, type="special")

    def names(query: str, path: str = "/api/v1/secrets") -> list[str]:
        items = client("GET", f"{path}?{query}").json["items"]
        return ["/".join((i["metadata"]["namespace"], i["metadata"]["name"])) for i in items]

    assert names("") == ["default/a", "default/b", "team/a"]
    assert names("fieldSelector=metadata.name%3D%3Da") == ["default/a", "team/a"]
    assert names("fieldSelector=metadata.name%3Da,metadata.namespace%3Dteam") == ["team/a"]
    assert names("fieldSelector=metadata.name!%3Da") == ["default/b"]
    assert names("fieldSelector=type%3Dspecial") == ["team/a"]
    assert names("labelSelector=x%3D1") == ["default/a"]
    assert names("labelSelector=x+in+(1,2),!y") == ["default/a"]
    assert names("labelSelector=y", SECRETS) == ["default/b"]


def test_list_items_carry_no_kind(server: DevServer, client: Client) -> None:
    server.apply_secret("default", "a", {"k": b"v"})
    (item,) = client("GET", SECRETS).json["items"]
    assert "kind" not in item and "apiVersion" not in item


def test_resource_version_of_lists(server: DevServer, client: Client) -> None:
    server.apply_secret("default", "a", {"k": b"1"})
    first = server.revision
    server.apply_secret("default", "a", {"k": b"2"})

    def value(query: str) -> str:
        return client("GET", f"{SECRETS}?{query}").json["items"][0]["data"]["k"]

    assert value("resourceVersion=0") == value(f"resourceVersion={first}") == b64("2")
    exact = f"resourceVersion={first}&resourceVersionMatch=Exact"
    assert value(exact) == b64("1")
    server.compact()
    answer = client("GET", f"{SECRETS}?{exact}")
    assert (answer.code, answer.json["reason"]) == (410, "Expired")
    assert value(f"resourceVersion={first}") == b64("2")
    assert client("GET", f"{SECRETS}?resourceVersion=x").code == 400
    assert client("GET", f"{SECRETS}?resourceVersionMatch=Exact").code == 422


def test_a_future_revision_is_too_large(server: DevServer, client: Client) -> None:
    for path in (SECRETS, A):
        answer = client("GET", f"{path}?resourceVersion={server.revision + 100}")
        assert (answer.code, answer.json["reason"]) == (504, "Timeout")
        assert answer.json["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
        assert "Too large resource version" in answer.json["message"]


def test_a_revision_that_comes_is_waited_for(server: DevServer, client: Client) -> None:
    server.settings.fresh_wait = 10.0
    wanted = server.revision + 1
    answers: list[int] = []
    asking = threading.Thread(
        target=lambda: answers.append(client("GET", f"{SECRETS}?resourceVersion={wanted}").code)
    )
    asking.start()
    server.wait_request(verb="list")
    server.apply_secret("default", "a", {})
    asking.join()
    assert answers == [200]


def test_large_lists_are_compressed_for_who_accepts_it(server: DevServer, client: Client) -> None:
    server.apply_secret("default", "a", {"k": b"x" * (1 << 20)})
    answer = client("GET", SECRETS, Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(answer.body))["items"]) == 1
    assert client("GET", SECRETS).headers["Content-Encoding"] is None


def test_table_form(server: DevServer, client: Client) -> None:
    server.apply_secret("default", "a", {"k": b"v"})
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    answer = client("GET", SECRETS, Accept=accept).json
    assert [column["name"] for column in answer["columnDefinitions"]] == [
        "Name", "Type", "Data", "Age",
    ]  # fmt: skip
    assert answer["rows"][0]["cells"][:3] == ["a", "Opaque", "1"]
    stream = client.watch(f"{SECRETS}?watch=1")
    assert stream.event()["object"]["kind"] == "Secret"


def test_protobuf_only_clients_get_an_error(client: Client) -> None:
    assert client("GET", SECRETS, Accept="application/vnd.kubernetes.protobuf").code == 406


# ---- watch


def test_watch_replays_and_follows(server: DevServer, client: Client) -> None:
    server.apply_secret("default", "a", {"k": b"0"})
    cursor = server.revision
    server.apply_secret("default", "a", {"k": b"1"})
    server.apply_secret("default", "b", {"k": b"1"})
    server.delete_secret("default", "a")
    stream = client.watch(f"{SECRETS}?watch=true&{ONLY_A}&resourceVersion={cursor}")
    assert stream.summary() == ("MODIFIED", "a", cursor + 1)
    gone = stream.event()
    assert gone["type"] == "DELETED" and gone["object"]["data"] == {"k": b64("1")}
    assert gone["object"]["metadata"]["resourceVersion"] == str(cursor + 3)
    server.apply_secret("default", "a", {"k": b"2"})
    assert stream.summary() == ("ADDED", "a", cursor + 4)


@pytest.mark.parametrize("query", ["", "&resourceVersion=", "&resourceVersion=0"])
def test_watch_without_a_cursor_begins_with_what_is(
    server: DevServer, client: Client, query: str
) -> None:
    server.apply_secret("default", "b", {})
    server.apply_secret("default", "a", {})
    stream = client.watch(f"{SECRETS}?watch=true{query}")
    added = [stream.summary(), stream.summary()]
    assert [(kind, name) for kind, name, _ in added] == [("ADDED", "a"), ("ADDED", "b")]
    server.patch_secret("default", "a", {"stringData": {"k": "v"}})
    assert stream.summary()[0] == "MODIFIED"


def test_watch_by_label_sees_objects_come_and_go(server: DevServer, client: Client) -> None:
    server.apply_secret("default", "a", {})
    stream = client.watch(
        f"{SECRETS}?watch=true&labelSelector=x%3D1&resourceVersion={server.revision}"
    )
    server.apply_secret("default", "a", {}, labels={"x": "1"})
    server.apply_secret("default", "a", {}, labels={"x": "2"})
    added, deleted = stream.event(), stream.event()
    assert (added["type"], deleted["type"]) == ("ADDED", "DELETED")
    assert deleted["object"]["metadata"]["labels"] == {"x": "1"}
    assert deleted["object"]["metadata"]["resourceVersion"] == str(server.revision)


def test_watch_from_before_the_compaction(server: DevServer, client: Client) -> None:
    cursor = server.revision
    server.apply_secret("default", "a", {})
    server.compact()
    stream = client.watch(f"{SECRETS}?watch=true&resourceVersion={cursor}")
    assert stream.code == 200
    (event,) = stream.rest()
    assert event["type"] == "ERROR" and event["object"]["kind"] == "Status"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    stream = client.watch(f"{SECRETS}?watch=true&resourceVersion={server.revision}")
    server.apply_secret("default", "b", {})
    assert stream.summary()[:2] == ("ADDED", "b")


def test_watch_from_the_future_is_silent_until_then(server: DevServer, client: Client) -> None:
    stream = client.watch(f"{SECRETS}?watch=true&resourceVersion={server.revision + 2}")
    for name in ("a", "b", "c"):
        server.apply_secret("default", name, {})
    assert stream.summary()[:2] == ("ADDED", "c")


def test_watch_times_out_cleanly(client: Client) -> None:
    begin = time.monotonic()
    assert client.watch(f"{SECRETS}?watch=true&timeoutSeconds=1").rest() == []
    assert time.monotonic() - begin > 0.9
    assert client("GET", SECRETS).code == 200  # on the same connection


def test_bookmarks(client: Client, server: DevServer) -> None:
    server.settings.bookmark_interval = 0.05
    stream = client.watch(f"{SECRETS}?watch=true&allowWatchBookmarks=true&resourceVersion=1")
    event = stream.event()
    assert event["type"] == "BOOKMARK"
    assert event["object"] == {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": str(server.revision), "creationTimestamp": None},
    }


@pytest.mark.parametrize("known, code", [(True, 422), (False, 200)])
def test_watch_list_off(server: DevServer, client: Client, known: bool, code: int) -> None:
    server.settings.watch_list_known = known
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1"
    assert client("GET", f"{SECRETS}?watch=true&{query}").code == code


def test_watch_list_on(server: DevServer, client: Client) -> None:
    server.settings.watch_list = True
    server.apply_secret("default", "a", {})
    query = (
        "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        "&allowWatchBookmarks=true"
    )
    stream = client.watch(f"{SECRETS}?{query}")
    assert stream.summary()[:2] == ("ADDED", "a")
    bookmark = stream.event()
    annotations = bookmark["object"]["metadata"]["annotations"]
    assert annotations == {"k8s.io/initial-events-end": "true"}
    server.apply_secret("default", "b", {})
    assert stream.summary()[:2] == ("ADDED", "b")
    with Client(server) as other:
        (error,) = other.watch(f"{SECRETS}?{query}&resourceVersion=99999").rest()
    assert error["object"]["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_a_watch_ends_with_its_client(server: DevServer, client: Client) -> None:
    stream = client.watch(f"{SECRETS}?watch=true")
    (watch,) = server.wait_watches(1, name="")
    assert watch.namespace == "default" and stream.code == 200
    client.socket.close()
    stream._response.close()
    server.wait_watches(0)


def test_history_stays_bounded(server: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.devserver.store.HISTORY_MAX_BYTES", 10_000)
    for number in range(100):
        server.apply_secret("default", "a", {"k": b"%d" % number * 1000})
    assert 0 < server.store.compacted < server.revision


# ---- who may


def test_unknown_users(server: DevServer) -> None:
    token = server.add_token("u")
    for wrong in ("", "unknown", f"{token}x"):
        with Client(server, token=wrong) as client:
            answer = client("GET", SECRETS)
            assert (answer.code, answer.json["message"]) == (401, "Unauthorized")
            assert client("GET", "/readyz").body == b"ok"


def test_grants_hold_from_the_next_request_on(server: DevServer) -> None:
    with Client(server, server.add_token("u")) as client:
        answer = client("GET", A)
        assert answer.code == 403
        assert answer.json["message"] == (
            'secrets "a" is forbidden: User "u" cannot get resource "secrets" in API group ""'
            ' in the namespace "default"'
        )
        grant = server.grant("u", ["get"], namespace="default")
        assert client("GET", A).code == 404
        assert client("GET", A.replace("default", "team")).code == 403
        server.revoke("u", grant)
        assert client("GET", A).code == 403
        assert "at the cluster scope" in client("GET", "/api/v1/secrets").json["message"]


def test_named_grants_match_selected_lists_only(server: DevServer) -> None:
    server.grant("devs", ["get", "list", "watch"], ["secrets"], namespace="default", names=["a"])
    with Client(server, server.add_token("u", ["devs"])) as client:
        assert client("GET", f"{SECRETS}?{ONLY_A}").code == 200
        assert client("GET", SECRETS).code == 403
        assert client("GET", f"{SECRETS}?fieldSelector=metadata.name%3Db").code == 403
        stream = client.watch(f"{SECRETS}?watch=1&{ONLY_A}")
        server.revoke("devs")
        server.apply_secret("default", "a", {})
        assert stream.summary()[0] == "ADDED"
        server.revoke("u", end_watches=True)
        assert stream.rest() == []


def test_tokens_rotate(server: DevServer, client: Client) -> None:
    old = server.admin_token
    server.rotate_token(old)
    assert client("GET", SECRETS).code == 401
    with Client(server) as fresh:
        assert fresh("GET", SECRETS).code == 200
        server.revoke_token(server.admin_token)
        assert fresh("GET", SECRETS).code == 401


def test_client_certificates(server: DevServer) -> None:
    server.grant("team/a", ["list"])
    with Client(server, certificate=server.client_cert("u", ["g", "team/a"])) as client:
        assert client("GET", SECRETS).code == 200
        assert client("GET", A).code == 403
    assert server.requests[-1].user == "u"


def test_server_certificate_rotates(server: DevServer, client: Client) -> None:
    client("GET", SECRETS)
    before = client.socket.getpeercert(binary_form=True)  # type: ignore[attr-defined]
    server.rotate_server_certificate()
    with Client(server) as fresh:
        fresh("GET", SECRETS)
        assert fresh.socket.getpeercert(binary_form=True) != before  # type: ignore[attr-defined]
    old_ca = ssl.create_default_context(cafile=server.ca_file)
    server.rotate_server_certificate(new_authority=True)
    with pytest.raises(ssl.SSLCertVerificationError):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            old_ca.wrap_socket(raw, server_hostname="localhost")
    with Client(server) as fresh:
        assert fresh("GET", SECRETS).code == 200


# ---- many at once


def test_each_patch_has_its_event(server: DevServer, client: Client) -> None:
    server.apply_secret("default", "a", {})
    with Client(server) as watcher:
        stream = watcher.watch(f"{SECRETS}?watch=1&{ONLY_A}&resourceVersion={server.revision}")
        for number in range(200):
            assert client.patch(A, {"stringData": {"k": str(number)}}).code == 200
            assert stream.summary() == ("MODIFIED", "a", server.revision)


def test_three_hundred_watches(server: DevServer) -> None:
    clients = [Client(server) for _ in range(300)]
    try:
        streams = [client.watch(f"{SECRETS}?watch=1") for client in clients]
        server.wait_watches(300)
        server.apply_secret("default", "a", {"k": b"x" * 1000})
        assert {stream.summary() for stream in streams} == {("ADDED", "a", server.revision)}
    finally:
        for client in clients:
            client.close()


# ---- the ways to run it


@pytest.mark.skipif(not H2Proxy.available(), reason="nghttpx is not installed")
def test_behind_an_http2_proxy() -> None:
    with DevServer(tls=False) as server, H2Proxy(server) as proxy:
        server.apply_secret("default", "a", {"k": b"v"})
        command = ["curl", "-sSN", "--http2", "--cacert", proxy.ca_file, "-w", "%{http_version}"]
        command += ["-H", f"Authorization: Bearer {server.admin_token}"]
        done = subprocess.run(
            [*command, f"{proxy.url}{A}"], capture_output=True, text=True, check=True
        )
        body, version = done.stdout.rsplit("\n", 1)
        assert version == "2" and json.loads(body)["data"] == {"k": b64("v")}
        watching = subprocess.Popen(
            [*command, f"{proxy.url}{SECRETS}?watch=1"], stdout=subprocess.PIPE
        )
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["type"] == "ADDED"
        server.delete_secret("default", "a")
        assert json.loads(watching.stdout.readline())["type"] == "DELETED"
        watching.terminate()
        watching.communicate()
        server.wait_watches(0)


def test_command_serves_until_sigterm(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "lib.devserver", "--dir", str(tmp_path)],
        cwd=TOP / "tests",
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    line = running.stdout.readline()
    assert line.startswith("devserver ready at https://127.0.0.1:")
    kubeconfig = (tmp_path / "admin.kubeconfig").read_text()
    assert "certificate-authority-data: " in kubeconfig and "token: " in kubeconfig
    assert (tmp_path / "ca.crt").read_text().startswith("-----BEGIN CERTIFICATE-----")
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 0


def test_kubeconfig_shapes(server: DevServer) -> None:
    assert "certificate-authority: " in Path(server.kubeconfig(embed=False)).read_text()
    assert "client-certificate-data: " in Path(server.kubeconfig("u", auth="cert")).read_text()
    assert "tokenFile: " in Path(server.kubeconfig("u", auth="token-file")).read_text()
    command = ["/bin/echo", "token"]
    text = Path(server.kubeconfig("u", auth="exec", exec_command=command)).read_text()
    assert 'command: "/bin/echo"' in text
    assert "user: {}" in Path(server.kubeconfig("u", auth="none")).read_text()
    assert Path(server.kubeconfig()).stat().st_mode & 0o777 == 0o600
