"""The verbs on Secrets, ConfigMaps and Namespaces.

A Call is a request whose path has been understood. Reads follow the rules of resourceVersion: none
means the newest, 0 means any, N means not older than N; a revision which is not
reached in time is refused as "Too large resource version". A watch is built under the store's lock
together with its replay, so that no change falls between the two.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Callable

from . import patch, protobuf, status, validate
from .objects import Kind, Object, Stored, encode, encode_list
from .registry import Registry
from .reply import Reply, json_reply
from .requestlog import Request
from .selector import Selector
from .store import Compacted, FutureRevision, Store
from .table import table
from .watch import Shape, Watch, WatchOptions

_PATCHES: dict[str, Callable[[Any, Any], Any]] = {
    patch.JSON_PATCH: patch.json_patch,
    patch.MERGE_PATCH: patch.merge_patch,
    patch.STRATEGIC_MERGE_PATCH: patch.strategic_merge_patch,
}
_TRUE = ("true", "1")


@dataclass
class Settings:
    """What a real cluster sets by flags, and what a test bends."""

    watch_list: bool = False
    watch_list_known: bool = True
    bookmark_interval: float = 60.0
    fresh_wait: float = 0.0
    watch_timeout: float = 1800.0
    stale_revision: int | None = None
    stale_quorum: bool = True
    group_versions: tuple[str, ...] = ("v1",)  # of certificates.k8s.io
    minor_version: str = "32"  # which has no streamed lists, unless watch_list says so


@dataclass(frozen=True)
class Call:
    """A request for a resource."""

    request: Request
    kind: Kind
    accept: str

    @property
    def namespace(self) -> str:
        return self.request.namespace if self.kind.namespaced else ""

    @property
    def name(self) -> str:
        return self.request.name

    @property
    def query(self) -> dict[str, str]:
        return self.request.query

    def flag(self, name: str) -> bool:
        return self.query.get(name, "") in _TRUE

    @property
    def dry_run(self) -> bool:
        value = self.query.get("dryRun", "")
        if value not in ("", "All"):
            raise status.unprocessable(f'dryRun: Unsupported value: "{value}"')
        return value == "All"

    @property
    def as_table(self) -> bool:
        return "as=Table" in self.accept.split(",")[0].replace(" ", "")

    def selector(self) -> Selector:
        return Selector(
            self.kind, self.query.get("fieldSelector", ""), self.query.get("labelSelector", "")
        )

    def revision(self) -> int | None:
        """The resourceVersion asked for; None when there is none."""
        text = self.query.get("resourceVersion", "")
        if text and not (text.isascii() and text.isdigit()):
            raise status.bad_request(
                f'resourceVersion: Invalid value: "{text}":'
                f' strconv.ParseUint: parsing "{text}": invalid syntax'
            )
        return int(text) if text else None


class Resources:
    """Carries out calls on one store."""

    def __init__(self, store: Store, settings: Settings, shape: Callable[[], Shape]) -> None:
        self.store = store
        self._registry = Registry(store)
        self._settings = settings
        self._shape = shape

    def carry_out(self, call: Call) -> Reply | Watch:
        return _VERBS[call.request.verb](self, call)

    # ---- reads

    def _get(self, call: Call) -> Reply:
        wanted = call.revision()
        self._wait_fresh(wanted)
        found = self._find(call, wanted)
        if found is None:
            raise status.not_found(call.kind.resource, call.name)
        return _object_reply(call, found)

    def _find(self, call: Call, wanted: int | None) -> Stored | None:
        stale = self._stale_revision(wanted)
        if stale is None:
            return self.store.get(call.kind, call.namespace, call.name)
        return self.store.get_at(call.kind, call.namespace, call.name, stale)

    def _list(self, call: Call) -> Reply:
        revision, items = self._listed(call)
        selector = call.selector()
        items = [item for item in items if selector.matches(item.object)]
        if call.as_table:
            return json_reply(table(call.kind, revision, items))
        return Reply(200, encode_list(call.kind, revision, items))

    def _listed(self, call: Call) -> tuple[int, list[Stored]]:
        wanted, match = call.revision(), call.query.get("resourceVersionMatch", "")
        _check_match(wanted, match)
        self._wait_fresh(wanted)
        with self.store.lock:
            at = wanted if match == "Exact" else self._stale_revision(wanted)
            try:
                items = self.store.list(call.kind, call.namespace, at)
            except Compacted as error:
                raise status.expired(
                    "The provided continue parameter or resource version is too old to display a"
                    " consistent list result."
                ) from error
            except FutureRevision as error:
                assert at is not None
                raise status.too_large_resource_version(at, self.store.revision) from error
            return (self.store.revision if at is None else at), items

    def _stale_revision(self, wanted: int | None) -> int | None:
        """The earlier revision to answer from, or None for the present."""
        if wanted is None and not self._settings.stale_quorum:
            return None
        return self._settings.stale_revision

    def _wait_fresh(self, wanted: int | None) -> None:
        if wanted is None:
            return
        stale = self._stale_revision(wanted)
        if stale is not None and wanted > stale:
            raise status.too_large_resource_version(wanted, stale)
        if not self.store.wait_revision(wanted, self._settings.fresh_wait):
            raise status.too_large_resource_version(wanted, self.store.revision)

    # ---- watch

    def _watch(self, call: Call) -> Watch:
        options = self._watch_options(call)
        wanted, initial = call.revision(), self._wants_initial_events(call)
        watch = Watch(
            self.store,
            call.request,
            call.kind,
            call.selector(),
            options,
            self._shape,
            self._settings.bookmark_interval,
        )
        with self.store.lock:
            try:
                self._start(watch, wanted, initial)
            except status.ApiError as error:
                watch.queue_error(error)
            self.store.subscribe(watch.offer)
        return watch

    def _watch_options(self, call: Call) -> WatchOptions:
        timeout = call.query.get("timeoutSeconds", "")
        if timeout and not timeout.isdigit():
            raise status.bad_request(f'timeoutSeconds: Invalid value: "{timeout}"')
        seconds = float(timeout) if timeout and int(timeout) else self._settings.watch_timeout
        return WatchOptions(call.flag("allowWatchBookmarks"), call.as_table, seconds)

    def _wants_initial_events(self, call: Call) -> bool:
        """Whether this is a WatchList request; refuses it as a server without the feature does."""
        match = call.query.get("resourceVersionMatch", "")
        if "sendInitialEvents" not in call.query or not self._settings.watch_list_known:
            if match and self._settings.watch_list_known:
                raise _invalid_option(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is"
                    " provided",
                )
            return False
        if not self._settings.watch_list:
            raise _invalid_option(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for watch unless the WatchList feature gate is"
                " enabled",
            )
        if match != "NotOlderThan":
            raise _invalid_option(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )
        return call.flag("sendInitialEvents")

    def _start(self, watch: Watch, wanted: int | None, initial: bool) -> None:
        """Queues what the watch begins with. Raises the ApiError of an ERROR event."""
        store = self.store
        if initial:
            self._wait_fresh(wanted)
        if initial or not wanted:
            watch.start_revision = store.revision
            watch.queue_initial(store.list(watch.kind, watch.namespace))
            if initial:
                watch.queue_bookmark(store.revision, initial_events_end=True)
            return
        watch.start_revision = wanted
        try:
            changes = store.changes_since(wanted)
        except Compacted as error:
            raise status.watch_too_old(wanted, store.compacted) from error
        for change in changes:
            watch.offer(change)

    # ---- writes

    def _create(self, call: Call) -> Reply:
        body = _body(call)
        warnings = _check_fields(call, body)
        made = self._registry.create(call.kind, call.namespace, body, call.dry_run)
        return _object_reply(call, made, 201, warnings)

    def _update(self, call: Call) -> Reply:
        body = _body(call)
        warnings = _check_fields(call, body)
        made = self._registry.update(
            call.kind, call.namespace, call.name, lambda _: body, call.dry_run
        )
        return _object_reply(call, made, 200, warnings)

    def _patch(self, call: Call) -> Reply:
        media_type = _media_type(call)
        if media_type not in _PATCHES:
            raise status.unsupported_media_type(", ".join(_PATCHES))
        body = _parse_json(call.request.body)
        warnings: list[str] = []

        def change(old: Object) -> Any:
            try:
                patched = _PATCHES[media_type](old, body)
            except patch.MalformedPatch as error:
                raise status.bad_request(str(error)) from error
            except patch.InapplicablePatch as error:
                raise status.unprocessable(
                    "the server rejected our request due to an error in our request"
                ) from error
            warnings.extend(_check_fields(call, patched))
            return patched

        made = self._registry.update(call.kind, call.namespace, call.name, change, call.dry_run)
        return _object_reply(call, made, 200, warnings)

    def _delete(self, call: Call) -> Reply:
        options = _delete_options(call)
        gone = self._registry.delete(
            call.kind, call.namespace, call.name, options, _dry_delete(call, options)
        )
        if gone.object["metadata"].get("deletionTimestamp"):
            return _object_reply(call, gone)
        details = {
            "name": call.name,
            "kind": call.kind.resource,
            "uid": gone.object["metadata"]["uid"],
        }
        success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return json_reply({**success, "details": details})

    def _delete_collection(self, call: Call) -> Reply:
        options, selector = _delete_options(call), call.selector()
        dry_run = _dry_delete(call, options)
        with self.store.lock:
            items = [
                item
                for item in self.store.list(call.kind, call.namespace)
                if selector.matches(item.object)
            ]
            for item in items:
                self._registry.delete(call.kind, item.namespace, item.name, options, dry_run)
            return Reply(200, encode_list(call.kind, self.store.revision, items))


_VERBS: dict[str, Callable[[Resources, Call], Reply | Watch]] = {
    "get": Resources._get,
    "list": Resources._list,
    "watch": Resources._watch,
    "create": Resources._create,
    "update": Resources._update,
    "patch": Resources._patch,
    "delete": Resources._delete,
    "deletecollection": Resources._delete_collection,
}


def _object_reply(
    call: Call, version: Stored, code: int = 200, warnings: list[str] | None = None
) -> Reply:
    headers = tuple(("Warning", f"299 - {json.dumps(text)}") for text in warnings or ())
    if call.as_table:
        body = encode(table(call.kind, version.revision, [version]))
    elif "as=PartialObjectMetadata" in call.accept.split(",")[0]:
        metadata = version.object["metadata"]
        meta_kind = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
        body = encode({**meta_kind, "metadata": metadata})
    else:
        body = version.full
    return Reply(code, body + b"\n", headers=headers)


def _check_match(wanted: int | None, match: str) -> None:
    if not match:
        return
    if wanted is None:
        raise _invalid_option(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        )
    if match not in ("Exact", "NotOlderThan"):
        raise _invalid_option("resourceVersionMatch", f'Unsupported value: "{match}"')
    if match == "Exact" and wanted == 0:
        raise _invalid_option(
            "resourceVersionMatch",
            'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"',
        )


def _invalid_option(field: str, why: str) -> status.ApiError:
    cause = status.Cause("FieldValueForbidden", f"Forbidden: {why}", field)
    return status.invalid("ListOptions.meta.k8s.io", "", [cause])


def _check_fields(call: Call, body: Any) -> list[str]:
    """Applies fieldValidation; returns the warnings it asks for."""
    mode = call.query.get("fieldValidation", "Warn")
    if mode not in ("Ignore", "Warn", "Strict"):
        raise status.unprocessable(f'fieldValidation: Unsupported value: "{mode}"')
    if mode == "Ignore" or not isinstance(body, dict):
        return []
    texts = [f'unknown field "{field}"' for field in validate.unknown_fields(call.kind, body)]
    if texts and mode == "Strict":
        raise status.bad_request(
            f'{call.kind.kind} in version "v1" cannot be handled as a {call.kind.kind}:'
            f" strict decoding error: {', '.join(texts)}"
        )
    return texts


def _media_type(call: Call) -> str:
    return call.request.headers.get("content-type", "").split(";")[0].strip()


def _body(call: Call) -> Any:
    media_type = _media_type(call)
    if media_type == protobuf.MEDIA_TYPE:
        try:
            return protobuf.decode_body(call.request.body)
        except protobuf.MalformedProtobuf as error:
            raise status.bad_request(str(error)) from error
    if media_type not in ("", "application/json"):
        raise status.unsupported_media_type(f"application/json, {protobuf.MEDIA_TYPE}")
    return _parse_json(call.request.body)


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise status.bad_request(f"couldn't get version/kind; json parse error: {error}") from error


def _delete_options(call: Call) -> Object:
    options = _body(call) if call.request.body else {}
    if not isinstance(options, dict):
        raise status.bad_request("DeleteOptions must be an object")
    return options


def _dry_delete(call: Call, options: Object) -> bool:
    return call.dry_run or options.get("dryRun") == ["All"]
