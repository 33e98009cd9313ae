"""The ways to an API server: what a kubeconfig can say, what a pod finds, and who is let in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lib.devserver.kubeconfig import Credentials
from lib.devserver.pki import Authority
from lib.kube import ApiError, Cluster, Identity
from lib.kube.adoption import namespace_with_account, pod
from lib.kube.cluster import free_port, read_only
from lib.kube.kubectl import KubectlFailed
from lib.kube.mounts import FAILS, Mounts, Values, program
from lib.kube.namespace import Namespace
from lib.waiting import until


def account_that_reads(ns: Namespace, name: str) -> Identity:
    identity = ns.cluster.account_identity(ns.name, "reader")
    ns.cluster.grant(ns.name, "reader", identity, read_only(name))
    return identity


def is_refused(cluster: Cluster, identity: Identity) -> bool:
    """Whether the API server has forgotten who that is; it remembers tokens for some seconds."""
    client = cluster.client(identity)
    try:
        client.request("GET", "/api/v1/namespaces/default/secrets/none")
    except ApiError as error:
        return error.code == 401
    finally:
        client.close()
    return False


def replace_account(ns: Namespace, old: Identity) -> Identity:
    """Recreate the account: the old one's tokens become invalid."""
    ns.cluster.delete_account(ns.name, "reader")
    new = ns.cluster.account_identity(ns.name, "reader")
    until(lambda: is_refused(ns.cluster, old), "the old token is refused", pause=0.2)
    return new


# ---- credentials of a kubeconfig


def test_embedded_client_certificate_over_http2(
    ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    mount = mounts.make("secret/db", *admin_args)
    ns.patch("db", {"key": second})
    mount.wait_for_value("key", second)
    source = mount.status()["source"]
    assert source["kind"] == "api"
    assert source["server"] == ns.cluster.server
    assert source["protocol"] == "HTTP/2"
    assert source["connections"] == 1
    assert source["requests"] == {"200": 2}  # one list, one watch


def test_client_certificate_in_files(
    cluster: Cluster, ns: Namespace, mounts: Mounts, tmp_path: Path
) -> None:
    identity = cluster.certificate_identity("file-reader")
    cluster.grant(ns.name, "reader", identity, read_only("db"))
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", identity, embed=False)
    text = kubeconfig.read_text()
    assert "client-certificate:" in text and "certificate-authority:" in text
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    mount = mounts.make("secret/db", f"--kubeconfig={kubeconfig}", "-n", ns.name)
    ns.patch("db", {"key": second})
    mount.wait_for_value("key", second)


def test_token(cluster: Cluster, ns: Namespace, mounts: Mounts, tmp_path: Path) -> None:
    identity = account_that_reads(ns, "db")
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", identity)
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    mount = mounts.make("secret/db", f"--kubeconfig={kubeconfig}", "-n", ns.name)
    ns.patch("db", {"key": second})
    mount.wait_for_value("key", second)
    assert identity.token is not None and not mount.has_logged(identity.token)


def test_token_file_that_is_replaced(
    cluster: Cluster, ns: Namespace, mounts: Mounts, tmp_path: Path
) -> None:
    """The old token becomes invalid; content stays, and a new file is picked up."""
    old = account_that_reads(ns, "db")
    token_file = tmp_path / "token"
    token_file.write_text(f"{old.token}\n")
    credentials = Credentials(token_file=token_file)
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", old, credentials=credentials)
    first, second, third = (ns.values.new(i) for i in (1, 2, 3))
    ns.create("db", {"key": first})
    mount = mounts.make("secret/db", f"--kubeconfig={kubeconfig}", "-n", ns.name)

    new = replace_account(ns, old)
    cluster.restart_apiserver()  # a watch that stands is not asked again who it is
    status = mount.wait_for_source_error("401 (Unauthorized)")
    assert status["volume"]["state"] == "disconnected"
    ns.patch("db", {"key": second})
    assert mount.read("key") == first

    fresh = tmp_path / "token.new"
    fresh.write_text(f"{new.token}\n")
    fresh.rename(token_file)
    mount.wait_for_value("key", second)
    mount.wait_for_source("live")
    mount.assert_told_in_turn()
    ns.patch("db", {"key": third})
    mount.wait_for_value("key", third)


class Plugin:
    """An exec credential plug-in: a script that counts how often it was run."""

    def __init__(self, directory: Path) -> None:
        self._calls = directory / "plugin.calls"
        self._answer = directory / "plugin.json"
        self.script = directory / "plugin"
        self.script.write_text(
            f"#!/bin/sh\necho call >>{self._calls}\n"
            f'test -n "$KUBERNETES_EXEC_INFO" || exit 1\nexec cat {self._answer}\n'
        )
        self.script.chmod(0o755)

    def hand_out(self, **status: Any) -> None:
        version = "client.authentication.k8s.io/v1beta1"
        answer = {"apiVersion": version, "kind": "ExecCredential", "status": status}
        fresh = self._answer.with_suffix(".new")
        fresh.write_text(json.dumps(answer))
        fresh.rename(self._answer)

    def n_calls(self) -> int:
        return len(self._calls.read_text().splitlines()) if self._calls.exists() else 0


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def test_exec_plugin_token(
    cluster: Cluster, ns: Namespace, mounts: Mounts, tmp_path: Path, plugin: Plugin
) -> None:
    """It is run once, and again when the API server refuses what it gave."""
    old = account_that_reads(ns, "db")
    plugin.hand_out(token=old.token)
    credentials = Credentials(exec_command=(str(plugin.script), "get-token"))
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", old, credentials=credentials)
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    mount = mounts.make("secret/db", f"--kubeconfig={kubeconfig}", "-n", ns.name)
    assert plugin.n_calls() == 1

    new = replace_account(ns, old)
    plugin.hand_out(token=new.token)
    cluster.restart_apiserver()
    ns.patch("db", {"key": second})
    mount.wait_for_value("key", second)
    assert plugin.n_calls() == 2
    assert new.token is not None and not mount.has_logged(new.token)


def test_exec_plugin_token_that_expires(
    cluster: Cluster, ns: Namespace, mounts: Mounts, tmp_path: Path, plugin: Plugin
) -> None:
    """One that is about to expire is renewed before it is needed."""
    identity = account_that_reads(ns, "db")
    expires = subprocess.check_output(["date", "-u", "-d", "+15 seconds", "+%FT%TZ"], text=True)
    plugin.hand_out(token=identity.token, expirationTimestamp=expires.strip())
    credentials = Credentials(exec_command=(str(plugin.script),))
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", identity, credentials=credentials)
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    mount = mounts.make("secret/db", f"--kubeconfig={kubeconfig}", "-n", ns.name)
    plugin.hand_out(token=identity.token)
    until(lambda: plugin.n_calls() >= 2, "the plug-in is asked again")
    ns.patch("db", {"key": second})
    mount.wait_for_value("key", second)
    assert mount.logged(FAILS) == []


def test_exec_plugin_certificate(
    cluster: Cluster, ns: Namespace, mounts: Mounts, tmp_path: Path, plugin: Plugin
) -> None:
    identity = cluster.certificate_identity("plugin-reader")
    assert identity.pair is not None
    cluster.grant(ns.name, "reader", identity, read_only("db"))
    plugin.hand_out(
        clientCertificateData=identity.pair.certificate.read_text(),
        clientKeyData=identity.pair.key.read_text(),
    )
    credentials = Credentials(exec_command=(str(plugin.script),))
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", identity, credentials=credentials)
    value = ns.values.new(1)
    ns.create("db", {"key": value})
    mount = mounts.make("secret/db", f"--kubeconfig={kubeconfig}", "-n", ns.name)
    assert mount.read("key") == value


def test_exec_plugin_that_fails(
    cluster: Cluster, ns: Namespace, mounts: Mounts, tmp_path: Path
) -> None:
    script = tmp_path / "plugin"
    script.write_text("#!/bin/sh\necho 'log in first' >&2\nexit 3\n")
    script.chmod(0o755)
    credentials = Credentials(exec_command=(str(script),))
    identity = cluster.admin_identity
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", identity, credentials=credentials)
    said = mounts.refused("secret/db", f"--kubeconfig={kubeconfig}", "-n", ns.name)
    assert str(script) in said and "3" in said


# ---- contexts


def test_contexts_and_namespaces(
    cluster: Cluster, values: Any, mounts: Mounts, tmp_path: Path
) -> None:
    """Two kubeconfig files with a context each, and the same name in two namespaces."""
    one, two = Namespace(cluster, values), Namespace(cluster, values)
    first, second = values.new(1), values.new(2)
    one.create("db", {"key": first})
    two.create("db", {"key": second})
    paths = [
        cluster.kubeconfig(
            tmp_path / f"{name}.conf",
            cluster.certificate_identity(f"{name}-user", ["system:masters"]),
            namespace=ns.name,
            name=name,
        )
        for name, ns in (("one", one), ("two", two))
    ]
    kubeconfig = ":".join(str(path) for path in paths)

    def read(*arguments: str) -> tuple[bytes, str]:
        mount = mounts.make("secret/db", *arguments, KUBECONFIG=kubeconfig)
        return mount.read("key"), mount.status()["object"]["namespace"]

    assert read() == (first, one.name)  # the first file's current-context
    assert read("--context=two") == (second, two.name)
    assert read("--context=two", "-n", one.name) == (first, one.name)
    assert read("--context", "one", "--namespace", two.name) == (second, two.name)
    said = mounts.fail("secret/db", "--context=three", KUBECONFIG=kubeconfig)
    assert "three" in said and "one" in said and "two" in said


def test_default_kubeconfig(
    cluster: Cluster, ns: Namespace, mounts: Mounts, tmp_path: Path
) -> None:
    """~/.kube/config, and the namespace "default" where a context has none to say."""
    (tmp_path / ".kube").mkdir()
    config = cluster.kubeconfig(tmp_path / ".kube" / "config", cluster.admin_identity)
    config.write_text(config.read_text().replace('    namespace: "default"\n', ""))
    name = f"in-default-{ns.name}"
    value = ns.values.new(1)
    cluster.admin.create("secrets", "default", name, {"key": value})
    mount = mounts.make(f"secret/{name}", HOME=str(tmp_path))
    assert mount.read("key") == value
    assert mount.status()["object"]["namespace"] == "default"


def test_kubectl_plugin(ns: Namespace, mounts: Mounts, tmp_path: Path) -> None:
    """kubectl finds it on PATH by its other name."""
    del mounts
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "kubectl-secretfs").symlink_to(program().absolute())
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    path = {"PATH": f"{directory}:{os.environ['PATH']}"}
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})

    def kubectl(*arguments: str | Path) -> str:
        return ns.cluster.kubectl.run("secretfs", *arguments, env=path)

    assert "kubectl secretfs" in kubectl("help")
    try:
        assert kubectl("mount", "-n", ns.name, "secret/db", mountpoint) == ""
        assert (mountpoint / "key").read_bytes() == first
        ns.patch("db", {"key": second})
        until(lambda: (mountpoint / "key").read_bytes() == second, "the value is new")
        pid = json.loads(kubectl("status", "-o", "json", mountpoint))["pid"]
    finally:
        if os.path.ismount(mountpoint):
            kubectl("unmount", mountpoint)
    assert not os.path.ismount(mountpoint)
    until(lambda: not os.path.exists(f"/proc/{pid}"), "the process has ended")


def test_rollout_by_conditions_of_pods(cluster: Cluster, values: Values, tmp_path: Path) -> None:
    """`kubectl secretfs rollout status`, of pods whose conditions the test writes."""
    ns = namespace_with_account(cluster, values)
    (tmp_path / "kubectl-secretfs").symlink_to(program().absolute())
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    version = ns.create("db", {"key": values.new(1)})["metadata"]["resourceVersion"]
    creds = {"driver": "csi.secretfs.io", "volumeAttributes": {"secretName": "db"}}
    for name, volume in (("web", {"csi": creds}), ("other", {"emptyDir": {}})):
        made = pod(name, volumes=[{"name": "own", **volume}])
        ns.kubectl("create", "-f", "-", stdin=json.dumps(made))

    def write(status: str, message: str) -> None:
        condition = {"type": "secretfs.io/SecretsCurrent", "status": status, "message": message}
        patch = {"status": {"phase": "Running", "conditions": [condition]}}
        ns.kubectl("patch", "pod", "web", "--subresource=status", "-p", json.dumps(patch))

    def rollout() -> str:
        arguments = ["rollout", "status", "secret/db", "-n", ns.name, "--watch=false"]
        return cluster.kubectl.run("secretfs", *arguments, env=path)

    with pytest.raises(KubectlFailed, match="pod web: has not started"):
        rollout()
    write("False", "not opened yet by container app")
    with pytest.raises(KubectlFailed, match="pod web: not opened yet by container app"):
        rollout()
    write("True", f"secret/{ns.name}/db@{version}")
    assert "all pods (1) have the newest version" in rollout()
    ns.patch("db", {"key": values.new(2)})
    with pytest.raises(KubectlFailed, match=f"pod web: has version {version}, not "):
        rollout()


# ---- in a pod


class AccountFiles:
    """The directory that a pod's service account finds, changed the way the kubelet does."""

    def __init__(self, directory: Path, cluster: Cluster, namespace: str) -> None:
        self.directory = directory
        self._generation = 0
        self._fixed = {"ca.crt": cluster.authority.certificate.read_text(), "namespace": namespace}
        directory.mkdir()

    def write(self, token: str | None) -> None:
        self._generation += 1
        name = f"..2026_01_02_03_04_{self._generation:02d}.1"
        (self.directory / name).mkdir()
        for key, text in {**self._fixed, "token": token or ""}.items():
            (self.directory / name / key).write_text(text)
        (self.directory / "..data_tmp").symlink_to(name)
        (self.directory / "..data_tmp").rename(self.directory / "..data")
        if self._generation == 1:
            for key in (*self._fixed, "token"):
                (self.directory / key).symlink_to(f"..data/{key}")


def pod_environment(cluster: Cluster, home: Path) -> dict[str, str]:
    return {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(cluster.port),
        "HOME": str(home),
    }


def test_in_cluster(cluster: Cluster, ns: Namespace, mounts: Mounts, tmp_path: Path) -> None:
    """A pod's service account: server from the environment, namespace, CA and token from files;
    the token is exchanged for a new one while the old one becomes invalid."""
    old = account_that_reads(ns, "db")
    files = AccountFiles(tmp_path / "account", cluster, ns.name)
    files.write(old.token)
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    env = pod_environment(cluster, tmp_path)
    mount = mounts.make("secret/db", account=files.directory, **env)
    assert mount.files() == {"key": first}
    status = mount.status()
    assert status["object"]["namespace"] == ns.name
    assert "in-cluster" in status["source"]["origin"]

    new = replace_account(ns, old)
    files.write(new.token)
    cluster.restart_apiserver()
    ns.patch("db", {"key": second})
    mount.wait_for_value("key", second)
    assert mount.status()["source"]["requests"].get("401", 0) == 0
    mount.process.send(signal.SIGTERM)
    assert mount.process.wait(30) == 0


# ---- who is not let in


def test_unknown_authority(
    cluster: Cluster, ns: Namespace, mounts: Mounts, tmp_path: Path
) -> None:
    """A server whose certificate is not from the CA in the kubeconfig is not talked to."""
    ns.create("db", {"key": ns.values.new(1)})
    stranger = Authority(tmp_path / "pki", "stranger")
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", cluster.admin_identity, embed=False)
    text = kubeconfig.read_text()
    kubeconfig.write_text(text.replace(str(cluster.authority.certificate), str(stranger.certificate)))
    said = mounts.fail("secret/db", f"--kubeconfig={kubeconfig}", "-n", ns.name, "--wait=0")
    assert "certificate" in said


def test_unknown_token(cluster: Cluster, ns: Namespace, mounts: Mounts, tmp_path: Path) -> None:
    ns.create("db", {"key": ns.values.new(1)})
    token = "dummy-" + "x" * 20
    kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig", Identity("unknown", token=token))
    said = mounts.refused("secret/db", f"--kubeconfig={kubeconfig}", "-n", ns.name)
    assert "401 (Unauthorized)" in said
    assert token not in said


def test_no_server_listens(cluster: Cluster, ns: Namespace, mounts: Mounts, tmp_path: Path) -> None:
    server = f"https://127.0.0.1:{free_port()}"
    kubeconfig = cluster.kubeconfig(tmp_path / "k", cluster.admin_identity, server=server)
    said = mounts.fail("secret/db", f"--kubeconfig={kubeconfig}", "-n", ns.name, "--wait=0")
    assert f"cannot connect to {server}" in said
