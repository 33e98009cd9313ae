"""Objects from an API server, within the bounds of the units: TLS, tokens and credential plug-ins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterator

import pytest

from lib.devserver import DevServer
from lib.machine import Machine

PLUGIN = "/usr/local/bin/get-token"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """On loopback, which the container shares."""
    made = DevServer(tmp_path_factory.mktemp("server"), tls=True).start()
    made.apply_secret("default", "app", {"password": b"dummy-1"})
    yield made
    made.stop()


@pytest.fixture(params=["token", "exec"])
def kubeconfig(request: pytest.FixtureRequest, server: DevServer, installed: Machine) -> str:
    """Its path in the container."""
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "kind": "ExecCredential",
        "status": {"token": server.admin_token},
    }
    installed.write(PLUGIN, f"#!/bin/sh\ncat <<'E'\n{json.dumps(credential)}\nE\n")
    installed.path(PLUGIN).chmod(0o755)
    path = server.kubeconfig(auth=request.param, exec_command=[PLUGIN])
    installed.write("/root/kubeconfig", Path(path).read_text())
    return "/root/kubeconfig"


def test_a_mount_by_itself(installed: Machine, server: DevServer, kubeconfig: str):
    installed.write(
        "/etc/secretfs/api.env",
        "SECRETFS_OBJECT=secret/app\nSECRETFS_TARGET=/run/api\n"
        f"SECRETFS_OPTIONS=--kubeconfig={kubeconfig}\n",
    )
    unit = "secretfs@api.service"
    try:
        installed.run("systemctl", "start", unit)
        server.apply_secret("default", "app", {"password": b"dummy-2"})
        installed.wait_read("/run/api/password", "dummy-2", unit)
    finally:
        installed.run("systemctl", "stop", unit)
        installed.path("/etc/secretfs/api.env").unlink()


def test_a_static_volume(installed: Machine, server: DevServer, kubeconfig: str):
    file = {
        "target": "/run/api",
        "source": {"kubeconfig": kubeconfig},
        "volume": {"secret": {"secretName": "app"}},
    }
    unit = "secretfs.service"
    installed.write("/etc/secretfs/volumes.d/api.yaml", json.dumps(file))
    try:
        installed.run("systemctl", "start", unit)
        server.apply_secret("default", "app", {"password": b"dummy-3"})
        installed.wait_read("/run/api/password", "dummy-3", unit)
    finally:
        installed.run("systemctl", "stop", unit)
        installed.path("/etc/secretfs/volumes.d/api.yaml").unlink()
