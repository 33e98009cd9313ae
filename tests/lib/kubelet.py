"""A kubelet: what it says to a CSI driver about a pod's volume (S3 to S5, S10), and one that does what
a test says: it finds drivers, publishes with retries, tears down. It keeps the rules that a kubelet
keeps (R3 to R10, S6 to S11, T1 to T3, H6), and finds fault with a driver that does not keep its own.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Mapping

from lib import wire
from lib.grpc_client import Answer, Connection, Gone, call
from lib.mountinfo import mounts_at
from lib.waiting import PATIENCE_SECONDS

PUBLISH = "/csi.v1.Node/NodePublishVolume"
UNPUBLISH = "/csi.v1.Node/NodeUnpublishVolume"
GET_CAPABILITIES = "/csi.v1.Node/NodeGetCapabilities"
GET_NODE_INFO = "/csi.v1.Node/NodeGetInfo"
PROBE = "/csi.v1.Identity/Probe"
GET_INFO = "/pluginregistration.Registration/GetInfo"
NOTIFY = "/pluginregistration.Registration/NotifyRegistrationStatus"

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = range(6)
RESOURCE_EXHAUSTED, ABORTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 8, 10, 12, 13, 14

SINGLE_NODE_WRITER = 1


@dataclass
class PodVolume:
    """A csi volume in a pod, and what the kubelet makes of it."""

    root: Path = Path("/var/lib/kubelet")
    volume: str = "creds"
    pod: str = "web-0"
    namespace: str = "prod"
    uid: str = "11111111-2222-3333-4444-555555555555"
    service_account: str = "default"
    attributes: Mapping[str, str] = field(default_factory=lambda: {"secretName": "db"})
    read_only: bool = False
    fs_type: str = ""
    fs_group: int | None = None
    tokens: str | None = None
    tokens_in_secrets: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict)
    mount_flags: tuple[str, ...] = ()
    pod_info: bool = True
    block: bool = False

    @property
    def volume_id(self) -> str:
        return "csi-" + hashlib.sha256((self.uid + self.volume).encode()).hexdigest()

    @property
    def target(self) -> Path:
        volumes = self.root / "pods" / self.uid / "volumes" / "kubernetes.io~csi"
        return volumes / self.volume / "mount"

    def context(self) -> dict[str, str]:
        prefix = "csi.storage.k8s.io/"
        context = dict(self.attributes)
        if self.pod_info:
            context |= {
                f"{prefix}pod.name": self.pod,
                f"{prefix}pod.namespace": self.namespace,
                f"{prefix}pod.uid": self.uid,
                f"{prefix}serviceAccount.name": self.service_account,
                f"{prefix}ephemeral": "true",
            }
        if self.tokens is not None and not self.tokens_in_secrets:
            context[f"{prefix}serviceAccount.tokens"] = self.tokens
        return context

    def capability(self) -> bytes:
        if self.block:
            return wire.field(1, b"") + wire.field(3, wire.field(1, SINGLE_NODE_WRITER))
        mount = wire.field(1, self.fs_type) if self.fs_type else b""
        mount += b"".join(wire.field(2, flag) for flag in self.mount_flags)
        if self.fs_group is not None:
            mount += wire.field(3, str(self.fs_group))
        return wire.field(2, mount) + wire.field(3, wire.field(1, SINGLE_NODE_WRITER))

    def publish_request(self, more_context: Iterable[tuple[str, str]] = ()) -> bytes:
        secrets = dict(self.secrets)
        if self.tokens is not None and self.tokens_in_secrets:
            secrets["csi.storage.k8s.io/serviceAccount.tokens"] = self.tokens
        return (
            wire.field(1, self.volume_id)
            + wire.field(4, str(self.target))
            + wire.field(5, self.capability())
            + (wire.field(6, True) if self.read_only else b"")
            + wire.pairs(7, secrets)
            + wire.pairs(8, self.context())
            + wire.pairs(8, more_context)
        )

    def unpublish_request(self) -> bytes:
        return wire.field(1, self.volume_id) + wire.field(2, str(self.target))

    # ---- whole calls, each on a connection of its own (R12)

    def publish(self, endpoint: Path, **headers: str) -> Answer:
        """S6: the parent of the target is the kubelet's to make."""
        if self.target.is_relative_to("/tmp"):
            self.target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        return call(endpoint, PUBLISH, self.publish_request(), grpc_timeout="120S", **headers)

    def unpublish(self, endpoint: Path, **headers: str) -> Answer:
        return call(endpoint, UNPUBLISH, self.unpublish_request(), grpc_timeout="120S", **headers)

    def start_publish(self, endpoint: Path, **headers: str) -> tuple[Connection, int]:
        """A publish that is not waited for."""
        connection = Connection(endpoint)
        headers = {"grpc_timeout": "120S", **headers}
        return connection, connection.start(PUBLISH, self.publish_request(), **headers)


# ---- a kubelet that does what a test says

# T1; None is a connection that broke
UNCERTAIN = {CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE, RESOURCE_EXHAUSTED, ABORTED, None}
AUTHORITIES = ("localhost", "", None, "/var/lib/kubelet/plugins/x/csi.sock", "%2Fvar%2Fx.sock")
_RETRY_FIRST_SECONDS = 0.02  # H6 has half a second
_RETRY_MAX_SECONDS = 1.0


@dataclass
class Driver:
    """What a kubelet knows of a driver that it has registered."""

    name: str
    endpoint: Path
    node_id: str
    made_at_ns: int


@dataclass
class Kubelet:
    root: Path
    random: random.Random = field(default_factory=lambda: random.Random(1))
    drivers: dict[str, Driver] = field(default_factory=dict)
    is_daemon_steady: bool = True  # else what it has answered may be undone by its own end

    # ---- registration

    def find_sockets(self) -> list[Path]:
        """R3."""
        registry = self.root / "plugins_registry"
        names = os.listdir(registry) if registry.is_dir() else []
        return [registry / n for n in names if not n.startswith(".")]

    def _call(self, socket: Path, method: str, message: bytes = b"", **headers: str) -> Answer:
        return call(
            socket, method, message, authority=self.random.choice(AUTHORITIES), **headers
        )

    def register(self, socket: Path, refusal: str = "") -> Driver:
        """R4 to R7, with one socket."""
        made_at_ns = socket.stat().st_ctime_ns
        info = dict(wire.parse(self._call(socket, GET_INFO, grpc_timeout="1S").message))
        assert info[1] == b"CSIPlugin" and info[4] == b"1.0.0"
        name, endpoint = info[2].decode(), Path(info[3].decode())  # type: ignore[union-attr]
        node_id = b""
        if not refusal:
            node_id = dict(wire.parse(self._call(endpoint, GET_NODE_INFO).message))[1]  # type: ignore[assignment]
        status = wire.field(2, refusal) if refusal else wire.field(1, True)
        assert self._call(socket, NOTIFY, status, grpc_timeout="5S").message == b""
        driver = Driver(name, endpoint, node_id.decode(), made_at_ns)
        if not refusal:
            self.drivers[name] = driver
        return driver

    def register_all(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (sockets := self.find_sockets()):
            assert time.monotonic() < deadline, "there is no socket to register"
            time.sleep(0.002)
        for socket in sockets:
            self.register(socket)

    @property
    def endpoint(self) -> Path:
        (driver,) = self.drivers.values()
        return driver.endpoint

    # ---- one attempt

    def attempt(self, method: str, message: bytes, timeout_ms: int = 120_000) -> int | None:
        """On a connection of its own, with or without a good-bye (R12). The code."""
        try:
            with Connection(self.endpoint) as connection:
                answer = connection.call(
                    method,
                    message,
                    authority=self.random.choice(AUTHORITIES),
                    grpc_timeout=f"{timeout_ms}m",
                )
                if self.random.random() < 0.5:
                    connection.h2.close_connection()
                    connection.flush()
                return answer.code
        except (Gone, FileNotFoundError, ConnectionRefusedError):
            return None

    def attempt_publish(self, volume: PodVolume, timeout_ms: int = 120_000) -> int | None:
        """S2, S6, S7: what comes before the call; T2: what follows from its code."""
        volume.target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        (volume.target.parent / "vol_data.json").write_text("{}")
        self.attempt(GET_CAPABILITIES, b"")
        code = self.attempt(PUBLISH, volume.publish_request(), timeout_ms)
        if code == OK and self.is_daemon_steady:
            assert mounts_at(volume.target), "published, and not mounted (S9)"
        elif code != OK and code not in UNCERTAIN:
            assert not mounts_at(volume.target), f"{code} is final, and it is mounted (T2)"
            self.remove(volume)
        return code

    def remove(self, volume: PodVolume) -> None:
        """S11: what a kubelet does with a target; it never deletes what is in it."""
        if volume.target.exists():
            assert volume.target.stat().st_dev == volume.target.parent.stat().st_dev
            volume.target.rmdir()
        (volume.target.parent / "vol_data.json").unlink(missing_ok=True)
        for directory in (volume.target.parent, volume.target.parent.parent):
            try:
                directory.rmdir()
            except OSError:
                return  # other volumes of the pod

    # ---- with retries (H6, T3)

    def publish(self, volume: PodVolume, timeout_ms: int = 120_000) -> list[int | None]:
        """Until it is published. All codes that came."""
        codes: list[int | None] = []
        wait, deadline = _RETRY_FIRST_SECONDS, time.monotonic() + PATIENCE_SECONDS
        while not codes or codes[-1] != OK:
            if codes:
                assert time.monotonic() < deadline, f"never published: {codes[-5:]}"
                time.sleep(wait)
                wait = min(wait * 2, _RETRY_MAX_SECONDS)
            codes.append(self.attempt_publish(volume, timeout_ms))
        return codes

    def unpublish(self, volume: PodVolume, timeout_ms: int = 120_000) -> list[int | None]:
        """Until it is unpublished, and the pod's directories are gone."""
        codes: list[int | None] = []
        wait, deadline = _RETRY_FIRST_SECONDS, time.monotonic() + PATIENCE_SECONDS
        while not codes or codes[-1] != OK:
            if codes:
                assert time.monotonic() < deadline, f"never unpublished: {codes[-5:]}"
                time.sleep(wait)
                wait = min(wait * 2, _RETRY_MAX_SECONDS)
            codes.append(self.attempt(UNPUBLISH, volume.unpublish_request(), timeout_ms))
        assert not mounts_at(volume.target)
        self.remove(volume)
        assert not volume.target.parent.exists(), os.listdir(volume.target.parent)
        return codes
