"""`secretfs adopt status`, with a kubectl that prints what the test says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lib import program

LABELLED = {"name": "shop", "labels": {"secretfs.io/adopt": "enabled"}}
SECRET = {"name": "a", "secret": {"secretName": "db"}}


def pod(namespace: str, name: str, *volumes: dict[str, Any], phase: str = "Running") -> Any:
    mounts = [{"name": "a", "mountPath": "/a"}]
    return {
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"containers": [{"volumeMounts": mounts}], "volumes": list(volumes)},
        "status": {"phase": phase},
    }


class Kubectl:
    """One that notes its arguments."""

    def __init__(self, area: Path) -> None:
        self.area = area
        self.directory = area / "bin"
        self.directory.mkdir()
        self.write([], [])

    def write(self, namespaces: list[Any], pods: list[Any], end: str = "") -> None:
        for name, objects in (("namespaces", namespaces), ("pods", pods)):
            lines = [o if isinstance(o, str) else json.dumps(o) for o in objects]
            (self.area / name).write_text("".join(f"{line}\n" for line in lines))
        script = self.directory / "kubectl"
        script.write_text(
            f"#!/bin/sh\nprintf '%s|' \"$@\" >>{self.area}/arguments\n"
            f"echo >>{self.area}/arguments\n"
            f'while [ "$1" != get ]; do shift; done\ncat {self.area}/$2\n{end}\n'
        )
        script.chmod(0o755)

    def status(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [program.binary(), "adopt", "status", *arguments]
        path = f"{self.directory}:/usr/bin:/bin"
        return program.run(["env", f"PATH={path}", *command], home=self.area)


@pytest.fixture
def kubectl(area: Path) -> Kubectl:
    return Kubectl(area)


def test_table(kubectl: Kubectl) -> None:
    adopted = {"name": "a", "csi": {"driver": "csi.secretfs.io"}}
    pods = [
        pod("shop", "new", adopted),
        pod("shop", "from-before", SECRET),
        pod("shop", "ended", SECRET, phase="Succeeded"),
        pod("shop", "without-volumes"),
        pod("other", "x", SECRET),
    ]
    kubectl.write([LABELLED, {"name": "other"}], pods)
    done = kubectl.status()
    assert done.returncode == 0, done.stderr
    assert [line.split(maxsplit=3) for line in done.stdout.splitlines()] == [
        ["NAMESPACE", "POD", "SERVED", "WHY NOT THE OTHERS"],
        ["shop", "new", "1/1", "-"],
        ["shop", "from-before", "0/1", "a: created without the policy: apply deploy/adopt, then recreate the pod"],
        ["other", "x", "0/1", "the namespace has no label secretfs.io/adopt: enabled"],
    ]


def test_arguments(kubectl: Kubectl) -> None:
    done = kubectl.status("-n", "shop", "--kubeconfig", "K", "--context", "C")
    assert done.returncode == 0, done.stderr
    namespaces, pods = (kubectl.area / "arguments").read_text().splitlines()
    assert namespaces.startswith("--kubeconfig|K|--context|C|get|namespaces|-o|jsonpath=")
    assert pods.startswith("--kubeconfig|K|--context|C|get|pods|-o|jsonpath=")
    assert pods.endswith("|-n|shop|")


def test_kubectl_fails(kubectl: Kubectl) -> None:
    """Its own message stays on standard error."""
    kubectl.write([], [], end="echo forbidden >&2; exit 3")
    done = kubectl.status()
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "forbidden\nsecretfs: kubectl get namespaces failed with exit status 3\n"


@pytest.mark.parametrize("line", ["{", "7", "{}", '{"metadata":{"name":"x"}}', "[" * 100_000])
def test_invalid_output(kubectl: Kubectl, line: str) -> None:
    kubectl.write([], [line, *[pod("shop", "p")] * 1000])
    done = kubectl.status()
    assert done.returncode == 1 and done.stdout == "" and done.stderr.startswith("secretfs: ")


def test_no_kubectl(area: Path) -> None:
    command = ["env", f"PATH={area}", str(program.binary()), "adopt", "status"]
    done = program.run(["/usr/bin/env", *command[1:]], home=area)
    assert done.returncode == 1 and "cannot run kubectl" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("x",), ("status", "x"), ("status", "-x")])
def test_command_line(area: Path, arguments: tuple[str, ...]) -> None:
    done = program.run([program.binary(), "adopt", *arguments], home=area)
    assert done.returncode == 2 and "Run `secretfs adopt --help`" in done.stderr
