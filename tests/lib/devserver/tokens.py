"""TokenRequests of service accounts: dummies that differ, and what each was requested with."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import Any

from .reply import Reply, json_reply
from .requestlog import Request

RESOURCE = "serviceaccounts/token"


def is_request(method: str, parts: list[str]) -> bool:
    return method == "POST" and len(parts) == 3 and parts[0] == "serviceaccounts" and (
        parts[2] == "token"
    )


@dataclass(frozen=True)
class Issued:
    namespace: str
    account: str
    spec: dict[str, Any]
    token: str


class Tokens:
    """lifetime: what a token gets in place of the seconds that were asked for."""

    def __init__(self) -> None:
        self.lifetime: int | None = None
        self.issued: list[Issued] = []
        self._lock = threading.Lock()

    def issue(self, request: Request) -> Reply:
        spec = json.loads(request.body)["spec"]
        seconds = self.lifetime if self.lifetime is not None else spec["expirationSeconds"]
        with self._lock:
            token = f"dummy-{request.namespace}-{request.name}-{len(self.issued) + 1}"
            self.issued.append(Issued(request.namespace, request.name, spec, token))
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        answer = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": request.name, "namespace": request.namespace},
            "spec": {**spec, "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": end},
        }
        return json_reply(answer, 201)
