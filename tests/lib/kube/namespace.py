""""""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Mapping

from .client import values_of
from .cluster import Cluster
from .mounts import Values

_serial = itertools.count(1)


class Namespace:
    """A namespace of the test's own, and the objects in it."""

    def __init__(self, cluster: Cluster, values: Values) -> None:
        self.cluster = cluster
        self.values = values
        self.name = f"e2e-{next(_serial)}"
        self.make()

    def make(self) -> None:
        body = {"metadata": {"name": self.name}}
        self.cluster.admin.request("POST", "/api/v1/namespaces", body)

    def kubectl(self, *arguments: str | Path, stdin: str = "", **env: str) -> str:
        return self.cluster.kubectl.run("-n", self.name, *arguments, stdin=stdin, env=env)

    def create(
        self, name: str, data: Mapping[str, bytes], resource: str = "secrets", **fields: Any
    ) -> Any:
        return self.cluster.admin.create(resource, self.name, name, data, **fields)

    def patch(
        self, name: str, data: Mapping[str, bytes | None], resource: str = "secrets"
    ) -> Any:
        return self.cluster.admin.patch(resource, self.name, name, data)

    def delete(self, name: str, resource: str = "secrets") -> None:
        self.cluster.admin.delete(resource, self.name, name)

    def stored(self, name: str, resource: str = "secrets") -> dict[str, bytes]:
        """The bytes that the API server has."""
        return values_of(self.cluster.admin.get(resource, self.name, name))
