"""What clients ask before they ask for objects: version, health, groups and resources."""

from __future__ import annotations

from typing import Any, Callable

from . import openapi
from .objects import CORE_KINDS, Kind
from .reply import Reply, json_reply, text_reply

# paths that need no user, as with the real server's system:public-info-viewer
PUBLIC = frozenset(("/healthz", "/livez", "/readyz", "/version"))


def reply(path: str, accept: str, minor_version: str) -> Reply | None:
    """The answer to a path which is no resource, or None for an unknown path."""
    path = path.rstrip("/") or "/"
    if path == "/openapi/v2":
        return openapi.v2_reply(accept)
    if path == "/openapi/v3/api/v1":
        return json_reply(openapi.v3_document())
    if path.split("/")[1] in ("healthz", "livez", "readyz"):
        return text_reply("ok")
    if path == "/version":
        return json_reply(_version(minor_version))
    make = _DOCUMENTS.get(path)
    return json_reply(make()) if make else None


def _version(minor: str) -> Any:
    return {
        "major": "1",
        "minor": minor,
        "gitVersion": f"v1.{minor}.0-devserver",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "",
    }


def _api_versions() -> Any:
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def _api_groups() -> Any:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}


def _api_resources() -> Any:
    resources = [_api_resource(kind) for kind in CORE_KINDS.values()]
    return {"kind": "APIResourceList", "groupVersion": "v1", "resources": resources}


def _api_resource(kind: Kind) -> Any:
    resource: dict[str, Any] = {
        "name": kind.resource,
        "singularName": kind.kind.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        resource["shortNames"] = list(kind.short_names)
    return resource


def _paths() -> Any:
    return {"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/readyz", "/version"]}


_DOCUMENTS: dict[str, Callable[[], Any]] = {
    "/": _paths,
    "/api": _api_versions,
    "/apis": _api_groups,
    "/api/v1": _api_resources,
    "/openapi/v3": openapi.v3_index,
}
