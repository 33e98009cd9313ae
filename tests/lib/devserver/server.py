"""DevServer: the whole server as one object, to be started, asked about, and made to misbehave.

It runs in threads of the process that made it. Everything a client can do goes through the API;
the methods here are for the other side: changing objects without a request, seeing what was asked,
and deciding what goes wrong and when. `where` is always a predicate over requestlog.Request and
may be joined or replaced by keyword arguments naming its attributes: s.fail(503, verb="list").
"""

from __future__ import annotations

import base64
import shutil
import ssl
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

from lib.waiting import PATIENCE_SECONDS

from . import patch
from .api import Api
from .auth import MASTERS, Grant, User
from .faults import AnswerFault, DropFault, Fault, HoldFault
from .kubeconfig import Credentials, Kubeconfig
from .listener import Listener
from .objects import (
    CERTIFICATE_REQUESTS,
    CONFIGMAPS,
    KINDS,
    NAMESPACES,
    PODS,
    SECRETS,
    TRUST_BUNDLES,
    Kind,
    Object,
    encode_event,
    with_type,
)
from .pki import Authority, KeyPair
from .registry import Registry
from .reply import Reply, error_reply
from .requestlog import Predicate, Request, RequestLog, match
from .resources import Settings
from .signer import Signer
from .status import ApiError
from .store import Store
from .tokens import Tokens
from .watch import End, Shape, Watch

ADMIN = "admin"
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class DevServer:
    """A Kubernetes API server for Secrets and ConfigMaps on 127.0.0.1.

    directory: where certificates and kubeconfigs go; a temporary one by default. tls=False serves
    plain HTTP, for a TLS terminator in front. watch_list: whether sendInitialEvents is supported;
    watch_list_known=False ignores it, as servers did before they knew it. bookmark_interval and
    watch_timeout (of watches that name none) are seconds. fresh_wait: how many seconds a read
    waits for a resourceVersion that is not reached yet (3 in a real server).
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        port: int = 0,
        tls: bool = True,
        watch_list: bool = False,
        watch_list_known: bool = True,
        bookmark_interval: float = 60.0,
        watch_timeout: float = 1800.0,
        fresh_wait: float = 0.0,
    ) -> None:
        self._temporary = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="devserver-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(
            watch_list, watch_list_known, bookmark_interval, fresh_wait, watch_timeout
        )
        self.store = _new_store()
        self._api = Api(self.store, self.settings)
        self._tls = tls
        self._authority = Authority(self.directory / "pki")
        self._kubeconfigs = 0
        self._listener = Listener(port, self._api.serve)
        self.admin_token = self.add_token(ADMIN, [MASTERS])
        if tls:
            self.rotate_server_certificate()

    # ---- life

    def start(self) -> DevServer:
        self._api.monitor.start()
        self._listener.start_listening()
        return self

    def stop(self) -> None:
        """Ends listener, connections and threads, and removes a temporary directory."""
        self._api.faults.clear()
        self._listener.close()
        self._api.monitor.stop()
        self._api.signer.close()
        if self._temporary:
            shutil.rmtree(self.directory)

    def __enter__(self) -> DevServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ---- how to reach it

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> str:
        return str(self._authority.certificate)

    @property
    def authority(self) -> Authority:
        return self._authority

    def kubeconfig(
        self,
        user: str = ADMIN,
        *,
        auth: str = "token",
        embed: bool = True,
        namespace: str = "default",
        server: str | None = None,
        groups: Iterable[str] = (),
        exec_command: Iterable[str] = (),
        path: str | Path | None = None,
    ) -> str:
        """Writes a kubeconfig and returns its path.

        auth: token, token-file, cert, exec or none. A token or certificate is made for the user;
        the admin's token is the admin_token. embed=False names files instead of holding data.
        """
        self._kubeconfigs += 1
        target = Path(path or self.directory / f"{self._kubeconfigs}.kubeconfig")
        credentials = self._credentials(user, auth, groups, tuple(exec_command), target)
        ca = self._authority.certificate if self._tls or server else None
        config = Kubeconfig(server or self.url, ca, user, credentials, namespace, embed)
        return str(config.write(target))

    def _credentials(
        self,
        user: str,
        auth: str,
        groups: Iterable[str],
        exec_command: tuple[str, ...],
        target: Path,
    ) -> Credentials:
        if auth == "cert":
            return Credentials(client=self.client_cert(user, groups))
        if auth == "exec":
            return Credentials(exec_command=exec_command)
        if auth == "none":
            return Credentials()
        token = self.admin_token if user == ADMIN else self.add_token(user, groups)
        if auth == "token":
            return Credentials(token=token)
        if auth != "token-file":
            raise ValueError(f"auth must be token, token-file, cert, exec or none, not {auth!r}")
        token_file = target.with_suffix(".token")
        token_file.write_text(token)
        return Credentials(token_file=token_file)

    # ---- users and permissions

    def add_token(self, user: str, groups: Iterable[str] = (), token: str | None = None) -> str:
        return self._api.authenticator.add_token(User(user, frozenset(groups)), token)

    def revoke_token(self, token: str) -> None:
        """From now on the token is unknown: 401."""
        self._api.authenticator.remove_token(token)

    def rotate_token(self, token: str, new: str | None = None) -> str:
        """Replaces a token by a new one of the same user; the old one is unknown at once."""
        user = self._api.authenticator.remove_token(token)
        value = self._api.authenticator.add_token(user, new)
        if token == self.admin_token:
            self.admin_token = value
        return value

    def client_cert(self, user: str, groups: Iterable[str] = ()) -> KeyPair:
        """(certificate, key) files of a client certificate: CN=user, O=groups."""
        return self._authority.client_pair(user, groups)

    def grant(
        self,
        subject: str,
        verbs: Iterable[str],
        resources: Iterable[str] = ("secrets", "configmaps"),
        *,
        namespace: str | None = None,
        names: Iterable[str] | None = None,
    ) -> Grant:
        """Allows a user or a group the verbs, in all namespaces and for all names by default."""
        return self._api.authorizer.grant(subject, verbs, resources, namespace, names)

    def revoke(
        self, subject: str, grant: Grant | None = None, *, end_watches: bool = False
    ) -> None:
        """Takes back one grant, or all; open watches of the user stay open unless told."""
        self._api.authorizer.revoke(subject, grant)
        if end_watches:
            self.close_watches(user=subject)

    def rotate_server_certificate(self, *, new_authority: bool = False) -> None:
        """New connections meet a new certificate, of a new CA if asked (ca_file then changes)."""
        if new_authority:
            name = f"pki-{len(list(self.directory.glob('pki*'))) + 1}"
            self._authority = Authority(self.directory / name, name=name)
        pair = self._authority.server_pair()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        context.load_verify_locations(self._authority.certificate)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        self._listener.tls = context

    # ---- objects

    def apply_secret(
        self, namespace: str, name: str, data: dict[str, bytes], **meta: Any
    ) -> Object:
        """Creates the secret, or replaces its data.

        meta: labels, annotations, finalizers go to the metadata; type, immutable to the object.
        The namespace is made if it is missing. Returns the object as stored.
        """
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        return self._apply(SECRETS, namespace, name, {"data": encoded}, meta)

    def delete_secret(self, namespace: str, name: str) -> Object:
        return self._delete(SECRETS, namespace, name)

    def apply_configmap(
        self,
        namespace: str,
        name: str,
        data: dict[str, str],
        binary_data: dict[str, bytes] | None = None,
        **meta: Any,
    ) -> Object:
        binary = {k: base64.b64encode(v).decode() for k, v in (binary_data or {}).items()}
        return self._apply(CONFIGMAPS, namespace, name, {"data": data, "binaryData": binary}, meta)

    def delete_configmap(self, namespace: str, name: str) -> Object:
        return self._delete(CONFIGMAPS, namespace, name)

    def put_pod(self, namespace: str, name: str, uid: str, **content: Object) -> Object:
        """Creates or replaces a pod; content is its spec and status. Nothing is validated."""
        self.create_namespace(namespace)
        return self.put_unchecked("pods", namespace, name, {"metadata": {"uid": uid}, **content})

    def put_node(self, name: str, allocatable: dict[str, str]) -> Object:
        """Creates or replaces a node with these resources."""
        metadata = {"name": name, "uid": f"uid-{name}"}
        content = {"metadata": metadata, "status": {"allocatable": allocatable}}
        return self.put_unchecked("nodes", "", name, content)

    def put_trust_bundle(
        self, name: str, pem: str, signer: str = "", labels: dict[str, str] | None = None
    ) -> Object:
        """Creates or replaces a ClusterTrustBundle."""
        spec = {"trustBundle": pem, **({"signerName": signer} if signer else {})}
        content = {"metadata": {"labels": labels or {}}, "spec": spec}
        return self.put_unchecked(TRUST_BUNDLES.resource, "", name, content)

    def delete_trust_bundle(self, name: str) -> Object:
        return self._delete(TRUST_BUNDLES, "", name)

    @property
    def tokens(self) -> Tokens:
        """What TokenRequests were answered with, and how long these tokens live."""
        return self._api.tokens

    def put_service_account(self, namespace: str, name: str) -> Object:
        metadata = {"uid": f"uid-{namespace}-{name}"}
        self.create_namespace(namespace)
        return self.put_unchecked("serviceaccounts", namespace, name, {"metadata": metadata})

    @property
    def signer(self) -> Signer:
        """What becomes of PodCertificateRequests."""
        return self._api.signer

    def certificate_requests(self) -> list[Object]:
        """The PodCertificateRequests of all namespaces, in the order of their creation."""
        found = [self.store.get(CERTIFICATE_REQUESTS, *place) for place in list(self.signer.created)]
        return [version.object for version in found if version is not None]

    def decide(self, request: Object, answer: str) -> None:
        """Has the signer decide about a PodCertificateRequest that waits."""
        metadata = request["metadata"]
        self.signer.decide(self.store, metadata["namespace"], metadata["name"], answer)

    def delete_pod(self, namespace: str, name: str) -> Object:
        return self._delete(PODS, namespace, name)

    def create_namespace(self, name: str) -> None:
        with self.store.lock:
            if self.store.get(NAMESPACES, "", name) is None:
                Registry(self.store).create(NAMESPACES, "", {"metadata": {"name": name}})

    def get_object(self, resource: str, namespace: str, name: str) -> Object | None:
        found = self.store.get(KINDS[resource], namespace, name)
        return None if found is None else with_type(found.kind, found.object)

    def put_unchecked(self, resource: str, namespace: str, name: str, obj: Object) -> Object:
        """Stores an object the API would refuse; metadata is completed if it lacks a name."""
        metadata = {"name": name, "namespace": namespace, **obj.get("metadata", {})}
        kind = KINDS[resource]
        put = self.store.put(kind, namespace, name, {**obj, "metadata": metadata})
        return with_type(kind, put.object)

    def patch_secret(self, namespace: str, name: str, change: Object) -> Object:
        """A JSON merge patch without a request."""
        made = Registry(self.store).update(
            SECRETS, namespace, name, lambda old: patch.merge_patch(old, change)
        )
        return with_type(SECRETS, made.object)

    @property
    def revision(self) -> int:
        return self.store.revision

    def _apply(
        self, kind: Kind, namespace: str, name: str, content: Object, meta: Object
    ) -> Object:
        outside = {key: meta.pop(key) for key in ("type", "immutable") if key in meta}
        wanted: Object = {"metadata": {"name": name, **meta}, **content, **outside}
        registry = Registry(self.store)
        with self.store.lock:
            self.create_namespace(namespace)
            if self.store.get(kind, namespace, name) is None:
                made = registry.create(kind, namespace, wanted)
            else:
                made = registry.update(kind, namespace, name, lambda old: _replaced(old, wanted))
        return with_type(kind, made.object)

    def _delete(self, kind: Kind, namespace: str, name: str) -> Object:
        return with_type(kind, Registry(self.store).delete(kind, namespace, name).object)

    # ---- what was asked

    @property
    def requests(self) -> RequestLog:
        return self._api.log

    def wait_request(
        self,
        where: Predicate | None = None,
        timeout: float = PATIENCE_SECONDS,
        *,
        count: int = 1,
        after: int = 0,
        **wanted: object,
    ) -> Request:
        """The count-th logged request from index `after` on which matches; waits for it.

        An entry is there as soon as the request has arrived; ask for code=... to wait for answers.
        """
        return self.requests.wait(match(where, **wanted), timeout, count, after)

    def open_watches(self, where: Predicate | None = None, **wanted: object) -> list[Watch]:
        return self._api.watches.select(match(where, **wanted))

    def wait_watches(
        self,
        count: int = 1,
        where: Predicate | None = None,
        timeout: float = PATIENCE_SECONDS,
        **wanted: object,
    ) -> list[Watch]:
        """Waits until exactly `count` open watches match."""
        return self._api.watches.wait(match(where, **wanted), count, timeout)

    @property
    def connections(self) -> int:
        return self._listener.connections

    def wait_connections(self, at_most: int = 0, timeout: float = PATIENCE_SECONDS) -> int:
        """Waits until no more than so many connections are open; returns how many are."""
        return self._listener.wait_connections(at_most, timeout)

    # ---- faults of requests

    def fail(
        self,
        code: int,
        where: Predicate | None = None,
        *,
        times: int | None = 1,
        reason: str | None = None,
        message: str | None = None,
        details: Object | None = None,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        as_event: bool = False,
        **wanted: object,
    ) -> Fault:
        """Answers matching requests with a Status of this code, or with any `body`.

        times=None holds until cleared. as_event answers a watch with 200 and one ERROR event.
        """
        why = reason if reason is not None else _REASONS.get(code, "")
        status = ApiError(code, why, message or f"scripted {code}", details)
        reply = error_reply(status)
        if body is not None:
            reply = reply._replace(body=body)
        elif as_event:
            reply = Reply(200, encode_event("ERROR", status.encoded()))
        fault = AnswerFault(match(where, **wanted), times, reply.with_headers(headers or {}))
        return self._add(fault)

    def drop(
        self,
        where: Predicate | None = None,
        *,
        when: str = "before_headers",
        reset: bool = True,
        times: int | None = 1,
        **wanted: object,
    ) -> Fault:
        """Ends the connection before_headers, after_headers or mid_body, by RST or FIN.

        before_headers leaves the request undone; of a watch no event is sent in either case.
        """
        return self._add(DropFault(match(where, **wanted), times, when, reset))

    def hold(
        self,
        where: Predicate | None = None,
        *,
        stage: str = "request",
        times: int | None = 1,
        **wanted: object,
    ) -> HoldFault:
        """Keeps matching requests unanswered until release() of the result, if ever.

        stage: request (not carried out yet) or response (carried out, the answer is kept back).
        """
        fault = HoldFault(match(where, **wanted), times, stage)
        self._api.faults.add(fault)
        return fault

    def clear_faults(self) -> None:
        self._api.faults.clear()

    def _add(self, fault: Fault) -> Fault:
        self._api.faults.add(fault)
        return fault

    # ---- faults of watches

    def close_watches(self, where: Predicate | None = None, **wanted: object) -> int:
        """Ends matching watches as a server's timeout does; returns how many."""
        return self._end(End.CLEAN, match(where, **wanted))

    def truncate_watches(self, where: Predicate | None = None, **wanted: object) -> int:
        """Ends matching watches with a FIN in mid-stream."""
        return self._end(End.TRUNCATE, match(where, **wanted))

    def abort_watches(self, where: Predicate | None = None, **wanted: object) -> int:
        """Ends matching watches with a RST."""
        return self._end(End.RESET, match(where, **wanted))

    def send_error(
        self,
        code: int = 410,
        reason: str = "Expired",
        message: str = "too old resource version",
        where: Predicate | None = None,
        **wanted: object,
    ) -> int:
        """Writes an ERROR event to matching watches and ends them; returns how many."""
        watches = self.open_watches(where, **wanted)
        for watch in watches:
            watch.send_error(code, reason, message)
            watch.end()
        return len(watches)

    def send_raw(self, data: bytes, where: Predicate | None = None, **wanted: object) -> int:
        """Writes these bytes as a chunk to matching watches; returns how many."""
        watches = self.open_watches(where, **wanted)
        for watch in watches:
            watch.send_raw(data)
        return len(watches)

    def send_bookmark(self, where: Predicate | None = None, **wanted: object) -> int:
        """Writes a bookmark with the current revision to matching watches; returns how many."""
        watches = self.open_watches(where, **wanted)
        with self.store.lock:
            for watch in watches:
                watch.send_bookmark(self.store.revision)
        return len(watches)

    def hold_events(self, where: Predicate | None = None, **wanted: object) -> None:
        """Keeps back the events of matching watches, open ones and those to come."""
        self._api.watches.hold(match(where, **wanted))

    def release_events(
        self, count: int | None = None, where: Predicate | None = None, **wanted: object
    ) -> None:
        """Lets `count` events of each open matching watch through.

        None releases the matching watches for good, and watches to come start unheld again.
        """
        self._api.watches.release(match(where, **wanted), count)

    @contextmanager
    def events_held(self, where: Predicate | None = None, **wanted: object) -> Iterator[None]:
        self.hold_events(where, **wanted)
        try:
            yield
        finally:
            self.release_events(None, where, **wanted)

    def shape_events(
        self,
        *,
        every: int | None = None,
        at: Iterable[int] | None = None,
        cut: Callable[[bytes], list[bytes]] | None = None,
        coalesce: bool = False,
        gap_seconds: float = 0.0,
    ) -> None:
        """How events become chunks from now on; without arguments one event is one chunk.

        A write is cut after `every` so many bytes, `at` these offsets (negative ones count from
        its end), or by a function; with coalesce all events that wait are one write.
        """
        if every is not None:
            cut = _cut_every(every)
        elif at is not None:
            cut = _cut_at(list(at))
        self._api.shape = Shape(cut, coalesce, gap_seconds)

    # ---- faults of the whole server

    def compact(self, revision: int | None = None) -> int:
        """Forgets history up to a revision (all by default): watches from below it get 410."""
        return self.store.compact(revision)

    def serve_stale(self, revision: int | None, *, quorum: bool = True) -> None:
        """Answers GET and LIST from an earlier revision, None ends that; watches stay honest.

        quorum=False still answers reads without resourceVersion from the newest state.
        """
        self.settings.stale_revision = revision
        self.settings.stale_quorum = quorum

    def snapshot(self) -> Store:
        """The store as it is now, to be given to restart() later."""
        return self.store.snapshot()

    def restart(self, store: Store | None = None, *, reset: bool = True) -> None:
        """Ends everything and comes back on the same port, with another store if one is given."""
        self._listener.stop_listening()
        self._listener.end_connections(reset)
        if store is not None:
            self.store = store.snapshot()
            self._api.use_store(self.store)
        self._listener.start_listening()

    def stop_listening(self) -> None:
        """Connections are refused from now on; open ones stay."""
        self._listener.stop_listening()

    def start_listening(self) -> None:
        self._listener.start_listening()

    def silence_new_connections(self, silent: bool = True) -> None:
        """Connections opened from now on are accepted and then ignored, TLS handshake included."""
        self._listener.silent = silent

    def end_connections(self, *, reset: bool = True) -> None:
        self._listener.end_connections(reset)

    def _end(self, how: End, where: Predicate) -> int:
        watches = self._api.watches.select(where)
        for watch in watches:
            watch.end(how)
        return len(watches)


def _new_store() -> Store:
    store = Store()
    Registry(store).create_initial_namespaces()
    return store


def _replaced(old: Object, wanted: Object) -> Object:
    """The wanted object with what a caller of apply leaves alone: type and immutability."""
    kept = {key: old[key] for key in ("type", "immutable") if key in old}
    return {**kept, **wanted}


def _cut_every(length: int) -> Callable[[bytes], list[bytes]]:
    return lambda data: [data[at : at + length] for at in range(0, len(data), length)]


def _cut_at(offsets: list[int]) -> Callable[[bytes], list[bytes]]:
    def cut(data: bytes) -> list[bytes]:
        places = {offset if offset >= 0 else len(data) + offset for offset in offsets}
        bounds = [0, *sorted(place for place in places if 0 < place < len(data)), len(data)]
        return [data[start:end] for start, end in zip(bounds, bounds[1:])]

    return cut
