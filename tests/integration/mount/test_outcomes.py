"""The outcome matrix: what is missing or wrong, when a volume is mounted and when it is updated.

A row says what the objects are, what is asked for, and what comes of it. Rows cite the statements
G1 to G20 of the kubelet's behaviour. G18 has no row: no pods are registered here.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import pytest

from lib import program
from lib.inotify import Watcher
from lib.mountinfo import mounts_below
from lib.sources import Api
from lib.volume import Volume, files_of, wait_files
from lib.waiting import until

Spec = dict[str, Any]
Data = dict[str, bytes]

NOT_FOUND = 'secret "app" not found in namespace "default"'
NO_KEY = "secret/default/app: references non-existent secret key: b"
ITEMS = [{"key": "a", "path": "x"}, {"key": "b", "path": "d/y"}]


def secret(**fields: Any) -> Spec:
    return {"secret": {"secretName": "app", **fields}}


def configmap(**fields: Any) -> Spec:
    return {"configMap": {"name": "app", **fields}}


def write_spec(area: Path, spec: Spec) -> list[str]:
    file = area / "volume.json"
    file.write_text(json.dumps(spec))
    return ["--volume", str(file)]


# ---- when it is mounted


@dataclass(frozen=True)
class Mount:
    rule: str
    spec: Spec
    outcome: Data | str  # the files, or the message with which it ends
    objects: dict[str, Data] = field(default_factory=dict)  # "secret/app" and so on
    fault: Callable[[Api], object] | None = None

    def __str__(self) -> str:
        return self.rule


def refuse(code: int) -> Callable[[Api], object]:
    return lambda api: api.server.fail(code, verb="list", times=None)


def forbid(api: Api) -> None:
    api.server.fail(403, verb="list", times=None)
    api.server.fail(403, verb="watch", times=None)


AB = {"secret/app": {"a": b"1", "b": b"2"}}
ONLY_A = {"secret/app": {"a": b"1"}}

MOUNTS = [
    Mount("G1: no secret", secret(), NOT_FOUND),
    Mount("G1, M1: no ConfigMap", configmap(), 'configmap "app" not found in namespace "default"'),
    Mount("G1: optional: false is as none", secret(optional=False), NOT_FOUND),
    Mount("G2: no secret, optional", secret(optional=True), {}),
    Mount("G2, M1: no ConfigMap, optional", configmap(optional=True), {}),
    Mount("G3: a key that is missing", secret(items=ITEMS), NO_KEY, ONLY_A),
    Mount(
        "G3, M1: of a ConfigMap",
        configmap(items=ITEMS),
        "configmap/default/app: configmap references non-existent config key: b",
        {"configmap/app": {"a": b"1"}},
    ),
    Mount("G4: and optional", secret(items=ITEMS, optional=True), {"x": b"1"}, ONLY_A),
    Mount("G4: all keys missing", secret(items=ITEMS, optional=True), {}, {"secret/app": {}}),
    Mount("G5: optional is for object and keys", secret(items=ITEMS, optional=True), {}),
    Mount("G3, G5: not for another's", secret(items=ITEMS), NOT_FOUND, {"secret/b": {"a": b""}}),
    Mount("G6: 403 and optional", secret(optional=True), r"403 (Forbidden)", fault=forbid),
    Mount("G6: 401", secret(optional=True), "401 (Unauthorized)", ONLY_A, refuse(401)),
    Mount("G6: 429", secret(optional=True), "429 (Too Many Requests)", ONLY_A, refuse(429)),
    Mount("G6: 500", secret(optional=True), "500", ONLY_A, refuse(500)),
    Mount("G6: 503", secret(optional=True), "503", ONLY_A, refuse(503)),
    Mount(
        "G6: no answer",
        secret(optional=True),
        "cannot get secret/default/app: the source has not answered",
        ONLY_A,
        lambda api: api.server.hold(verb="list"),
    ),
    Mount("G6: no server", secret(optional=True), "cannot get", fault=lambda api: api.server.stop()),
    Mount("G16: 403 is reported as such", secret(), "403 (Forbidden)", ONLY_A, forbid),
    Mount(
        "G7: what cannot be shown leaves nothing",
        secret(items=[{"key": "a", "path": "x"}, {"key": "b", "path": "x/y"}]),
        'path "x/y" lies below "x", which is a file',
        AB,
    ),
    Mount("G11: all keys without items", secret(), {"a": b"1", "b": b"2"}, AB),
    Mount("G14: type, labels and annotations are not shown", secret(), {"a": b"1"}, ONLY_A),
    Mount("B2: only what is listed", secret(items=ITEMS[:1]), {"x": b"1"}, AB),
]


def put_all(api: Api, objects: dict[str, Data]) -> None:
    for name, data in objects.items():
        kind, name = name.split("/")
        if kind == "secret":
            api.put_secret(data, name, type="example.org/own")
            api.touch_secret(name)
        else:
            api.put_configmap({key: value.decode() for key, value in data.items()}, {}, name)


@pytest.mark.parametrize("row", MOUNTS, ids=str)
def test_outcome_when_mounted(area: Path, http1: Api, start_mount, row: Mount):
    put_all(http1, row.objects)
    if row.fault is not None:
        row.fault(http1)
    arguments = [*http1.arguments, *write_spec(area, row.spec)]
    if isinstance(row.outcome, dict):
        volume = start_mount("--wait", "0", *arguments).wait_ready()
        assert files_of(volume) == row.outcome
        assert volume.status()["volume"]["state"] == "current"
        return
    target = area / "target"
    target.mkdir()
    # who does not answer has to be waited for
    wait = "500ms" if "not answered" in row.outcome else "0"
    command = [program.binary(), "mount", "--wait", wait, *arguments, target]
    done = program.run(command, home=area / "home")
    assert done.returncode == 1
    assert row.outcome in done.stderr.splitlines()[-1]
    assert mounts_below(area) == []
    assert os.listdir(target) == []
    http1.server.clear_faults()


# ---- when it is updated

Change = Callable[[Api], object]


@dataclass(frozen=True)
class Update:
    rule: str
    spec: Spec
    before: Data | None  # of secret/app; None: there is none
    change: Change
    files: Data  # afterwards
    is_new: bool  # whether it is another generation
    state: str = "current"
    error: str = ""  # what the status says
    source: str = "live"
    is_last: bool = False  # no later change is seen
    has_gap: bool = False  # in which there may be a generation of its own, or not

    def __str__(self) -> str:
        return self.rule


def put(**data: bytes) -> Change:
    return lambda api: api.put_secret(data)


def delete(api: Api) -> None:
    api.delete_secret()


def recreate(**data: bytes) -> Change:
    def change(api: Api) -> None:
        api.delete_secret()
        api.put_secret(data, type="example.org/own")

    return change


def fail_from_now_on(code: int) -> Change:
    def change(api: Api) -> None:
        api.server.fail(code, lambda request: request.verb in ("list", "watch"), times=None)
        api.server.close_watches()

    return change


def go_away(api: Api) -> None:
    api.server.stop_listening()
    api.server.end_connections()


BOTH = {"a": b"1", "b": b"2"}
SHOWN = {"x": b"1", "d/y": b"2"}
KEPT = {"a": b"1"}
MAYBE = secret(optional=True)
SOME = secret(items=ITEMS)
SOME_MAYBE = secret(items=ITEMS, optional=True)
COLLIDING = secret(items=[{"key": "a", "path": "x"}, {"key": "b", "path": "x/y"}], optional=True)
SPOILT = 'path "x/y" lies below "x", which is a file'

UPDATES = [
    Update("G2: it appears", MAYBE, None, put(a=b"1"), {"a": b"1"}, True),
    Update("G7: what cannot be shown changes nothing", COLLIDING, KEPT, put(a=b"3", b=b"3"),
           {"x": b"1"}, False, "stale", SPOILT),
    Update("G8, G17: deleted", secret(), KEPT, delete, KEPT, False, "stale", NOT_FOUND),
    Update("G9: deleted and optional", MAYBE, KEPT, delete, {}, True),
    Update("G9: with items", SOME_MAYBE, BOTH, delete, {}, True),
    Update("G10: a key vanishes", SOME, BOTH, put(a=b"3"), SHOWN, False, "stale", NO_KEY),
    Update("G10: and is optional", SOME_MAYBE, BOTH, put(a=b"3"), {"x": b"3"}, True),
    Update("G4: an optional key comes", SOME_MAYBE, KEPT, put(**BOTH), SHOWN, True),
    Update("G11: a key comes", secret(), KEPT, put(**BOTH), BOTH, True),
    Update("G11: a key goes", secret(), BOTH, put(a=b"1"), KEPT, True),
    Update("G11: all keys go", secret(), KEPT, put(), {}, True),
    Update("G12: recreated, the same", secret(), KEPT, recreate(a=b"1"), KEPT, False),
    Update("G12: recreated, other content", secret(), KEPT, recreate(a=b"9"), {"a": b"9"}, True),
    Update("G13: recreated, optional", MAYBE, KEPT, recreate(a=b"9"), {"a": b"9"}, True,
           has_gap=True),
    Update("G14: labels", secret(), KEPT, lambda api: api.touch_secret(), KEPT, False),
    Update("G15: 403", secret(), KEPT, fail_from_now_on(403), KEPT, False, "disconnected", source="failing"),
    Update("G15: 401", secret(), KEPT, fail_from_now_on(401), KEPT, False, "disconnected", source="failing"),
    Update("G15: 429", secret(), KEPT, fail_from_now_on(429), KEPT, False, "disconnected", source="failing"),
    Update("G15: 500", MAYBE, KEPT, fail_from_now_on(500), KEPT, False, "disconnected", source="failing"),
    Update("G15: unreachable", MAYBE, KEPT, go_away, KEPT, False, "disconnected", source="failing"),
    Update("G20: it becomes immutable", secret(), KEPT,
           lambda api: api.put_secret({"a": b"1"}, immutable=True), KEPT, False, is_last=True),
]


def version_at(api: Api) -> str | None:
    found = api.server.get_object("secrets", "default", "app")
    return found["metadata"]["resourceVersion"] if found is not None else None


def is_seen(api: Api, volume: Volume, row: Update) -> bool:
    """Whether the volume has come to know what the server has, or that it fails."""
    status = volume.status()
    if row.source == "failing":
        return status["source"]["state"] == "failing"
    if version_at(api) is None:
        return status["object"].get("presence") == "absent"
    known = status["object"]
    version = known.get("newestResourceVersion", known.get("resourceVersion"))
    return version == version_at(api)


def good_files(row: Update) -> Data:
    """The result of a version with all keys, after any failure."""
    paths = [item["path"] for item in row.spec["secret"].get("items", [])] or ["a", "b"]
    if row.spec is COLLIDING:
        paths = ["x"]
    return {path: b"good" for path in paths}


@pytest.mark.parametrize("row", UPDATES, ids=str)
def test_outcome_when_updated(area: Path, http1: Api, start_mount, watcher: Watcher, row: Update):
    """And the next good version is shown, with no other generation in between."""
    if row.before is not None:
        http1.put_secret(row.before, type="Opaque")
    volume = start_mount(*http1.arguments, *write_spec(area, row.spec)).wait_ready()
    until(lambda: volume.status()["source"]["state"] == "live", "the watch")
    before = volume.generation()
    watcher.add("root", volume.path)

    row.change(http1)
    until(lambda: is_seen(http1, volume, row), "the change")
    wait_files(volume, row.files)
    status = volume.status()["volume"]
    assert (status["state"], row.error in status.get("error", "")) == (row.state, True)
    assert (volume.generation() != before) == row.is_new
    if row.is_last:
        assert bool(watcher.read()) == row.is_new
        return

    http1.server.clear_faults()
    http1.server.start_listening()
    http1.put_secret({"a": b"good"} if row.spec is COLLIDING else {"a": b"good", "b": b"good"})
    wait_files(volume, good_files(row))
    until(lambda: volume.status()["volume"]["state"] == "current", "the end of it")
    swaps = [event for event in watcher.read() if event.kind == "MOVED_TO"]
    more = [0, 1] if row.has_gap else [0]
    assert len(swaps) - row.is_new - 1 in more
