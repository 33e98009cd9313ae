"""Updates that an object's annotations pause or spread over time."""

from __future__ import annotations

from typing import Any

from lib.volume import Volume
from lib.waiting import until

PAUSE = {"secretfs.io/pause": "true"}


def state_of(volume: Volume) -> dict[str, Any]:
    status: dict[str, Any] = volume.status()["volume"]
    return status


def wait_held(volume: Volume) -> str:
    until(lambda: state_of(volume)["state"] == "held", "the update that is held")
    return str(state_of(volume)["error"])


def test_paused_update_is_shown_when_the_annotation_goes(source, mount):
    source.put_secret({"a": b"1"})
    volume = mount(source)
    source.put_secret({"a": b"2"}, annotations=PAUSE)
    assert "secret/default/app is held back: paused by annotation" in wait_held(volume)
    assert volume.content() == {"a": b"1"}
    status = volume.status()["object"]
    assert status["resourceVersion"] != status["newestResourceVersion"]
    source.put_secret({"a": b"2"}, annotations={})
    volume.wait_content({"a": b"2"})
    until(lambda: state_of(volume)["state"] == "current", "the end of it")
    assert "INFO update is staged; the last content stays readable" in volume.log()
    assert "WARN" not in volume.log()


def test_new_mount_shows_a_paused_object(source, mount):
    """It has no older content that could stay."""
    source.put_secret({"a": b"1"}, annotations=PAUSE)
    volume = mount(source)
    assert volume.content() == {"a": b"1"}
    assert state_of(volume)["state"] == "current"


def test_update_is_shown_within_the_time_of_the_rollout(source, mount):
    source.put_secret({"a": b"1"})
    volume = mount(source)
    source.put_secret({"a": b"2"}, annotations={"secretfs.io/rollout-over": "2s"})
    volume.wait_content({"a": b"2"})


def test_share_of_the_rollout_decides_who_is_first(source, mount):
    source.put_secret({"a": b"1"})
    volume = mount(source)
    source.put_secret({"a": b"2"}, annotations={"secretfs.io/rollout-first": "0%"})
    assert "others are first by annotation secretfs.io/rollout-first" in wait_held(volume)
    source.put_secret({"a": b"2"}, annotations={"secretfs.io/rollout-first": "100%"})
    volume.wait_content({"a": b"2"})


def test_object_that_is_changed_back_is_current(source, mount):
    """What was paused is never seen."""
    source.put_secret({"a": b"1"})
    volume = mount(source)
    before = volume.generation()
    source.put_secret({"a": b"bad"}, annotations=PAUSE)
    wait_held(volume)
    source.put_secret({"a": b"1"}, annotations={})
    until(lambda: state_of(volume)["state"] == "current", "the end of it")
    assert volume.generation() == before


def test_invalid_annotation_holds_the_update_and_is_named(source, mount):
    source.put_secret({"a": b"1"})
    volume = mount(source)
    source.put_secret({"a": b"2"}, annotations={"secretfs.io/rollout-over": "soon"})
    assert "annotation secretfs.io/rollout-over is invalid: expected" in wait_held(volume)
    volume.wait_log("WARN cannot update; the last content stays readable")
    assert volume.content() == {"a": b"1"}
