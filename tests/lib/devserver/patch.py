"""The three patches a client may send, as pure functions from document and patch to document.

json_patch() is RFC 6902, merge_patch() RFC 7396. strategic_merge_patch() is Kubernetes' own, with
what the kinds of this server have: maps merge and null deletes, `$patch` replaces or
deletes a map, and of the lists in metadata finalizers merge as a set and ownerReferences by uid;
conditions of a status merge by type, and every other list is replaced. No function changes its arguments.
"""

from __future__ import annotations

import copy
from typing import Any, Callable, Mapping

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"

_SET_LISTS = frozenset(("finalizers",))
_KEYED_LISTS = {"ownerReferences": "uid", "conditions": "type"}
_DELETE_FROM_LIST = "$deleteFromPrimitiveList/"
_ORDER_OF_LIST = "$setElementOrder/"


class MalformedPatch(Exception):
    """The patch itself is wrong: 400."""


class InapplicablePatch(Exception):
    """The patch is well formed and does not fit the document: 422."""


def merge_patch(document: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    merged = dict(document) if isinstance(document, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_merge_patch(document: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        raise MalformedPatch("a strategic merge patch is an object")
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise MalformedPatch(f"unknown patch directive {directive!r}")
    merged = dict(document) if isinstance(document, Mapping) else {}
    for key, value in patch.items():
        _merge_field(merged, key, value)
    if isinstance(kept := patch.get("$retainKeys"), list):
        merged = {key: value for key, value in merged.items() if key in kept}
    return merged


def json_patch(document: Any, operations: Any) -> Any:
    if not isinstance(operations, list):
        raise MalformedPatch("a JSON patch is an array of operations")
    patched = copy.deepcopy(document)
    for operation in operations:
        if not isinstance(operation, Mapping) or not isinstance(operation.get("path"), str):
            raise MalformedPatch("a JSON patch operation is an object with a path")
        apply = _OPERATIONS.get(operation.get("op", ""))
        if apply is None:
            raise MalformedPatch(f"Unexpected kind: {operation.get('op')}")
        patched = apply(patched, operation)
    return patched


def _merge_field(merged: dict[str, Any], key: str, value: Any) -> None:
    if key.startswith(_DELETE_FROM_LIST):
        field = key.removeprefix(_DELETE_FROM_LIST)
        merged[field] = [item for item in merged.get(field) or [] if item not in value]
    elif key in ("$patch", "$retainKeys") or key.startswith(_ORDER_OF_LIST):
        return
    elif value is None:
        merged.pop(key, None)
    elif isinstance(value, Mapping):
        merged[key] = strategic_merge_patch(merged.get(key), value)
    elif key in _SET_LISTS:
        old = merged.get(key) or []
        merged[key] = old + [item for item in value if item not in old]
    elif key in _KEYED_LISTS:
        merged[key] = _merge_keyed_list(merged.get(key) or [], value, _KEYED_LISTS[key])
    else:
        merged[key] = copy.deepcopy(value)


def _merge_keyed_list(old: list[Any], patch: list[Any], key: str) -> list[Any]:
    by_key = {item[key]: item for item in old}
    for item in patch:
        if not isinstance(item, Mapping) or key not in item:
            raise MalformedPatch(f"a list item lacks its merge key {key}")
        if item.get("$patch") == "delete":
            by_key.pop(item[key], None)
        else:
            by_key[item[key]] = strategic_merge_patch(by_key.get(item[key]), item)
    return list(by_key.values())


def _add(document: Any, operation: Mapping[str, Any]) -> Any:
    return _insert(document, operation["path"], _value(operation))


def _remove(document: Any, operation: Mapping[str, Any]) -> Any:
    container, last = _locate(document, operation["path"])
    del container[_existing(container, last, operation["path"])]
    return document


def _replace(document: Any, operation: Mapping[str, Any]) -> Any:
    if operation["path"] == "":
        return _value(operation)
    container, last = _locate(document, operation["path"])
    container[_existing(container, last, operation["path"])] = _value(operation)
    return document


def _move(document: Any, operation: Mapping[str, Any]) -> Any:
    value = _read(document, operation.get("from", ""))
    _remove(document, {"path": operation.get("from", "")})
    return _insert(document, operation["path"], value)


def _copy(document: Any, operation: Mapping[str, Any]) -> Any:
    value = copy.deepcopy(_read(document, operation.get("from", "")))
    return _insert(document, operation["path"], value)


def _test(document: Any, operation: Mapping[str, Any]) -> Any:
    path = operation["path"]
    try:
        found = _read(document, path)
    except InapplicablePatch:
        found = None
    if found != operation.get("value"):
        raise InapplicablePatch(f"testing value {path} failed")
    return document


_OPERATIONS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise MalformedPatch(f"operation {operation.get('op')} lacks a value")
    return copy.deepcopy(operation["value"])


def _insert(document: Any, path: str, value: Any) -> Any:
    if path == "":
        return value
    container, last = _locate(document, path)
    if isinstance(container, list):
        index = len(container) if last == "-" else _index(last, len(container), path)
        container.insert(index, value)
    else:
        container[last] = value
    return document


def _read(document: Any, path: str) -> Any:
    if path == "":
        return document
    container, last = _locate(document, path)
    return container[_existing(container, last, path)]


def _locate(document: Any, path: str) -> tuple[Any, str]:
    """The container of the last step of a JSON pointer, and that step."""
    if not path.startswith("/"):
        raise MalformedPatch(f"invalid JSON pointer {path!r}")
    steps = [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]
    container = document
    for step in steps[:-1]:
        container = container[_existing(container, step, path)]
    if not isinstance(container, (dict, list)):
        raise _missing(path)
    return container, steps[-1]


def _existing(container: Any, step: str, path: str) -> Any:
    if isinstance(container, list):
        return _index(step, len(container) - 1, path)
    if isinstance(container, dict) and step in container:
        return step
    raise _missing(path)


def _index(step: str, highest: int, path: str) -> int:
    if not step.isdigit() or int(step) > highest:
        raise InapplicablePatch(f"Unable to access invalid index in {path}: {step}")
    return int(step)


def _missing(path: str) -> InapplicablePatch:
    return InapplicablePatch(f"the path {path} does not exist: missing path")
