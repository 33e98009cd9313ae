"""`secretfs rollout pause`, `resume`, `undo` and `history`: orders for the volumes of a node."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lib import program
from lib.mountinfo import mounts_at
from lib.node_daemon import KeptNode, Node, PodVolume, read
from lib.sources import Manifests
from lib.waiting import until


def rollout(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program.binary(), "rollout", *arguments]
    if arguments[0] != "history":
        command.append(f"--run-dir={node.run_dir}")
    return program.run(command, home=node.home)


def order(node: Node, *arguments: str) -> str:
    done = rollout(node, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def state(node: Node, volume: PodVolume) -> tuple[str, str]:
    command = [program.binary(), "status", "-o", "json", volume.target]
    content = json.loads(program.run(command, home=node.home).stdout)["volume"]
    return content["state"], content.get("error", "")


def wait_held(node: Node, volume: PodVolume, reason: str) -> None:
    def is_held() -> bool:
        name, error = state(node, volume)
        return name == "held" and reason in error

    until(is_held, f"the volume to be held: {reason}")


def wait_content(volume: PodVolume, content: bytes) -> None:
    until(lambda: read(volume, "password") == content, f"{content!r}")


def put(manifests: Manifests, number: int) -> None:
    manifests.put_secret({"password": f"dummy-{number}".encode()})


@pytest.fixture
def node(start_node: Any, manifests: Manifests) -> Node:
    put(manifests, 1)
    return start_node("--keep-previous=on", *manifests.arguments).wait_ready()


def test_pause_and_resume(node: Node, manifests: Manifests) -> None:
    first, second = node.publish(node.pod()), node.publish(node.pod(1))
    output = order(node, "pause", "secret/app")
    assert output == "default/web-0 paused\ndefault/web-1 paused\n"
    put(manifests, 2)
    for volume in (first, second):
        wait_held(node, volume, "paused by `secretfs rollout pause`")
        assert read(volume, "password") == b"dummy-1"
    third = node.publish(node.pod(2))
    assert read(third, "password") == b"dummy-2"  # there is nothing older that could stay
    assert order(node, "resume", "secret/app", "-n", "default").count(" resumed\n") == 3
    for volume in (first, second):
        wait_content(volume, b"dummy-2")
    until(lambda: state(node, first)[0] == "current", "it to be current")


def test_undo_until_the_next_update(node: Node, manifests: Manifests) -> None:
    volume = node.publish(node.pod())
    done = rollout(node, "undo", "secret/app")
    assert done.returncode == 1
    assert "default/web-0: no earlier content is kept" in done.stderr
    put(manifests, 2)
    wait_content(volume, b"dummy-2")
    assert order(node, "undo", "secret/app") == "default/web-0 undone\n"
    wait_content(volume, b"dummy-1")
    wait_held(node, volume, "undone by `secretfs rollout undo`")
    put(manifests, 3)
    wait_content(volume, b"dummy-3")
    assert order(node, "undo", "secret/app") == "default/web-0 undone\n"
    wait_content(volume, b"dummy-1")
    order(node, "resume", "secret/app")
    wait_content(volume, b"dummy-3")


def test_nothing_is_kept_by_default(start_node: Any, manifests: Manifests) -> None:
    put(manifests, 1)
    node = start_node(*manifests.arguments).wait_ready()
    volume = node.publish(node.pod())
    put(manifests, 2)
    wait_content(volume, b"dummy-2")
    done = rollout(node, "undo", "secret/app")
    assert done.returncode == 1
    assert "without --keep-previous on" in done.stderr
    assert read(volume, "password") == b"dummy-2"


def test_history(node: Node, manifests: Manifests) -> None:
    volume = node.publish(node.pod())
    for number in (1, 2, 3):
        put(manifests, number)
        wait_content(volume, f"dummy-{number}".encode())

    def shown() -> list[str]:
        lines = order(node, "history", "secret/app", "-n", "default").splitlines()
        return [line.split()[1] for line in lines if line.startswith("default/web-0 ")]

    until(lambda: len(shown()) == 3, "three versions")
    versions = shown()
    assert len(set(versions)) == 3
    order(node, "undo", "secret/app")
    until(lambda: shown() == [*versions, versions[1]], "the version before")
    assert "dummy" not in order(node, "history", "secret/app")


@pytest.fixture
def kept(start_node: Any, manifests: Manifests) -> KeptNode:
    put(manifests, 1)
    node = start_node("--keep-previous=on", *manifests.arguments, kind=KeptNode).wait_ready()
    assert isinstance(node, KeptNode)
    return node


@pytest.fixture(params=["generations", "in-place"])
def kept_volume(kept: KeptNode, request: pytest.FixtureRequest) -> PodVolume:
    in_place = {"updates": "in-place"} if request.param == "in-place" else {}
    return kept.publish(kept.pod(attributes={"secretName": "app", **in_place}))


@pytest.fixture(params=[KeptNode.kill_daemon, KeptNode.hand_over], ids=["kill", "hand-over"])
def follow(request: pytest.FixtureRequest) -> Any:
    """The next daemon takes the volumes over."""
    return request.param


def test_pause_outlives_the_daemon(
    kept: KeptNode, kept_volume: PodVolume, manifests: Manifests, follow: Any
) -> None:
    order(kept, "pause", "secret/app")
    follow(kept)
    put(manifests, 2)
    wait_held(kept, kept_volume, "paused by `secretfs rollout pause`")
    follow(kept)
    put(manifests, 3)
    wait_held(kept, kept_volume, "paused by `secretfs rollout pause`")
    assert read(kept_volume, "password") == b"dummy-1"
    order(kept, "resume", "secret/app")
    wait_content(kept_volume, b"dummy-3")
    follow(kept)
    put(manifests, 4)
    wait_content(kept_volume, b"dummy-4")


def test_undo_outlives_the_daemon(
    kept: KeptNode, kept_volume: PodVolume, manifests: Manifests, follow: Any
) -> None:
    """Until the content changes, also while no daemon runs; changed back, it is not undone."""
    put(manifests, 2)
    wait_content(kept_volume, b"dummy-2")
    order(kept, "undo", "secret/app")
    wait_content(kept_volume, b"dummy-1")
    for _ in range(2):
        follow(kept)
        wait_held(kept, kept_volume, "undone by `secretfs rollout undo`")
        manifests.touch_secret()
        assert read(kept_volume, "password") == b"dummy-1"
    put(manifests, 3)
    wait_content(kept_volume, b"dummy-3")
    follow(kept)
    put(manifests, 2)
    wait_content(kept_volume, b"dummy-2")


def test_undo_ends_with_an_update_that_no_daemon_has_seen(
    kept: KeptNode, kept_volume: PodVolume, manifests: Manifests
) -> None:
    put(manifests, 2)
    wait_content(kept_volume, b"dummy-2")
    order(kept, "undo", "secret/app")
    wait_content(kept_volume, b"dummy-1")
    os.kill(kept.pid, signal.SIGSTOP)
    put(manifests, 3)
    kept.kill_daemon()
    wait_content(kept_volume, b"dummy-3")


def test_resume_after_undo_in_the_next_daemon(
    kept: KeptNode, kept_volume: PodVolume, manifests: Manifests
) -> None:
    put(manifests, 2)
    wait_content(kept_volume, b"dummy-2")
    order(kept, "undo", "secret/app")
    order(kept, "pause", "secret/app")
    kept.kill_daemon()
    put(manifests, 3)
    wait_held(kept, kept_volume, "paused by `secretfs rollout pause`")
    assert read(kept_volume, "password") == b"dummy-1"
    order(kept, "resume", "secret/app")
    wait_content(kept_volume, b"dummy-3")


def test_static_volume_stays_paused(
    start_node: Any, manifests: Manifests, area: Path
) -> None:
    """Its record is compared with its file: an order does not make them differ."""
    put(manifests, 1)
    directory, target = area / "volumes.d", area / "shown"
    directory.mkdir()
    content = {"target": str(target), "volume": {"secret": {"secretName": "app"}}}
    (directory / "app.yaml").write_text(json.dumps(content))
    options = [f"--volumes-dir={directory}", *manifests.arguments]
    node = start_node(*options, kind=KeptNode).wait_ready()
    shown = target / "password"
    until(lambda: shown.exists() and shown.read_bytes() == b"dummy-1", "the volume")
    order(node, "pause", "secret/app")
    mounts = mounts_at(target)
    node.kill_daemon()
    put(manifests, 2)
    put(manifests, 3)
    command = [program.binary(), "status", "-o", "json", str(target)]

    def is_held() -> bool:
        done = program.run(command, home=node.home)
        return bool(json.loads(done.stdout)["volume"]["state"] == "held")

    until(is_held, "it to be held")
    assert mounts_at(target) == mounts
    assert shown.read_bytes() == b"dummy-1"
    order(node, "resume", "secret/app")
    until(lambda: shown.read_bytes() == b"dummy-3", "the newest")


def test_namespaces(node: Node) -> None:
    node.publish(node.pod())
    done = rollout(node, "pause", "secret/app", "-n", "other")
    assert done.returncode == 1
    assert "no volume of this node shows that object" in done.stderr
    assert rollout(node, "pause", "configmap/app").returncode == 1


def test_only_root_can_connect(node: Node) -> None:
    path = node.run_dir / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(node.run_dir.stat().st_mode) & 0o077 == 0


def test_requests_of_any_kind(node: Node) -> None:
    """The daemon answers or closes, and goes on."""
    path = str(node.run_dir / "control.sock")
    known = b'{"order": "pause", "object": "secret/app"}\n'
    requests = [b"\n", b"{}\n", b"[]\n", b"x" * 100_000, known.replace(b"pause", b"delete"), b"\0\n"]
    requests += [b'{"order": 1, "object": []}\n', known * 2, known[:-1]]
    for request in requests:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            try:
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
                while answer := client.recv(65536):
                    assert "volumes" not in json.loads(answer)
            except (BrokenPipeError, ConnectionResetError):
                pass  # a request that is too long
    node.publish(node.pod())
    assert order(node, "pause", "secret/app") == "default/web-0 paused\n"


def test_no_daemon(node: Node) -> None:
    command = [program.binary(), "rollout", "pause", "secret/app", f"--run-dir={node.root}"]
    done = program.run(command, home=node.home)
    assert done.returncode == 1
    assert "control.sock" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["pause"],
        ["pause", "app"],
        ["undo", "/run/x"],
        ["restart", "secret/app"],
        ["pause", "secret/app", "--timeout=1s"],
        ["resume", "secret/app", "--context=c"],
    ],
)
def test_usage(node: Node, arguments: list[str]) -> None:
    assert rollout(node, *arguments).returncode == 2
