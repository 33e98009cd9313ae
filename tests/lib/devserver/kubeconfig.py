"""Writes kubeconfig files in the shapes that are found in practice.

Credentials and the CA are embedded as base64 data or named as files; a user authenticates with a
token, a token file, a client certificate, an exec plugin, or not at all.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path

from .pki import KeyPair


@dataclass(frozen=True)
class Credentials:
    """How the user of a kubeconfig authenticates; the first of these that is set is used."""

    token: str | None = None
    token_file: Path | None = None
    client: KeyPair | None = None
    exec_command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kubeconfig:
    """One cluster, one user, one context; `ca` is None for plain HTTP."""

    server: str
    ca: Path | None
    user: str
    credentials: Credentials
    namespace: str = "default"
    embed: bool = True
    name: str = "devserver"

    def text(self) -> str:
        lines = ["apiVersion: v1", "kind: Config", "clusters:", "- cluster:"]
        lines += [f"    {line}" for line in self._cluster()]
        lines += [f"  name: {self.name}", "contexts:", "- context:"]
        lines += [f"    cluster: {self.name}", f"    namespace: {_quote(self.namespace)}"]
        lines += [f"    user: {_quote(self.user)}", f"  name: {self.name}"]
        lines += [f"current-context: {self.name}", "preferences: {}", "users:"]
        lines += [f"- name: {_quote(self.user)}", *self._user()]
        return "\n".join(lines) + "\n"

    def write(self, path: Path) -> Path:
        """Writes the file as kubectl would: readable by its owner alone."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.text())
        return path

    def _cluster(self) -> list[str]:
        lines = [] if self.ca is None else [self._file_or_data("certificate-authority", self.ca)]
        return [*lines, f"server: {self.server}"]

    def _user(self) -> list[str]:
        fields = self._user_fields()
        return ["  user:", *(f"    {field}" for field in fields)] if fields else ["  user: {}"]

    def _user_fields(self) -> list[str]:
        credentials = self.credentials
        if credentials.token is not None:
            return [f"token: {_quote(credentials.token)}"]
        if credentials.token_file is not None:
            return [f"tokenFile: {_quote(str(credentials.token_file))}"]
        if credentials.client is not None:
            return [
                self._file_or_data("client-certificate", credentials.client.certificate),
                self._file_or_data("client-key", credentials.client.key),
            ]
        if credentials.exec_command:
            return _exec_fields(credentials.exec_command)
        return []

    def _file_or_data(self, field: str, path: Path) -> str:
        if self.embed:
            return f"{field}-data: {base64.b64encode(path.read_bytes()).decode()}"
        return f"{field}: {_quote(str(path))}"


def _exec_fields(command: tuple[str, ...]) -> list[str]:
    fields = ["exec:", "  apiVersion: client.authentication.k8s.io/v1beta1"]
    fields += [f"  command: {_quote(command[0])}", "  interactiveMode: Never", "  args:"]
    return fields + [f"  - {_quote(argument)}" for argument in command[1:]]


def _quote(value: str) -> str:
    """A JSON string is a YAML string, with any content."""
    return json.dumps(value)
