"""The kinds this server knows, and the one form in which their objects are kept and sent.

An object is a plain dict without `kind` and `apiVersion`. canonical() gives it the field order of
the real server (struct fields in declared order, map keys sorted, empty maps left out) and drops
what the kind does not know. encode() is Go's JSON: compact, UTF-8, and with `<`, `>` and `&`
escaped, so that a client which only copes with the escapes it made itself is found out here.

Stored keeps an object together with its encoding: a write encodes once, and every list, get and
watch event reuses those bytes. Items of a list carry no kind and apiVersion; single objects and
event objects do, hence `bare` and `full`.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

_METADATA_FIELDS = (
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
)
# fields a client may send in metadata that are accepted and not kept
METADATA_IGNORED = ("managedFields", "selfLink")
_SORTED_MAPS = frozenset(("data", "binaryData", "stringData", "labels", "annotations"))
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_GO_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)
ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Kind:
    """One resource, of the core group unless another is given."""

    resource: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...]
    fields: tuple[str, ...]
    verbs: tuple[str, ...] = ALL_VERBS
    group: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"


SECRETS = Kind(
    "secrets", "Secret", True, (), ("metadata", "immutable", "data", "stringData", "type")
)
CONFIGMAPS = Kind(
    "configmaps", "ConfigMap", True, ("cm",), ("metadata", "immutable", "data", "binaryData")
)
NAMESPACES = Kind("namespaces", "Namespace", False, ("ns",), ("metadata", "spec", "status"))
PODS = Kind(
    "pods",
    "Pod",
    True,
    ("po",),
    ("metadata", "spec", "status"),
    ("delete", "get", "list", "watch"),
)
NODES = Kind(
    "nodes", "Node", False, ("no",), ("metadata", "spec", "status"), ("get", "list", "watch")
)
EVENTS = Kind(
    "events",
    "Event",
    True,
    ("ev",),
    (
        "metadata",
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "reportingComponent",
        "reportingInstance",
    ),
    ("create", "get", "list", "watch"),
)

TRUST_BUNDLES = Kind(
    "clustertrustbundles",
    "ClusterTrustBundle",
    False,
    (),
    ("metadata", "spec"),
    ("get", "list", "watch"),
    "certificates.k8s.io",
)

CERTIFICATE_REQUESTS = Kind(
    "podcertificaterequests",
    "PodCertificateRequest",
    True,
    (),
    ("metadata", "spec", "status"),
    ("create", "get", "list", "watch"),
    "certificates.k8s.io",
)
SERVICE_ACCOUNTS = Kind(
    "serviceaccounts", "ServiceAccount", True, ("sa",), ("metadata",), ("get", "list", "watch")
)

CORE_KINDS = {
    kind.resource: kind for kind in (SECRETS, CONFIGMAPS, NAMESPACES, EVENTS, PODS, NODES)
}
KINDS = {
    **CORE_KINDS,
    **{kind.resource: kind for kind in (TRUST_BUNDLES, CERTIFICATE_REQUESTS, SERVICE_ACCOUNTS)},
}


@dataclass(frozen=True, eq=False)
class Stored:
    """One version of an object; its dict is shared and never changed after construction.

    Compared and hashed by identity, which lets encode_object_event() remember its last results.
    """

    kind: Kind
    object: Object
    revision: int
    bare: bytes

    @property
    def full(self) -> bytes:
        return full_encoding(self.kind, self.bare)

    @property
    def namespace(self) -> str:
        return self.object["metadata"].get("namespace", "")

    @property
    def name(self) -> str:
        return self.object["metadata"]["name"]


def stored(kind: Kind, obj: Object, revision: int) -> Stored:
    """A version of `obj` as of `revision`, which becomes its resourceVersion."""
    metadata = {**obj["metadata"], "resourceVersion": str(revision)}
    ordered = canonical(kind, {**obj, "metadata": metadata})
    return Stored(kind, ordered, revision, encode(ordered))


def canonical(kind: Kind, obj: Object) -> Object:
    ordered = _pick(obj, kind.fields)
    ordered["metadata"] = _pick(obj.get("metadata") or {}, _METADATA_FIELDS)
    return ordered


def known_metadata_field(name: str) -> bool:
    return name in _METADATA_FIELDS or name in METADATA_IGNORED


def _pick(source: Object, fields: tuple[str, ...]) -> Object:
    picked: Object = {}
    for field in fields:
        value = source.get(field)
        if value is None or value == {} or value == []:
            continue
        picked[field] = dict(sorted(value.items())) if field in _SORTED_MAPS else value
    return picked


def encode(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = _LONE_SURROGATE.sub("\ufffd", text).encode()
    for raw, escaped in _GO_ESCAPES:
        if raw in data:
            data = data.replace(raw, escaped)
    return data


def full_encoding(kind: Kind, bare: bytes) -> bytes:
    head = b'{"kind":"%s","apiVersion":"%s",' % (kind.kind.encode(), kind.api_version.encode())
    return head + bare[1:]


def with_type(kind: Kind, obj: Object) -> Object:
    """The object as a client sees it alone: kind and apiVersion first."""
    return {"kind": kind.kind, "apiVersion": kind.api_version, **obj}


def encode_list(kind: Kind, revision: int, items: list[Stored]) -> bytes:
    head = b'{"kind":"%sList","apiVersion":"%s","metadata":{"resourceVersion":"%d"},"items":[' % (
        kind.kind.encode(),
        kind.api_version.encode(),
        revision,
    )
    return head + b",".join(item.bare for item in items) + b"]}\n"


def encode_event(event_type: str, full: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (event_type.encode(), full)


@functools.lru_cache(maxsize=8)
def encode_object_event(event_type: str, version: Stored) -> bytes:
    """One line of a watch; all watches of the same object share the same bytes."""
    return encode_event(event_type, version.full)


def encode_bookmark(kind: Kind, revision: int, initial_events_end: bool = False) -> bytes:
    metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_events_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return encode_event("BOOKMARK", encode(with_type(kind, {"metadata": metadata})))
