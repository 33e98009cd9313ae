"""Who asks, and whether they may.

Authentication: a bearer token, or the subject of a client certificate. Authorization: a list of
grants that is read afresh for each request, so that a grant or a revocation holds from the next
request on, and an open watch stays open, as with real RBAC. A grant limited to names matches list
and watch only when the request's field selector fixes metadata.name; the caller passes that name.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass
from typing import Any, Iterable

MASTERS = "system:masters"


@dataclass(frozen=True)
class User:
    name: str
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Grant:
    """A rule bound to a subject (a user's or a group's name); None means any."""

    subject: str
    verbs: frozenset[str]
    resources: frozenset[str]
    namespace: str | None
    names: frozenset[str] | None

    def allows(self, user: User, verb: str, resource: str, namespace: str, name: str) -> bool:
        return (
            (self.subject == user.name or self.subject in user.groups)
            and bool(self.verbs & {verb, "*"})
            and bool(self.resources & {resource, "*"})
            and self.namespace in (None, namespace)
            and (self.names is None or name in self.names)
        )


class Authenticator:
    """The bearer tokens in force."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[str, User] = {}

    def add_token(self, user: User, token: str | None = None) -> str:
        value = token or secrets.token_urlsafe(24)
        with self._lock:
            self._tokens[value] = user
        return value

    def remove_token(self, token: str) -> User:
        with self._lock:
            return self._tokens.pop(token)

    def user_of_token(self, authorization: str) -> User | None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        with self._lock:
            return self._tokens.get(token.strip())


def user_of_certificate(certificate: dict[str, Any] | None) -> User | None:
    """The holder of a verified client certificate, given in the form of ssl.getpeercert()."""
    if not certificate:
        return None
    pairs = [pair for rdn in certificate.get("subject", ()) for pair in rdn]
    names = [value for key, value in pairs if key == "commonName"]
    groups = frozenset(value for key, value in pairs if key == "organizationName")
    return User(names[-1], groups) if names else None


class Authorizer:
    """The grants in force. Members of system:masters may do everything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._grants: list[Grant] = []

    def grant(
        self,
        subject: str,
        verbs: Iterable[str],
        resources: Iterable[str],
        namespace: str | None,
        names: Iterable[str] | None,
    ) -> Grant:
        limited = None if names is None else frozenset(names)
        grant = Grant(subject, frozenset(verbs), frozenset(resources), namespace, limited)
        with self._lock:
            self._grants.append(grant)
        return grant

    def revoke(self, subject: str, grant: Grant | None = None) -> None:
        """Takes back one grant of a subject, or all of them."""
        with self._lock:
            self._grants = [
                held
                for held in self._grants
                if held.subject != subject or (grant is not None and held is not grant)
            ]

    def allows(self, user: User, verb: str, resource: str, namespace: str, name: str) -> bool:
        if MASTERS in user.groups:
            return True
        with self._lock:
            grants = self._grants
        return any(grant.allows(user, verb, resource, namespace, name) for grant in grants)
