"""Slow HTTP connections of an ordinary user: they keep no probe and no scraper from its response."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from typing import Iterator

import pytest

from lib import program
from lib.node_daemon import Node, NodeMaker
from lib.sources import Manifests

_USER = 65534  # without rights
_CONNECTIONS = 400
_HANGS_SECONDS = 30.0
_TRIES = 20

# Opens the connections, begins a request on each, and again when the server closes one.
_ATTACK = f"""
import select, socket, sys
address = ("127.0.0.1", int(sys.argv[1]))
def slow():
    client = socket.create_connection(address)
    client.sendall(b"GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n")
    return client
clients = [slow() for _ in range({_CONNECTIONS})]
print("begun", flush=True)
while True:
    for closed in select.select(clients, [], [])[0]:
        clients.remove(closed)
        closed.close()
        clients.append(slow())
"""


def _port(node: Node) -> int:
    found = re.search(r'serving metrics and health address="[^"]+:(\d+)"', node.log())
    assert found is not None, node.log()
    return int(found.group(1))


@pytest.fixture
def attacked(start_node: NodeMaker, manifests: Manifests) -> Iterator[Node]:
    manifests.put_secret({"user": b"dummy"})
    node = start_node("--metrics-bind-address=127.0.0.1:0", *manifests.arguments).wait_ready()
    attacker = subprocess.Popen(
        [sys.executable, "-c", _ATTACK, str(_port(node))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        user=_USER,
        group=_USER,
        extra_groups=[],
        cwd="/",
    )
    try:
        assert attacker.stdout is not None and attacker.stdout.readline() == b"begun\n"
        yield node
        assert attacker.poll() is None, "the attack ended by itself"
    finally:
        attacker.kill()
        attacker.wait()
        if attacker.stdout is not None:
            attacker.stdout.close()


def test_probes_by_exec(attacked: Node) -> None:
    for _ in range(5):
        done = subprocess.run(
            [str(program.binary()), "health", f"--run-dir={attacked.run_dir}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_HANGS_SECONDS,
            env=program.environment(attacked.home),
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def _status_of(url: str) -> int:
    """As a scraper that tries again: on a busy machine it may be late with its request, and then it
    has the oldest connection."""
    for _ in range(_TRIES):
        try:
            with urllib.request.urlopen(url, timeout=_HANGS_SECONDS) as reply:
                return reply.status
        except ConnectionError:
            pass
    return 0


def test_pages(attacked: Node) -> None:
    for page in ("livez", "metrics") * 5:
        assert _status_of(f"http://127.0.0.1:{_port(attacked)}/{page}") == 200


def test_update_while_attacked(attacked: Node, manifests: Manifests) -> None:
    """A pod gets its volume."""
    volume = attacked.publish(attacked.pod())
    assert (volume.target / "user").read_bytes() == b"dummy"


def test_other_users_cannot_connect_to_the_socket(attacked: Node) -> None:
    code = (
        "import socket, sys\n"
        "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
        "except PermissionError: print('refused')"
    )
    path = str(attacked.run_dir / "health.sock")
    attacked.run_dir.parent.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        capture_output=True,
        text=True,
        user=_USER,
        group=_USER,
        extra_groups=[],
        cwd="/",
        check=False,
    )
    assert done.stdout == "refused\n", done.stderr
