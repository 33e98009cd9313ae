"""A certificate authority for one server, made with the openssl command.

Keys are P-256, which take milliseconds. The server certificate names localhost, 127.0.0.1 and ::1.
A client certificate says who its holder is: common name = user, organisations = groups.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path
from typing import Iterable, NamedTuple

_CONFIG = "[req]\ndistinguished_name = subject\nprompt = no\n[subject]\n"
SERVER_NAMES = "DNS:localhost,IP:127.0.0.1,IP:::1"


class KeyPair(NamedTuple):
    certificate: Path
    key: Path


class PkiError(Exception):
    """The openssl command failed; the text carries its own words."""


class Authority:
    """Keeps the files of one certificate authority in a directory of its own."""

    def __init__(self, directory: Path, name: str = "devserver-ca") -> None:
        self._directory = directory
        self._serial = itertools.count(1)
        directory.mkdir(parents=True, exist_ok=True)
        self._config = directory / "openssl.cnf"
        self._config.write_text(_CONFIG)
        self._pair = self._issue(
            "ca",
            f"/CN={name}",
            ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"],
            self_signed=True,
        )

    @property
    def certificate(self) -> Path:
        return self._pair.certificate

    def server_pair(self, names: str = SERVER_NAMES) -> KeyPair:
        """A new server key and certificate; `names` is a subjectAltName value."""
        extensions = [*_leaf_extensions("serverAuth"), f"subjectAltName={names}"]
        return self._issue(f"server-{next(self._serial)}", "/CN=devserver", extensions)

    def client_pair(self, user: str, groups: Iterable[str] = ()) -> KeyPair:
        subject = "".join(f"/O={_escape(group)}" for group in groups) + f"/CN={_escape(user)}"
        stem = f"client-{next(self._serial)}"
        return self._issue(stem, subject, _leaf_extensions("clientAuth"))

    def _issue(
        self, stem: str, subject: str, extensions: list[str], self_signed: bool = False
    ) -> KeyPair:
        pair = KeyPair(self._directory / f"{stem}.crt", self._directory / f"{stem}.key")
        command = ["openssl", "req", "-x509", "-config", str(self._config), "-days", "30"]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
        command += ["-subj", subject, "-out", str(pair.certificate), "-keyout", str(pair.key)]
        if not self_signed:
            command += ["-CA", str(self._pair.certificate), "-CAkey", str(self._pair.key)]
        for extension in extensions:
            command += ["-addext", extension]
        _run(command)
        os.chmod(pair.key, 0o600)
        return pair


def _leaf_extensions(usage: str) -> list[str]:
    return [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        f"extendedKeyUsage={usage}",
    ]


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("/", "\\/")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PkiError(f"making a certificate failed: {done.stderr.strip()}")
