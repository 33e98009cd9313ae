"""Failures of the API server: each has its outcome, and the content stays readable.

Unless a test says otherwise, the log tells once when it begins and once when it is over, and
`secretfs status` shows the source failing in between (G15).
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest
import yaml

from lib.inotify import Watcher, ends_update
from lib.sources import Api
from lib.volume import Volume
from lib.waiting import until

BEGINS = " WARN source failed, retrying"
ENDS = " INFO source recovered"


def live(volume: Volume) -> bool:
    return volume.status()["source"]["state"] == "live"


def failing(volume: Volume) -> str | None:
    """What is wrong, if something is."""
    source = volume.status()["source"]
    return source["error"] if source["state"] == "failing" else None


def settled(api: Api, volume: Volume) -> Volume:
    """With a watch that has carried an event: ending it at once would be a failure in itself (J6)."""
    until(lambda: live(volume), "the watch")
    check_updates(api, volume, b"0")
    return volume


@pytest.fixture
def volume(each_api: Api, mount) -> Volume:
    each_api.put_secret({"n": b"before"})
    return settled(each_api, mount(each_api))


@contextmanager
def failure(volume: Volume, message: str) -> Iterator[None]:
    """Runs its block between the begin and the end of a failure that is logged once."""
    until(lambda: failing(volume), "the failure")
    assert re.search(message, failing(volume) or "")
    assert volume.read("n") is not None
    yield
    until(lambda: live(volume), "the end of the failure")
    assert len(volume.log_lines(BEGINS)) == 1
    assert len(volume.log_lines(ENDS)) == 1


def check_updates(api: Api, volume: Volume, value: bytes = b"after") -> None:
    api.put_secret({"n": value})
    volume.wait_content({"n": value})


def test_server_goes_and_comes_back(http1: Api, mount):
    """J9, J10: what changed meanwhile is shown when it is back."""
    http1.put_secret({"n": b"before"})
    volume = settled(http1, mount(http1))
    http1.server.stop_listening()
    http1.server.end_connections()
    with failure(volume, "."):
        assert volume.read("n") == b"0"
        shown = volume.status()["volume"]
        assert shown["state"] == "disconnected"
        assert shown["error"] != "" and shown["lastConfirmed"] == volume.status()["source"]["since"]
        http1.put_secret({"n": b"1"})
        http1.server.start_listening()
    volume.wait_content({"n": b"1"})
    until(lambda: volume.status()["volume"]["state"] == "current", "the state")
    assert "lastConfirmed" not in volume.status()["volume"]


def test_proxy_goes_and_comes_back(area: Path, mount):
    """The same over HTTP/2, where one connection carries everything."""
    api = Api(area / "api", http2=True)
    try:
        assert api.proxy is not None
        api.put_secret({"n": b"before"})
        volume = settled(api, mount(api))
        port = api.proxy.port
        api.proxy.stop()
        with failure(volume, "."):
            api.put_secret({"n": b"1"})
            while not _restart_on(api, port):
                pass
        volume.wait_content({"n": b"1"})
    finally:
        api.close()


def _restart_on(api: Api, port: int) -> bool:
    assert api.proxy is not None
    api.proxy.port = port
    return api.proxy._listens()


def test_server_restarts_and_watch_resumes(each_api: Api, volume: Volume):
    """J10: the cursor is still good after a restart; nothing is lost."""
    each_api.server.restart()
    check_updates(each_api, volume)
    until(lambda: live(volume), "the end of the failure")
    assert len(volume.log_lines(BEGINS)) == len(volume.log_lines(ENDS)) <= 1


def test_watch_closed_resumes_without_a_list(each_api: Api, volume: Volume):
    """J6: a watch that ends well goes on at the cursor: no list, no failure."""
    check_updates(each_api, volume, b"1")
    lists = len(each_api.server.requests.select(verb="list"))
    for i in range(3):
        watches = len(each_api.server.requests.select(verb="watch"))
        each_api.server.close_watches()
        each_api.server.wait_request(verb="watch", count=watches + 1)
        check_updates(each_api, volume, b"closed %d" % i)
    assert len(each_api.server.requests.select(verb="list")) == lists
    assert volume.log_lines(BEGINS) == []


@pytest.mark.parametrize("how", ["truncate_watches", "abort_watches"])
def test_watch_that_breaks_off(each_api: Api, volume: Volume, how: str):
    """J12: a connection that ends amid the stream loses nothing."""
    check_updates(each_api, volume, b"1")
    getattr(each_api.server, how)()
    check_updates(each_api, volume, b"2")
    until(lambda: live(volume), "the watch")


def test_history_compacted_while_away(each_api: Api, volume: Volume):
    """J7: the watch is answered with 410 Expired; a list brings the newest."""
    held = each_api.server.hold(verb="watch")
    each_api.server.close_watches()
    held.wait_held(60)
    each_api.put_secret({"n": b"1"})
    each_api.put_secret({"n": b"2"}, name="other")
    each_api.server.compact()
    held.release()
    volume.wait_content({"n": b"1"})
    until(lambda: live(volume), "the watch")
    check_updates(each_api, volume, b"2")


def test_error_event(each_api: Api, volume: Volume):
    """J7: an ERROR event ends the watch; a list follows after the back-off."""
    lists = len(each_api.server.requests.select(verb="list"))
    each_api.server.send_error(500, "InternalError", "etcd is having a bad day")
    with failure(volume, "500: etcd is having a bad day"):
        pass
    assert len(each_api.server.requests.select(verb="list")) == lists + 1
    check_updates(each_api, volume)


def test_forbidden_and_allowed_again(area: Path, each_api: Api, start_mount):
    """G15: 403 after the first sync leaves everything as it was, and says what to allow."""
    each_api.put_secret({"n": b"before"})
    each_api.server.grant("reader", ["get", "list", "watch"], names=["app"])
    kubeconfig = each_api.kubeconfig("reader")
    volume = settled(each_api, start_mount("--kubeconfig", kubeconfig, "secret/app").wait_ready())
    each_api.server.revoke("reader", end_watches=True)
    with failure(volume, r"403 \(Forbidden\).*allow this identity"):
        each_api.put_secret({"n": b"1"})
        assert volume.read("n") == b"0"
        each_api.server.grant("reader", ["get", "list", "watch"], names=["app"])
    volume.wait_content({"n": b"1"})


RIGHTS = ["get", "list", "watch"]


def test_files_go_and_come_with_the_right(each_api: Api, start_mount, watcher: Watcher):
    """onRevoked: remove: in one step, as with an optional object that was deleted (G9)."""
    each_api.put_secret({"n": b"before", "m": b"too"})
    each_api.server.grant("reader", RIGHTS, names=["app"])
    arguments = (
        "--kubeconfig",
        each_api.kubeconfig("reader"),
        "--on-revoked",
        "remove",
        "secret/app",
    )
    volume = settled(each_api, start_mount(*arguments).wait_ready())
    watcher.add("root", volume.path)
    each_api.server.revoke("reader", end_watches=True)
    events = watcher.wait(ends_update)
    assert volume.content() == {}
    assert [event.name for event in events if "MOVED_TO" in event.kind] == ["..data"]
    assert re.search(r"403 \(Forbidden\)", failing(volume) or "")
    each_api.server.grant("reader", RIGHTS, names=["app"])
    volume.wait_content({"n": b"0"})
    until(lambda: live(volume), "the end of the failure")
    check_updates(each_api, volume)


def test_files_stay_while_the_server_is_away(each_api: Api, start_mount):
    """onRevoked: remove: what cannot be asked was not refused."""
    each_api.put_secret({"n": b"before"})
    volume = settled(
        each_api,
        start_mount(*each_api.arguments, "--on-revoked", "remove", "secret/app").wait_ready(),
    )
    fault = each_api.server.fail(503)
    each_api.server.close_watches()
    with failure(volume, "503"):
        assert volume.read("n") == b"0"
        fault.clear()


def test_files_stay_while_the_server_starts(each_api: Api, start_mount, watcher: Watcher):
    """onRevoked: remove: its authorizers refuse at first what they allow a moment later."""
    each_api.put_secret({"n": b"before"})
    volume = settled(
        each_api,
        start_mount(*each_api.arguments, "--on-revoked", "remove", "secret/app").wait_ready(),
    )
    watcher.add("root", volume.path)
    each_api.server.fail(403)
    each_api.server.close_watches()
    until(lambda: volume.log_lines(ENDS), "the end of the failure")
    assert "403 (Forbidden)" in volume.log_lines(BEGINS)[0]
    assert [event for event in watcher.read() if event.name == "..data"] == []
    check_updates(each_api, volume)


@pytest.mark.parametrize("what, least, most", [("keep", 300, 600), ("remove", 30, 60)])
def test_how_long_a_watch_lasts(each_api: Api, mount, what: str, least: int, most: int):
    """A watch does not end when rights are withdrawn; when the next one comes, that shows."""
    each_api.put_secret({"n": b"before"})
    volume = mount(each_api, "--on-revoked", what)
    until(lambda: live(volume), "the watch")
    (watch,) = each_api.server.requests.select(verb="watch")
    assert least <= int(watch.query["timeoutSeconds"]) <= most


def test_new_token_in_the_token_file(each_api: Api, start_mount):
    """401 after the token was replaced: the file is read again, and that is all."""
    each_api.put_secret({"n": b"before"})
    each_api.server.grant("reader", ["get", "list", "watch"])
    kubeconfig = Path(each_api.kubeconfig("reader", auth="token-file"))
    volume = settled(
        each_api, start_mount("--kubeconfig", str(kubeconfig), "secret/app").wait_ready()
    )
    token_file = kubeconfig.with_suffix(".token")
    old = token_file.read_text()
    new = each_api.server.rotate_token(old)
    token_file.write_text(new)
    each_api.server.close_watches(user="reader")
    check_updates(each_api, volume)
    until(lambda: live(volume), "the watch")
    assert old not in volume.log() and new not in volume.log()


def test_token_revoked_and_replaced_later(each_api: Api, start_mount):
    """401 until the file has a good token: the failure is reported, then its end."""
    each_api.put_secret({"n": b"before"})
    each_api.server.grant("reader", ["get", "list", "watch"])
    kubeconfig = Path(each_api.kubeconfig("reader", auth="token-file"))
    volume = settled(
        each_api, start_mount("--kubeconfig", str(kubeconfig), "secret/app").wait_ready()
    )
    token_file = kubeconfig.with_suffix(".token")
    each_api.server.revoke_token(token_file.read_text())
    each_api.server.close_watches(user="reader")
    with failure(volume, r"401 \(Unauthorized\).*credentials"):
        each_api.put_secret({"n": b"1"})
        token_file.write_text(each_api.server.add_token("reader"))
    volume.wait_content({"n": b"1"})


def test_401_names_user_and_file(each_api: Api, start_mount):
    """A wrong token: whose credentials these are, and where they come from."""
    kubeconfig = Path(each_api.kubeconfig("admin"))
    config = yaml.safe_load(kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "dummy-unknown"}
    kubeconfig.write_text(yaml.safe_dump(config))
    volume = start_mount("--kubeconfig", str(kubeconfig), "--wait", "forever", "secret/app")
    volume.wait_log("source failed, retrying")
    name = config["users"][0]["name"]
    assert rf'check the credentials of user \"{name}\" in {kubeconfig}' in volume.log()
    volume.kill()
    assert "dummy-unknown" not in volume.log()


def test_plain_http_to_a_port_for_tls(http1: Api, start_mount):
    """The server, the remedy and the file are named, whether the server answers or not."""
    kubeconfig = Path(http1.kubeconfig("admin"))
    kubeconfig.write_text(kubeconfig.read_text().replace("https://", "http://"))
    volume = start_mount("--kubeconfig", str(kubeconfig), "--wait", "forever", "secret/app")
    volume.wait_log("does not answer plain http")
    assert "if its port is for TLS, name an https:// server in" in volume.log()
    assert str(kubeconfig) in volume.log()
    volume.kill()


def test_too_many_requests(each_api: Api, volume: Volume):
    """J10: 429 is waited out for as long as Retry-After says, then the watch goes on."""
    fault = each_api.server.fail(429, verb="watch", headers={"Retry-After": "2"})
    each_api.server.close_watches()
    with failure(volume, r"429 \(Too Many Requests\)"):
        pass
    assert fault.hits == 1
    refused, retried = _last_two(each_api, "watch")
    assert retried.monotonic - refused.monotonic >= 2
    check_updates(each_api, volume)


def _last_two(api: Api, verb: str):
    return api.server.requests.select(verb=verb)[-2:]


@pytest.mark.parametrize("code", [500, 503, 504])
def test_server_errors(each_api: Api, volume: Volume, code: int):
    """J9: 5xx on watch and list; repeats are not told again."""
    fault = each_api.server.fail(code, lambda r: r.verb in ("list", "watch"), times=2)
    each_api.server.close_watches()
    with failure(volume, str(code)):
        pass
    assert fault.hits == 2
    check_updates(each_api, volume)


def test_answers_that_are_no_json(each_api: Api, volume: Volume):
    """What stands between here and the API server may answer with anything."""
    fault = each_api.server.fail(200, verb="list", body=b"<html>Sign in</html>")
    each_api.server.send_error(500, "InternalError", "start again with a list")
    until(lambda: fault.hits == 1, "the list")
    until(lambda: live(volume), "the watch")
    check_updates(each_api, volume)


def test_server_with_older_data(area: Path, each_api: Api, mount):
    """After a restore from a backup the server's data is followed back, with a warning."""
    each_api.put_secret({"n": b"old"})
    snapshot = each_api.server.snapshot()
    volume = mount(each_api)
    until(lambda: live(volume), "the watch")
    check_updates(each_api, volume, b"new")
    watches = len(each_api.server.requests.select(verb="watch"))
    each_api.server.restart(snapshot)
    each_api.server.wait_request(verb="watch", count=watches + 1, code=200)
    each_api.server.send_bookmark()  # from before the cursor, which gives it away
    volume.wait_content({"n": b"old"})
    until(lambda: live(volume), "the watch")
    assert len(volume.log_lines(" WARN the API server's data went back in time")) == 1
    check_updates(each_api, volume, b"newer")


def test_member_that_lags_behind(each_api: Api, volume: Volume):
    """I4: one lagging server of several does not bring old content back."""
    check_updates(each_api, volume, b"1")
    stale = each_api.server.revision
    check_updates(each_api, volume, b"2")
    generation = volume.generation()
    each_api.server.serve_stale(stale, quorum=False)
    lists = len(each_api.server.requests.select(verb="list"))
    each_api.server.send_error(500, "InternalError", "start again with a list")
    each_api.server.wait_request(verb="list", count=lists + 1)
    until(lambda: live(volume), "the watch")
    assert volume.generation() == generation
    each_api.server.serve_stale(None)
    check_updates(each_api, volume, b"3")


def test_deleted_is_stale(each_api: Api, volume: Volume):
    """G8: the files stay, the status says stale and why; the log says it once."""
    generation = volume.generation()
    each_api.delete_secret()
    until(lambda: volume.status()["volume"]["state"] == "stale", "the deletion")
    assert volume.read("n") == b"0"
    assert volume.generation() == generation
    assert 'secret "app" not found' in volume.status()["volume"]["error"]
    assert len(volume.log_lines(" WARN cannot update; the last content stays readable")) == 1


def test_recreated_with_the_same_content(each_api: Api, volume: Volume, watcher: Watcher):
    """G12: a new uid is nothing new; no event, no new generation."""
    watcher.add("root", volume.path)
    generation = volume.generation()
    each_api.delete_secret()
    until(lambda: volume.status()["volume"]["state"] == "stale", "the deletion")
    each_api.put_secret({"n": b"0"})
    until(lambda: volume.status()["volume"]["state"] == "current", "the new object")
    assert volume.generation() == generation
    assert watcher.read() == []
    uid = each_api.server.get_object("secrets", "default", "app")["metadata"]["uid"]
    assert volume.status()["object"]["uid"] == uid
    assert len(volume.log_lines(" INFO volume is up to date again")) == 1


def test_recreated_with_other_content(each_api: Api, volume: Volume, watcher: Watcher):
    """G12: the new content takes the old one's place, with the events of any update."""
    watcher.add("root", volume.path)
    each_api.delete_secret()
    until(lambda: volume.status()["volume"]["state"] == "stale", "the deletion")
    each_api.put_secret({"n": b"1", "more": b"2"})
    volume.wait_content({"n": b"1", "more": b"2"})
    watcher.wait(ends_update)
    until(lambda: volume.status()["volume"]["state"] == "current", "the status")


def test_object_that_cannot_be_decoded(each_api: Api, volume: Volume):
    """L9: a version that cannot be used is not shown; the next good one is."""
    bad = {"data": {"n": "not base64!"}, "type": "Opaque"}
    each_api.server.put_unchecked("secrets", "default", "app", bad)
    with failure(volume, "newest version cannot be used"):
        assert volume.read("n") == b"0"
        assert "not base64!" not in volume.log()
        each_api.put_secret({"n": b"1"})
    volume.wait_content({"n": b"1"})


def test_events_cut_anywhere(http1: Api, mount):
    """J12: the framing does not depend on how the bytes arrive."""
    http1.put_secret({"n": b"0"})
    http1.server.shape_events(every=7)
    volume = mount(http1)
    for i in range(5):
        check_updates(http1, volume, b"%d" % i * 100)


def test_bookmarks_move_the_cursor(each_api: Api, volume: Volume):
    """J5: after a bookmark the watch goes on from there, not from the object's version."""
    each_api.put_secret({"n": b"1"}, name="other")
    each_api.server.send_bookmark()
    revision = str(each_api.server.revision)
    watches = len(each_api.server.requests.select(verb="watch"))
    each_api.server.close_watches()
    request = each_api.server.wait_request(verb="watch", count=watches + 1)
    assert request.query["resourceVersion"] == revision
    check_updates(each_api, volume)


def test_watch_that_ends_right_behind_large_events(each_api: Api, volume: Volume):
    """J6: its end is noticed, however much came before it."""
    for i in range(6):
        for value in (b"1", b"2", b"3"):
            each_api.put_secret({"n": value * 300_000})
        each_api.server.close_watches()
        check_updates(each_api, volume, b"after %d" % i)


def test_many_updates_each_in_turn(each_api: Api, volume: Volume):
    """Each of 50 updates is visible before the next one is made, and none is reported as a failure."""
    for i in range(50):
        check_updates(each_api, volume, b"%d" % i)
    assert volume.log_lines(" WARN ") == []
