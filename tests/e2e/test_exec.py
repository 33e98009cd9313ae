"""secretfs exec with objects of a real API server, and what that makes of the same container."""

from __future__ import annotations

import json
import os
import signal
import sys
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import pytest

from lib.kube import Cluster
from lib.kube.assets import minor_version
from lib.kube.kubectl import KubectlFailed
from lib.kube.mounts import SUSPICIOUS, TRACE, Values, program
from lib.kube.namespace import Namespace
from lib.process import Process
from lib.waiting import until

# writes its environment to a new file each time it is started, in one step, and stays
_SCRIPT = """
import json, os, signal, sys
directory = sys.argv[1]
signal.signal(signal.SIGUSR1, lambda *_: open(directory + "/signalled", "w").close())
woken, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
number = len([name for name in os.listdir(directory) if name.startswith("start")])
with open(f"{directory}/new", "w") as file:
    json.dump({"pid": os.getpid(), "parent": os.getppid(), "env": dict(os.environ)}, file)
os.rename(f"{directory}/new", f"{directory}/start{number}")
while True:
    os.read(woken, 64)
"""


class Command:
    """A command under `secretfs exec` that stays until it is ended."""

    def __init__(self, directory: Path, arguments: list[str], env: dict[str, str]) -> None:
        self.directory = directory / "starts"
        self.directory.mkdir()
        script = [sys.executable, "-c", _SCRIPT, self.directory]
        command = [program(), "exec", "--log-level=debug", TRACE, *arguments, "--", *script]
        self.process = Process("exec", command, directory / "exec.log", env, signal.SIGTERM)

    def started(self, number: int) -> dict[str, object]:
        """What it was started with, the number-th time; the first is 0."""
        file = self.directory / f"start{number}"
        until(file.exists, f"start {number}:\n{self.process.log_tail()}")
        return json.loads(file.read_text())

    def end(self) -> None:
        if self.process.exit_code() is None:
            self.process.stop(signal.SIGTERM, 30)


@pytest.fixture
def environment(cluster: Cluster) -> dict[str, str]:
    return {k: v for k, v in cluster.kubectl.environment().items() if k != "KUBECONFIG"}


@pytest.fixture
def start(
    tmp_path: Path, admin_args: list[str], environment: dict[str, str], values: Values
) -> Iterator[Callable[..., Command]]:
    made: list[Command] = []

    def make(*arguments: str) -> Command:
        made.append(Command(tmp_path, [*admin_args, *arguments], environment))
        return made[-1]

    yield make
    for command in made:
        command.end()
        log = command.process.log.read_bytes()
        assert not [word for word in SUSPICIOUS if word.encode() in log], log
        assert not values.found_in(log), "secret values in the log"


@pytest.fixture
def show(admin_args: list[str], environment: dict[str, str]) -> Callable[..., dict[str, str]]:
    """The environment that a command is run with."""

    def run(*arguments: str | Path) -> dict[str, str]:
        done = subprocess.run(
            [program(), "exec", *admin_args, *arguments, "--", "env", "-0"],
            env=environment,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)

    return run


def test_what_the_server_has(ns: Namespace, show, tmp_path: Path) -> None:
    """O2, M4: objects in their order, keys over them; binaryData is no part of it."""
    one, two, three = (ns.values.new(i).decode() for i in (1, 2, 3))
    ns.create("db", {"user": one.encode(), "password": two.encode()})
    ns.kubectl("create", "configmap", "app", f"--from-literal=user={three}")
    ns.patch("app", {"blob": b"\xff"}, "configmaps")
    file = tmp_path / "env.yaml"
    file.write_text(
        """
envFrom:
- secretRef: {name: db}
- configMapRef: {name: app}
- prefix: DB_
  secretRef: {name: db}
- configMapRef: {name: none, optional: true}
env:
- name: password
  valueFrom: {secretKeyRef: {name: db, key: user}}
- name: URL
  value: db://$(DB_user):$(DB_password)@h
"""
    )
    shown = show("--env-spec", file)
    expected = {
        "user": three,
        "DB_user": one,
        "DB_password": two,
        "password": one,
        "URL": f"db://{one}:{two}@h",
    }
    assert {key: shown.get(key) for key in expected} == expected
    assert "blob" not in shown


def test_restart_on_change(ns: Namespace, start) -> None:
    """O1 does not hold for us: the value that is patched is what the next command has."""
    first, second = ns.values.new(1).decode(), ns.values.new(2).decode()
    ns.create("db", {"password": first.encode(), "other": b"x"})
    command = start("--on-change=restart", "--env=PW=secret/db/password")
    before = command.started(0)
    assert before["env"]["PW"] == first
    assert before["parent"] == command.process.pid
    ns.patch("db", {"other": b"y"})
    ns.patch("db", {"password": second.encode()})
    after = command.started(1)
    assert after["env"]["PW"] == second
    assert not os.path.exists(f"/proc/{before['pid']}")
    for name in ("cmdline", "environ"):
        seen = Path(f"/proc/{command.process.pid}/{name}").read_bytes()
        assert not ns.values.found_in(seen), name
    assert len(os.listdir(command.directory)) == 2


def test_signal_on_change(ns: Namespace, start) -> None:
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"password": first})
    command = start("--on-change=signal:USR1", "--env-from=secret/db")
    command.started(0)
    ns.patch("db", {"password": second})
    until((command.directory / "signalled").exists, "the signal")
    assert not (command.directory / "start1").exists()


def test_optional_object_comes_and_goes(ns: Namespace, start) -> None:
    """O6, G2, G9"""
    value = ns.values.new(1).decode()
    command = start("--on-change=restart", "--optional", "--env=PW=secret/later/password")
    assert "PW" not in command.started(0)["env"]
    ns.create("later", {"password": value.encode()})
    assert command.started(1)["env"]["PW"] == value
    ns.delete("later")
    assert "PW" not in command.started(2)["env"]


def test_server_that_is_away(ns: Namespace, cluster: Cluster, start) -> None:
    """G15: the command goes on, and what changed meanwhile is its next environment."""
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"password": first})
    command = start("--on-change=restart", "--env=PW=secret/db/password")
    pid = command.started(0)["pid"]
    cluster.restart_apiserver()
    os.kill(pid, 0)
    ns.patch("db", {"password": second})
    assert command.started(1)["env"]["PW"] == second.decode()


# ---- what is an environment: the API server's word on it

ACCEPTED = [
    "env: [{name: A, value: x}]",
    "env: [{name: A}]",
    "env: [{name: a.b-c_D9, value: x}]",
    "env: [{name: A, value: x}, {name: A, value: z}]",
    "env: [{name: A, value: '', valueFrom: {secretKeyRef: {name: db, key: k}}}]",
    "env: [{name: A, value: $(B)}, {name: B, value: $$(A)}]",
    "env: [{name: A, valueFrom: {secretKeyRef: {name: db, key: k, optional: true}}}]",
    "envFrom: [{secretRef: {name: db}}, {prefix: P_, configMapRef: {name: c, optional: true}}]",
    "env: null\nenvFrom: []",
]
# by the older rule for names these are refused
RELAXED_SINCE = 34  # the minor version
RELAXED = [
    "env: [{name: 9A, value: x}]",
    "env: [{name: .., value: x}]",
    "envFrom: [{prefix: '9', secretRef: {name: db}}]",
]
REFUSED = [
    "env: [{name: ''}]",
    "env: [{value: x}]",
    "env: [{name: A=B, value: x}]",
    "env: [{name: A, value: 5}]",
    "env: [{name: A, value: y}]",
    "env: [{name: A, valu: x}]",
    "env: [{name: A, value: x, valueFrom: {secretKeyRef: {name: db, key: k}}}]",
    "env: [{name: A, valueFrom: {}}]",
    "env: [{name: A, valueFrom: {secretKeyRef: {name: db}}}]",
    "env: [{name: A, valueFrom: {secretKeyRef: {name: db, key: ..k}}}]",
    "env: [{name: A, valueFrom: {secretKeyRef: {name: db, key: 'a b'}}}]",
    "env: [{name: A, valueFrom: {secretKeyRef: {name: db, key: k},"
    " configMapKeyRef: {name: c, key: k}}}]",
    "envFrom: [{prefix: P_}]",
    "envFrom: [{secretRef: {}}]",
    "envFrom: [{secretRef: {name: D_B}}]",
    "envFrom: [{secretRef: {name: db}, configMapRef: {name: c}}]",
    "envFrom: [{prefix: 9, secretRef: {name: db}}]",
]


def as_pod(lists: str) -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: p}}
spec:
  automountServiceAccountToken: false
  containers:
  - name: c
    image: none.example/none
    {lists.replace(chr(10), chr(10) + "    ")}
"""


def test_what_is_an_environment(
    ns: Namespace, admin_args: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    """O2, O3: one is one for both, by the server's rule for names."""
    is_relaxed = minor_version(ns.cluster.assets.apiserver) >= RELAXED_SINCE
    accepted = [*ACCEPTED, *RELAXED] if is_relaxed else ACCEPTED
    ns.cluster.account_identity(ns.name, "default")
    ns.create("db", {"k": b"1"})
    for lists in [*ACCEPTED, *RELAXED, *REFUSED]:
        is_good = lists in accepted
        try:
            ns.kubectl("create", "--dry-run=server", "-f", "-", stdin=as_pod(lists))
            assert is_good, lists
        except KubectlFailed as error:
            assert not is_good and "env" in str(error).lower(), f"{lists}: {error}"
        file = tmp_path / "env.yaml"
        file.write_text(lists)
        # some lists bring nothing in, which is no use here
        arguments = [*admin_args, "--env-from=secret/db:Z_", "--env-spec", file, "--wait=0"]
        arguments.append(f"--env-names={'relaxed' if is_relaxed else 'strict'}")
        done = subprocess.run(
            [program(), "exec", *arguments, "--", "true"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == (0 if is_good else 1), f"{lists}: {done.stderr}"
        assert is_good or done.stderr.startswith(f"secretfs: {file}: "), done.stderr
