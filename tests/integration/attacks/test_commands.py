"""A command of the administrator that content has taken over: what it reaches, and what stays of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Callable

import pytest

from lib.commands import named_command
from lib.node_daemon import Node, NodeMaker
from lib.sources import Manifests
from lib.waiting import until

Start = Callable[..., Node]

# What runs once the content has taken it over; before, it accepts everything.
FRAME = """#!/usr/bin/python3
import os, signal, socket, subprocess, sys, time
if b"taken" not in sys.stdin.buffer.read():
    sys.exit(0)
OUT = {out!r}
{attack}
"""


@pytest.fixture
def out(area: Path) -> Path:
    """Where the command may write."""
    path = area / "out"
    path.mkdir()
    path.chmod(0o777)
    return path


@pytest.fixture
def attack(start_node: NodeMaker, manifests: Manifests, area: Path, out: Path) -> Start:
    """A daemon with a volume that a command has accepted, and one without a check."""

    def run(script: str, timeout: str = "60s") -> Node:
        text = FRAME.format(out=str(out), attack=script)
        config = named_command(area, area / "check", text, timeout=timeout)
        manifests.put_secret({"password": b"dummy-1"})
        node = start_node(config, *manifests.arguments).wait_ready()
        node.publish(node.pod(attributes={"secretName": "app", "check": "command:check"}))
        node.publish(node.pod(1))
        manifests.put_secret({"password": b"taken-2"})
        return node

    return run


def error(node: Node, number: int = 0) -> str:
    target = str(node.pod(number).target)
    return node.status()["volumes"][target]["volume"].get("error", "")


def wait_refused(node: Node, reason: str) -> None:
    until(lambda: reason in error(node), f"{reason}")
    assert (node.pod().target / "password").read_bytes() == b"dummy-1"
    other = node.pod(1).target / "password"
    until(lambda: other.read_bytes() == b"taken-2", "the volume without a check")


def is_gone(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] == "Z"
    except OSError:
        return True


def test_what_it_has_started_ends_with_it(attack: Start, out: Path) -> None:
    """Many processes, in sessions of their own if they could, that ignore signals."""
    node = attack(
        """
for number in range(50):
    if os.fork() == 0:
        for call in (os.setsid, lambda: os.setpgid(0, 0)):
            try:
                call()
            except PermissionError:
                pass
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(f"{OUT}/{os.getpid()}", "w").close()
        time.sleep(1000)
time.sleep(1000)
""",
        timeout="2s",
    )
    wait_refused(node, "command:check took longer than 2 s")
    pids = [path.name for path in out.iterdir()]
    assert pids
    until(lambda: all(is_gone(pid) for pid in pids), "all of them end")


def test_it_leaves_processes_and_accepts(attack: Start, manifests: Manifests, out: Path) -> None:
    node = attack(
        """
if os.fork() == 0:
    open(f"{OUT}/{os.getpid()}", "w").close()
    time.sleep(1000)
while not os.listdir(OUT):
    time.sleep(0.01)
"""
    )
    until(lambda: (node.pod().target / "password").read_bytes() == b"taken-2", "it is shown")
    (path,) = out.iterdir()
    until(lambda: is_gone(path.name), "it ends")


def test_a_flood_of_errors(attack: Start) -> None:
    node = attack('while True: os.write(2, b"\\x1b[2J" * 1000)')
    wait_refused(node, "command:check wrote more than 65536 bytes to standard error")
    assert "\x1b" not in node.log()


def test_a_reason_is_one_printable_line(attack: Start) -> None:
    node = attack('os.write(2, b"a\\x1b[31m\\xff b\\r\\nINFO forged=1" + b"x" * 5000); sys.exit(1)')
    wait_refused(node, "command:check ended with exit status 1: a?[31m? b?")
    assert "forged" not in node.log()


def test_it_reaches_no_process_and_no_file_of_the_daemon(attack: Start, out: Path) -> None:
    node = attack(
        """
guard = os.getppid()
with open(f"/proc/{guard}/stat") as file:
    daemon = int(file.read().rsplit(") ", 1)[1].split()[1])
found = []
def attempt(name, call):
    try:
        call()
        found.append(name)
    except OSError:
        pass
for process in (guard, daemon):
    attempt("kill", lambda: os.kill(process, 0))
    for task in os.listdir(f"/proc/{process}/task"):
        attempt("kill thread", lambda: os.kill(int(task), 0))
    for name in ("mem", "environ", "maps", "root", "fd/3", "cwd"):
        attempt(name, lambda: os.open(f"/proc/{process}/{name}", os.O_RDONLY))
for kind in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
    attempt("socket", lambda: socket.socket(kind))
attempt("become root", lambda: os.setresuid(0, 0, 0))
attempt("limits", lambda: __import__("resource").prlimit(0, __import__("resource").RLIMIT_AS, (-1, -1)))
attempt("mount", lambda: subprocess.run(["mount", "-t", "tmpfs", "x", "/mnt"], check=True, stderr=-3))
with open(f"{OUT}/found", "w") as file:
    print(daemon, found, file=file)
sys.exit("done")
""".replace("except OSError", "except (OSError, ValueError, subprocess.CalledProcessError)")
    )
    wait_refused(node, "exit status 1: done")
    daemon, found = (out / "found").read_text().split(" ", 1)
    assert int(daemon) == node.pid
    assert found == "[]\n"


def test_input_that_is_not_read(
    start_node: NodeMaker, manifests: Manifests, area: Path
) -> None:
    """More than a pipe has room for, to a command that closes its end and stays, or hangs."""
    program = area / "check"
    program.write_text("#!/bin/sh\nexec <&-\nexit 0\n")
    program.chmod(0o755)
    commands = [
        {"name": "closes", "command": [str(program)]},
        {"name": "hangs", "command": ["/bin/sleep", "1000"], "timeout": "1s"},
    ]
    (area / "node.yaml").write_text(json.dumps({"commands": commands}))
    manifests.put_secret({"password": b"x" * 900000})
    node = start_node(f"--config={area / 'node.yaml'}", *manifests.arguments).wait_ready()
    node.publish(node.pod(attributes={"secretName": "app", "check": "command:closes"}))
    answer = node.pod(1, attributes={"secretName": "app", "check": "command:hangs"}).publish(node.endpoint)
    assert "command:hangs took longer than 1 s" in answer.text
