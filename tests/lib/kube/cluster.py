"""etcd and kube-apiserver on loopback, with a certificate authority and state of their own.

As in production: TLS, client certificates and service account tokens, RBAC, Secrets encrypted in
etcd. There is no node, and a controller manager only for tests that ask for one.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Sequence

from lib.devserver.kubeconfig import Credentials, Kubeconfig
from lib.devserver.pki import Authority, KeyPair
from lib.process import Process
from lib.waiting import until

from .assets import Assets
from .client import ApiError, Client
from .kubectl import Kubectl
from .sandbox import DETACH_MOUNTS

HOST = "127.0.0.1"
ISSUER = "https://kubernetes.default.svc"
NODE_NAME = "node1"
SERVER_NAMES = "DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1"

# Below the range that the kernel takes ports for connections from: a client that tries again and
# again would sooner or later be connected to itself, and the server could not come back.
_PORTS = range(20000, 32000)


def free_port() -> int:
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


@dataclass(frozen=True)
class Identity:
    """A user of the API server: by a client certificate, or by a token."""

    user: str
    pair: KeyPair | None = None
    token: str | None = None


class Cluster:
    def __init__(
        self,
        assets: Assets,
        directory: Path,
        authorization: str = "RBAC",
        flags: Sequence[str] = (),
    ) -> None:
        """`flags`: what the API server gets beside the usual, each time it is started."""
        self.assets = assets
        self._flags = [f"--authorization-mode={authorization}", *flags]
        self.directory = directory
        self.port = free_port()
        self._etcd_port = free_port()
        self._etcd_peer_port = free_port()
        self._etcd: Process | None = None
        self._apiserver: Process | None = None
        self.authority = Authority(directory / "pki", "e2e-ca")
        self._server_pair = self.authority.server_pair(SERVER_NAMES)
        self.admin_identity = self.certificate_identity("admin", ["system:masters"])
        self._account_key = directory / "pki" / "service-accounts.key"
        self._account_public_key = directory / "pki" / "service-accounts.pub"
        self._make_account_keys()
        self._encryption = directory / "encryption.yaml"
        self._encryption.write_text(_encryption_configuration())
        self.admin = self.client(self.admin_identity)
        self.admin_kubeconfig = self.kubeconfig(directory / "admin.conf", self.admin_identity)
        self.kubectl = Kubectl(assets.kubectl, directory / "home", self.admin_kubeconfig)

    @property
    def server(self) -> str:
        return f"https://{HOST}:{self.port}"

    # ---- starting and ending

    def start(self) -> None:
        try:
            self.start_etcd()
            self.start_apiserver()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kills all processes: the state is thrown away."""
        self.admin.close()
        for process in (self._apiserver, self._etcd):
            if process is not None:
                process.stop(signal.SIGKILL)
        self._apiserver = self._etcd = None

    def start_etcd(self) -> None:
        client_url = f"http://{HOST}:{self._etcd_port}"
        peer_url = f"http://{HOST}:{self._etcd_peer_port}"
        command = [self.assets.etcd, "--name=e2e", f"--data-dir={self.directory / 'etcd'}"]
        command += [f"--listen-client-urls={client_url}", f"--advertise-client-urls={client_url}"]
        command += [f"--listen-peer-urls={peer_url}", f"--initial-advertise-peer-urls={peer_url}"]
        command += [f"--initial-cluster=e2e={peer_url}"]
        env = {"PATH": os.environ["PATH"]}  # etcd reads flags from the environment, too
        self._etcd = Process("etcd", command, self.directory / "etcd.log", env)
        self._wait_until_well(self._etcd, self._etcd_is_well)

    def stop_etcd(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._etcd is not None
        self._etcd.stop(number)
        self._etcd = None

    def start_apiserver(self, *flags: str) -> None:
        """`flags` win over the usual ones."""
        command = [self.assets.apiserver, f"--etcd-servers=http://{HOST}:{self._etcd_port}"]
        command += [f"--bind-address={HOST}", f"--secure-port={self.port}"]
        command += [f"--advertise-address={HOST}", "--endpoint-reconciler-type=none"]
        command += ["--service-cluster-ip-range=10.96.0.0/16", *self._flags]
        command += ["--allow-privileged=true", f"--cert-dir={self.directory / 'apiserver'}"]
        command += [f"--client-ca-file={self.authority.certificate}"]
        command += [f"--tls-cert-file={self._server_pair.certificate}"]
        command += [f"--tls-private-key-file={self._server_pair.key}"]
        command += [f"--service-account-key-file={self._account_public_key}"]
        command += [f"--service-account-signing-key-file={self._account_key}"]
        command += [f"--service-account-issuer={ISSUER}"]
        command += [f"--encryption-provider-config={self._encryption}"]
        assert self.admin_identity.pair is not None
        command += [f"--kubelet-client-certificate={self.admin_identity.pair.certificate}"]
        command += [f"--kubelet-client-key={self.admin_identity.pair.key}"]
        # also how long it waits for watches to end after SIGTERM
        command += ["--request-timeout=15s", *flags]
        log = self.directory / "kube-apiserver.log"
        self._apiserver = Process("kube-apiserver", [*self._with_hosts(), *command], log)
        self._wait_until_well(self._apiserver, self.is_ready)

    def _with_hosts(self) -> list[str]:
        """In a mount namespace where the name of the node, by which it calls the kubelet, is known."""
        hosts = self.directory / "hosts"
        hosts.write_text(f"{HOST} localhost {NODE_NAME}\n")
        script = f"{DETACH_MOUNTS}mount --bind {hosts} /etc/hosts; exec \"$@\""
        return ["unshare", "--mount", "--propagation=private", "sh", "-ec", script, "sh"]

    def stop_apiserver(self, number: signal.Signals = signal.SIGKILL) -> None:
        """After SIGTERM it refuses connections and waits long for the watches that stand."""
        assert self._apiserver is not None
        self._apiserver.stop(number)
        self._apiserver = None
        self.admin.close()

    def restart_apiserver(self, *flags: str, number: signal.Signals = signal.SIGKILL) -> None:
        self.stop_apiserver(number)
        self.start_apiserver(*flags)

    def ensure_running(self) -> None:
        """After each test the next one finds a cluster in its usual state."""
        if self._etcd is None or self._etcd.exit_code() is not None:
            self.start_etcd()
        if self._apiserver is None or self._apiserver.exit_code() is not None:
            self.start_apiserver()

    def is_ready(self) -> bool:
        return self.admin.request("GET", "/readyz") == "ok"

    def _etcd_is_well(self) -> bool:
        url = f"http://{HOST}:{self._etcd_port}/health"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["health"] == "true"

    def _wait_until_well(self, process: Process, is_well: Any) -> None:
        def check() -> bool:
            if process.exit_code() is not None:
                raise AssertionError(
                    f"{process.name} ended with {process.exit_code()}:\n{process.log_tail()}"
                )
            return is_well()

        until(check, f"{process.name} is ready", pause=0.1, forgive=(OSError, ApiError))

    @contextmanager
    def controller_manager(self, *controllers: str) -> Iterator[None]:
        """A controller manager with these controllers only, while the block runs."""
        program = self.assets.controller_manager
        assert program is not None
        command = [program, f"--kubeconfig={self.admin_kubeconfig}", "--leader-elect=false"]
        command += [f"--controllers={','.join(controllers)}", f"--bind-address={HOST}"]
        command += [f"--secure-port={free_port()}", f"--cert-dir={self.directory / 'manager'}"]
        command += [f"--service-account-private-key-file={self._account_key}"]
        command += [f"--root-ca-file={self.authority.certificate}"]
        # until 1.23 it listens without TLS on a fixed port as well, unless told not to
        if knows_flag(program, "port int"):
            command += ["--port=0"]
        log = self.directory / "kube-controller-manager.log"
        process = Process("kube-controller-manager", command, log)
        try:
            yield
            assert process.exit_code() is None, process.log_tail()
        finally:
            process.stop(signal.SIGKILL)

    # ---- etcd

    def compact(self) -> int:
        """Forget every revision but the newest, for all readers. Returns that revision."""
        key = base64.b64encode(b"none").decode()
        revision = int(self._etcd_call("range", {"key": key})["header"]["revision"])
        self._etcd_call("compaction", {"revision": str(revision), "physical": True})
        return revision

    def stored_bytes(self, resource: str, namespace: str, name: str) -> bytes:
        """An object as it lies in etcd."""
        key = base64.b64encode(f"/registry/{resource}/{namespace}/{name}".encode()).decode()
        return base64.b64decode(self._etcd_call("range", {"key": key})["kvs"][0]["value"])

    def _etcd_call(self, verb: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://{HOST}:{self._etcd_port}/v3/kv/{verb}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    # ---- who may do what

    def certificate_identity(self, user: str, groups: list[str] | None = None) -> Identity:
        return Identity(user, pair=self.authority.client_pair(user, groups or []))

    def account_identity(self, namespace: str, name: str) -> Identity:
        """A service account, made if need be, with a token from the TokenRequest API."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        if not self.admin.exists(f"{path}/{name}"):
            self.admin.request("POST", path, {"metadata": {"name": name}})
        spec = {"audiences": [ISSUER], "expirationSeconds": 3600}
        answer = self.admin.request("POST", f"{path}/{name}/token", {"spec": spec})
        user = f"system:serviceaccount:{namespace}:{name}"
        return Identity(user, token=answer["status"]["token"])

    def delete_account(self, namespace: str, name: str) -> None:
        self.admin.request("DELETE", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")

    def client(self, identity: Identity) -> Client:
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if identity.pair is not None:
            context.load_cert_chain(identity.pair.certificate, identity.pair.key)
        return Client(HOST, self.port, context, identity.token)

    def kubeconfig(
        self,
        path: Path,
        identity: Identity,
        *,
        server: str | None = None,
        credentials: Credentials | None = None,
        namespace: str = "default",
        embed: bool = True,
        name: str = "e2e",
    ) -> Path:
        return Kubeconfig(
            server=server or self.server,
            ca=self.authority.certificate,
            user=identity.user,
            credentials=credentials or Credentials(token=identity.token, client=identity.pair),
            namespace=namespace,
            embed=embed,
            name=name,
        ).write(path)

    def grant(self, namespace: str, name: str, identity: Identity, *rules: dict[str, Any]) -> None:
        """A Role and a RoleBinding of that name; returns when the API server heeds them."""
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        if not self.admin.exists(f"{rbac}/roles/{name}"):
            body = {"metadata": {"name": name}, "rules": list(rules)}
            self.admin.request("POST", f"{rbac}/roles", body)
        group = "rbac.authorization.k8s.io"
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": identity.user}],
        }
        self.admin.request("POST", f"{rbac}/rolebindings", binding)
        self._wait_for_access(namespace, identity, rules[0], True)

    def revoke(self, namespace: str, name: str, identity: Identity, rule: dict[str, Any]) -> None:
        """Takes the binding away; returns when the API server heeds that."""
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        self.admin.request("DELETE", f"{rbac}/rolebindings/{name}")
        self._wait_for_access(namespace, identity, rule, False)

    def _wait_for_access(
        self, namespace: str, identity: Identity, rule: dict[str, Any], allowed: bool
    ) -> None:
        attributes = {
            "namespace": namespace,
            "resource": rule["resources"][0],
            "verb": rule["verbs"][0],
            "name": rule.get("resourceNames", [""])[0],
        }
        review = {"spec": {"user": identity.user, "resourceAttributes": attributes}}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

        def is_so() -> bool:
            return self.admin.request("POST", path, review)["status"]["allowed"] is allowed

        until(is_so, f"access of {identity.user} is {allowed}")

    # ---- what is made once

    def _make_account_keys(self) -> None:
        key = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        key += ["-out", str(self._account_key)]
        public = ["openssl", "pkey", "-in", str(self._account_key), "-pubout"]
        public += ["-out", str(self._account_public_key)]
        for command in (key, public):
            subprocess.run(command, check=True, capture_output=True)


def _encryption_configuration() -> str:
    key = {"name": "key1", "secret": base64.b64encode(os.urandom(32)).decode()}
    providers = [{"aescbc": {"keys": [key]}}, {"identity": {}}]
    return json.dumps(
        {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [{"resources": ["secrets"], "providers": providers}],
        }
    )


def knows_flag(program: Path, flag: str) -> bool:
    """Whether the help of this release has such a flag; `flag` is its name, with its type."""
    done = subprocess.run([str(program), "--help"], capture_output=True, text=True, check=False)
    pattern = rf"^ +--{re.escape(flag)}\b"
    return re.search(pattern, done.stdout + done.stderr, re.MULTILINE) is not None

READ_SECRETS: dict[str, Any] = {
    "apiGroups": [""],
    "resources": ["secrets"],
    "verbs": ["get", "list", "watch"],
}


def read_only(name: str) -> dict[str, Any]:
    """The least that is needed: one object, by its name."""
    return {**READ_SECRETS, "resourceNames": [name]}
