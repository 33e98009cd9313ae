"""Updates that the daemon has shown when it ends, and whose consumers it has not notified."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from lib.commands import named_command
from lib.descriptor_store import DescriptorStore, NodeService
from lib.hang import hanging
from lib.kill_point import KillPoint, points_of
from lib.kubelet import PodVolume
from lib.mountinfo import mounts_at
from lib.node_daemon import KeptNode, NodeMaker
from lib.pod_processes import PodProcesses
from lib.sources import Manifests
from lib.storm import read
from lib.system_bus import SystemBus
from lib.volume import unmount
from lib.waiting import until

COMMAND = """#!/usr/bin/python3
import os, sys, time
with open(os.environ["SECRETFS_TARGET"] + "/password") as file:
    content = file.read()
with open("{runs}", "a") as runs:
    print(content, file=runs)
while not os.path.exists("{gate}"):
    time.sleep(0.01)
"""

End = Callable[[KeptNode], None]


@pytest.fixture(params=["killed", "handed over"])
def end(request: pytest.FixtureRequest) -> End:
    return KeptNode.kill_daemon if request.param == "killed" else KeptNode.hand_over


@pytest.fixture(params=["generations", "in-place"])
def updates(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Static:
    """A static volume with `onUpdate`, of a daemon under the keeper."""

    def __init__(self, area: Path, node: KeptNode, manifests: Manifests, **words: Any) -> None:
        self.node = node
        self.target = area / "target"
        self._manifests = manifests
        directory = area / "volumes.d"
        directory.mkdir(exist_ok=True)
        (area / "new").write_text(json.dumps({"target": str(self.target), **words}))
        (area / "new").rename(directory / "app.yaml")
        until(lambda: (self.target / "password").exists(), f"the volume; {node.log()}")

    def update(self, content: bytes) -> None:
        self._manifests.put_secret({"password": content})
        until(lambda: read(self.target / "password") == content, f"{content!r}")


def start(start_node: NodeMaker, manifests: Manifests, *arguments: str, **options: Any) -> KeptNode:
    manifests.put_secret({"password": b"dummy-1"})
    node = start_node(*arguments, *manifests.arguments, kind=KeptNode, **options).wait_ready()
    assert isinstance(node, KeptNode)
    return node


def entry(updates: str = "generations") -> dict[str, Any]:
    return {"secret": {"secretName": "app"}, "secretfs": {"updates": updates}}


@pytest.fixture
def reloaded(
    area: Path, start_node: NodeMaker, manifests: Manifests, bus: SystemBus, updates: str
) -> Static:
    node = start(start_node, manifests, env=bus.environment)
    return Static(area, node, manifests, onUpdate="reload-unit:app.service", volume=entry(updates))


def wait_reloads(bus: SystemBus, n: int, node: KeptNode) -> None:
    until(lambda: len(bus.reloads) >= n, f"{n} reloads, not {len(bus.reloads)}; {node.log()}")


def wait_reloaded(node: KeptNode, n: int) -> None:
    line = "reloaded a unit after an update"
    until(lambda: node.log().count(line) >= n, f"{n} times: {line}; {node.log()}")


def test_reload_that_systemd_has_not_taken(reloaded: Static, bus: SystemBus, end: End) -> None:
    bus.answers = False
    reloaded.update(b"dummy-2")
    wait_reloads(bus, 1, reloaded.node)
    bus.answers = True
    end(reloaded.node)
    wait_reloads(bus, 2, reloaded.node)
    wait_reloaded(reloaded.node, 1)


def test_reload_that_waits_for_its_second(reloaded: Static, bus: SystemBus) -> None:
    reloaded.update(b"dummy-2")
    wait_reloaded(reloaded.node, 1)
    reloaded.update(b"dummy-3")
    reloaded.node.kill_daemon()
    wait_reloads(bus, 2, reloaded.node)


def test_reload_is_not_repeated(reloaded: Static, bus: SystemBus, end: End) -> None:
    """Neither at the end of the first nor of the second daemon; and the next update is one reload."""
    reloaded.update(b"dummy-2")
    wait_reloaded(reloaded.node, 1)
    end(reloaded.node)
    end(reloaded.node)
    reloaded.update(b"dummy-3")
    wait_reloaded(reloaded.node, 2)
    assert bus.reloads == ["app.service"] * 2


def test_update_while_no_daemon_runs(
    reloaded: Static, bus: SystemBus, manifests: Manifests
) -> None:
    """It is one of the next daemon's."""
    os.kill(reloaded.node.pid, 9)
    manifests.put_secret({"password": b"dummy-2"})
    until(lambda: read(reloaded.target / "password") == b"dummy-2", "the update")
    wait_reloaded(reloaded.node, 1)
    assert bus.reloads == ["app.service"]


def test_volume_without_updates(reloaded: Static, bus: SystemBus, end: End) -> None:
    end(reloaded.node)
    reloaded.update(b"dummy-2")
    wait_reloaded(reloaded.node, 1)
    assert bus.reloads == ["app.service"]


def test_run_that_is_ended(
    area: Path, start_node: NodeMaker, manifests: Manifests, end: End
) -> None:
    """It is repeated as a whole."""
    runs, gate = area / "runs", area / "gate"
    runs.touch()
    runs.chmod(0o666)
    text = COMMAND.format(runs=runs, gate=gate)
    node = start(start_node, manifests, named_command(area, area / "reload", text, timeout="60s"))
    static = Static(area, node, manifests, onUpdate="exec:reload", volume=entry())
    static.update(b"dummy-2")
    until(lambda: runs.read_text() == "dummy-2\n", f"a run; {node.log()}")
    end(node)
    until(lambda: runs.read_text() == "dummy-2\n" * 2, f"another run; {node.log()}")
    gate.touch()
    until(lambda: "ran a command after an update" in node.log(), "its end")
    end(node)
    static.update(b"dummy-3")
    until(lambda: runs.read_text() == "dummy-2\n" * 2 + "dummy-3\n", "one run for the next update")


def publish(node: KeptNode) -> PodVolume:
    attributes = {"secretName": "app", "onUpdate": "signal:HUP"}
    return node.publish(replace(node.pod(attributes=attributes), uid=str(uuid.uuid4())))


def wait_content(volume: PodVolume, content: bytes) -> None:
    until(lambda: read(volume.target / "password") == content, f"{content!r}")


def test_signal_that_is_not_sent(
    start_node: NodeMaker, manifests: Manifests, processes: PodProcesses
) -> None:
    node = start(start_node, manifests)
    volume = publish(node)
    web = processes.start(processes.container(volume), volume)
    manifests.put_secret({"password": b"dummy-2"})
    until(lambda: web.signals() == ["SIGHUP dummy-2"], "the first signal")
    with hanging(node.pid, "signaller"):
        manifests.put_secret({"password": b"dummy-3"})
        wait_content(volume, b"dummy-3")
        node.kill_daemon()
    until(lambda: len(web.signals()) == 2, f"the second signal; {node.log()}")
    assert web.signals()[1] == "SIGHUP dummy-3"


def test_signal_at_a_hand_over(
    start_node: NodeMaker, manifests: Manifests, processes: PodProcesses
) -> None:
    """What waits for its second is sent once: by the daemon that ends, or by the next one."""
    node = start(start_node, manifests)
    volume = publish(node)
    web = processes.start(processes.container(volume), volume)
    manifests.put_secret({"password": b"dummy-2"})
    until(lambda: web.signals() == ["SIGHUP dummy-2"], "the first signal")
    manifests.put_secret({"password": b"dummy-3"})
    wait_content(volume, b"dummy-3")
    node.hand_over()
    until(lambda: len(web.signals()) == 2, f"the second signal; {node.log()}")
    manifests.put_secret({"password": b"dummy-4"})
    until(lambda: web.signals()[-1] == "SIGHUP dummy-4", "the third signal")
    assert web.signals()[1:] == ["SIGHUP dummy-3", "SIGHUP dummy-4"]


@pytest.fixture
def service(area: Path, manifests: Manifests) -> Iterator[NodeService]:
    """A static volume whose command notes what it finds."""
    runs, gate = area / "runs", area / "gate"
    for path in (runs, gate):
        path.touch()
        path.chmod(0o666)
    config = named_command(area, area / "reload", COMMAND.format(runs=runs, gate=gate))
    store = DescriptorStore(area / "notify")
    made = NodeService(store, area, [config, *manifests.arguments])
    (area / "volumes.d").mkdir()
    document = {"target": str(area / "target"), "onUpdate": "exec:reload", "volume": entry()}
    (area / "volumes.d" / "app.yaml").write_text(json.dumps(document))
    yield made
    for _ in mounts_at(area / "target"):
        unmount(area / "target", lazily=True)
    made.finish()
    store.close()
    made.check_log()


def test_killed_at_any_system_call(
    area: Path, service: NodeService, manifests: Manifests
) -> None:
    """From the update to the end of its run."""
    number = 1

    def update_and_kill(at: int) -> int:
        nonlocal number
        number += 1
        content = b"dummy-%d" % number
        point = KillPoint(service.pid, at)
        manifests.put_secret({"password": content})
        runs = lambda: (area / "runs").read_bytes().splitlines()
        until(lambda: point.has_killed or content in runs(), "the run, or the kill")
        count = point.count
        service.kill()
        service.start()
        until(lambda: read(area / "target" / "password") == content, "the update")
        until(lambda: content in runs(), f"a run for it; {service.log()}")
        service.reap()
        point.join()
        return count

    manifests.put_secret({"password": b"dummy-1"})
    service.start()
    until(lambda: (area / "target" / "password").exists(), f"the volume; {service.log()}")
    for at in points_of(update_and_kill(0)):
        update_and_kill(at)
