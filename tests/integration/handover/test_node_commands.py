"""A daemon that is killed while a command of the administrator checks content."""

from __future__ import annotations

from pathlib import Path

from lib.commands import named_command
from lib.node_daemon import KeptNode, NodeMaker
from lib.sources import Manifests
from lib.storm import read
from lib.waiting import until

SCRIPT = """#!/usr/bin/python3
import os, sys, time
content = sys.stdin.buffer.read()
if b"slow" in content:
    open("{runs}/%d" % os.getpid(), "w").close()
while b"slow" in content and not os.path.exists("{gate}"):
    time.sleep(0.01)
"""

LEAVING = """#!/usr/bin/python3
import ctypes, os, signal, sys, time
if b"taken" in sys.stdin.buffer.read():
    ctypes.CDLL(None).prctl(1, 0)  # PR_SET_PDEATHSIG
    if os.fork() == 0:
        os.kill(os.getppid(), signal.SIGSTOP)
        open("{runs}/%d" % os.getpid(), "w").close()
    time.sleep(1000)
"""


def test_next_daemon_checks_again(
    area: Path, start_node: NodeMaker, manifests: Manifests
) -> None:
    """The command ends with its daemon. Readers keep what was accepted until the next one has checked."""
    runs, gate = area / "runs", area / "gate"
    runs.mkdir()
    runs.chmod(0o777)
    config = named_command(area, area / "check", SCRIPT.format(runs=runs, gate=gate), timeout="60s")
    manifests.put_secret({"password": b"dummy-1"})
    node = start_node(config, *manifests.arguments, kind=KeptNode).wait_ready()
    assert isinstance(node, KeptNode)
    volume = node.publish(node.pod(attributes={"secretName": "app", "check": "command:check"}))
    manifests.put_secret({"password": b"slow-2"})
    until(lambda: len(list(runs.iterdir())) == 1, "the first check")
    (first,) = runs.iterdir()
    node.kill_daemon()
    until(lambda: len(list(runs.iterdir())) == 2, "the next daemon's")
    until(lambda: not Path(f"/proc/{first.name}").exists(), "the end of the first one")
    assert read(volume.target / "password") == b"dummy-1"
    gate.touch()
    until(lambda: read(volume.target / "password") == b"slow-2", "it is shown")


def test_what_a_command_has_started_ends_with_the_daemon(
    area: Path, start_node: NodeMaker, manifests: Manifests
) -> None:
    """Content that has taken it over, and whose processes nothing waits for any more."""
    runs = area / "runs"
    runs.mkdir()
    runs.chmod(0o777)
    config = named_command(area, area / "check", LEAVING.format(runs=runs), timeout="60s")
    manifests.put_secret({"password": b"dummy-1"})
    node = start_node(config, *manifests.arguments, kind=KeptNode).wait_ready()
    assert isinstance(node, KeptNode)
    node.publish(node.pod(attributes={"secretName": "app", "check": "command:check"}))
    manifests.put_secret({"password": b"taken-2"})
    until(lambda: len(list(runs.iterdir())) == 1, "it has started another process, and is stopped")
    (first,) = runs.iterdir()
    node.kill_daemon()
    until(lambda: not Path(f"/proc/{first.name}").exists(), "its end")
