"""Where a mount's objects come from, with one face for all kinds of sources."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any, Callable

from lib.devserver import DevServer, H2Proxy


class Source:
    """Objects to be put and deleted, and the arguments that lead `secretfs mount` to them."""

    kind = ""
    arguments: list[str] = []

    def put_secret(self, data: dict[str, bytes], name: str = "app", **fields: Any) -> None:
        raise NotImplementedError

    def put_configmap(
        self, data: dict[str, str], binary: dict[str, bytes], name: str = "app"
    ) -> None:
        raise NotImplementedError

    def delete_secret(self, name: str = "app") -> None:
        raise NotImplementedError

    def touch_secret(self, name: str = "app") -> None:
        """Changes a secret's metadata and nothing else (E2)."""
        raise NotImplementedError

    def close(self) -> None:
        pass


class Manifests(Source):
    """A directory of manifests; files are replaced by renaming, from a directory beside it."""

    kind = "manifests"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.arguments = ["--manifests", str(directory)]
        self._aside = directory.with_name(f"{directory.name}-aside")
        self._touched = 0
        self._documents: dict[str, dict[str, Any]] = {}
        directory.mkdir()
        self._aside.mkdir()

    def put_secret(self, data: dict[str, bytes], name: str = "app", **fields: Any) -> None:
        self._put(f"secret-{name}", _secret(name, data, **fields))

    def put_configmap(
        self, data: dict[str, str], binary: dict[str, bytes], name: str = "app"
    ) -> None:
        self._put(f"configmap-{name}", _configmap(name, data, binary))

    def delete_secret(self, name: str = "app") -> None:
        (self.directory / f"secret-{name}.json").unlink()

    def touch_secret(self, name: str = "app") -> None:
        document = self._documents[f"secret-{name}"]
        self._touched += 1
        document["metadata"]["labels"] = {"touched": str(self._touched)}
        self._put(f"secret-{name}", document)

    def write(self, file: str, text: str) -> None:
        """Puts a file in place in one step."""
        aside = self._aside / file
        aside.write_text(text)
        os.rename(aside, self.directory / file)

    def _put(self, stem: str, document: dict[str, Any]) -> None:
        self._documents[stem] = document
        self.write(f"{stem}.json", json.dumps(document))


class Api(Source):
    """A development API server, spoken to directly (HTTP/1.1) or through nghttpx (HTTP/2), or through
    another `front`, which has kubeconfig(), port and stop()."""

    def __init__(
        self,
        directory: Path,
        *,
        http2: bool = False,
        front: Callable[[DevServer], Any] | None = None,
        **options: Any,
    ) -> None:
        self.kind = "http2" if http2 else "http1"
        if http2:
            front = lambda server: H2Proxy(server).start()
        self.server = DevServer(directory, tls=front is None, **options).start()
        self.proxy = front(self.server) if front is not None else None
        self.arguments = ["--kubeconfig", self.kubeconfig()]
        self._touched = 0

    def kubeconfig(self, user: str = "admin", **options: Any) -> str:
        return (self.proxy or self.server).kubeconfig(user, **options)

    def put_secret(self, data: dict[str, bytes], name: str = "app", **fields: Any) -> None:
        self.server.apply_secret("default", name, data, **fields)

    def put_configmap(
        self, data: dict[str, str], binary: dict[str, bytes], name: str = "app"
    ) -> None:
        self.server.apply_configmap("default", name, data, binary)

    def delete_secret(self, name: str = "app") -> None:
        self.server.delete_secret("default", name)

    def touch_secret(self, name: str = "app") -> None:
        self._touched += 1
        change = {"metadata": {"labels": {"touched": str(self._touched)}}}
        self.server.patch_secret("default", name, change)

    def close(self) -> None:
        if self.proxy is not None:
            self.proxy.stop()
        self.server.stop()


def make_source(kind: str, area: Path) -> Source:
    if kind == "manifests":
        return Manifests(area / "manifests")
    return Api(area / "api", http2=kind == "http2")


def _secret(name: str, data: dict[str, bytes], **fields: Any) -> dict[str, Any]:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "annotations": fields.pop("annotations", {})},
        "data": encoded,
        **fields,
    }


def _configmap(name: str, data: dict[str, str], binary: dict[str, bytes]) -> dict[str, Any]:
    encoded = {key: base64.b64encode(value).decode() for key, value in binary.items()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": data,
        "binaryData": encoded,
    }
