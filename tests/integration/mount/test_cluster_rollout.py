"""`kubectl secretfs rollout status`, with a kubectl that answers from files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lib import program
from lib.waiting import until

CONDITION = "secretfs.io/SecretsCurrent"


def pod(name: str, *, status: str | None = "True", version: str = "2", **more: str) -> Any:
    message = f"secret/prod/db@{version}" if status == "True" else "the reason"
    condition = {"type": CONDITION, "status": status, "reason": "Why", "message": message}
    csi = {"driver": "csi.secretfs.io", "volumeAttributes": {"secretName": "db"}}
    return {
        "metadata": {"namespace": "prod", "name": name},
        "spec": {"nodeName": "n1", "volumes": [{"name": "creds", "csi": csi}]},
        "status": {"phase": "Running", "conditions": [condition] if status else [], **more},
    }


class Cluster:
    def __init__(self, area: Path) -> None:
        self.area = area
        (area / "bin").mkdir()
        self.plugin = area / "bin" / "kubectl-secretfs"
        self.plugin.symlink_to(program.binary())
        self.put([], version="2")
        script = area / "bin" / "kubectl"
        script.write_text(
            f"""#!/bin/sh
printf '%s\\n' "$*" >>{area}/arguments
case "$*" in
*"get pods"*) cat {area}/pods ;;
*"get secret/db"*) cat {area}/version ;;
*) echo "Error from server (NotFound)" >&2; exit 1 ;;
esac
"""
        )
        script.chmod(0o755)

    def put(self, pods: list[Any], *, version: str = "2") -> None:
        """Each file is replaced whole: kubectl may be reading it."""
        texts = {"pods": "".join(f"{json.dumps(each)}\n" for each in pods), "version": f"{version}\n"}
        for name, text in texts.items():
            (self.area / "next").write_text(text)
            (self.area / "next").rename(self.area / name)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.plugin, "rollout", "status", *arguments],
            env={"PATH": f"{self.area / 'bin'}:/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        with self.start(*arguments) as process:
            output, errors = process.communicate()
        return process.returncode, output, errors


@pytest.fixture
def cluster(area: Path) -> Cluster:
    return Cluster(area)


def test_all_pods_are_current(cluster: Cluster) -> None:
    cluster.put([pod("web-0"), pod("web-1", version="3")])
    code, output, errors = cluster.run("secret/db", "-n", "prod")
    assert (code, errors) == (0, "")
    rows = [line.split()[:3] for line in output.splitlines()[1:3]]
    assert rows == [["web-0", "n1", "current"], ["web-1", "n1", "current"]]
    assert output.endswith("secret/db successfully rolled out: all pods (2) have the newest version\n")
    asked = (cluster.area / "arguments").read_text().splitlines()
    assert all(line.endswith("-n prod") for line in asked)
    assert ".data" not in "".join(asked)


def test_pods_of_another_driver(cluster: Cluster) -> None:
    cluster.put([pod("web-0")])
    code, _, errors = cluster.run("secret/db", "--driver", "other.example")
    assert code == 1
    assert "no pod of the namespace mounts secret/db by the driver other.example" in errors
    text = (cluster.area / "pods").read_text().replace("csi.secretfs.io", "other.example")
    (cluster.area / "pods").write_text(text)
    assert cluster.run("secret/db", "--driver", "other.example")[0] == 0


def test_it_waits_for_pods_and_new_versions(cluster: Cluster) -> None:
    cluster.put([pod("web-0"), pod("web-1", status="False")])
    with cluster.start("secret/db") as process:
        assert process.stdout is not None
        assert "1 of 2 pods have opened the newest version" in process.stdout.readline()
        cluster.put([pod("web-0"), pod("web-1", status="False")], version="3")
        until(lambda: "0 of 2 pods" in process.stdout.readline(), "the new version")
        cluster.put([pod("web-0", version="3"), pod("web-1", version="3")], version="3")
        output, _ = process.communicate()
    assert process.returncode == 0
    assert "successfully rolled out" in output


@pytest.mark.parametrize(
    ("one", "code", "reason"),
    [
        (pod("web-1", status="False"), 1, "pod web-1: the reason"),
        (pod("web-1", version="1"), 1, "pod web-1: has version 1, not 2"),
        (pod("web-1", status=None, phase="Pending"), 1, "pod web-1: has not started"),
        (pod("web-1", status="Unknown"), 3, "pod web-1: the reason"),
        (pod("web-1", status=None), 3, f"pod web-1: has no condition {CONDITION}"),
    ],
)
def test_pod_that_does_not_have_it(cluster: Cluster, one: Any, code: int, reason: str) -> None:
    cluster.put([pod("web-0"), one])
    for options in (["--watch=false"], ["--timeout", "1ms"]):
        found, _, errors = cluster.run("secret/db", *options)
        assert found == code
        assert reason in errors
        assert "web-0" not in errors


def test_unknown_pods_end_the_wait(cluster: Cluster) -> None:
    cluster.put([pod("web-0"), pod("web-1", status=None)])
    assert cluster.run("secret/db")[0] == 3


def test_resource_version(cluster: Cluster) -> None:
    """Metadata has changed since: the pods keep the version of the content."""
    cluster.put([pod("web-0", version="2")], version="5")
    assert cluster.run("secret/db", "--resource-version", "2")[0] == 0
    assert cluster.run("secret/db", "--watch=false")[0] == 1


def test_no_pod_and_no_object(cluster: Cluster) -> None:
    code, _, errors = cluster.run("secret/db")
    assert code == 1 and "no pod of the namespace mounts secret/db" in errors
    code, _, errors = cluster.run("secret/other")
    assert code == 1 and "NotFound" in errors


@pytest.mark.parametrize("arguments", [["db"], ["secret/-o"], ["secret/a", "--timeout=x"], []])
def test_usage(cluster: Cluster, arguments: list[str]) -> None:
    assert cluster.run(*arguments)[0] == 2
    assert not (cluster.area / "arguments").exists()


def test_options_of_kubectl(cluster: Cluster) -> None:
    cluster.put([pod("web-0")])
    assert cluster.run("secret/db", "--kubeconfig", "K", "--context", "C")[0] == 0
    asked = (cluster.area / "arguments").read_text().splitlines()
    assert all(line.startswith("--kubeconfig K --context C get ") for line in asked)
    command = [program.binary(), "rollout", "status", "--context", "C", "secret/db"]
    done = program.run(command, home=cluster.area)
    assert done.returncode == 2 and "kubectl secretfs rollout status" in done.stderr
