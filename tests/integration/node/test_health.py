"""Health of a node daemon: `secretfs health`, the HTTP pages and the watchdog, while a thread hangs."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lib import program
from lib.hang import hanging
from lib.node_daemon import Node, NodeMaker
from lib.service_manager import Manager
from lib.sources import Manifests
from lib.waiting import PATIENCE_SECONDS, until

PAGES = "--metrics-bind-address=127.0.0.1:0"
_HANGS_SECONDS = 30.0  # far above the 2 s that the command promises


def health(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program.binary()), "health", f"--run-dir={node.run_dir}", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_HANGS_SECONDS,
        env=program.environment(node.home),
        check=False,
    )


def address(node: Node) -> tuple[str, int]:
    found = re.search(r'serving metrics and health address="([^"]+):(\d+)"', node.log())
    assert found is not None, node.log()
    return found.group(1), int(found.group(2))


def get(node: Node, path: str) -> tuple[int, str]:
    host, port = address(node)
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=PATIENCE_SECONDS) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def manager(area: Path) -> Manager:
    return Manager(area / "notify")


@pytest.fixture
def watched(start_node: NodeMaker, manifests: Manifests, manager: Manager) -> Node:
    """A daemon whose service manager expects a notification every 100 ms."""
    manifests.put_secret({"user": b"dummy"})
    env = {**manager.env, "WATCHDOG_USEC": "100000"}
    return start_node(PAGES, *manifests.arguments, env=env).wait_ready()


def assert_ok(node: Node) -> None:
    done = health(node)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def until_failed(node: Node) -> subprocess.CompletedProcess[str]:
    """The outcome of a check that fails; a response to a probe counts for one second."""

    def failed() -> subprocess.CompletedProcess[str] | None:
        done = health(node)
        return done if done.returncode == 1 else None

    return until(failed, "the check fails")


@pytest.mark.parametrize("thread", ["publisher", "fuse-worker"])
def test_thread_of_a_file_system_hangs(watched: Node, manager: Manager, thread: str) -> None:
    """Every check fails while it hangs, and passes again after that."""
    assert_ok(watched)
    manager.wait("WATCHDOG=1", 3)
    with hanging(watched.pid, thread):
        done = until_failed(watched)
        assert "threads: the publisher or the FUSE workers have not responded for" in done.stderr
        n_notified = manager.lines().count("WATCHDOG=1")
        for page in ("/livez", "/healthz", "/readyz"):
            until(lambda: get(watched, page)[0] == 503, f"{page} fails")
            assert "[-]threads failed: the publisher or the FUSE workers" in get(watched, page)[1]
        assert manager.lines().count("WATCHDOG=1") == n_notified
    until(lambda: health(watched).returncode == 0, "healthy again")
    until(lambda: get(watched, "/livez") == (200, "ok"), "live again")
    manager.wait("WATCHDOG=1", n_notified + 2)


def test_event_loop_hangs(watched: Node, manager: Manager) -> None:
    """The command ends all the same and names the process."""
    manager.wait("WATCHDOG=1", 3)
    with hanging(watched.pid, "secretfs"):
        n_notified = manager.lines().count("WATCHDOG=1")
        done = health(watched)
        assert done.returncode == 1
        assert f"process {watched.pid} does not answer: it is stopped or hangs" in done.stderr
        assert manager.lines().count("WATCHDOG=1") == n_notified
    until(lambda: health(watched).returncode == 0, "healthy again")


def test_process_is_stopped(watched: Node) -> None:
    watched.signal(signal.SIGSTOP)
    try:
        assert health(watched).returncode == 1
    finally:
        watched.signal(signal.SIGCONT)


def test_process_is_dead(watched: Node) -> None:
    watched.kill()
    done = health(watched)
    assert done.returncode == 1
    assert f"cannot connect to {watched.run_dir}/health.sock" in done.stderr


def test_without_a_service_manager(node: Node) -> None:
    """Threads are probed for the check itself; nothing else asks for it."""
    assert_ok(node)
    with hanging(node.pid, "publisher"):
        until_failed(node)


def test_readiness(watched: Node) -> None:
    """Liveness does not depend on the kubelet, readiness does."""
    assert_ok(watched)
    done = health(watched, "--ready")
    assert done.returncode == 1
    assert "registered: the kubelet has not asked for the plug-in yet" in done.stderr


def test_only_root_connects(node: Node) -> None:
    path = node.run_dir / "health.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    document = json.loads(_receive(path))
    assert {check["name"] for check in document["checks"]} == {
        "mount",
        "threads",
        "registered",
        "source",
    }


def _receive(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        return b"".join(iter(lambda: client.recv(4096), b""))


@pytest.mark.parametrize("arguments", [["x"], ["--no-such-option"], ["--run-dir"]])
def test_usage(area: Path, arguments: list[str]) -> None:
    command = [str(program.binary()), "health", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=program.environment(area), check=False
    )
    assert done.returncode == 2
