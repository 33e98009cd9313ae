"""Secret bytes in the daemon's memory: locked, undumpable, and gone when they are replaced."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from lib import memory
from lib.memory import new_marker, not_asan
from lib.sources import Api, Source
from lib.volume import Volume
from lib.waiting import until


def value_of(marker: bytes, size: int) -> bytes:
    """A value of about this size that is the marker all over."""
    return marker * max(1, size // len(marker))


def put_and_wait(source: Source, volume: Volume, content: dict[str, bytes]) -> None:
    source.put_secret(content)
    volume.wait_content(content)


@not_asan
@pytest.mark.parametrize("size", [48, 300_000])
def test_replaced_value_is_nowhere(source, mount, size: int):
    """Promise 5: after an update the old value is in no mapping, raw or as base64."""
    old, new = new_marker(), new_marker()
    source.put_secret({"value": value_of(old, size), "kept": b"1"})
    volume = mount(source, "--log-level", "debug")
    assert memory.find(volume.pid, old), "the search has to find what is there"
    assert volume.read("value") == value_of(old, size)

    put_and_wait(source, volume, {"value": value_of(new, 48), "kept": b"1"})

    memory.wait_gone(volume.pid, old)
    assert memory.find(volume.pid, new)


@not_asan
def test_every_replaced_value_is_nowhere(source, mount):
    """Many updates in a row, of many sizes, leave nothing of any of them but the last."""
    markers = [new_marker() for _ in range(12)]
    sizes = [300_000, 48, 5000, 48, 70_000, 20_000]
    source.put_secret({"value": b"first"})
    volume = mount(source)
    for i, marker in enumerate(markers):
        put_and_wait(source, volume, {"value": value_of(marker, sizes[i % len(sizes)])})
    put_and_wait(source, volume, {"value": b"last"})
    for marker in markers:
        memory.wait_gone(volume.pid, marker)


@not_asan
def test_value_that_a_reader_holds_stays_as_long_as_that(source, mount):
    """A retired generation that a reader has open is kept; its end comes with the close."""
    old = new_marker()
    source.put_secret({"value": value_of(old, 20_000)})
    volume = mount(source)
    with open(volume.path / "value", "rb", buffering=0) as file:
        put_and_wait(source, volume, {"value": b"new"})
        assert file.read() == value_of(old, 20_000)
    memory.wait_gone(volume.pid, old)


@not_asan
def test_removed_key_is_nowhere(source, mount):
    """A key that goes takes its value along."""
    old = new_marker()
    source.put_secret({"value": old, "kept": b"1"})
    volume = mount(source)
    put_and_wait(source, volume, {"kept": b"1"})
    memory.wait_gone(volume.pid, old)


@not_asan
def test_values_of_other_objects_are_not_kept(manifests, mount):
    """Of a directory of manifests, only what is asked for may matter; a removed one is gone."""
    other = new_marker()
    manifests.put_secret({"value": b"1"})
    manifests.put_secret({"value": other}, name="other")
    volume = mount(manifests)
    manifests.delete_secret("other")
    put_and_wait(manifests, volume, {"value": b"2"})
    memory.wait_gone(volume.pid, other)


@not_asan
def test_value_after_an_error_in_the_same_file(manifests, mount):
    """What was parsed of a manifest that turned out bad is wiped as well."""
    half = new_marker()
    manifests.put_secret({"value": b"1"})
    volume = mount(manifests)
    text = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: app\nstringData:\n"
    manifests.write("secret-app.json", f"{text}  value: {half.decode()}\n  bad: [")
    until(lambda: volume.status()["source"]["state"] == "failing", "the bad manifest")
    memory.wait_gone(volume.pid, half)


def test_token_and_values_are_never_logged(source, mount):
    """Promise 5: no log at any level has secret bytes, in good times and in bad ones."""
    value, next_value = new_marker(), new_marker()
    source.put_secret({"value": value})
    volume = mount(source, "--log-level", "debug")
    put_and_wait(source, volume, {"value": next_value})
    forbidden = [*memory.needles(value), *memory.needles(next_value)]
    if isinstance(source, Api):
        forbidden.append(source.server.admin_token.encode())
        source.server.fail(401, verb="watch")
        source.server.close_watches()
        put_and_wait(source, volume, {"value": b"after"})
    volume.finish()
    log = volume.log().encode()
    assert [needle for needle in forbidden if needle in log] == []


def test_no_core_dump_is_possible(manifests, mount):
    """RLIMIT_CORE is 0, and /proc/PID is root's alone as the process is not dumpable."""
    manifests.put_secret({"value": b"1"})
    volume = mount(manifests)
    limits = Path(f"/proc/{volume.pid}/limits").read_text()
    assert re.search(r"^Max core file size\s+0\s+0\s", limits, re.MULTILINE)
    assert Path(f"/proc/{volume.pid}/coredump_filter").read_text().strip() == "00000000"


def test_undumpable_as_a_user(manifests, cell, start_mount):
    """Of a process that is not dumpable, /proc/PID belongs to root, for every user."""
    manifests.put_secret({"value": b"1"})
    volume = cell.start_mount(start_mount, *manifests.arguments).wait_ready()
    assert os.stat(f"/proc/{volume.pid}/environ").st_uid == 0
    denied = cell.run("cat", f"/proc/{volume.pid}/environ")
    assert "Permission denied" in denied.stderr


@not_asan
def test_memory_is_locked(manifests, mount):
    """Nothing of the process can be swapped out."""
    manifests.put_secret({"value": b"1" * 300_000})
    volume = mount(manifests)
    status = Path(f"/proc/{volume.pid}/status").read_text()
    locked = int(re.search(r"^VmLck:\s+(\d+) kB", status, re.MULTILINE)[1])  # type: ignore[index]
    assert locked >= 300
    assert volume.status()["memory"]["unlockedBytes"] == 0


def test_secret_memory_does_not_grow(source, mount):
    """After 50 updates there is as much secret memory as after the first."""
    source.put_secret({"value": b"0" * 10_000})
    volume = mount(source)
    before = volume.status()["memory"]["secretBytes"]
    for i in range(50):
        put_and_wait(source, volume, {"value": b"%d" % (i % 10) * 10_000})
    until(lambda: volume.status()["memory"]["secretBytes"] <= before, "the old generations' end")
