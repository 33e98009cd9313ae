"""`onUpdate: signal:NAME`: containers of the pod are signalled after an update, and no one else."""

from __future__ import annotations

import json
import signal
import uuid
from dataclasses import replace
from typing import Any

import pytest

from lib.kubelet import INVALID_ARGUMENT, PodVolume
from lib.node_daemon import Node, NodeMaker, read
from lib.pod_processes import PodProcesses, Process
from lib.pods import put_pod
from lib.sources import Api, Manifests
from lib.waiting import until

HUP = {"secretName": "app", "onUpdate": "signal:HUP"}
OTHER_USER = 65534


@pytest.fixture
def node(start_node: NodeMaker, manifests: Manifests) -> Node:
    manifests.put_secret({"password": b"dummy-1"})
    return start_node(*manifests.arguments).wait_ready()


def publish(node: Node, **attributes: str) -> PodVolume:
    """Of a pod of its own on this host, as control groups are named by its uid."""
    volume = replace(node.pod(attributes={**HUP, **attributes}), uid=str(uuid.uuid4()))
    return node.publish(volume)


def wait_signalled(node: Node, n_processes: int, n_updates: int = 1) -> None:
    """All processes of the pod have been looked at for these updates."""
    line = f'processes="{n_processes}"'

    def lines() -> list[str]:
        return [each for each in node.log().splitlines() if "signalled the update" in each]

    until(lambda: len(lines()) >= n_updates, f"{n_updates} signals; the log:\n{node.log()}")
    assert all(line in each for each in lines()), node.log()


def wait_signals(process: Process, *signals: str) -> None:
    until(lambda: process.signals() == list(signals), f"{signals}, not {process.signals()}")


def test_update_is_visible_when_it_is_signalled(
    node: Node, manifests: Manifests, processes: PodProcesses
) -> None:
    volume = publish(node)
    web = processes.start(processes.container(volume), volume)
    for number in range(2, 5):
        manifests.put_secret({"password": f"dummy-{number}".encode()})
        expected = [f"SIGHUP dummy-{each}" for each in range(2, number + 1)]
        wait_signals(web, *expected)
    manifests.touch_secret()
    manifests.put_secret({"password": b"dummy-5"})
    wait_signals(web, *[f"SIGHUP dummy-{each}" for each in range(2, 6)])


def test_last_update_of_many_is_signalled(
    node: Node, manifests: Manifests, processes: PodProcesses
) -> None:
    volume = publish(node)
    web = processes.start(processes.container(volume), volume)
    for number in range(20):
        manifests.put_secret({"password": f"dummy-{number}".encode()})
    manifests.put_secret({"password": b"dummy-last"})
    until(lambda: web.signals()[-1:] == ["SIGHUP dummy-last"], "the last one")


@pytest.mark.parametrize("name", ["USR1", "USR2", "TERM"])
def test_other_signals(
    node: Node, manifests: Manifests, processes: PodProcesses, name: str
) -> None:
    volume = publish(node, onUpdate=f"signal:{name}")
    web = processes.start(processes.container(volume), volume)
    manifests.put_secret({"password": b"dummy-2"})
    wait_signals(web, f"SIG{name} dummy-2")


def test_process_of_another_user(
    node: Node, manifests: Manifests, processes: PodProcesses
) -> None:
    volume = publish(node)
    web = processes.start(processes.container(volume), volume, user=OTHER_USER)
    manifests.put_secret({"password": b"dummy-2"})
    wait_signals(web, "SIGHUP dummy-2")


def test_first_process_of_each_container_that_has_the_volume(
    node: Node, manifests: Manifests, processes: PodProcesses
) -> None:
    """Not of a container that does not mount it, and of no other pod."""
    volume, other = publish(node), publish(node)
    first, second, third = (processes.container(volume, number) for number in range(3))
    web = processes.start(first, volume)
    later = processes.start(first, volume)
    sidecar = processes.start(second, volume)
    without = processes.start(
        third, volume, script=f"umount {volume.target}; mkdir -p {volume.target}; touch {volume.target}/password"
    )
    in_slice = processes.start(first.parent, volume)
    outside = processes.start(processes.top, volume)
    stranger = processes.start(processes.container(other), other, script=f"umount {other.target}")
    manifests.put_secret({"password": b"dummy-2"})
    wait_signals(web, "SIGHUP dummy-2")
    wait_signals(sidecar, "SIGHUP dummy-2")
    wait_signalled(node, 2)
    for process in (later, without, in_slice, outside, stranger):
        assert process.signals() == []


def test_container_and_process_by_name(
    node: Node, manifests: Manifests, processes: PodProcesses
) -> None:
    volume = publish(node, onUpdateContainer="web", onUpdateProcess="nginx")
    first, second = processes.container(volume, 0), processes.container(volume, 1)
    web, proxy = processes.log_of(volume, "web"), processes.log_of(volume, "proxy")
    tini = processes.start(first, volume, name="tini", script=web)
    nginx = processes.start(first / "workers", volume, name="nginx", script=web)
    sidecar = processes.start(second, volume, name="nginx", script=proxy)
    manifests.put_secret({"password": b"dummy-2"})
    wait_signals(nginx, "SIGHUP dummy-2")
    wait_signalled(node, 1)
    assert tini.signals() == sidecar.signals() == []


def test_hostile_names_of_control_groups(
    node: Node, manifests: Manifests, processes: PodProcesses
) -> None:
    """A container cannot have its own process take the place of another pod's."""
    victim, hostile = publish(node), publish(node)
    own = processes.container(hostile)
    inner = own / "kubepods" / f"pod{victim.uid}" / f"{0:064x}"
    older = processes.start(inner, victim)
    conmon = processes.start(
        processes.container(victim).parent / f"crio-conmon-{0:064x}.scope", victim
    )
    service = processes.start(
        processes.top / "a.service" / "kubepods" / f"pod{victim.uid}" / f"{1:064x}", victim
    )
    web = processes.start(processes.container(victim), victim)
    manifests.put_secret({"password": b"dummy-2"})
    wait_signals(web, "SIGHUP dummy-2")
    wait_signals(older, "SIGHUP dummy-2")  # for the volume of its own pod
    wait_signalled(node, 1, n_updates=2)
    assert conmon.signals() == service.signals() == []


def events(api: Api) -> list[dict[str, Any]]:
    asked = api.server.requests.select(verb="create", resource="events")
    found = [json.loads(request.body) for request in asked]
    return [event for event in found if event["reason"] == "UpdateNotSignalled"]


def test_failure_is_an_event(start_node: NodeMaker, api: Api, processes: PodProcesses) -> None:
    """And the next update is signalled, once there is a process."""
    api.put_secret({"password": b"dummy-1"})
    arguments = ["--rights=daemon", "--kubeconfig", api.kubeconfig("admin")]
    node = start_node(*arguments).wait_ready()
    volume = replace(node.pod(attributes=HUP), uid=str(uuid.uuid4()))
    put_pod(api, volume, phase="Running")
    node.publish(volume)
    processes.container(volume).mkdir(parents=True)
    api.put_secret({"password": b"dummy-2"})
    (event,) = until(lambda: events(api), "the event")
    assert event["type"] == "Warning"
    assert event["message"] == (
        "secret/default/app: the update is visible, but was not signalled: "
        "no running container has the volume mounted"
    )
    web = processes.start(processes.container(volume), volume)
    api.put_secret({"password": b"dummy-3"})
    wait_signals(web, "SIGHUP dummy-3")
    wait_signalled(node, 1)


def test_pending_signal_is_sent_at_the_end(
    node: Node, manifests: Manifests, processes: PodProcesses
) -> None:
    """Of a daemon that ends in the second in which it may not signal again."""
    volume = publish(node)
    web = processes.start(processes.container(volume), volume)
    manifests.put_secret({"password": b"dummy-2"})
    wait_signals(web, "SIGHUP dummy-2")
    manifests.put_secret({"password": b"dummy-3"})
    until(lambda: read(volume, "password") == b"dummy-3", "the update")
    node.signal(signal.SIGTERM)
    node.wait_end()
    until(lambda: len(web.signals()) == 2, "the second signal")


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (
            {"onUpdate": "signal:KILL"},
            'volumeAttributes.onUpdate: invalid signal "KILL", expected one of: HUP, USR1, USR2, TERM',
        ),
        (
            {"onUpdateContainer": "web", "onUpdate": ""},
            "volumeAttributes.onUpdate: required with onUpdateContainer and onUpdateProcess",
        ),
    ],
)
def test_invalid_attributes(node: Node, attributes: dict[str, str], reason: str) -> None:
    volume = node.pod(attributes={**HUP, **attributes})
    answer = volume.publish(node.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert reason in answer.text
