"""secretfs.service as a CSI driver: what a kubelet asks for is within the bounds of the unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import pytest

from lib.kubelet import OK, PodVolume
from lib.machine import Machine, put_secret

SERVICE = "secretfs.service"
ENDPOINT = "/var/lib/kubelet/plugins/csi.secretfs.io/csi.sock"
CONFIG = 'manifests: /manifests\nmetrics-bind-address: "0"\n'


@pytest.fixture
def driver(installed: Machine) -> Iterator[Machine]:
    shipped = installed.path("/etc/secretfs/node.yaml").read_text()
    put_secret(installed, "app", "dummy-1")
    installed.write("/etc/secretfs/node.yaml", CONFIG)
    installed.run("systemctl", "start", SERVICE)
    yield installed
    installed.run("systemctl", "stop", SERVICE)
    installed.write("/etc/secretfs/node.yaml", shipped)
    installed.run("rm", "-rf", "/var/lib/kubelet/pods")


def pod_volume(machine: Machine, **fields: Any) -> PodVolume:
    """The directory around the target is the kubelet's to make (S6)."""
    volume = PodVolume(namespace="default", attributes={"secretName": "app"}, **fields)
    machine.run("mkdir", "-p", volume.target.parent)
    return volume


def endpoint(machine: Machine) -> Path:
    """A socket can be connected to from everywhere that its directory can be seen from."""
    return machine.path(ENDPOINT)


@pytest.mark.parametrize("group", [None, 4711])
def test_a_volume_of_a_pod(driver: Machine, group: int | None):
    volume = pod_volume(driver, fs_group=group)
    answer = volume.publish(endpoint(driver))
    assert answer.code == OK, answer.text
    path = f"{volume.target}/password"
    assert driver.read(path) == "dummy-1"
    assert driver.output("stat", "-L", "-c", "%g", path) == str(group or 0)
    put_secret(driver, "app", "dummy-2")
    driver.wait_read(path, "dummy-2", SERVICE)
    answer = volume.unpublish(endpoint(driver))
    assert answer.code == OK, answer.text
    assert driver.mounts_at(str(volume.target)) == []
    assert driver.run("test", "-e", volume.target, check=False).returncode == 1


def test_the_kubelet_can_find_it(driver: Machine):
    """By the socket among its plug-ins, which only root can use."""
    socket = "/var/lib/kubelet/plugins_registry/csi.secretfs.io-reg.sock"
    assert driver.output("stat", "-c", "%F %U", socket) == "socket root"
    assert driver.output("stat", "-c", "%F %U", ENDPOINT) == "socket root"
    assert driver.output("find", ENDPOINT, socket, "-perm", "/0077") == ""
