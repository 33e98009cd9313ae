"""`secretfs status`: what it says, to whom, and when there is nothing to ask."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from typing import Any

from lib import program
from lib.cell import USER
from lib.sources import Api, Manifests
from lib.waiting import until


def test_json_status_of_an_api_volume(each_api: Api, mount):
    """Object, volume, source, last update, requests and memory, in names and numbers."""
    each_api.put_secret({"a": b"12345", "b": b""}, type="Opaque")
    stored = each_api.server.get_object("secrets", "default", "app")["metadata"]
    volume = mount(each_api)
    status = volume.status()

    assert status["mountpoint"] == str(volume.path)
    assert status["pid"] == volume.pid
    assert status["object"] == {
        "kind": "Secret",
        "namespace": "default",
        "name": "app",
        "uid": stored["uid"],
        "resourceVersion": stored["resourceVersion"],
        "type": "Opaque",
        "immutable": False,
    }
    assert status["volume"]["state"] == "current"
    assert status["volume"]["generation"] == volume.generation()
    assert (status["volume"]["files"], status["volume"]["bytes"]) == (2, 5)
    assert status["source"]["kind"] == "api"
    assert status["source"]["server"] == (each_api.proxy or each_api.server).url
    assert status["lastUpdate"]["count"] == 1
    assert status["memory"]["secretBytes"] > 0
    assert status["memory"]["unlockedBytes"] == 0
    assert status["requests"]["total"] == sum(status["requests"]["byKind"].values())


def test_source_of_an_api_volume_becomes_live(each_api: Api, mount):
    """The state is live once the watch stands, over the protocol that was negotiated."""
    each_api.put_secret({"a": b"1"})
    volume = mount(each_api)
    until(lambda: volume.status()["source"]["state"] == "live", "the watch")
    assert volume.status()["source"]["protocol"] == ("HTTP/2" if each_api.proxy else "HTTP/1.1")


def test_json_status_of_a_manifest_volume(manifests: Manifests, mount):
    """The source says which directory, and how much is in it."""
    manifests.put_secret({"a": b"1"})
    manifests.put_secret({"a": b"1"}, name="other")
    source = mount(manifests).status()["source"]

    assert source["kind"] == "manifests"
    assert source["directory"] == str(manifests.directory)
    assert (source["files"], source["objects"], source["badDocuments"]) == (2, 2, 0)
    assert source["state"] == "live"


def test_status_follows_updates(source, mount):
    """Generation, resourceVersion, count and latency are those of the newest update."""
    source.put_secret({"a": b"1"})
    volume = mount(source)
    before = volume.status()

    source.put_secret({"a": b"2"})
    volume.wait_content({"a": b"2"})
    after = until(lambda: _with_count(volume.status(), 2), "the update in the status")

    assert after["volume"]["generation"] == volume.generation() != before["volume"]["generation"]
    assert after["object"]["resourceVersion"] != before["object"]["resourceVersion"]
    assert 0 < after["lastUpdate"]["latencySeconds"] < 60
    assert after["lastUpdate"]["time"] >= before["lastUpdate"]["time"]


def _with_count(status: dict, count: int) -> dict | None:
    return status if status["lastUpdate"]["count"] >= count else None


def test_resource_version_follows_changes_of_metadata(http1: Api, mount):
    """The version is the server's newest even where there is nothing to publish (E2)."""
    http1.put_secret({"a": b"1"})
    volume = mount(http1)
    http1.touch_secret()
    version = http1.server.get_object("secrets", "default", "app")["metadata"]["resourceVersion"]

    until(lambda: volume.status()["object"]["resourceVersion"] == version, "the version")
    assert volume.status()["lastUpdate"]["count"] == 1


def test_text_status(manifests: Manifests, mount):
    """The same for people, one subject on each line."""
    manifests.put_secret({"a": b"12345"})
    volume = mount(manifests)
    done = volume.run("status", str(volume.path))

    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(re.split(r":\s+", line, maxsplit=1) for line in done.stdout.splitlines())
    assert lines["Mount point"] == str(volume.path)
    assert lines["Object"] == "Secret default/app"
    assert lines["State"] == "current"
    assert lines["Generation"] == volume.generation()
    assert lines["Files"] == "1 (5 bytes)"
    assert str(volume.pid) in lines["Process"]
    assert str(manifests.directory) in lines["Source"]


def test_any_path_in_the_volume_will_do(manifests: Manifests, mount):
    """A file in the volume, or a directory, stands for the volume."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    for path in ("", "a", "..data"):
        done = volume.run("status", "-o", "json", str(volume.path / path))
        assert done.returncode == 0, done.stderr


def test_status_of_what_is_no_mount(area):
    """Exit 1 and a sentence that names the path."""
    done = program.run([program.binary(), "status", area], home=area)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"secretfs: {area} is not in a secretfs mount\n"


def test_status_of_what_does_not_exist(area):
    done = program.run([program.binary(), "status", area / "absent"], home=area)
    assert done.returncode == 1
    assert "absent: No such file or directory" in done.stderr


def test_status_of_a_dead_mount(manifests: Manifests, mount):
    """It says that the program is gone and how to clear the mount."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    volume.kill()
    done = volume.run("status", str(volume.path))

    assert done.returncode == 1
    assert f"the process of the mount at {volume.path} is dead" in done.stderr
    assert f"secretfs unmount {volume.path}" in done.stderr


def test_status_asked_by_another_user(manifests: Manifests, mount, area):
    """The control socket is the owner's; the error of others names the user to ask as."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    other = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    done = program.run([*other, program.binary(), "status", volume.path], home=area)

    assert done.returncode == 1
    assert f"the mount at {volume.path} belongs to user 0" in done.stderr


def test_many_who_ask_at_once(manifests: Manifests, mount):
    """Concurrent askers all get a complete answer."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    command = [str(program.binary()), "status", "-o", "json", str(volume.path)]
    askers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(20)
    ]
    for asker in askers:
        out, errors = asker.communicate()
        assert asker.returncode == 0, errors
        assert out.rstrip().endswith("}")


def test_publish_that_fails_shows_what_readers_get(api: Api, mount):
    """A superblock that is remounted read-only stops updates: state, version and size say so."""
    api.put_secret({"a": b"1"})
    volume = mount(api)
    before = volume.status()
    volume.expected_words = "publish failed, retrying"
    program.run(["mount", "-i", "-o", "remount,ro", str(volume.path)], home=volume.home)
    api.put_secret({"a": b"22"})
    until(lambda: volume.status()["volume"]["state"] == "failing", "the failure")
    failing = volume.status()
    assert "cannot publish secret/default/app: Read-only file system" in failing["volume"]["error"]
    assert volume.read("a") == b"1"
    newest = api.server.get_object("secrets", "default", "app")["metadata"]["resourceVersion"]
    assert failing["object"] == {**before["object"], "newestResourceVersion": newest}
    for member in ("generation", "files", "bytes"):
        assert failing["volume"][member] == before["volume"][member]
    program.run(["mount", "-i", "-o", "remount,rw", str(volume.path)], home=volume.home)
    volume.wait_content({"a": b"22"})
    until(lambda: volume.status()["volume"]["state"] == "current", "the update")
    after = volume.status()
    assert after["volume"]["bytes"] == 2
    assert after["object"]["resourceVersion"] != before["object"]["resourceVersion"]


def test_client_that_does_not_read_blocks_no_other(manifests: Manifests, mount):
    """A client that stalls is not waited for, by updates or by others who ask."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    device = volume.path.stat().st_dev
    address = f"/run/secretfs/{os.major(device)}:{os.minor(device)}.sock"
    stalled = [socket.socket(socket.AF_UNIX) for _ in range(5)]
    for client in stalled:
        client.connect(address)
    manifests.put_secret({"a": b"2"})
    volume.wait_content({"a": b"2"})
    assert volume.status()["volume"]["state"] == "current"
    for client in stalled:
        client.close()


# ---- --debug

DEBUG_VALUE = b"dummy-value-of-a-secret"


def test_debug_adds_states_of_watches_and_queue(each_api: Api, mount):
    """Only a client that requests them gets them; no value is among them."""
    each_api.put_secret({"a": DEBUG_VALUE})
    volume = mount(each_api)

    def debug() -> dict[str, Any]:
        done = volume.run("status", "--debug", "-o", "json", str(volume.path))
        assert done.returncode == 0, done.stderr
        assert DEBUG_VALUE.decode() not in done.stdout
        return json.loads(done.stdout)

    until(lambda: debug()["source"]["watchStates"][0]["state"] == "watching", "the watch")
    status = debug()
    (watch,) = status["source"]["watchStates"]
    assert watch["object"] == "secret/default/app"
    assert watch["resourceVersion"] == status["object"]["resourceVersion"]
    assert watch["requestActive"] is True
    assert (watch["watchesOpened"], watch["nextBackoffSeconds"]) == (1, 0)
    assert "watchStatesOmitted" not in status["source"]
    assert status["debug"]["state"] == "ready"
    assert set(status["debug"]["queue"]) == {
        "update",
        "oldGenerations",
        "oldGenerationsMax",
        "payloadWaits",
        "bindWaits",
        "liveFilesBehind",
        "active",
    }
    until(lambda: debug()["debug"]["queue"]["update"] == "idle", "the publisher is idle")

    plain = volume.status()
    assert "debug" not in plain
    assert "watchStates" not in plain["source"]


def test_debug_as_text(http1: Api, mount):
    """A line for the queue and one for each watch, below what status prints without it."""
    http1.put_secret({"a": DEBUG_VALUE})
    volume = mount(http1)
    volume.wait_log("published")
    until(lambda: volume.status()["source"]["state"] == "live", "the watch")
    text = volume.run("status", "--debug", str(volume.path)).stdout
    assert re.search(r"^Publishing: +ready$", text, re.M)
    assert re.search(r"^Queue: +update idle, old generations none", text, re.M)
    assert re.search(r"^Watch: +secret/default/app, watching at resource version \d+", text, re.M)
    assert "Watch:" not in volume.run("status", str(volume.path)).stdout


def test_debug_of_manifests_has_no_watches(manifests: Manifests, mount):
    manifests.put_secret({"a": DEBUG_VALUE})
    volume = mount(manifests)
    status = json.loads(volume.run("status", "--debug", "-o", "json", str(volume.path)).stdout)
    assert status["debug"]["state"] == "ready"
    assert "watchStates" not in status["source"]
