"""PATCH of a pod's status, as a kubelet sends it: a strategic merge, with the pod's uid."""

from __future__ import annotations

import json

from . import patch, status
from .objects import PODS
from .reply import Reply
from .requestlog import Request
from .store import Store

RESOURCE = "pods/status"


def is_request(method: str, parts: list[str]) -> bool:
    return method == "PATCH" and len(parts) == 3 and parts[0] == "pods" and parts[2] == "status"


def merge(store: Store, request: Request, media_type: str) -> Reply:
    """What the patch says beside status and uid is ignored, as the server does."""
    if media_type != patch.STRATEGIC_MERGE_PATCH:
        raise status.unsupported_media_type(patch.STRATEGIC_MERGE_PATCH)
    body = json.loads(request.body)
    with store.lock:
        found = store.get(PODS, request.namespace, request.name)
        if found is None:
            raise status.not_found(PODS.resource, request.name)
        uid = body.get("metadata", {}).get("uid")
        if uid not in (None, found.object["metadata"]["uid"]):
            raise status.conflict(PODS.resource, request.name, "Precondition failed: UID")
        merged = patch.strategic_merge_patch(
            found.object.get("status", {}), body.get("status", {})
        )
        changed = {**found.object, "status": merged}
        made = store.put(PODS, request.namespace, request.name, changed)
    return Reply(200, made.full + b"\n")
