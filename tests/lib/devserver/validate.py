"""What the API accepts as a Secret, a ConfigMap or a Namespace, and how it says no.

decode() is the reading of a request body into a typed object: wrong JSON types and bad base64 are
400 there. validate() and validate_update() are the rules on a whole object, 422 with one cause per
broken rule. Between them prepare() does what the server does to every write: `stringData` is
merged over `data`, and the type defaults to Opaque.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Iterable

from . import status
from .objects import CONFIGMAPS, NAMESPACES, SECRETS, Kind, Object, known_metadata_field
from .status import Cause

DATA_MAX_BYTES = 1 << 20
ANNOTATIONS_MAX_BYTES = 256 << 10
NAME_MAX_LENGTH = 253
LABEL_MAX_LENGTH = 63

_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',"
    "  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_NAME_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.',"
    " and must start and end with an alphanumeric character (e.g. 'example.com', regex used for"
    r" validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must"
    " start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for"
    " validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SECRET_TYPES = "kubernetes.io/"
_TOKEN_ACCOUNT = "kubernetes.io/service-account.name"
_IMMUTABLE = "field is immutable when `immutable` is set"


def unknown_fields(kind: Kind, body: Object) -> list[str]:
    """Paths of fields the kind does not have, for fieldValidation."""
    known = (*kind.fields, "kind", "apiVersion")
    unknown = [field for field in body if field not in known]
    metadata = body.get("metadata")
    if isinstance(metadata, dict):
        unknown += [f"metadata.{field}" for field in metadata if not known_metadata_field(field)]
    return unknown


def decode(kind: Kind, body: Any) -> Object:
    """A request body as an object of the kind, with canonical base64. Raises ApiError 400."""
    if not isinstance(body, dict):
        raise _undecodable(kind, f"json: cannot unmarshal {_json_type(body)} into {kind.kind}")
    _check_type_fields(kind, body)
    decoded = {field: body[field] for field in kind.fields if body.get(field) is not None}
    decoded["metadata"] = _decode_metadata(kind, body.get("metadata"))
    for field in ("data", "stringData", "binaryData"):
        if field in decoded:
            decoded[field] = _decode_map(kind, field, decoded[field])
    if not isinstance(decoded.get("immutable", False), bool):
        raise _mismatch(kind, "immutable", decoded["immutable"], "bool")
    if not isinstance(decoded.get("type", ""), str):
        raise _mismatch(kind, "type", decoded["type"], "string")
    return decoded


def prepare(kind: Kind, obj: Object) -> Object:
    """The object with write-only and defaulted fields resolved."""
    prepared = dict(obj)
    if kind is SECRETS:
        plain = prepared.pop("stringData", None) or {}
        encoded = {key: encode_value(text.encode(errors="replace")) for key, text in plain.items()}
        prepared["data"] = {**(prepared.get("data") or {}), **encoded}
        prepared["type"] = prepared.get("type") or "Opaque"
    return prepared


def encode_value(value: bytes) -> str:
    return base64.b64encode(value).decode()


def validate(kind: Kind, obj: Object) -> None:
    """Raises ApiError 422 with every rule the object breaks."""
    causes = _metadata_causes(kind, obj["metadata"])
    if kind is SECRETS:
        causes += _secret_causes(obj)
    elif kind is CONFIGMAPS:
        causes += _configmap_causes(obj)
    if causes:
        raise status.invalid(kind.kind, obj["metadata"].get("name", ""), causes)


def validate_update(kind: Kind, old: Object, new: Object) -> None:
    """Raises ApiError 422 when a write changes what must not change."""
    causes = []
    if old["metadata"].get("uid") != new["metadata"].get("uid"):
        causes.append(_invalid_value("metadata.uid", new["metadata"].get("uid"), _FIXED))
    if kind is SECRETS and old.get("type") != new.get("type"):
        causes.append(_invalid_value("type", new.get("type"), _FIXED))
    if old.get("immutable"):
        causes += _immutable_causes(old, new)
    if causes:
        raise status.invalid(kind.kind, new["metadata"].get("name", ""), causes)


_FIXED = "field is immutable"


def _check_type_fields(kind: Kind, body: Object) -> None:
    stated = (body.get("apiVersion") or kind.api_version, body.get("kind") or kind.kind)
    if stated != (kind.api_version, kind.kind):
        raise status.bad_request(
            f"{stated[1]} in version {json.dumps(stated[0])} cannot be handled as a {kind.kind}:"
            f" converting to v1.{kind.kind}: unknown conversion"
        )


def _decode_metadata(kind: Kind, metadata: Any) -> Object:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise _mismatch(kind, "metadata", metadata, "v1.ObjectMeta")
    decoded = {key: value for key, value in metadata.items() if value is not None}
    for field in ("name", "generateName", "namespace", "uid", "resourceVersion"):
        if not isinstance(decoded.get(field, ""), str):
            raise _mismatch(kind, f"metadata.{field}", decoded[field], "string")
    for field in ("labels", "annotations"):
        if field in decoded:
            decoded[field] = _string_map(kind, f"metadata.{field}", decoded[field])
    return decoded


def _decode_map(kind: Kind, field: str, value: Any) -> dict[str, str]:
    strings = _string_map(kind, field, value)
    if field == "binaryData" or (field == "data" and kind is SECRETS):
        return {key: _canonical_base64(kind, text) for key, text in strings.items()}
    return strings


def _string_map(kind: Kind, field: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _mismatch(kind, field, value, "map[string]string")
    decoded = {}
    for key, text in value.items():
        if text is not None and not isinstance(text, str):
            raise _mismatch(kind, field, text, "string")
        decoded[key] = text or ""
    return decoded


def _canonical_base64(kind: Kind, text: str) -> str:
    """As Go's decoder: CR and LF are skipped, the rest must be padded standard base64."""
    compact = text.replace("\r", "").replace("\n", "")
    if len(compact) % 4 or not _BASE64.fullmatch(compact):
        match = _BASE64.match(compact)
        at = match.end() if match else 0
        raise _undecodable(kind, f"illegal base64 data at input byte {at}")
    return encode_value(base64.b64decode(compact))


def _undecodable(kind: Kind, why: str) -> status.ApiError:
    return status.bad_request(
        f'{kind.kind} in version "v1" cannot be handled as a {kind.kind}: {why}'
    )


def _mismatch(kind: Kind, field: str, value: Any, wanted: str) -> status.ApiError:
    target = f"Go struct field {kind.kind}.{field} of type {wanted}"
    return _undecodable(kind, f"json: cannot unmarshal {_json_type(value)} into {target}")


def _json_type(value: Any) -> str:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def _metadata_causes(kind: Kind, metadata: Object) -> list[Cause]:
    name = metadata.get("name", "")
    if not name:
        return [_required("metadata.name", "name or generateName is required")]
    causes = _name_causes(kind, name)
    annotations = metadata.get("annotations") or {}
    total = sum(len(text.encode(errors="replace")) for pair in annotations.items() for text in pair)
    if total > ANNOTATIONS_MAX_BYTES:
        causes.append(_too_long("metadata.annotations", ANNOTATIONS_MAX_BYTES))
    return causes


def _name_causes(kind: Kind, name: str) -> list[Cause]:
    is_label = kind is NAMESPACES
    pattern, rule = (_DNS_LABEL, _LABEL_RULE) if is_label else (_DNS_SUBDOMAIN, _NAME_RULE)
    limit = LABEL_MAX_LENGTH if is_label else NAME_MAX_LENGTH
    causes = []
    if len(name) > limit:
        causes.append(
            _invalid_value("metadata.name", name, f"must be no more than {limit} characters")
        )
    if not pattern.fullmatch(name):
        causes.append(_invalid_value("metadata.name", name, rule))
    return causes


def _secret_causes(obj: Object) -> list[Cause]:
    data = {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    causes = _key_causes("data", data)
    if sum(map(len, data.values())) > DATA_MAX_BYTES:
        causes.append(_too_long("data", DATA_MAX_BYTES))
    return causes + _secret_type_causes(obj, data)


def _secret_type_causes(obj: Object, data: dict[str, bytes]) -> list[Cause]:
    secret_type = obj["type"].removeprefix(_SECRET_TYPES)
    if secret_type == obj["type"]:
        return []
    if secret_type == "service-account-token":
        annotations = obj["metadata"].get("annotations") or {}
        account = annotations.get(_TOKEN_ACCOUNT)
        return [] if account else [_required(f"metadata.annotations[{_TOKEN_ACCOUNT}]")]
    if secret_type == "dockercfg":
        return _docker_causes(".dockercfg", data)
    if secret_type == "dockerconfigjson":
        return _docker_causes(".dockerconfigjson", data)
    if secret_type == "basic-auth" and not {"username", "password"} & data.keys():
        return [_required("data[username]"), _required("data[password]")]
    if secret_type == "ssh-auth" and not data.get("ssh-privatekey"):
        return [_required("data[ssh-privatekey]")]
    if secret_type == "tls":
        return [_required(f"data[{key}]") for key in ("tls.crt", "tls.key") if key not in data]
    return []


def _docker_causes(key: str, data: dict[str, bytes]) -> list[Cause]:
    if key not in data:
        return [_required(f"data[{key}]")]
    try:
        parsed = json.loads(data[key])
        why = "" if isinstance(parsed, dict) else "json: cannot unmarshal into an object"
    except ValueError:
        why = "invalid character in JSON text"
    return [_invalid_value(f"data[{key}]", "<secret contents redacted>", why)] if why else []


def _configmap_causes(obj: Object) -> list[Cause]:
    data = obj.get("data") or {}
    binary = obj.get("binaryData") or {}
    causes = _key_causes("data", data)
    causes += [
        _invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData")
        for key in data
        if key in binary
    ]
    causes += _key_causes("binaryData", binary)
    total = sum(len(text.encode(errors="replace")) for text in data.values())
    total += sum(len(base64.b64decode(value)) for value in binary.values())
    if total > DATA_MAX_BYTES:
        causes.append(_too_long("[]", DATA_MAX_BYTES))
    return causes


def _key_causes(field: str, keys: Iterable[str]) -> list[Cause]:
    return [
        _invalid_value(f"{field}[{key}]", key, why) for key in keys for why in _key_faults(key)
    ]


def _key_faults(key: str) -> list[str]:
    faults = []
    if len(key) > NAME_MAX_LENGTH:
        faults.append(f"must be no more than {NAME_MAX_LENGTH} characters")
    if not _KEY.fullmatch(key):
        faults.append(_KEY_RULE)
    if key in (".", ".."):
        faults.append(f"must not be '{key}'")
    elif key.startswith(".."):
        faults.append("must not start with '..'")
    return faults


def _immutable_causes(old: Object, new: Object) -> list[Cause]:
    causes = []
    if not new.get("immutable"):
        causes.append(Cause("FieldValueForbidden", f"Forbidden: {_IMMUTABLE}", "immutable"))
    for field in ("data", "binaryData"):
        if (old.get(field) or {}) != (new.get(field) or {}):
            causes.append(Cause("FieldValueForbidden", f"Forbidden: {_IMMUTABLE}", field))
    return causes


def _required(field: str, why: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value: {why}" if why else "Required value", field)


def _invalid_value(field: str, value: Any, why: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {json.dumps(value)}: {why}", field)


def _too_long(field: str, limit: int) -> Cause:
    return Cause("FieldValueTooLong", f"Too long: must have at most {limit} bytes", field)
