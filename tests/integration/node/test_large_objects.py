"""Objects of 1 MiB (L3) beside 1,000 watches, on the connections that all of them share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lib import program
from lib.kubelet import PodVolume
from lib.node_daemon import Node, read
from lib.sources import Api
from lib.waiting import until

N_WATCHES = 1000
N_SOURCES = 250  # of a volume, which may have 256
N_KEYS = 15
KEY_BYTES = 64 * 1024
N_UPDATES = 10
MIB = 1 << 20


def small(number: int) -> str:
    return f"s{number:04}"


def large(version: int) -> dict[str, bytes]:
    return {f"k{n:02}": b"%02d" % version * (KEY_BYTES // 2) for n in range(N_KEYS)}


def memory(node: Node) -> dict[str, int]:
    """Bytes: secret values, and resident memory."""
    lines = Path(f"/proc/{node.pid}/status").read_text().splitlines()
    (resident,) = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return {"secret": node.status()["memory"]["secretBytes"], "resident": int(resident) * 1024}


def wait_given_back(node: Node, before: dict[str, int]) -> None:
    """Until it has room for two versions of the large object more than before, and for what a
    response of that size needs."""
    most = {"secret": 2 * MIB, "resident": 6 * MIB}
    if program.has_sanitizer():  # it keeps freed memory
        del most["resident"]
    until(lambda: all(memory(node)[k] - before[k] <= most[k] for k in most), "the memory")


def requests(api: Api) -> int:
    """Lists and watches, ever."""
    return len(api.server.requests.select(resource="secrets"))


@pytest.fixture
def followed(daemon: Node, api: Api) -> list[PodVolume]:
    """Volumes with 1,000 small objects, all of them watched."""
    api.server.settings.bookmark_interval = 3600
    for number in range(N_WATCHES):
        api.put_secret({"k": b"before"}, name=small(number))
    volumes = []
    for first in range(0, N_WATCHES, N_SOURCES):
        names = [small(first + n) for n in range(N_SOURCES)]
        sources = [{"secret": {"name": n, "items": [{"key": "k", "path": n}]}} for n in names]
        volumes.append(daemon.pod(first, attributes={"sources": json.dumps(sources)}))
        daemon.publish(volumes[-1])
    until(lambda: len(api.server.open_watches(resource="secrets")) == N_WATCHES, "the watches")
    return volumes


def test_large_object_beside_many_watches(
    daemon: Node, api: Api, followed: list[PodVolume]
) -> None:
    """It delays no event of another object for good, ends no watch, and its memory is given back."""
    before = memory(daemon)
    api.put_secret(large(0), name="large")
    volume = daemon.publish(daemon.pod(N_WATCHES, secret="large"))
    until(lambda: len(api.server.open_watches(name="large")) == 1, "the watch")
    asked = requests(api)
    for version in range(1, N_UPDATES + 1):
        api.put_secret(large(version), name="large")
        number = version * (N_WATCHES // (N_UPDATES + 1))
        api.put_secret({"k": b"after"}, name=small(number))
        shown = followed[number // N_SOURCES]
        until(lambda s=shown, n=number: read(s, small(n)) == b"after", "the small object")
        until(lambda v=version: read(volume, "k14") == large(v)["k14"], "the large object")
        assert {key: read(volume, key) for key in large(version)} == large(version)
    assert requests(api) == asked
    wait_given_back(daemon, before)
