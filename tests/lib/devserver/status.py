"""The failures of the API, worded as a real API server words them.

Every refused request is an ApiError: it carries the HTTP code, the machine-readable reason and the
text, and becomes the `Status` object which is either the body of the answer or the object of an
ERROR event. Clients act on code, reason and causes, people read the message, so all are kept true.
"""

from __future__ import annotations

import json
from typing import Any, Iterable, NamedTuple


class Cause(NamedTuple):
    """One reason of an Invalid or Timeout status; `field` is empty where no field is to blame."""

    reason: str
    message: str
    field: str = ""

    def text(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ApiError(Exception):
    """A request the API refuses, or an ERROR event of a watch."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = list(headers)

    def status(self) -> dict[str, Any]:
        """The Status object, in the field order of the real one."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details:
            body["details"] = self.details
        body["code"] = self.code
        return body

    def encoded(self) -> bytes:
        return json.dumps(self.status(), separators=(",", ":")).encode()


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(user: str, verb: str, resource: str, namespace: str, name: str) -> ApiError:
    subject = f'{resource} "{name}"' if name else resource
    scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    message = (
        f'{subject} is forbidden: User "{user}" cannot {verb} resource "{resource}"'
        f' in API group "" {scope}'
    )
    return ApiError(403, "Forbidden", message, _details(resource, name))


def not_found(resource: str, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource} "{name}" not found', _details(resource, name))


def method_not_allowed(method: str) -> ApiError:
    message = f"the server does not allow this method on the requested resource: {method}"
    return ApiError(405, "MethodNotAllowed", message)


def not_acceptable() -> ApiError:
    message = "only the following media types are accepted: application/json"
    return ApiError(406, "NotAcceptable", message)


def already_exists(resource: str, name: str) -> ApiError:
    message = f'{resource} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(resource, name))


def conflict(resource: str, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(resource, name))


def modified_meanwhile(resource: str, name: str) -> ApiError:
    why = (
        "the object has been modified; please apply your changes to the latest version and try"
        " again"
    )
    return conflict(resource, name, why)


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def watch_too_old(cursor: int, compacted: int) -> ApiError:
    return expired(f"too old resource version: {cursor} ({compacted})")


def entity_too_large(limit: int) -> ApiError:
    message = f"Request entity too large: limit is {limit}"
    return ApiError(413, "RequestEntityTooLarge", message)


def unsupported_media_type(accepted: str) -> ApiError:
    message = (
        "the body of the request was in an unknown format - accepted media types include:"
        f" {accepted}"
    )
    return ApiError(415, "UnsupportedMediaType", message)


def invalid(kind: str, name: str, causes: list[Cause]) -> ApiError:
    texts = [cause.text() for cause in causes]
    summary = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = {
        "name": name,
        "kind": kind,
        "causes": [
            {"reason": cause.reason, "message": cause.message, "field": cause.field}
            for cause in causes
        ],
    }
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {summary}', details)


def unprocessable(message: str) -> ApiError:
    return ApiError(422, "Invalid", message)


def too_large_resource_version(wanted: int, current: int) -> ApiError:
    details = {
        "causes": [
            {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        ],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {wanted}, current: {current}"
    return ApiError(504, "Timeout", message, details, [("Retry-After", "1")])


def _details(resource: str, name: str) -> dict[str, Any]:
    return {"name": name, "kind": resource} if name else {"kind": resource}
