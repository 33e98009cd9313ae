"""From a connection to answers: reading requests, who asks, what for, and faults in between.

One thread serves one connection, request after request. For each it finds the user, understands
the path, writes a log entry, then lets the first matching fault, or else the honest way, serve the
Exchange. The honest way authorizes, then carries the request out and sends what came of it.
"""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import contextmanager
from typing import Callable, Iterator

from . import discovery, pod_status, status, tokens
from .auth import Authenticator, Authorizer, User, user_of_certificate
from .faults import Faults
from .http11 import BODY_MAX_BYTES, BadRequest, Connection, Disconnected, HangupMonitor, RawRequest
from .objects import CERTIFICATE_REQUESTS, KINDS, Kind
from .reply import Reply, error_reply, stream_head, text_reply
from .requestlog import Request, RequestLog
from .resources import Call, Resources, Settings
from .selector import Selector
from .signer import Signer
from .store import Store
from .watch import End, Shape, Watch, Watches

_ITEM_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_VERBS = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}


class Api:
    """All a connection's thread needs; the store may be exchanged between connections."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.settings = settings
        self.authenticator = Authenticator()
        self.authorizer = Authorizer()
        self.faults = Faults()
        self.log = RequestLog()
        self.watches = Watches()
        self.monitor = HangupMonitor()
        self.shape = Shape()
        self.tokens = tokens.Tokens()
        self.signer = Signer()
        self.use_store(store)

    def use_store(self, store: Store) -> None:
        self.resources = Resources(store, self.settings, lambda: self.shape)

    def serve(self, connection: Connection) -> None:
        """Thread: the connection's own. Returns when the connection is done with and closed."""
        try:
            while self._serve_one(connection):
                pass
            connection.close()
        except Disconnected:
            connection.close()
        except BadRequest as error:
            _refuse(connection, error)

    def _serve_one(self, connection: Connection) -> bool:
        raw = connection.read_request()
        if raw is None:
            return False
        user = self._user(connection, raw)
        request = _describe(raw, user, connection.number)
        self.log.append(request)
        exchange = Exchange(self, connection, raw, request, user)
        fault = self.faults.take(request)
        if fault is not None:
            fault.serve(exchange)
        else:
            exchange.send(exchange.handle())
        return raw.keep_alive

    def _user(self, connection: Connection, raw: RawRequest) -> User | None:
        authorization = raw.headers.get("authorization")
        if authorization is not None:
            return self.authenticator.user_of_token(authorization)
        return user_of_certificate(connection.peer_certificate())


class Exchange:
    """One request on its connection: computing the honest outcome, and sending it or less."""

    def __init__(
        self, api: Api, connection: Connection, raw: RawRequest, request: Request, user: User | None
    ) -> None:
        self.request = request
        self._api = api
        self._connection = connection
        self._raw = raw
        self._user = user

    @property
    def hung_up(self) -> bool:
        return self._connection.hung_up.is_set()

    def handle(self) -> Reply | Watch:
        try:
            return self._outcome()
        except status.ApiError as error:
            return error_reply(error)
        except Exception:  # a bug here must not look like a silent server to the client under test
            traceback.print_exc(file=sys.stderr)
            return error_reply(status.ApiError(500, "InternalError", "Internal error occurred"))

    def send(self, outcome: Reply | Watch) -> None:
        if isinstance(outcome, Watch):
            self._stream(outcome)
            return
        reply = outcome.compressed(self._raw.headers.get("accept-encoding", ""))
        self._api.log.answered(self.request, reply.code)
        self._connection.send(reply.head() + reply.body)

    def send_part(self, fraction: float) -> None:
        """Sends the head of the honest answer and that part of its body; of a watch the head."""
        outcome = self.handle()
        if isinstance(outcome, Watch):
            outcome.unsubscribe()
            self._connection.send(stream_head())
            return
        self._connection.send(outcome.head())
        part = outcome.body[: int(len(outcome.body) * fraction)]
        if part:
            self._connection.send(part)

    def drop(self, reset: bool) -> None:
        """Ends the connection without a word. Raises Disconnected."""
        self._connection.hang_up(reset)
        raise Disconnected

    @contextmanager
    def watching_for_hangup(self, wake: Callable[[], None]) -> Iterator[None]:
        """While the block waits for something else, `wake` is called if the connection ends."""
        self._connection.on_hangup(wake)
        self._api.monitor.add(self._connection)
        try:
            yield
        finally:
            self._api.monitor.remove(self._connection)
            self._connection.on_hangup(None)

    def _outcome(self) -> Reply | Watch:
        request, accept = self.request, self._raw.headers.get("accept", "*/*")
        public = request.path in discovery.PUBLIC
        if self._user is None and not public:
            raise status.unauthorized()
        if request.resource == tokens.RESOURCE:
            self._authorize()
            return self._api.tokens.issue(request)
        if request.resource == pod_status.RESOURCE:
            self._authorize()
            media_type = self._raw.headers.get("content-type", "")
            return pod_status.merge(self._api.resources.store, request, media_type)
        kind = KINDS.get(request.resource)
        if kind is None:
            minor = self._api.settings.minor_version
            known = discovery.reply(request.path, accept, minor)
            return known or text_reply("404 page not found\n", 404)
        self._authorize()
        if kind.group and request.path.split("/")[3] not in self._api.settings.group_versions:
            return text_reply("404 page not found\n", 404)
        _check_accept(accept)
        if request.verb not in kind.verbs:
            raise status.method_not_allowed(request.method)
        outcome = self._api.resources.carry_out(Call(request, kind, accept))
        if kind is CERTIFICATE_REQUESTS and request.verb == "create":
            self._ask_signer(outcome)
        return outcome

    def _ask_signer(self, outcome: Reply | Watch) -> None:
        assert isinstance(outcome, Reply)
        metadata = json.loads(outcome.body)["metadata"]
        store = self._api.resources.store
        self._api.signer.on_created(store, metadata["namespace"], metadata["name"])

    def _authorize(self) -> None:
        request = self.request
        assert self._user is not None
        asked = (request.verb, request.resource, request.namespace, request.name)
        if not self._api.authorizer.allows(self._user, *asked):
            raise status.forbidden(self._user.name, *asked)

    def _stream(self, watch: Watch) -> None:
        api = self._api
        api.watches.add(watch)
        try:
            api.log.answered(self.request, 200)
            self._connection.send(stream_head())
            with self.watching_for_hangup(watch.client_left):
                how = watch.run(self._connection)
        finally:
            watch.unsubscribe()
            api.watches.remove(watch)
        if how is End.CLEAN:
            self._connection.send_last_chunk()
        else:
            self.drop(reset=how is End.RESET)


def _describe(raw: RawRequest, user: User | None, connection: int) -> Request:
    request = Request(
        method=raw.method,
        path=raw.path,
        query=raw.query,
        headers=raw.headers,
        connection=connection,
        user=user.name if user else None,
        verb=raw.method.lower(),
        body=raw.body,
    )
    _describe_resource(request)
    return request


def _describe_resource(request: Request) -> None:
    """Fills in verb, resource, namespace and name if the path is a resource's."""
    group, parts = _group_of(request.path)
    if len(parts) >= 3 and parts[0] == "namespaces":
        request.namespace, parts = parts[1], parts[2:]
    if tokens.is_request(request.method, parts):
        request.resource, request.name, request.verb = tokens.RESOURCE, parts[1], "create"
        return
    if pod_status.is_request(request.method, parts):
        request.resource, request.name, request.verb = pod_status.RESOURCE, parts[1], "patch"
        return
    kind = KINDS.get(parts[0]) if parts else None
    if kind is None or kind.group != group or len(parts) > 2 or not _place_fits(
        kind, request.namespace, parts
    ):
        request.namespace = ""
        return
    request.resource = kind.resource
    if len(parts) == 2:
        request.name = parts[1]
        request.verb = _ITEM_VERBS.get(request.method, request.verb)
        if not kind.namespaced:
            request.namespace = parts[1]
    else:
        _describe_collection(request, kind)


def _group_of(path: str) -> tuple[str, list[str]]:
    """The API group, "" for the core one, and what follows its version."""
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        return "", parts[2:]
    if parts[0] == "apis" and len(parts) > 3:
        return parts[1], parts[3:]
    return "", []


def _describe_collection(request: Request, kind: Kind) -> None:
    request.verb = _COLLECTION_VERBS.get(request.method, request.verb)
    if request.verb == "list" and request.query.get("watch", "") in ("true", "1"):
        request.verb = "watch"
    try:
        request.name = Selector(kind, request.query.get("fieldSelector", "")).name
    except status.ApiError:
        request.name = ""


def _place_fits(kind: Kind, namespace: str, parts: list[str]) -> bool:
    if kind.namespaced:
        return bool(namespace) or len(parts) == 1
    return not namespace


def _check_accept(accept: str) -> None:
    if accept and "json" not in accept and "*/*" not in accept and "application/*" not in accept:
        raise status.not_acceptable()


def _refuse(connection: Connection, error: BadRequest) -> None:
    try:
        reply = text_reply(f"{error.code}: {error}\n", error.code)
        if error.code == 413:
            reply = error_reply(status.entity_too_large(BODY_MAX_BYTES))
        connection.send(reply._replace(headers=(("Connection", "close"),)).head() + reply.body)
    except Disconnected:
        pass
    connection.close()
