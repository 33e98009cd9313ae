"""Creates, updates and deletes objects in a store by the rules of the API.

Each operation holds the store's lock from reading the old object to writing the new one, so it is
atomic, also while a patch computes. A write that changes nothing is none: it takes no
revision and no watch hears of it.
"""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime, timezone
from typing import Any, Callable

from . import status, validate
from .objects import EVENTS, KINDS, NAMESPACES, Kind, Object, Stored, canonical, stored, with_type
from .store import Store

INITIAL_NAMESPACES = ("default", "kube-system", "kube-public")
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # as the real server's generated names
_SUFFIX_LENGTH = 5

Change = Callable[[Object], Any]


class Registry:
    """The write side of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create_initial_namespaces(self) -> None:
        for name in INITIAL_NAMESPACES:
            if self._store.get(NAMESPACES, "", name) is None:
                self.create(NAMESPACES, "", {"metadata": {"name": name}})

    def create(self, kind: Kind, namespace: str, body: Any, dry_run: bool = False) -> Stored:
        obj = validate.prepare(kind, validate.decode(kind, body))
        metadata = obj["metadata"]
        _check_place(kind, namespace, metadata)
        if metadata.get("resourceVersion"):
            message = "resourceVersion should not be set on objects to be created"
            raise status.ApiError(500, "", message)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + _random_suffix()
        _stamp(kind, namespace, obj)
        with self._store.lock:
            if kind.namespaced and self._store.get(NAMESPACES, "", namespace) is None:
                raise status.not_found("namespaces", namespace)
            validate.validate(kind, obj)
            name = metadata["name"]
            if self._store.get(kind, namespace, name) is not None:
                raise status.already_exists(kind.resource, name)
            return self._put(kind, namespace, name, obj, dry_run)

    def update(
        self, kind: Kind, namespace: str, name: str, change: Change, dry_run: bool = False
    ) -> Stored:
        """`change` gets the present object (not to be altered) and returns the wanted one."""
        with self._store.lock:
            old = self._existing(kind, namespace, name)
            wanted = change(with_type(kind, old.object))
            new = validate.prepare(kind, validate.decode(kind, wanted))
            _check_identity(kind, namespace, old, new["metadata"])
            _keep_system_fields(kind, old.object, new)
            validate.validate(kind, new)
            validate.validate_update(kind, old.object, new)
            new["metadata"]["resourceVersion"] = str(old.revision)
            if canonical(kind, new) == old.object:
                return old
            if _is_terminated(new["metadata"]) and not dry_run:
                return self._store.delete(kind, namespace, name)
            return self._put(kind, namespace, name, new, dry_run)

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        options: Object | None = None,
        dry_run: bool = False,
    ) -> Stored:
        """Removes an object, or marks it as going while it has finalizers; returns what it was."""
        with self._store.lock:
            old = self._existing(kind, namespace, name)
            _check_preconditions(kind, old, (options or {}).get("preconditions") or {})
            if kind is NAMESPACES and name in INITIAL_NAMESPACES:
                message = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
                raise status.ApiError(403, "Forbidden", message)
            if dry_run:
                return old
            if old.object["metadata"].get("finalizers"):
                return self._mark_deleted(old)
            if kind is NAMESPACES:
                self._empty_namespace(name)
            return self._store.delete(kind, namespace, name)

    def _existing(self, kind: Kind, namespace: str, name: str) -> Stored:
        old = self._store.get(kind, namespace, name)
        if old is None:
            raise status.not_found(kind.resource, name)
        return old

    def _put(self, kind: Kind, namespace: str, name: str, obj: Object, dry_run: bool) -> Stored:
        if dry_run:
            return stored(kind, obj, int(obj["metadata"].get("resourceVersion") or 0))
        return self._store.put(kind, namespace, name, obj)

    def _mark_deleted(self, old: Stored) -> Stored:
        metadata = old.object["metadata"]
        if metadata.get("deletionTimestamp"):
            return old
        going = {**metadata, "deletionTimestamp": _now(), "deletionGracePeriodSeconds": 0}
        return self._store.put(
            old.kind, old.namespace, old.name, {**old.object, "metadata": going}
        )

    def _empty_namespace(self, namespace: str) -> None:
        for kind in KINDS.values():
            if kind.namespaced and kind is not EVENTS:
                for version in self._store.list(kind, namespace):
                    self._store.delete(kind, namespace, version.name)


def _stamp(kind: Kind, namespace: str, obj: Object) -> None:
    metadata = obj["metadata"]
    metadata.update(uid=str(uuid.uuid4()), creationTimestamp=_now())
    metadata.pop("resourceVersion", None)
    if kind.namespaced:
        metadata["namespace"] = namespace
    if kind is NAMESPACES:
        labels = metadata.get("labels") or {}
        metadata["labels"] = {**labels, "kubernetes.io/metadata.name": metadata.get("name", "")}
        obj["spec"] = {"finalizers": ["kubernetes"]}
        obj["status"] = {"phase": "Active"}


def _check_place(kind: Kind, namespace: str, metadata: Object) -> None:
    if kind.namespaced and metadata.get("namespace", namespace) not in ("", namespace):
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def _check_identity(kind: Kind, namespace: str, old: Stored, metadata: Object) -> None:
    if metadata.get("name", old.name) != old.name:
        raise status.bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL"
            f" ({old.name})"
        )
    _check_place(kind, namespace, metadata)
    if metadata.get("resourceVersion") not in (None, "", str(old.revision)):
        raise status.modified_meanwhile(kind.resource, old.name)
    _check_uid(kind, old, metadata.get("uid"))


def _check_preconditions(kind: Kind, old: Stored, preconditions: Object) -> None:
    _check_uid(kind, old, preconditions.get("uid"))
    wanted = preconditions.get("resourceVersion")
    if wanted and wanted != str(old.revision):
        why = (
            f"Precondition failed: ResourceVersion in precondition: {wanted},"
            f" ResourceVersion in object meta: {old.revision}"
        )
        raise status.conflict(kind.resource, old.name, why)


def _check_uid(kind: Kind, old: Stored, wanted: str | None) -> None:
    found = old.object["metadata"].get("uid")
    if wanted and wanted != found:
        why = (
            f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
        )
        raise status.conflict(kind.resource, old.name, why)


def _keep_system_fields(kind: Kind, old: Object, new: Object) -> None:
    for field in (
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ):
        value = old["metadata"].get(field)
        if value is None:
            new["metadata"].pop(field, None)
        else:
            new["metadata"][field] = value
    if kind is NAMESPACES:
        new.update(spec=old.get("spec"), status=old.get("status"))


def _is_terminated(metadata: Object) -> bool:
    return bool(metadata.get("deletionTimestamp")) and not metadata.get("finalizers")


def _random_suffix() -> str:
    return "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(_SUFFIX_LENGTH))


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
