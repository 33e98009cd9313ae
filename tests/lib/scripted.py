"""A kubelet that does what a test says: finds drivers, publishes with retries, tears down.

It keeps the rules that a kubelet keeps (R3 to R10, S6 to S11, T1 to T3, H6), and finds fault with a
driver that does not keep its own.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from lib import wire
from lib.grpc_client import Answer, Connection, Gone, call
from lib.kubelet import (
    ABORTED,
    CANCELLED,
    DEADLINE_EXCEEDED,
    GET_CAPABILITIES,
    GET_INFO,
    GET_NODE_INFO,
    NOTIFY,
    OK,
    PUBLISH,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNPUBLISH,
    PodVolume,
)
from lib.mountinfo import mounts_at
from lib.waiting import PATIENCE_SECONDS

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
