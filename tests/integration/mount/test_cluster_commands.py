"""`kubectl secretfs status` and `doctor`, with a kubectl whose `exec` runs the program on this host in
the place of a node's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lib import program
from lib.sources import Manifests

DRIVER = "csi.secretfs.io"


def pod(
    name: str,
    node: str,
    *,
    phase: str = "Running",
    container: str = "secretfs",
    namespace: str = "kube-system",
) -> Any:
    return {
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"nodeName": node, "containers": [{"name": container}]},
        "status": {"phase": phase},
    }


def csi_node(name: str, driver: str = DRIVER) -> Any:
    return {"metadata": {"name": name}, "spec": {"drivers": [{"name": driver}]}}


class Cluster:
    """What kubectl answers. `broken` is the pod whose exec fails, `selected` what a selector finds."""

    def __init__(self, area: Path) -> None:
        self.area = area
        (area / "bin").mkdir()
        self.plugin = area / "bin" / "kubectl-secretfs"
        self.plugin.symlink_to(program.binary())
        self.write([], [])

    def write(self, pods: list[Any], nodes: list[Any], *, selected: str = "") -> None:
        (self.area / "pods").write_text("".join(f"{json.dumps(each)}\n" for each in pods))
        (self.area / "csinodes").write_text("".join(f"{json.dumps(each)}\n" for each in nodes))
        (self.area / "selected").write_text(selected)
        script = self.area / "bin" / "kubectl"
        script.write_text(
            f"""#!/bin/sh
printf '%s\\n' "$*" >>{self.area}/arguments
case "$*" in
*app=web*) cat {self.area}/selected ;;
*"get pods"*) cat {self.area}/pods ;;
*"get csinodes"*) cat {self.area}/csinodes ;;
*broken*) echo "error: unable to upgrade connection" >&2; exit 1 ;;
*invalid*) echo "{{" ;;
*silent*) echo "command terminated with exit code 3" >&2; exit 3 ;;
*) while [ "$1" != -- ]; do shift; done; shift 2; exec {program.binary()} "$@" ;;
esac
"""
        )
        script.chmod(0o755)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{self.area / 'bin'}:/usr/bin:/bin"}
        return program.run([self.plugin, *arguments], home=self.area, env=env)

    def arguments(self) -> list[str]:
        return (self.area / "arguments").read_text().splitlines()


@pytest.fixture
def cluster(area: Path) -> Cluster:
    return Cluster(area)


def test_table_of_all_nodes(cluster: Cluster, manifests: Manifests, mount) -> None:
    manifests.put_secret({"a": b"1"})
    path = str(mount(manifests).path)
    keeper = pod("keeper", "n3", container="keeper")
    pods = [pod("b", "n2"), pod("a", "n1"), pod("c", "n3", phase="Pending"), keeper]
    cluster.write(pods, [csi_node("n1"), csi_node("n2"), csi_node("n3"), csi_node("n4", "other")])
    done = cluster.run("status")
    header, *lines = [line.split() for line in done.stdout.splitlines()]
    assert header[:4] == ["NODE", "POD", "VOLUME", "OBJECT"]
    found = [line[:5] for line in lines if line[2] == path]
    assert found == [[n, "-", path, "secret/default/app", "current"] for n in ("n1", "n2")]
    assert done.returncode == 1
    assert "secretfs: node n3: the driver is registered, but no pod of the DaemonSet" in done.stderr
    assert "n4" not in done.stdout + done.stderr


def test_one_node(cluster: Cluster, manifests: Manifests, mount) -> None:
    manifests.put_secret({"a": b"1"})
    path = str(mount(manifests).path)
    cluster.write([pod("a", "n1"), pod("b", "n2")], [csi_node("n3")])
    done = cluster.run("status", "--node", "n2", "-o", "json", "--context", "C", "--kubeconfig", "K")
    items = json.loads(done.stdout)["items"]
    assert {item["node"] for item in items if item["mountpoint"] == path} == {"n2"}
    assert all(line.startswith("--kubeconfig K --context C ") for line in cluster.arguments())
    assert [line for line in cluster.arguments() if "exec" in line] == [
        "--kubeconfig K --context C exec -n kube-system b -c secretfs -- /usr/bin/secretfs status -o json"
    ]


def test_many_nodes(cluster: Cluster, manifests: Manifests, mount) -> None:
    """More than run at a time; each once, in order."""
    manifests.put_secret({"a": b"1"})
    path = str(mount(manifests).path)
    names = [f"n{number:02}" for number in range(40)]
    cluster.write([pod(f"p-{name}", name) for name in reversed(names)], [])
    items = json.loads(cluster.run("status", "-o", "json").stdout)["items"]
    assert [item["node"] for item in items if item["mountpoint"] == path] == names


@pytest.mark.parametrize(
    "name, reason",
    [
        ("broken", "node n1, pod kube-system/broken: error: unable to upgrade connection"),
        ("invalid", "node n1: invalid status document"),
        ("silent", "node n1, pod kube-system/silent: kubectl exec failed with exit status 3"),
    ],
)
def test_a_node_that_fails(
    cluster: Cluster, manifests: Manifests, mount, name: str, reason: str
) -> None:
    """It is named, and the others are listed."""
    manifests.put_secret({"a": b"1"})
    path = str(mount(manifests).path)
    cluster.write([pod(name, "n1"), pod("good", "n2")], [])
    done = cluster.run("status", "-n", "default")
    assert [line.split()[0] for line in done.stdout.splitlines() if path in line] == ["n2"]
    assert done.returncode == 1 and f"secretfs: {reason}" in done.stderr


def test_selector_keeps_volumes_of_the_pods_alone(
    cluster: Cluster, manifests: Manifests, mount
) -> None:
    manifests.put_secret({"a": b"1"})
    mount(manifests)
    cluster.write([pod("a", "n1")], [], selected="nowhere/web-0\n")
    done = cluster.run("status", "-l", "app=web")
    assert done.stdout == "" and "No volumes match.\n" in done.stderr
    assert any("get pods -A -l app=web " in line for line in cluster.arguments())


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_no_node(cluster: Cluster, command: str) -> None:
    """What the cluster has instead is named, each driver once."""
    done = cluster.run(command)
    assert done.returncode == 1
    assert "no node has the driver csi.secretfs.io; drivers of the cluster: none" in done.stderr
    nodes = [csi_node("n1", "csi.secretfs.example"), csi_node("n2", "ebs"), csi_node("n3", "ebs")]
    cluster.write([], nodes)
    done = cluster.run(command)
    assert done.returncode == 1
    assert "drivers of the cluster: csi.secretfs.example, ebs; --driver names one" in done.stderr
    done = cluster.run(command, "--node", "n2")
    assert done.returncode == 1
    assert "node n2 does not have the driver csi.secretfs.io; it has: ebs; --driver" in done.stderr
    done = cluster.run(command, "--node", "n9")
    assert done.returncode == 1 and "the cluster has no node n9" in done.stderr


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_another_driver(cluster: Cluster, command: str) -> None:
    """The label has its name, so that neither the release's name nor its namespace matters."""
    cluster.write([pod("b", "n2", namespace="storage")], [csi_node("n3", "csi.example")])
    done = cluster.run(command, "--driver", "csi.example")
    assert done.returncode == 1
    assert "node n3: the driver is registered, but no pod of the DaemonSet" in done.stderr
    listed, _, run = cluster.arguments()
    assert listed.startswith("get pods -l secretfs.io/driver=csi.example -o ")
    assert listed.endswith(" -A")
    assert run.startswith("exec -n storage b -c secretfs -- /usr/bin/secretfs ")
    assert run.endswith(" --driver-name csi.example") == (command == "doctor")


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_pods_of_two_namespaces(cluster: Cluster, command: str) -> None:
    """A user's pod with the label does not answer for a node."""
    cluster.write([pod("a", "n1"), pod("theirs", "n2", namespace="shop")], [])
    done = cluster.run(command)
    assert done.returncode == 1 and done.stdout == ""
    assert "pods of two namespaces, kube-system and shop, have the label" in done.stderr
    assert not any(line.startswith("exec") for line in cluster.arguments())
    cluster.write([pod("a", "n1")], [])
    cluster.run(command, "--driver-namespace", "kube-system")
    *_, listed, _, _ = cluster.arguments()
    assert "get pods -l " in listed and listed.endswith(" -n kube-system")


@pytest.mark.parametrize("command", [["status"], ["doctor"], ["rollout", "status", "secret/db"]])
def test_invalid_driver(cluster: Cluster, command: list[str]) -> None:
    done = cluster.run(*command, "--driver", "a,b=c")
    assert done.returncode == 2 and 'invalid driver name "a,b=c"' in done.stderr


def test_a_path_is_one_of_this_host(cluster: Cluster, manifests: Manifests, mount) -> None:
    manifests.put_secret({"a": b"1"})
    path = str(mount(manifests).path)
    done = cluster.run("status", path)
    assert done.returncode == 0 and path in done.stdout, done.stderr
    done = cluster.run("status", "--node", "n1", path)
    assert done.returncode == 2 and "without a path" in done.stderr


def test_options_that_do_not_fit(cluster: Cluster, area: Path) -> None:
    assert "cannot be watched" in cluster.run("status", "-w").stderr
    for option in ("--node", "--driver", "--driver-namespace"):
        done = program.run([program.binary(), "status", option, "n1"], home=area)
        assert done.returncode == 2 and "kubectl secretfs status" in done.stderr
    assert cluster.run("doctor", "x").returncode == cluster.run("doctor", "-o", "x").returncode == 2


def sections(out: str) -> dict[str, list[str]]:
    """The lines of each node's report."""
    found: dict[str, list[str]] = {}
    for line in out.splitlines():
        if line.startswith("node "):
            lines = found.setdefault(line.removeprefix("node "), [])
        else:
            lines.append(line)
    return found


def test_doctor(cluster: Cluster) -> None:
    """Each report is one of this host; other daemons of the host show in it, too."""
    cluster.write([pod("a", "n1"), pod("b", "n2"), pod("broken", "n3")], [csi_node("n4")])
    done = cluster.run("doctor")
    reports = sections(done.stdout)
    assert list(reports) == ["n1", "n2"]
    for lines in reports.values():
        assert any(line.split()[1:2] == ["kubelet-root"] for line in lines), lines
    assert done.returncode == 1
    assert "node n3, pod kube-system/broken: error: unable to upgrade" in done.stderr
    assert "node n4: the driver is registered" in done.stderr


def test_doctor_as_json(cluster: Cluster) -> None:
    cluster.write([pod("a", "n1"), pod("broken", "n2")], [])
    nodes = json.loads(cluster.run("doctor", "-o", "json").stdout)["nodes"]
    assert [node["node"] for node in nodes] == ["n1", "n2"]
    assert nodes[0]["report"] and "unable to upgrade" in nodes[1]["error"]
