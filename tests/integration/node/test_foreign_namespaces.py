"""The daemon ignores mount namespaces of containers: their mounts delay no
update, and nothing of another process is opened or entered.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Iterator

import pytest

from lib.live import Containers, MountLoop, put, wait_text
from lib.namespace import MountNamespace
from lib.node_daemon import Node
from lib.sources import Api
from lib.waiting import until

MOUNTS = (0, 10_000, 100_000)
DOUBLINGS = 14  # a namespace may hold 100,000 (fs.mount-max)
ROUNDS = 15
# Medians of the same thing differ by less, also on a busy machine. What this guards against is a
# daemon that reads other namespaces, which took some hundred times as long.
NOISE = 4.0


@pytest.fixture
def node(node_on_api: Node) -> Node:
    return node_on_api


@pytest.fixture
def churn(area: Path) -> Iterator[None]:
    """Mounts that come and go in our namespace, and in another one."""
    loops = [
        MountLoop(area / "own-churn"),
        MountLoop(area / "foreign-churn", "unshare", "--mount"),
    ]
    yield
    for loop in loops:
        loop.end()


# ---- what is in other namespaces


def test_fake_proc_with_fifos_delays_no_update(file: Path, api: Api, area: Path) -> None:
    """In a user namespace of its own a process may mount what it likes, where only it sees it."""
    fake = "mount -t tmpfs fake /proc; mkdir /proc/self /proc/thread-self /proc/1"
    fifos = "; ".join(
        f"mkfifo /proc/{each}/mountinfo /proc/{each}/maps /proc/{each}/status"
        for each in ("self", "thread-self", "1")
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-e", "-c"]
    process = subprocess.Popen(
        [*command, f"{fake}; {fifos}; exec 3<{file}; echo ready; read _"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        for number in range(20):
            put(api, user=f"root-{number}", password="dummy")
            wait_text(file, f"root-{number}")
            wait_text(Path(f"/proc/{process.pid}/root{file}"), f"root-{number}")
    finally:
        process.communicate("\n")


def start_with_mounts(containers: Containers, area: Path) -> MountNamespace:
    """A container with some ten thousand mounts of its own, each of which takes in those before."""
    base = area / "mounts"
    base.mkdir(exist_ok=True)
    commands = [f"mount -t tmpfs many {base}"]
    for number in range(DOUBLINGS):
        target = base / str(number)
        commands += [f"mkdir {target}", f"mount --rbind {base} {target}"]
    return containers.start(*commands)


def latencies(file: Path, api: Api, label: str) -> list[float]:
    found = []
    for number in range(ROUNDS):
        begin = time.monotonic()
        put(api, user=f"{label}-{number}", password="dummy")
        wait_text(file, f"{label}-{number}")
        found.append(time.monotonic() - begin)
    return found


def mounts_of(pid: int) -> int:
    with open(f"/proc/{pid}/mountinfo", "rb") as lines:
        return sum(1 for _ in lines)


def test_many_mounts_in_other_namespaces_delay_no_update(
    file: Path, api: Api, area: Path, containers: Containers
) -> None:
    medians, made = [], 0
    for count in MOUNTS:
        while made < count:
            made += mounts_of(start_with_mounts(containers, area).pid)
        medians.append(statistics.median(latencies(file, api, f"beside-{count}")))
        print(f"{made} mounts: {medians[-1] * 1000:.1f} ms")
    assert max(medians) <= NOISE * medians[0]


@pytest.mark.usefixtures("churn")
def test_no_update_is_missed_while_mounts_come_and_go(
    file: Path, api: Api, containers: Containers
) -> None:
    inside = containers.mount(file)
    for number in range(100):
        put(api, user=f"root-{number}", password="dummy")
        for path in (file, inside):
            wait_text(path, f"root-{number}")


# ---- what the daemon does


@pytest.mark.usefixtures("churn")
def test_nothing_of_another_process_is_opened(
    node: Node, api: Api, file: Path, area: Path, containers: Containers
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")
    log = area / "strace"
    command = ["strace", "-f", "-qq", "-e", "trace=setns,pidfd_open,ptrace,process_vm_readv,%file"]
    tracer = subprocess.Popen([*command, "-o", str(log), "-p", str(node.pid)])
    try:
        until(lambda: log.exists() and tracer_of(node.pid) == tracer.pid, "strace")
        inside = containers.mount(file)
        other = node.pod(7, attributes={"secretName": "app"})
        node.publish(other)
        for number in range(20):
            put(api, user=f"root-{number}", password="dummy")
            wait_text(file, f"root-{number}")
            wait_text(inside, f"root-{number}")
        node.status()
        node.unpublish(other)
    finally:
        tracer.terminate()
        tracer.wait()
    lines = log.read_text(errors="replace").splitlines()
    assert [line for line in lines if "..data" in line], "strace has to see something"
    own = {str(node.pid), *os.listdir(f"/proc/{node.pid}/task")}
    foreign = [
        line
        for line in lines
        if re.search(r"\b(setns|pidfd_open|ptrace|process_vm_readv)\(", line)
        or any(pid not in own for pid in re.findall(r'"/proc/(\d+)', line))
    ]
    assert foreign == []


def tracer_of(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^TracerPid:\s+(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]
