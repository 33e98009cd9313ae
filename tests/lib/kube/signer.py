"""A signer of the test's own, which issues what PodCertificateRequests ask of it."""

from __future__ import annotations

import subprocess
import threading
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Iterator

from .client import ApiError, Client
from .cluster import Cluster

GROUP = "/apis/certificates.k8s.io/v1"
REQUESTS = f"{GROUP}/podcertificaterequests"
PAUSE_SECONDS = 0.1


def is_served(cluster: Cluster) -> bool:
    try:
        cluster.admin.request("GET", REQUESTS)
    except ApiError as error:
        assert error.code == 404
        return False
    return True


class Signer:
    """Decides about the pending requests of one signerName, on a thread of its own."""

    def __init__(self, client: Client, name: str, directory: Path) -> None:
        self.name = name
        self.issued: list[dict[str, Any]] = []
        self._client = client
        self._directory = directory
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="signer")
        command = ["openssl", "req", "-x509", "-newkey", "ed25519", "-noenc", "-subj", "/CN=dummy"]
        command += ["-days", "30", "-keyout", "signer.key", "-out", "signer.crt"]
        subprocess.run(command, cwd=directory, capture_output=True, check=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._is_stopping.wait(PAUSE_SECONDS):
            for request in self._client.request("GET", REQUESTS)["items"]:
                if request["spec"]["signerName"] == self.name and not request["status"].get(
                    "conditions"
                ):
                    self._issue(request)

    def _issue(self, request: dict[str, Any]) -> None:
        now = datetime.now(timezone.utc)
        condition = {"type": "Issued", "status": "True", "reason": "Test", "message": "by the test"}
        condition["lastTransitionTime"] = _text(now)
        chain = self._sign(request["spec"]["stubPKCS10Request"])
        begin, end = _times(chain)
        request["status"] = {
            "conditions": [condition],
            "certificateChain": chain,
            "notBefore": _text(begin),
            "beginRefreshAt": _text(begin + (end - begin) / 2),
            "notAfter": _text(end),
        }
        place = f"{GROUP}/namespaces/{request['metadata']['namespace']}/podcertificaterequests"
        try:
            self._client.request("PUT", f"{place}/{request['metadata']['name']}/status", request)
        except ApiError as error:
            if error.code not in (404, 409):
                raise
        else:
            self.issued.append(request)

    def _sign(self, request: str) -> str:
        pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{request}\n-----END CERTIFICATE REQUEST-----\n"
        command = ["openssl", "x509", "-req", "-CA", "signer.crt", "-CAkey", "signer.key"]
        command += ["-days", "1"]
        done = subprocess.run(
            command, input=pem, cwd=self._directory, capture_output=True, text=True, check=True
        )
        return done.stdout


def _times(pem: str) -> tuple[datetime, datetime]:
    """As they are in the certificate, which the API server compares."""
    command = ["openssl", "x509", "-noout", "-dates", "-dateopt", "iso_8601"]
    done = subprocess.run(command, input=pem, capture_output=True, text=True, check=True)
    begin, end = (line.partition("=")[2] for line in done.stdout.splitlines())
    form = "%Y-%m-%d %H:%M:%SZ"
    return (
        datetime.strptime(begin, form).replace(tzinfo=timezone.utc),
        datetime.strptime(end, form).replace(tzinfo=timezone.utc),
    )


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def running(cluster: Cluster, name: str, directory: Path) -> Iterator[Signer]:
    signer = Signer(cluster.client(cluster.admin_identity), name, directory)
    signer.start()
    try:
        yield signer
    finally:
        signer.stop()
