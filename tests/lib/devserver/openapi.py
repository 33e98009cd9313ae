"""The OpenAPI documents kubectl reads, cut down to the kinds served here.

kubectl before 1.27 validates manifests against /openapi/v2, which it reads only as protobuf
(gnostic's openapi.v2.Document); later ones look in /openapi/v3 for the parameters fieldValidation
and dryRun, and fall back to v2. Both documents come from one description: _schemas() and _paths().

The field numbers of the protobuf are those of gnostic's OpenAPIv2.proto; every field used here is
length-delimited.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from .objects import CONFIGMAPS, CORE_KINDS, NAMESPACES, SECRETS, Kind
from .patch import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH
from .protobuf import field, text
from .reply import Reply, json_reply

_V2_PROTOBUF_ASKED = "application/com.github.proto-openapi.spec.v2"
# what is asked for as "v2@v1.0" is answered so: Go's parser takes no "@" in a Content-Type
V2_PROTOBUF = _V2_PROTOBUF_ASKED + ".v1.0+protobuf"

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")
_PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH)

_STRING = {"type": "string"}
_BOOLEAN = {"type": "boolean"}
_BYTES = {"type": "string", "format": "byte"}
_STRINGS = {"type": "array", "items": _STRING}
_OBJECT = {"type": "object"}


def _map_of(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": value}


_FIELDS: dict[str, dict[str, Any]] = {
    SECRETS.kind: {
        "immutable": _BOOLEAN,
        "data": _map_of(_BYTES),
        "stringData": _map_of(_STRING),
        "type": _STRING,
    },
    CONFIGMAPS.kind: {
        "immutable": _BOOLEAN,
        "data": _map_of(_STRING),
        "binaryData": _map_of(_BYTES),
    },
    NAMESPACES.kind: {"spec": _OBJECT, "status": _OBJECT},
}

_META_FIELDS: dict[str, Any] = {
    **{
        name: _STRING
        for name in (
            "name",
            "generateName",
            "namespace",
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "deletionTimestamp",
            "selfLink",
        )
    },
    "generation": {"type": "integer", "format": "int64"},
    "deletionGracePeriodSeconds": {"type": "integer", "format": "int64"},
    "labels": _map_of(_STRING),
    "annotations": _map_of(_STRING),
    "finalizers": {**_STRINGS, "x-kubernetes-patch-strategy": "merge"},
    "ownerReferences": {
        "type": "array",
        "items": _OBJECT,
        "x-kubernetes-patch-merge-key": "uid",
        "x-kubernetes-patch-strategy": "merge",
    },
    "managedFields": {"type": "array", "items": _OBJECT},
}


def v2_reply(accept: str) -> Reply:
    if _V2_PROTOBUF_ASKED in accept:
        return Reply(200, _v2_protobuf(), V2_PROTOBUF)
    return json_reply(_v2_document())


def v3_index() -> dict[str, Any]:
    return {"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1"}}}


@functools.cache
def v3_document() -> dict[str, Any]:
    return {
        "openapi": "3.0.0",
        "info": _info(),
        "paths": _paths(v3=True),
        "components": {"schemas": _schemas("#/components/schemas/")},
    }


@functools.cache
def _v2_document() -> dict[str, Any]:
    return {
        "swagger": "2.0",
        "info": _info(),
        "paths": _paths(v3=False),
        "definitions": _schemas("#/definitions/"),
    }


def _info() -> dict[str, str]:
    return {"title": "Kubernetes", "version": "v1.32.0-devserver"}


def _group_version_kind(kind: Kind) -> dict[str, str]:
    return {"group": "", "kind": kind.kind, "version": "v1"}


def _schemas(prefix: str) -> dict[str, Any]:
    schemas: dict[str, Any] = {_META: {"type": "object", "properties": _META_FIELDS}}
    for kind in CORE_KINDS.values():
        properties = {
            "apiVersion": _STRING,
            "kind": _STRING,
            "metadata": {"$ref": prefix + _META},
            **_FIELDS.get(kind.kind, {}),
        }
        schemas[f"io.k8s.api.core.v1.{kind.kind}"] = {
            "type": "object",
            "properties": properties,
            "x-kubernetes-group-version-kind": [_group_version_kind(kind)],
        }
    return schemas


def _paths(v3: bool) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for kind in CORE_KINDS.values():
        scope = "namespaces/{namespace}/" if kind.namespaced else ""
        collection = f"/api/v1/{scope}{kind.resource}"
        for verb, method, path in (
            ("create", "post", collection),
            ("update", "put", collection + "/{name}"),
            ("patch", "patch", collection + "/{name}"),
        ):
            if verb in kind.verbs:
                paths.setdefault(path, {})[method] = _operation(kind, method, v3)
    return paths


def _operation(kind: Kind, method: str, v3: bool) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = []
    for name in _PARAMETERS:
        parameter = {"name": name, "in": "query"}
        parameters.append({**parameter, "schema": _STRING} if v3 else {**parameter, **_STRING})
    operation: dict[str, Any] = {
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-group-version-kind": _group_version_kind(kind),
    }
    if v3:
        types = _PATCH_TYPES if method == "patch" else ("application/json",)
        content = {media_type: {"schema": _OBJECT} for media_type in types}
        operation["requestBody"] = {"content": content}
    return operation


# ---- gnostic protobuf


@functools.cache
def _v2_protobuf() -> bytes:
    document = _v2_document()
    info = text(1, document["info"]["title"]) + text(2, document["info"]["version"])
    paths = b"".join(
        field(2, _named(path, _path_item(item))) for path, item in document["paths"].items()
    )
    definitions = _named_schemas(document["definitions"])
    return (
        text(1, document["swagger"]) + field(2, info) + field(8, paths) + field(9, definitions)
    )


def _path_item(item: dict[str, Any]) -> bytes:
    numbers = {"put": 3, "post": 4, "patch": 8}
    return b"".join(field(numbers[method], _operation_message(op)) for method, op in item.items())


def _operation_message(operation: dict[str, Any]) -> bytes:
    parameters = b"".join(field(8, _parameter(each)) for each in operation["parameters"])
    response = field(1, text(1, "OK"))
    responses = field(9, field(1, _named("200", response)))
    return parameters + responses + _extensions(13, operation)


def _parameter(parameter: dict[str, str]) -> bytes:
    query = text(2, parameter["in"]) + text(4, parameter["name"]) + text(6, parameter["type"])
    non_body = field(2, field(3, query))
    return field(1, non_body)


def _schema(schema: dict[str, Any]) -> bytes:
    message = b""
    if "$ref" in schema:
        message += text(1, schema["$ref"])
    if "format" in schema:
        message += text(2, schema["format"])
    if "additionalProperties" in schema:
        message += field(21, field(1, _schema(schema["additionalProperties"])))
    if "type" in schema:
        message += field(22, text(1, schema["type"]))
    if "items" in schema:
        message += field(23, field(1, _schema(schema["items"])))
    if "properties" in schema:
        message += field(25, _named_schemas(schema["properties"]))
    return message + _extensions(31, schema)


def _named_schemas(schemas: dict[str, Any]) -> bytes:
    return b"".join(field(1, _named(name, _schema(each))) for name, each in schemas.items())


def _extensions(number: int, source: dict[str, Any]) -> bytes:
    """Vendor extensions, whose values travel as YAML, of which JSON is a part."""
    return b"".join(
        field(number, _named(name, text(2, json.dumps(value))))
        for name, value in source.items()
        if name.startswith("x-")
    )


def _named(name: str, value: bytes) -> bytes:
    return text(1, name) + field(2, value)
