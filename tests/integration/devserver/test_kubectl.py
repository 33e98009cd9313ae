"""The real kubectl against the server: what a newcomer types in the demo.

Runs with the kubectl on PATH, of any version, and with $DEVSERVER_KUBECTL besides if set.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lib.devserver.server import DevServer
from lib.waiting import PATIENCE_SECONDS

_KUBECTLS = [
    path for path in (shutil.which("kubectl"), os.environ.get("DEVSERVER_KUBECTL")) if path
]

pytestmark = pytest.mark.skipif(not _KUBECTLS, reason="kubectl is not on PATH")

MANIFEST = """\
apiVersion: v1
kind: Secret
metadata:
  name: applied
  namespace: team
data:
  key: {value}
"""


class Kubectl:
    """kubectl with a home of its own, so that no cache of another server misleads it."""

    def __init__(self, program: str, kubeconfig: str, home: Path) -> None:
        self.program = program
        self.command = [program, "--cache-dir", str(home / "cache")]
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "KUBECONFIG": kubeconfig,
        }

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture(params=_KUBECTLS)
def kubectl(request: pytest.FixtureRequest, server: DevServer, tmp_path: Path) -> Kubectl:
    server.create_namespace("team")
    return Kubectl(request.param, server.kubeconfig(namespace="team"), tmp_path)


def data_of(server: DevServer, name: str, resource: str = "secrets") -> dict[str, str]:
    found = server.get_object(resource, "team", name)
    assert found is not None
    return found["data"]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_create(server: DevServer, kubectl: Kubectl) -> None:
    kubectl("create", "secret", "generic", "plain", "--from-literal=k=v")
    assert data_of(server, "plain") == {"k": b64("v")}
    kubectl(
        "create", "secret", "docker-registry", "pull",
        "--docker-username=user", "--docker-password=dummy",
    )  # fmt: skip
    assert ".dockerconfigjson" in data_of(server, "pull")
    pair = server.client_cert("dummy")
    kubectl("create", "secret", "tls", "web", f"--cert={pair.certificate}", f"--key={pair.key}")
    assert set(data_of(server, "web")) == {"tls.crt", "tls.key"}
    kubectl("create", "configmap", "settings", "--from-literal=k=v")
    assert data_of(server, "settings", "configmaps") == {"k": "v"}
    kubectl("create", "namespace", "other")
    kubectl("-n", "other", "create", "secret", "generic", "plain", "--from-literal=k=v")
    assert "already exists" in kubectl.fails("create", "secret", "generic", "plain")
    assert 'namespaces "no" not found' in kubectl.fails("-n=no", "create", "cm", "settings")


def test_get_and_describe(server: DevServer, kubectl: Kubectl) -> None:
    server.apply_secret("team", "plain", {"k": b"v", "l": b"w"})
    server.apply_configmap("team", "settings", {"k": "v"})
    lines = kubectl("get", "secrets").splitlines()
    assert lines[0].split() == ["NAME", "TYPE", "DATA", "AGE"]
    assert lines[1].split()[:3] == ["plain", "Opaque", "2"]
    assert kubectl("get", "cm").splitlines()[0].split() == ["NAME", "DATA", "AGE"]
    assert "team" in kubectl("get", "secrets", "--all-namespaces")
    assert "Active" in kubectl("get", "ns")
    assert json.loads(kubectl("get", "secret", "plain", "-o", "json"))["data"]["k"] == b64("v")
    assert "k: dg==" in kubectl("get", "secret", "plain", "-o", "yaml")
    assert "k:  1 bytes" in kubectl("describe", "secret", "plain")
    assert "settings" in kubectl("describe", "configmap", "settings")
    assert "Active" in kubectl("describe", "namespace", "team")
    assert 'secrets "no" not found' in kubectl.fails("get", "secret", "no")


def test_patch_and_label(server: DevServer, kubectl: Kubectl) -> None:
    server.apply_secret("team", "plain", {"k": b"v"})
    kubectl("patch", "secret", "plain", "-p", '{"stringData":{"k":"1"}}')
    assert data_of(server, "plain") == {"k": b64("1")}
    kubectl("patch", "secret", "plain", "--type=merge", "-p", '{"data":{"k":null,"m":"YQ=="}}')
    assert data_of(server, "plain") == {"m": b64("a")}
    operation = '[{"op":"replace","path":"/data/m","value":"Yg=="}]'
    kubectl("patch", "secret", "plain", "--type=json", "-p", operation)
    assert data_of(server, "plain") == {"m": b64("b")}
    kubectl("label", "secret", "plain", "x=y")
    assert "plain" in kubectl("get", "secret", "-l", "x=y")


def test_apply(server: DevServer, kubectl: Kubectl) -> None:
    first = MANIFEST.format(value=b64("one"))
    assert "created" in kubectl("apply", "-f", "-", stdin=first)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=first)
    second = MANIFEST.format(value=b64("two"))
    assert "dry run" in kubectl("apply", "-f", "-", "--dry-run=server", stdin=second)
    assert data_of(server, "applied") == {"key": b64("one")}
    assert "configured" in kubectl("apply", "-f", "-", stdin=second)
    assert data_of(server, "applied") == {"key": b64("two")}
    renamed = second.replace("  key:", "  other:")
    kubectl("apply", "-f", "-", stdin=renamed)
    assert data_of(server, "applied") == {"other": b64("two")}
    wrong = second.replace("\ndata:", "\ndatum:").replace("applied", "wrong")
    assert 'unknown field "datum"' in kubectl.fails("apply", "-f", "-", stdin=wrong)


def test_delete(server: DevServer, kubectl: Kubectl) -> None:
    for name in ("a", "b", "c"):
        server.apply_secret("team", name, {})
    assert "deleted" in kubectl("delete", "secret", "a")
    kubectl("delete", "secrets", "--all")
    assert "No resources found" in kubectl.run("get", "secrets").stderr
    kubectl("delete", "namespace", "team")
    assert 'namespaces "team" not found' in kubectl.fails("get", "namespace", "team")


def test_watch(server: DevServer, kubectl: Kubectl) -> None:
    watching = subprocess.Popen(
        [*kubectl.command, "get", "secrets", "--watch"],
        env=kubectl.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    server.wait_watches(1)
    server.apply_secret("team", "plain", {"k": b"v"})
    assert watching.stdout.readline().split() == ["NAME", "TYPE", "DATA", "AGE"]
    assert watching.stdout.readline().split()[:3] == ["plain", "Opaque", "1"]
    server.apply_secret("team", "plain", {})
    assert watching.stdout.readline().split()[:3] == ["plain", "Opaque", "0"]
    watching.terminate()
    watching.communicate()


def test_users_without_rights(server: DevServer, kubectl: Kubectl, tmp_path: Path) -> None:
    kubeconfig = server.kubeconfig("u", auth="cert", namespace="team", embed=False)
    other = Kubectl(kubectl.program, kubeconfig, tmp_path / "other")
    assert 'User "u" cannot list resource "secrets"' in other.fails("get", "secrets")
    server.grant("u", ["list"], namespace="team")
    other("get", "secrets")
