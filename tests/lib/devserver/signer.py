"""PodCertificateRequests, and the signer that decides about them."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from .objects import CERTIFICATE_REQUESTS, Object
from .store import Store

ISSUE, DENY, FAIL, WAIT = "Issued", "Denied", "Failed", ""


class Signer:
    """answer: what becomes of each new request; one that waits is decided by decide().

    lifetime, refresh: seconds from now until a certificate expires, and until its renewal begins.
    """

    def __init__(self) -> None:
        self.answer = ISSUE
        self.lifetime, self.refresh = 86400, 43200
        self.created: list[tuple[str, str]] = []  # namespace and name
        self._lock = threading.Lock()
        self._directory: Path | None = None

    def on_created(self, store: Store, namespace: str, name: str) -> None:
        self.created.append((namespace, name))
        if self.answer != WAIT:
            self.decide(store, namespace, name, self.answer)

    def decide(self, store: Store, namespace: str, name: str, answer: str) -> None:
        with self._lock:
            found = store.get(CERTIFICATE_REQUESTS, namespace, name)
            assert found is not None
            status: Object = {"conditions": [_condition(answer)]}
            if answer == ISSUE:
                status |= self._issue(found.object["spec"])
            store.put(CERTIFICATE_REQUESTS, namespace, name, {**found.object, "status": status})

    def _issue(self, spec: dict[str, Any]) -> Object:
        now = int(time.time())
        return {
            "certificateChain": self._sign(spec["stubPKCS10Request"]),
            "notBefore": _time(now),
            "beginRefreshAt": _time(now + self.refresh),
            "notAfter": _time(now + self.lifetime),
        }

    def _sign(self, request: str) -> str:
        """A chain of two; OpenSSL checks that the request is signed by its own key."""
        if self._directory is None:
            self._directory = _make_authority()
        pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{request}\n-----END CERTIFICATE REQUEST-----\n"
        command = ["openssl", "x509", "-req", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "1"]
        done = subprocess.run(
            command, input=pem, cwd=self._directory, capture_output=True, text=True, check=True
        )
        return done.stdout + (self._directory / "ca.crt").read_text()

    def close(self) -> None:
        if self._directory is not None:
            for file in self._directory.iterdir():
                file.unlink()
            self._directory.rmdir()


def _make_authority() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="devserver-signer-"))
    command = ["openssl", "req", "-x509", "-newkey", "ed25519", "-noenc", "-subj", "/CN=signer"]
    command += ["-keyout", "ca.key", "-out", "ca.crt"]
    subprocess.run(command, cwd=directory, capture_output=True, check=True)
    return directory


def _condition(answer: str) -> Object:
    return {"type": answer, "status": "True", "reason": "Scripted", "message": "by the test"}


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
