"""The few requests that tests make at an API server, over one connection that is kept open."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from typing import Any, Mapping

MERGE_PATCH = "application/merge-patch+json"
KINDS = {"secrets": "Secret", "configmaps": "ConfigMap"}


class ApiError(Exception):
    """An answer that is no success; the text is the server's."""

    def __init__(self, code: int, body: bytes) -> None:
        self.code = code
        super().__init__(f"{code}: {body.decode(errors='replace')[:500]}")


class Client:
    """Thread: one at a time."""

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext, token: str | None = None
    ) -> None:
        self._connection = http.client.HTTPSConnection(host, port, timeout=30, context=context)
        self._headers = {"Accept": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def close(self) -> None:
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        """What the answer's JSON says; ApiError if it is a refusal, OSError if there is none."""
        data = None if body is None else json.dumps(body).encode()
        headers = {**self._headers, **({"Content-Type": content_type} if data else {})}
        was_open = self._connection.sock is not None
        try:
            code, answer = self._exchange(method, path, data, headers)
        except (http.client.HTTPException, ConnectionError):
            if not was_open:
                raise
            # the server ended the kept connection, maybe long ago
            code, answer = self._exchange(method, path, data, headers)
        if code >= 400:
            raise ApiError(code, answer)
        return json.loads(answer) if answer[:1] in (b"{", b"[") else answer.decode()

    def _exchange(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        try:
            self._connection.request(method, path, body=data, headers=dict(headers))
            response = self._connection.getresponse()
            return response.status, response.read()
        except BaseException:
            self._connection.close()
            raise

    def exists(self, path: str) -> bool:
        try:
            self.request("GET", path)
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return True

    # ---- Secrets and ConfigMaps

    def create(
        self,
        resource: str,
        namespace: str,
        name: str,
        data: Mapping[str, bytes],
        **fields: Any,
    ) -> Any:
        body = {"apiVersion": "v1", "kind": KINDS[resource], "metadata": {"name": name}}
        key = "data" if resource == "secrets" else "binaryData"
        body[key] = encoded(data)
        return self.request("POST", object_path(resource, namespace), {**body, **fields})

    def patch(
        self, resource: str, namespace: str, name: str, data: Mapping[str, bytes | None]
    ) -> Any:
        """Sets keys, and removes those whose value is None."""
        key = "data" if resource == "secrets" else "binaryData"
        path = object_path(resource, namespace, name)
        return self.request("PATCH", path, {key: encoded(data)}, MERGE_PATCH)

    def get(self, resource: str, namespace: str, name: str) -> Any:
        return self.request("GET", object_path(resource, namespace, name))

    def delete(self, resource: str, namespace: str, name: str) -> None:
        self.request("DELETE", object_path(resource, namespace, name))


def object_path(resource: str, namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/{resource}" + (f"/{name}" if name else "")


def encoded(data: Mapping[str, bytes | None]) -> dict[str, str | None]:
    return {
        key: None if value is None else base64.b64encode(value).decode()
        for key, value in data.items()
    }


def values_of(obj: Mapping[str, Any]) -> dict[str, bytes]:
    """The bytes that a Secret or ConfigMap holds, by key."""
    if obj["kind"] == "ConfigMap":
        text = {key: value.encode() for key, value in obj.get("data", {}).items()}
        return {**text, **_decoded(obj.get("binaryData", {}))}
    return _decoded(obj.get("data", {}))


def _decoded(data: Mapping[str, str | None]) -> dict[str, bytes]:
    return {key: base64.b64decode(value or "") for key, value in data.items()}
