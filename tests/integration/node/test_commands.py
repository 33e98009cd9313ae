"""Commands of the administrator: `check: command:NAME`, and `onUpdate: exec:NAME` of files."""

from __future__ import annotations

import json
import re
import textwrap
import urllib.request
from pathlib import Path
from typing import Any, Callable

import pytest

from lib.kubelet import INVALID_ARGUMENT, NOT_FOUND, OK
from lib.commands import named_command
from lib.node_daemon import Node, NodeMaker
from lib.sources import Manifests
from lib.waiting import until

PASSES = """
import sys, tarfile

with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
    for member in archive:
        if archive.extractfile(member).read().startswith(b"bad"):
            sys.exit(f"{member.name}: invalid\\nand more")
"""
CHECK = {"secretName": "app", "check": "command:parses"}

Start = Callable[..., Node]


@pytest.fixture
def tools(area: Path) -> Path:
    """A directory whose programs another user may run."""
    path = area / "tools"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture
def out(tools: Path) -> Path:
    path = tools / "out"
    path.mkdir()
    path.chmod(0o777)
    return path


@pytest.fixture
def start(start_node: NodeMaker, manifests: Manifests, tools: Path, area: Path) -> Start:
    """A daemon with one command, `parses`."""

    def run(script: str = PASSES, **words: Any) -> Node:
        text = "#!/usr/bin/python3\n" + textwrap.dedent(script)
        config = named_command(area, tools / "parses", text, **words)
        manifests.put_secret({"password": b"dummy-1"})
        return start_node(config, "--metrics-bind-address=127.0.0.1:0", *manifests.arguments).wait_ready()

    return run


def password(volume: Any) -> bytes:
    return (volume.target / "password").read_bytes()


def state(node: Node, volume: Any) -> dict[str, Any]:
    return node.status()["volumes"][str(volume.target)]["volume"]


def wait_held(node: Node, volume: Any, reason: str) -> None:
    until(lambda: reason in state(node, volume).get("error", ""), f"{reason}; {node.log()}")
    assert state(node, volume)["state"] == "held"


def test_update_is_held_until_it_passes(start: Start, manifests: Manifests) -> None:
    node = start()
    volume = node.publish(node.pod(attributes=CHECK))
    assert password(volume) == b"dummy-1"
    manifests.put_secret({"password": b"bad-2"})
    wait_held(node, volume, "command:parses ended with exit status 1: password: invalid")
    assert password(volume) == b"dummy-1"
    manifests.put_secret({"password": b"dummy-3"})
    until(lambda: password(volume) == b"dummy-3", "the third one")
    until(lambda: state(node, volume)["state"] == "current", "current")
    assert "bad-2" not in node.log()


def test_command_that_cannot_run(start: Start, manifests: Manifests, tools: Path) -> None:
    """That is not the content's fault: it is tried again until it runs."""
    node = start()
    volume = node.publish(node.pod(attributes=CHECK))
    program = tools / "parses"
    program.rename(tools / "away")
    manifests.put_secret({"password": b"dummy-2"})
    wait_held(node, volume, f"command:parses cannot be run: {program}: No such file or directory")
    assert 'secretfs_commands_total{use="check",result="refused"} 0\n' in metrics(node)
    program.touch(0o644)
    wait_held(node, volume, f"command:parses cannot be run: {program}: Permission denied")
    assert password(volume) == b"dummy-1"
    (tools / "away").rename(program)
    until(lambda: password(volume) == b"dummy-2", f"the update; {node.log()}")


def test_script_that_misses_a_program(start: Start, manifests: Manifests) -> None:
    """Its exit status is as good as any other: the content is refused."""
    node = start("import sys, os; sys.exit(127 if b'bad' in sys.stdin.buffer.read() else 0)")
    volume = node.publish(node.pod(attributes=CHECK))
    manifests.put_secret({"password": b"bad-2"})
    wait_held(node, volume, "command:parses ended with exit status 127")
    assert 'secretfs_commands_total{use="check",result="refused"} 1\n' in metrics(node)


def test_first_content_that_is_refused(start: Start, manifests: Manifests) -> None:
    node = start()
    manifests.put_secret({"password": b"bad-1"})
    volume = node.pod(attributes=CHECK)
    answer = volume.publish(node.endpoint)
    assert answer.code == NOT_FOUND
    assert "command:parses ended with exit status 1: password: invalid" in answer.text
    manifests.put_secret({"password": b"dummy-2"})
    until(lambda: volume.publish(node.endpoint).code == OK, "a publish")
    assert password(volume) == b"dummy-2"


def test_content_is_what_the_volume_shows(start: Start, manifests: Manifests) -> None:
    node = start(
        """
        import sys, tarfile
        archive = tarfile.open(fileobj=sys.stdin.buffer, mode="r|")
        found = {m.name: (oct(m.mode), archive.extractfile(m).read()) for m in archive}
        expected = {"d/p": ("0o400", b"dummy-1"), "l" * 120: ("0o644", b"dummy-1")}
        sys.exit(found != expected)
        """
    )
    items = [{"key": "password", "path": "d/p", "mode": 0o400}, {"key": "password", "path": "l" * 120}]
    node.publish(node.pod(attributes={**CHECK, "items": json.dumps(items)}))


def test_what_a_command_is_given(start: Start, out: Path) -> None:
    node = start(
        f"""
        import json, os, socket, sys
        sys.stdin.buffer.read()
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        try:
            network = bool(socket.socket())
        except PermissionError:
            network = False
        with open("{out}/found", "w") as found:
            json.dump({{
                "argv": sys.argv[1:], "environment": dict(os.environ), "ids": os.getresuid(),
                "groups": os.getgroups(), "files": len(os.listdir("/proc/self/fd")) - 2,
                "bounding": status["CapEff"].strip(), "network": network,
                "new": status["NoNewPrivs"].strip(),
            }}, found)
        """,
        user="12345",
    )
    volume = node.publish(node.pod(attributes=CHECK))
    found = json.loads((out / "found").read_text())
    environment = found.pop("environment")
    assert environment.pop("PATH")
    environment.pop("LC_CTYPE", None)  # Python's own
    assert environment == {
        "SECRETFS_VOLUME": "secret/default/app",
        "SECRETFS_NAMESPACE": "default",
        "SECRETFS_POD": volume.pod,
    }
    assert found == {
        "argv": [],
        "ids": [12345] * 3,
        "groups": [],
        "files": 3,
        "bounding": "0" * 16,
        "network": False,
        "new": "1",
    }


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (
            "command:other",
            'unknown command "other": the administrator of this host has to name it under `commands` '
            "in the configuration of the daemon",
        ),
        ("command:/bin/sh", 'invalid name of a command "/bin/sh"'),
        ("command:../parses", 'invalid name of a command "../parses"'),
        ("command:parses -x", 'invalid name of a command "parses -x"'),
    ],
)
def test_a_pod_names_a_command_that_is_none(start: Start, check: str, reason: str) -> None:
    node = start()
    answer = node.pod(attributes={**CHECK, "check": check}).publish(node.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert reason in answer.text
    assert "tools" not in answer.text  # nothing of what the administrator has named


def test_a_pod_cannot_name_what_runs_after_an_update(start: Start) -> None:
    node = start()
    answer = node.pod(attributes={"secretName": "app", "onUpdate": "exec:parses"}).publish(node.endpoint)
    assert answer.code == INVALID_ARGUMENT
    assert 'invalid onUpdate "exec:parses"' in answer.text


def test_daemon_without_commands_refuses(start_node: NodeMaker, manifests: Manifests) -> None:
    manifests.put_secret({"password": b"dummy-1"})
    node = start_node(*manifests.arguments).wait_ready()
    answer = node.pod(attributes=CHECK).publish(node.endpoint)
    assert answer.code == INVALID_ARGUMENT


def test_slow_check_holds_its_own_volume_only(start: Start, manifests: Manifests, area: Path) -> None:
    gate = area / "tools" / "gate"
    node = start(
        f"""
        import os, sys, time
        content = sys.stdin.buffer.read()
        while b"slow" in content and not os.path.exists("{gate}"):
            time.sleep(0.01)
        """,
        timeout="60s",
    )
    manifests.put_secret({"password": b"dummy-1"}, name="other")
    slow = node.publish(node.pod(attributes=CHECK))
    checked = node.publish(node.pod(1, attributes={**CHECK, "secretName": "other"}))
    free = node.publish(node.pod(2, attributes={"secretName": "other"}))
    manifests.put_secret({"password": b"slow-2"})
    wait_held(node, slow, "command:parses checks them")
    manifests.put_secret({"password": b"dummy-2"}, name="other")
    for volume in (checked, free):
        until(lambda v=volume: password(v) == b"dummy-2", "the others go on")
    assert password(slow) == b"dummy-1"
    gate.touch()
    until(lambda: password(slow) == b"slow-2", "the slow one")


def test_content_that_changes_faster_than_its_check(
    start: Start, manifests: Manifests, area: Path, out: Path
) -> None:
    """Each run lasts until the content has changed three times. Versions that pass are shown, in their order."""
    node = start(
        f"""
        import os, sys, tarfile, time
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
            for member in archive:
                number = int(archive.extractfile(member).read().split(b"-")[1])
        open("{out}/%d" % number, "w").close()
        while not os.path.exists("{out}/last-%d" % number):
            time.sleep(0.001)
        sys.exit(number % 2)
        """,
        timeout="60s",
    )
    runs = lambda: {int(path.name) for path in out.iterdir() if path.name.isdigit()}
    let_end = lambda number: (out / f"last-{number}").touch()
    manifests.put_secret({"password": b"dummy-0"})
    let_end(0)
    volume = node.publish(node.pod(attributes=CHECK))
    shown, newest, checked = [], 0, 0
    for _ in range(8):
        earlier = runs()
        for _ in range(3):
            newest += 1
            manifests.put_secret({"password": b"dummy-%d" % newest})
        if checked != 0:
            let_end(checked)
        until(lambda: runs() - earlier, f"the next check; {node.log()}")
        (checked,) = runs() - earlier  # one at a time
        shown.append(int(password(volume).split(b"-")[1]))
    while checked != newest:
        earlier = runs()
        let_end(checked)
        until(lambda: runs() - earlier, "the last check")
        (checked,) = runs() - earlier
    assert shown == sorted(shown)
    assert len(set(shown)) > 2 and all(number % 2 == 0 for number in shown)
    let_end(checked)
    until(lambda: password(volume) == b"dummy-%d" % newest, f"the last one; {node.log()}")
    assert state(node, volume)["state"] == "current"


def test_more_slow_checks_than_threads(start: Start, manifests: Manifests, area: Path) -> None:
    """Three of a namespace run; the loop, publishes and the others' updates go on."""
    gate, runs = area / "tools" / "gate", area / "tools" / "runs"
    runs.mkdir()
    runs.chmod(0o777)
    node = start(
        f"""
        import os, sys, time
        content = sys.stdin.buffer.read()
        mark = "{runs}/%d" % os.getpid()
        if b"slow" in content:
            open(mark, "w").close()
        while b"slow" in content and not os.path.exists("{gate}"):
            time.sleep(0.01)
        if b"slow" in content:
            os.rename(mark, mark + ".done")
        """,
        timeout="60s",
    )
    volumes = [node.publish(node.pod(number, attributes=CHECK)) for number in range(7)]
    free = node.publish(node.pod(8))
    manifests.put_secret({"password": b"slow-2"})
    until(lambda: len(list(runs.iterdir())) == 3, "three run")
    until(lambda: password(free) == b"slow-2", "no check, no wait")
    node.unpublish(volumes.pop())
    assert len(list(runs.iterdir())) == 3
    gate.touch()
    for volume in volumes:
        until(lambda v=volume: password(v) == b"slow-2", "all of them in the end")


def test_volume_that_goes_ends_its_check(start: Start, manifests: Manifests, area: Path) -> None:
    pids = area / "tools" / "pids"
    pids.mkdir()
    pids.chmod(0o777)
    node = start(
        f"""
        import os, sys, time
        if b"slow" in sys.stdin.buffer.read():
            open("{pids}/%d" % os.getpid(), "w").close()
            time.sleep(1000)
        """,
        timeout="60s",
    )
    volume = node.publish(node.pod(attributes=CHECK))
    manifests.put_secret({"password": b"slow-2"})
    until(lambda: list(pids.iterdir()), "it runs")
    (pid,) = (path.name for path in pids.iterdir())
    node.unpublish(volume)
    until(lambda: not Path(f"/proc/{pid}").exists(), "the process has ended")


def test_daemon_that_ends_does_not_wait(start: Start, manifests: Manifests) -> None:
    node = start(
        """
        import sys, time
        if b"slow" in sys.stdin.buffer.read():
            time.sleep(1000)
        """,
        timeout="60s",
    )
    volume = node.publish(node.pod(attributes=CHECK))
    manifests.put_secret({"password": b"slow-2"})
    wait_held(node, volume, "command:parses checks them")
    # finish() ends it, and fails if it takes too long


def metrics(node: Node) -> str:
    found = re.search(r'serving metrics and health address="([^"]+)"', node.log())
    assert found, node.log()
    with urllib.request.urlopen(f"http://{found[1]}/metrics") as answer:
        return str(answer.read(), "utf-8")


def test_runs_are_counted(start: Start, manifests: Manifests) -> None:
    node = start()
    volume = node.publish(node.pod(attributes=CHECK))
    manifests.put_secret({"password": b"bad-2"})
    wait_held(node, volume, "invalid")
    lines = metrics(node)
    for result, n in (("passed", 1), ("refused", 1), ("failed", 0)):
        assert f'secretfs_commands_total{{use="check",result="{result}"}} {n}\n' in lines


# ---- after updates


class Reloads:
    """A static volume with `onUpdate: exec:parses`."""

    def __init__(self, area: Path, start: Start, script: str) -> None:
        self.target = area / "target"
        self.node = start(script)
        document = {
            "target": str(self.target),
            "onUpdate": "exec:parses",
            "volume": {"secret": {"secretName": "app"}},
        }
        directory = area / "volumes.d"
        directory.mkdir(exist_ok=True)
        (area / "new").write_text(json.dumps(document))
        (area / "new").rename(directory / "app.yaml")
        until(lambda: (self.target / "password").exists(), "the volume")

    def wait_log(self, text: str) -> None:
        until(lambda: text in self.node.log(), f"{text} in the log:\n{self.node.log()}")


def test_command_runs_after_an_update(start: Start, manifests: Manifests, area: Path, out: Path) -> None:
    reloads = Reloads(
        area,
        start,
        f"""
        import os, sys
        target = os.environ["SECRETFS_TARGET"]
        assert sys.stdin.read() == ""
        with open("{out}/found", "a") as found:
            print(open(target + "/password").read(), os.environ["SECRETFS_VOLUME"], file=found)
        """,
    )
    manifests.put_secret({"password": b"dummy-2"})
    reloads.wait_log("ran a command after an update")
    assert (out / "found").read_text() == "dummy-2 secret/default/app\n"
    manifests.touch_secret()
    manifests.put_secret({"password": b"dummy-3"})
    until(lambda: "dummy-3" in (out / "found").read_text(), "the second one")
    assert (out / "found").read_text().count("\n") == 2


def test_command_that_fails_is_logged(start: Start, manifests: Manifests, area: Path) -> None:
    reloads = Reloads(area, start, "import sys; sys.exit('no such service')")
    manifests.put_secret({"password": b"dummy-2"})
    reloads.wait_log("ended with exit status 1: no such service")
    volume = reloads.node.status()["volumes"][str(reloads.target)]
    assert volume["updateError"] == "ended with exit status 1: no such service"
    (reloads.target.parent / "tools" / "parses").write_text("#!/bin/sh\n")
    manifests.put_secret({"password": b"dummy-3"})
    reloads.wait_log("ran a command after an update")
    assert "updateError" not in reloads.node.status()["volumes"][str(reloads.target)]


def test_file_names_a_command_that_is_none(start: Start, area: Path) -> None:
    node = start()
    directory = area / "volumes.d"
    directory.mkdir(exist_ok=True)
    for number, words in enumerate(({"onUpdate": "exec:other"}, {"onUpdate": "exec:/bin/sh"})):
        document = {"target": str(area / f"t{number}"), "volume": {"secret": {"secretName": "app"}}}
        (directory / f"app{number}.yaml").write_text(json.dumps({**document, **words}))
    until(lambda: r'unknown command \"other\"' in node.log(), "a name that is none")
    until(lambda: r'invalid onUpdate \"exec:/bin/sh\"' in node.log(), "a path")
