"""The Table form of objects, which `kubectl get` prints."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from .objects import CONFIGMAPS, NAMESPACES, SECRETS, Kind, Object, Stored

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def table(kind: Kind, revision: int, items: list[Stored], columns: bool = True) -> Object:
    """`columns` is left out for later events of a watch, as the real server does."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": str(revision)},
        "columnDefinitions": _columns(kind) if columns else None,
        "rows": [_row(item) for item in items],
    }


def _columns(kind: Kind) -> list[Object]:
    titles = {
        SECRETS.resource: (("Name", "string"), ("Type", "string"), ("Data", "string")),
        CONFIGMAPS.resource: (("Name", "string"), ("Data", "string")),
        NAMESPACES.resource: (("Name", "string"), ("Status", "string")),
    }.get(kind.resource, (("Name", "string"),))
    return [
        {
            "name": name,
            "type": column_type,
            "format": "name" if name == "Name" else "",
            "description": "",
            "priority": 0,
        }
        for name, column_type in (*titles, ("Age", "string"))
    ]


def _row(item: Stored) -> Object:
    metadata = item.object["metadata"]
    partial = {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
    }
    cells = [item.name, *_cells(item), _age(metadata["creationTimestamp"])]
    return {"cells": cells, "object": partial}


def _cells(item: Stored) -> list[Any]:
    obj = item.object
    if item.kind is SECRETS:
        return [obj["type"], str(len(obj.get("data") or {}))]
    if item.kind is CONFIGMAPS:
        return [str(len(obj.get("data") or {}) + len(obj.get("binaryData") or {}))]
    if item.kind is NAMESPACES:
        return [obj["status"]["phase"]]
    return []


def _age(created: str) -> str:
    born = datetime.strptime(created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    seconds = max(0, int((datetime.now(timezone.utc) - born).total_seconds()))
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    if seconds < 10 * _MINUTE:
        return f"{seconds // _MINUTE}m{seconds % _MINUTE}s"
    if seconds < 3 * _HOUR:
        return f"{seconds // _MINUTE}m"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR}h"
    return f"{seconds // _DAY}d"
