"""What a kubelet says to a CSI driver about a pod's volume (S3 to S5, S10)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Mapping

from lib import wire
from lib.grpc_client import Answer, Connection, call

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
