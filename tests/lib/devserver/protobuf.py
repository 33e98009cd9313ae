"""The little of protobuf that clients need from this server.

Encoding: field() and text() append length-delimited fields. Decoding: kubectl sends Secrets,
ConfigMaps and Namespaces it creates as protobuf (since 1.32), in Kubernetes' envelope: four magic
bytes, then a runtime.Unknown holding the type and the raw message. decode_body() turns that into
the same dict that JSON would have given. Field numbers are those of the generated.proto files of
k8s.io/api/core/v1 and k8s.io/apimachinery/pkg/apis/meta/v1.
"""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from typing import Any, Callable, Iterator

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Value = bytes | int
Decode = Callable[[Value], Any]
Schema = dict[int, tuple[str, Decode]]


class MalformedProtobuf(Exception):
    """The bytes are no message of the expected kind."""


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | _BYTES) + varint(len(value)) + value


def text(number: int, value: str) -> bytes:
    return field(number, value.encode())


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_body(body: bytes) -> dict[str, Any]:
    """An enveloped object as JSON's dict. Raises MalformedProtobuf."""
    if not body.startswith(_MAGIC):
        raise MalformedProtobuf("provided data does not appear to be a protobuf message")
    unknown = {number: value for number, value in _fields(body[len(_MAGIC) :])}
    type_meta = dict(_fields(_as_bytes(unknown.get(1, b""))))
    api_version = _string(type_meta.get(1, b""))
    kind = _string(type_meta.get(2, b""))
    schema = _SCHEMAS.get(kind)
    if schema is None:
        raise MalformedProtobuf(f'no kind "{kind}" is registered for version "{api_version}"')
    return {"kind": kind, "apiVersion": api_version, **_decode(schema, unknown.get(2, b""))}


def _fields(message: bytes) -> Iterator[tuple[int, Value]]:
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        wire_type = key & 7
        value: Value
        if wire_type == _VARINT:
            value, at = _read_varint(message, at)
        elif wire_type in (_FIXED64, _FIXED32, _BYTES):
            length, at = _length(message, at, wire_type)
            value = message[at : at + length]
            at += length
            if at > len(message):
                raise MalformedProtobuf("unexpected EOF")
        else:
            raise MalformedProtobuf(f"unknown wire type {wire_type}")
        yield key >> 3, value


def _length(message: bytes, at: int, wire_type: int) -> tuple[int, int]:
    if wire_type == _BYTES:
        return _read_varint(message, at)
    return (8 if wire_type == _FIXED64 else 4), at


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise MalformedProtobuf("malformed varint")


def _decode(schema: Schema, message: Value) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    for number, value in _fields(_as_bytes(message)):
        if number not in schema:
            continue
        name, decode = schema[number]
        item = decode(value)
        if decode in _MAP_ENTRIES:
            decoded.setdefault(name, {}).update(item)
        elif name in _REPEATED:
            decoded.setdefault(name, []).append(item)
        elif item not in ("", None):  # Go writes empty strings where JSON leaves the field out
            decoded[name] = item
    return decoded


def _as_bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise MalformedProtobuf("wrong wire type")
    return value


def _string(value: Value) -> str:
    return _as_bytes(value).decode(errors="replace")


def _base64(value: Value) -> str:
    return base64.b64encode(_as_bytes(value)).decode()


def _boolean(value: Value) -> bool:
    return bool(value)


def _time(value: Value) -> str | None:
    """meta.v1.Time: seconds in field 1; the zero time is an empty message."""
    seconds = dict(_fields(_as_bytes(value))).get(1)
    if not isinstance(seconds, int) or seconds >> 63:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _string_entry(value: Value) -> dict[str, str]:
    entry = dict(_fields(_as_bytes(value)))
    return {_string(entry.get(1, b"")): _string(entry.get(2, b""))}


def _bytes_entry(value: Value) -> dict[str, str]:
    entry = dict(_fields(_as_bytes(value)))
    return {_string(entry.get(1, b"")): _base64(entry.get(2, b""))}


def _metadata(value: Value) -> dict[str, Any]:
    return _decode(_METADATA, value)


def _owner(value: Value) -> dict[str, Any]:
    return _decode(_OWNER, value)


def _preconditions(value: Value) -> dict[str, Any]:
    return _decode({1: ("uid", _string), 2: ("resourceVersion", _string)}, value)


_MAP_ENTRIES: tuple[Decode, ...] = (_string_entry, _bytes_entry)
_REPEATED = frozenset(("finalizers", "ownerReferences", "dryRun"))
_OWNER: Schema = {
    1: ("kind", _string),
    3: ("name", _string),
    4: ("uid", _string),
    5: ("apiVersion", _string),
    6: ("controller", _boolean),
    7: ("blockOwnerDeletion", _boolean),
}
_METADATA: Schema = {
    1: ("name", _string),
    2: ("generateName", _string),
    3: ("namespace", _string),
    5: ("uid", _string),
    6: ("resourceVersion", _string),
    8: ("creationTimestamp", _time),
    9: ("deletionTimestamp", _time),
    11: ("labels", _string_entry),
    12: ("annotations", _string_entry),
    13: ("ownerReferences", _owner),
    14: ("finalizers", _string),
}
_SCHEMAS: dict[str, Schema] = {
    "Secret": {
        1: ("metadata", _metadata),
        2: ("data", _bytes_entry),
        3: ("type", _string),
        4: ("stringData", _string_entry),
        5: ("immutable", _boolean),
    },
    "ConfigMap": {
        1: ("metadata", _metadata),
        2: ("data", _string_entry),
        3: ("binaryData", _bytes_entry),
        4: ("immutable", _boolean),
    },
    "Namespace": {1: ("metadata", _metadata)},
    "DeleteOptions": {2: ("preconditions", _preconditions), 5: ("dryRun", _string)},
}
