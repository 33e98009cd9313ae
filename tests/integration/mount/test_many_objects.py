"""A volume of many objects: how many connections they need, and how they go about it all together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib.sources import Api
from lib.volume import Volume
from lib.waiting import until

OBJECTS = 200
STREAMS = 100  # on a connection


def names() -> list[str]:
    return [f"s{number:03}" for number in range(OBJECTS)]


@pytest.fixture
def begin(area: Path, start_mount):
    """Begins to mount all of the objects as files that are named after them."""

    def make(api: Api) -> Volume:
        for name in names():
            api.put_secret({"k": b"before"}, name=name)
        sources = [{"secret": {"name": n, "items": [{"key": "k", "path": n}]}} for n in names()]
        file = area / "volume.json"
        file.write_text(json.dumps({"projected": {"sources": sources}}))
        return start_mount(*api.arguments, "--volume", str(file))

    return make


def all_watched(api: Api) -> bool:
    return len(api.server.open_watches()) == OBJECTS


@pytest.fixture
def volume(each_api: Api, begin) -> Volume:
    made = begin(each_api).wait_ready()
    until(lambda: all_watched(each_api), "the watches")
    return made


def check_updates(api: Api, volume: Volume, value: bytes = b"after") -> None:
    for name in names():
        api.put_secret({"k": value}, name=name)
    until(lambda: all(volume.read(name) == value for name in names()), "the updates")


def test_requests_and_connections(each_api: Api, volume: Volume):
    """A list and a watch for each, and no more connections than they need."""
    source = volume.status()["source"]
    assert source["waitingRequests"] == 0
    assert source["connections"] == (OBJECTS / STREAMS if each_api.proxy else OBJECTS)
    for verb in ("list", "watch"):
        assert sorted(r.name for r in each_api.server.requests.select(verb=verb)) == names()
    check_updates(each_api, volume)


def test_connections_break(each_api: Api, volume: Volume):
    """Each goes on where it was (J6), over as many connections as before."""
    check_updates(
        each_api, volume, b"event"
    )  # a watch without one has failed when it ends at once
    each_api.server.requests.clear()
    each_api.server.end_connections()
    until(lambda: all_watched(each_api), "the watches")
    assert sorted({r.name for r in each_api.server.requests.select(verb="watch")}) == names()
    assert each_api.server.requests.select(verb="list") == []
    assert volume.status()["source"]["connections"] == (
        OBJECTS / STREAMS if each_api.proxy else OBJECTS
    )
    check_updates(each_api, volume)


def test_server_restarts(each_api: Api, volume: Volume):
    """Away for some time, and back: nothing is lost on the way."""
    each_api.server.stop_listening()
    each_api.server.end_connections()
    until(lambda: volume.status()["source"]["state"] == "failing", "the failure")
    each_api.put_secret({"k": b"meanwhile"}, name="s007")
    each_api.server.start_listening()
    until(lambda: volume.read("s007") == b"meanwhile", "what happened meanwhile")
    until(lambda: all_watched(each_api), "the watches")
    assert volume.read("s000") == b"before"
    check_updates(each_api, volume)


def test_server_asks_for_a_rest(each_api: Api, begin):
    """429: Retry-After holds for all that was not sent yet, not just for what was refused."""
    fault = each_api.server.fail(429, times=1, headers={"Retry-After": "1"})
    begin(each_api).wait_ready()
    assert fault.hits == 1
    (refused,) = [r for r in each_api.server.requests.select() if r.code == 429]
    rest = [r for r in each_api.server.requests.select() if r.monotonic > refused.monotonic]
    at_once = [r for r in rest if r.monotonic < refused.monotonic + 1]
    # over HTTP/1.1 some are under way already, each on a connection of its own
    assert len(at_once) == 0 if each_api.proxy else len(at_once) < 64
    assert len(rest) >= OBJECTS
