"""A connection whose other end has vanished without a word.

The daemon runs in a network namespace of its own. What leads out of it is taken down, so that
nothing comes back any more, not even a reset.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from lib.relay import Relay
from lib.sources import Api
from lib.volume import Volume
from lib.waiting import until

OUTSIDE, INSIDE, BITS = "198.51.100.1", "198.51.100.2", 30


class Link:
    """A network namespace, and the pair of interfaces between it and here."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        pid = self._holder.pid
        self.prefix = ["nsenter", f"--net=/proc/{pid}/ns/net"]
        self._name = f"sfs{pid}"
        peer = ["peer", "name", "eth0", "netns", str(pid)]
        self._ip("link", "add", self._name, "type", "veth", *peer)
        self._ip("address", "add", f"{OUTSIDE}/{BITS}", "dev", self._name)
        self.up()
        subprocess.run([*self.prefix, "ip", "address", "add", f"{INSIDE}/{BITS}", "dev", "eth0"])
        subprocess.run([*self.prefix, "ip", "link", "set", "eth0", "up"], check=True)

    def up(self) -> None:
        self._ip("link", "set", self._name, "up")

    def down(self) -> None:
        self._ip("link", "set", self._name, "down")

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()
        subprocess.run(["ip", "link", "delete", self._name], capture_output=True, check=False)

    @staticmethod
    def _ip(*arguments: str) -> None:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no virtual network can be made here: {done.stderr.strip()}")


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link()
    yield made
    made.close()


def through(api: Api, relay: Relay, area: Path) -> Path:
    """The source's kubeconfig, by way of the relay."""
    text = Path(api.arguments[1]).read_text()
    server = f"server: https://{OUTSIDE}:{relay.port}\n    tls-server-name: localhost"
    path = area / f"{api.kind}.kubeconfig"
    path.write_text(re.sub(r"server: \S+", server, text))
    return path


@pytest.fixture
def both(area: Path) -> Iterator[list[Api]]:
    """One server for each protocol, as the test takes as long for two as for one."""
    made = [Api(area / "api1"), Api(area / "api2", http2=True)]
    yield made
    for api in made:
        api.close()


def state(volume: Volume) -> str:
    return volume.status()["source"]["state"]


def test_vanished_server_is_noticed_and_found_again(both, area: Path, start_mount, link: Link):
    """Keepalive: half a minute of silence from a dead peer is a failure, from which it recovers."""
    relays, volumes = [], []
    for api in both:
        api.put_secret({"n": b"0"})
        port = (api.proxy or api.server).port
        relays.append(Relay(0, ("127.0.0.1", port), host=OUTSIDE))
        kubeconfig = through(api, relays[-1], area)
        volumes.append(
            start_mount("--kubeconfig", str(kubeconfig), "secret/app", prefix=link.prefix)
        )
        volumes[-1].wait_ready()
    until(lambda: all(state(volume) == "live" for volume in volumes), "the watches")
    link.down()
    for api, volume in zip(both, volumes):
        api.put_secret({"n": b"1"})
        until(lambda v=volume: state(v) == "failing", "the silence")
        assert volume.read("n") == b"0"
        assert volume.status()["volume"]["state"] == "disconnected"
    link.up()
    for volume in volumes:
        volume.wait_content({"n": b"1"})
        until(lambda v=volume: state(v) == "live", "the watch")
        assert len(volume.log_lines(" WARN source failed, retrying")) == 1
        assert len(volume.log_lines(" INFO source recovered")) == 1
    for relay in relays:
        relay.close()
