"""`secretfs node` beside the kubelet, as a service manager would run it."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any, Mapping

import yaml

from lib.deploy import DEPLOY
from lib.process import Process
from lib.waiting import until

from . import Identity, Node
from .assets import minor_version
from .mounts import SUSPICIOUS, TRACE, Values, program
from .node import NAME

DRIVER = "csi.secretfs.io"
_serial = itertools.count(1)
_TOKEN_IN_SECRETS = 36  # as of 1.36 a CSIDriver may have serviceAccountTokenInSecrets (U8)


def csi_driver(name: str, with_tokens: bool, in_secrets: bool = False) -> dict[str, Any]:
    """What deploy/ has for a cluster, under another name."""
    document = yaml.safe_load((DEPLOY / "csidriver" / "csidriver.yaml").read_text())
    if with_tokens:
        patch = yaml.safe_load((DEPLOY / "csidriver-tokens" / "tokens.yaml").read_text())
        document["spec"].update(patch["spec"])
        document["spec"].update({"serviceAccountTokenInSecrets": True} if in_secrets else {})
    document["metadata"]["name"] = name
    return document


class Daemon:
    """Each has a driver's name of its own, so that several can serve one node."""

    def __init__(
        self,
        node: Node,
        directory: Path,
        rights: str,
        kubeconfig: Path,
        *arguments: str,
        driver: str | None = None,
    ) -> None:
        self.node = node
        self.rights = rights
        self.kubeconfig = kubeconfig
        self.driver = driver or f"{rights}-{next(_serial)}.secretfs.io"
        self.run_dir = Path("/run") / (
            "secretfs" if driver == DRIVER else f"secretfs-{self.driver.partition('.')[0]}"
        )
        self._log = directory / f"{self.driver}.log"
        self._command: list[str | Path] = [program(), "node", f"--driver-name={self.driver}"]
        self._command += [f"--rights={rights}", f"--node-id={NAME}", f"--kubeconfig={kubeconfig}"]
        self._command += [f"--run-dir={self.run_dir}", "--metrics-bind-address=0"]
        self._command += ["--volumes-dir=/run/no-static-volumes"]
        self._command += ["--log-level=debug", TRACE, "--log-format=json", *arguments]
        self._process: Process | None = None
        self._api = node.cluster.admin
        in_secrets = minor_version(node.assets.kubelet) >= _TOKEN_IN_SECRETS
        body = csi_driver(self.driver, rights == "pod", in_secrets)
        self._api.request("POST", "/apis/storage.k8s.io/v1/csidrivers", body)

    # ---- starting and ending

    def start(self) -> Daemon:
        """Returns when the kubelet knows it."""
        told = len(self.logged("registered with the kubelet"))
        self._process = self.node.process(self.driver, self._command, self._log)

        def is_registered() -> bool:
            assert self._process is not None
            code = self._process.exit_code()
            if code is not None:
                raise RuntimeError(f"secretfs node ended with {code}:\n{self._process.log_tail()}")
            return len(self.logged("registered with the kubelet")) > told and self._is_known()

        until(is_registered, f"{self.driver} is registered", pause=0.05)
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        code = process.stop(number, 30)
        wanted = 0 if number == signal.SIGTERM else -number
        assert code == wanted, f"ended with {code}:\n{process.log_tail()}"

    def restart(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.stop(number)
        self.start()

    def end(self, values: Values) -> None:
        """Takes it down, and looks at what it has logged."""
        self.stop()
        path = f"/apis/storage.k8s.io/v1/csidrivers/{self.driver}"
        self._api.request("DELETE", path)
        log = self._log.read_bytes()
        words = [word for word in SUSPICIOUS if word.encode() in log]
        assert not words, f"{words} in the log:\n{self.log_tail()}"
        assert not values.found_in(log), "secret values in the log"
        assert b"eyJ" not in log, "a token in the log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _is_known(self) -> bool:
        drivers = self._api.request("GET", f"/apis/storage.k8s.io/v1/csinodes/{NAME}")["spec"]
        return self.driver in [entry["name"] for entry in drivers.get("drivers") or []]

    # ---- the log

    def logged(self, message: str) -> list[dict[str, Any]]:
        if not self._log.exists():
            return []
        lines = self._log.read_text(errors="replace").splitlines(keepends=True)
        entries = [json.loads(line) for line in lines if line[:1] == "{" and line.endswith("}\n")]
        return [entry for entry in entries if entry["msg"] == message]

    def log_tail(self) -> str:
        return self._log.read_bytes()[-6000:].decode(errors="replace")

    # ---- volumes

    def volume(self, secret: str | None = None, **attributes: Any) -> dict[str, Any]:
        """A volume of a pod; `secret` is the one that the pod names to the node authorizer."""
        csi: dict[str, Any] = {"driver": self.driver, "readOnly": True}
        csi["volumeAttributes"] = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in attributes.items()
        }
        if secret is not None:
            csi["nodePublishSecretRef"] = {"name": secret}
        return {"csi": csi}

    def mounts_of(self, pod_directory: Path) -> list[str]:
        """What is mounted below a pod's directory and comes from a secretfs."""
        return [
            line
            for line in self.node.mountinfo().splitlines()
            if f" {pod_directory}/" in line and "fuse.secretfs" in line
        ]


class KeptDaemon(Daemon):
    """One under `secretfs-keeper`, which starts the next daemon when one is killed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        keeper = program().with_name("secretfs-keeper")
        self._command = [keeper, "--backoff-max=100ms", "--", *self._command]

    def kill(self) -> None:
        """SIGKILL; returns when the next one serves. Its sockets remain, so nothing registers again."""
        n_served = len(self.logged("serving"))
        os.kill(self._child(), signal.SIGKILL)
        until(lambda: len(self.logged("serving")) > n_served, "the next daemon serves")
        assert self._is_known()

    def _child(self) -> int:
        """Those before it have been killed, and may not have ended as a whole."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return int(path.read_text().split()[-1])


class Daemons:
    """Makes the daemons of a test; `finish` sees to it that all end in good order."""

    def __init__(self, node: Node, directory: Path, values: Values) -> None:
        self._node = node
        self._directory = directory
        self._values = values
        self._made: list[Daemon] = []

    def kubeconfig(
        self, rights: str, identity: Identity | None = None, server: str | None = None
    ) -> Path:
        """The kubelet's, or with the daemon's rights that of a user of its own. With the pod's
        rights it only says where the API server is, as its user may do nothing at all."""
        cluster = self._node.cluster
        if identity is None:
            identity = (
                self._node.identity
                if rights == "node"
                else cluster.certificate_identity(f"unprivileged-{next(_serial)}")
            )
        path = self._directory / f"{rights}-{next(_serial)}.conf"
        return cluster.kubeconfig(path, identity, server=server)

    def start(self, rights: str, kubeconfig: Path, *arguments: str, **options: Any) -> Daemon:
        return self._start(Daemon, rights, kubeconfig, *arguments, **options)

    def start_kept(self, rights: str, kubeconfig: Path) -> KeptDaemon:
        daemon = self._start(KeptDaemon, rights, kubeconfig)
        assert isinstance(daemon, KeptDaemon)
        return daemon

    def _start(self, kind: type[Daemon], *arguments: Any, **options: Any) -> Daemon:
        rights, kubeconfig, *others = arguments
        daemon = kind(self._node, self._directory, rights, kubeconfig, *others, **options)
        self._made.append(daemon)
        return daemon.start()

    def finish(self) -> None:
        errors = []
        for daemon in self._made:
            try:
                daemon.end(self._values)
            except AssertionError as error:
                errors.append(error)
        if errors:
            raise errors[0]


def grant_daemon(
    node: Node, identity: Identity, parts: tuple[str, ...] = ("daemon", "events", "pods")
) -> None:
    """The rules of these directories of deploy/rbac, for that user."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    for part in parts:
        text = (DEPLOY / "rbac" / part / "clusterrole.yaml").read_text()
        role, binding = yaml.safe_load_all(text)
        name = f"{identity.user}-{part}"
        for kind, body in (("clusterroles", role), ("clusterrolebindings", binding)):
            body["metadata"]["name"] = name
            if kind == "clusterrolebindings":
                body["roleRef"]["name"] = name
                group = "rbac.authorization.k8s.io"
                body["subjects"] = [{"apiGroup": group, "kind": "User", "name": identity.user}]
            node.cluster.admin.request("POST", f"{rbac}/{kind}", body)


def role(*names: str) -> list[Mapping[str, Any]]:
    """The rules of deploy/rbac/pod-example, for these Secrets and ConfigMaps."""
    document, _ = yaml.safe_load_all((DEPLOY / "rbac" / "pod-example" / "role.yaml").read_text())
    return [{**rule, "resourceNames": list(names)} for rule in document["rules"]]
