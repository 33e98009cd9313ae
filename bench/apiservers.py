"""API servers to measure against: the tests' development server, and a real one with its etcd.

The real one is found as Kubernetes projects find it, in the directory $KUBEBUILDER_ASSETS. Both run
on free ports of the loopback interface, with their files in a directory of the caller's, and are
reached as an administrator with a token.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Mapping, Sequence

import processes

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.append(str(TESTS))

from lib.devserver import DevServer  # noqa: E402 (found through the path above)
from lib.devserver.pki import Authority  # noqa: E402

HOST = "127.0.0.1"
_START_SECONDS = 120.0
_POLL_SECONDS = 0.1


@dataclass
class Access:
    """What a client needs."""

    url: str
    ca: Path
    token_file: Path
    kubeconfig: Path


class Client:
    """A few requests of an administrator, one connection each."""

    def __init__(self, access: Access) -> None:
        self._host = access.url.removeprefix("https://")
        self._token = access.token_file.read_text()
        self._tls = ssl.create_default_context(cafile=str(access.ca))

    def request(
        self, method: str, path: str, body: Any = None, kind: str = "application/json"
    ) -> tuple[int, str]:
        connection = http.client.HTTPSConnection(self._host, context=self._tls)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def create_secret(self, namespace: str, name: str, data: dict[str, bytes]) -> None:
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}
        path = f"/api/v1/namespaces/{namespace}/secrets"
        # the namespace "default" is made some time after a server is ready
        _wait_for(lambda: self.request("POST", path, body)[0] in (201, 409), "a new Secret")


class Server:
    """A server's processes; a context manager that gives access to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        directory.mkdir()

    def start(self) -> Access:
        raise NotImplementedError

    def __enter__(self) -> Access:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        while self._processes:
            processes.stop(self._processes.pop())

    def _run(self, name: str, command: list[object], **environment: str) -> Path:
        log = self.directory / f"{name}.log"
        self._processes.append(processes.start(command, log, **environment))
        return log

    def _check(self, log: Path) -> None:
        if self._processes[-1].poll() is not None:
            text = processes.tail(log)
            raise processes.Failed(f"{log.stem} ended while it was started:\n{text}")


class DevelopmentServer(Server):
    """In a process of its own, so that its threads do not wait for ours."""

    name = "development server"

    def start(self) -> Access:
        command = [sys.executable, "-m", "lib.devserver", "--dir", self.directory]
        log = self._run("devserver", command, PYTHONPATH=str(TESTS))
        kubeconfig = self.directory / "admin.kubeconfig"

        def is_ready() -> bool:
            self._check(log)
            return "devserver ready" in log.read_text()

        _wait_for(is_ready, self.name)
        text = kubeconfig.read_text()
        url = re.search(r"^ +server: (\S+)$", text, re.MULTILINE)
        token = re.search(r'^ +token: "([^"]+)"$', text, re.MULTILINE)
        if url is None or token is None:
            raise processes.Failed(f"{kubeconfig} names no server or no token")
        token_file = _write_private(self.directory / "token", token[1])
        return Access(url[1], self.directory / "ca.crt", token_file, kubeconfig)


class ServerWithPods(Server):
    """The development server in this process, which can be given pods; it takes none by HTTP."""

    name = "development server"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._server = DevServer(directory)

    def start(self) -> Access:
        server = self._server.start()
        token_file = _write_private(self.directory / "token", server.admin_token)
        kubeconfig = Path(server.kubeconfig())
        return Access(server.url, Path(server.ca_file), token_file, kubeconfig)

    def stop(self) -> None:
        self._server.stop()

    def put_pod(self, namespace: str, name: str, uid: str, spec: dict[str, Any]) -> None:
        self._server.put_pod(namespace, name, uid, spec=spec, status={"phase": "Pending"})


class RealServer(Server):
    """etcd and kube-apiserver, for an administrator who brings a token from a token file."""

    name = "kube-apiserver"

    def __init__(
        self,
        directory: Path,
        assets: Path,
        tokens: Sequence[str] = (),
        flags: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """tokens: lines of its token file, beside the administrator's. flags: more of them, without
        dashes; they win over the usual ones."""
        super().__init__(directory)
        self._assets = assets
        self._authority = Authority(directory / "pki", name="bench-ca")
        self._tokens = tokens
        self._flags = flags
        self._etcd = ""
        self._port = 0

    @staticmethod
    def assets() -> Path | None:
        """$KUBEBUILDER_ASSETS, if set; the programs have to be there then."""
        text = os.environ.get("KUBEBUILDER_ASSETS")
        if not text:
            return None
        for program in ("etcd", "kube-apiserver"):
            if not os.access(Path(text) / program, os.X_OK):
                raise processes.Failed(f"KUBEBUILDER_ASSETS is {text}, which has no {program}")
        return Path(text)

    def version(self) -> str:
        return processes.run([self._assets / "kube-apiserver", "--version"]).strip()

    def start(self) -> Access:
        self._etcd = self._start_etcd()
        self._port = _free_port()
        token = secrets.token_hex(16)
        token_file = _write_private(self.directory / "token", token)
        url = _url_of(self._port)
        ca = self._authority.certificate
        kubeconfig = write_kubeconfig(self.directory / "kubeconfig", url, ca, token)
        access = Access(url, ca, token_file, kubeconfig)
        tokens = [f'{token},admin,1,"system:masters"', *self._tokens]
        _write_private(self.directory / "tokens", "".join(f"{line}\n" for line in tokens))
        log = self.start_apiserver()
        client = Client(access)

        def is_ready() -> bool:
            self._check(log)
            try:
                return client.request("GET", "/readyz")[0] == 200
            except OSError:
                return False

        _wait_for(is_ready, self.name)
        return access

    def _start_etcd(self) -> str:
        url, peer_url = (f"http://{HOST}:{_free_port()}" for _ in range(2))
        command: list[object] = [self._assets / "etcd", "--data-dir", self.directory / "etcd"]
        command += ["--listen-client-urls", url, "--advertise-client-urls", url]
        command += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
        command += ["--initial-cluster", f"default={peer_url}"]
        log = self._run("etcd", command)
        port = int(url.rpartition(":")[2])

        def accepts() -> bool:
            self._check(log)
            with socket.socket() as probe:
                return probe.connect_ex((HOST, port)) == 0

        _wait_for(accepts, "etcd")
        return url

    @property
    def pid(self) -> int:
        """The API server's."""
        return self._processes[-1].pid

    def kill_apiserver(self) -> None:
        process = self._processes.pop()
        process.kill()
        process.wait()

    def start_apiserver(self, **more: object) -> Path:
        """On the same port each time; it is not ready yet. more: flags, with _ for a dash."""
        port = self._port
        pair = self._authority.server_pair()
        flags: dict[str, object] = {
            "etcd-servers": self._etcd,
            "bind-address": HOST,
            "advertise-address": HOST,
            "endpoint-reconciler-type": "none",  # others refuse a loopback address
            "secure-port": port,
            "tls-cert-file": pair.certificate,
            "tls-private-key-file": pair.key,
            "token-auth-file": self.directory / "tokens",
            "authorization-mode": "RBAC",
            "service-cluster-ip-range": "10.96.0.0/16",
            "service-account-issuer": _url_of(port),
            "service-account-key-file": pair.certificate,
            "service-account-signing-key-file": pair.key,
            "disable-admission-plugins": "ServiceAccount",
            **self._flags,
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        command: list[object] = [self._assets / "kube-apiserver"]
        command += [f"--{name}={value}" for name, value in flags.items()]
        return self._run("kube-apiserver", command)


def _url_of(port: int) -> str:
    return f"https://{HOST}:{port}"


def write_kubeconfig(path: Path, url: str, ca: Path, token: str) -> Path:
    """JSON is YAML."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": url, "certificate-authority": str(ca)}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "admin"}}],
    }
    return _write_private(path, json.dumps(config))


def _write_private(path: Path, text: str) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_for(condition: Any, what: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise processes.Failed(f"waited {_START_SECONDS:.0f} s for {what} in vain")
        time.sleep(_POLL_SECONDS)
