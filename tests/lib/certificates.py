"""Certificates and keys as TLS secrets have them."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path


def make_pair(area: Path, name: str, days: int = 30) -> dict[str, bytes]:
    """A self-signed certificate and its key, as a TLS secret has them."""
    key, cert = area / f"{name}.key", area / f"{name}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=dummy", "-days", str(days)]
    subprocess.run(
        [*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True
    )
    return {"tls.crt": cert.read_bytes(), "tls.key": key.read_bytes()}


def make_short_pair(area: Path, seconds: int) -> dict[str, bytes]:
    """One that expires very soon, which only `openssl ca` can be asked for."""
    pair = make_pair(area, "short")
    end = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    (area / "index.txt").write_text("")
    (area / "serial").write_text("01\n")
    (area / "ca.conf").write_text(
        f"""
        [ca]
        default_ca = short
        [short]
        new_certs_dir = {area}
        database = {area}/index.txt
        serial = {area}/serial
        default_md = sha256
        policy = names
        [names]
        commonName = supplied
        """
    )
    request = ["openssl", "req", "-new", "-key", "short.key", "-subj", "/CN=dummy"]
    sign = ["openssl", "ca", "-config", "ca.conf", "-selfsign", "-keyfile", "short.key", "-batch"]
    sign += ["-notext", "-in", "short.csr", "-out", "short.crt", "-enddate", f"{end:%Y%m%d%H%M%SZ}"]
    for command in ([*request, "-out", "short.csr"], sign):
        subprocess.run(command, check=True, capture_output=True, cwd=area)
    return {**pair, "tls.crt": (area / "short.crt").read_bytes()}
