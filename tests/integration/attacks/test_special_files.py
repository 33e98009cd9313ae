"""FIFOs, sockets and devices where a file of options or credentials is expected: an error, never a wait.

One that opens a FIFO waits until a process writes to it, which may be never.
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lib import program
from lib.mountinfo import mounts_at

_HANGS_SECONDS = 60.0
_EXPECTED = "expected a regular file, not"


def _run(area: Path, *arguments: str | Path) -> str:
    """The error of a command that has to end by itself."""
    done = subprocess.run(
        [str(program.binary()), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_HANGS_SECONDS,
        env=program.environment(area),
        check=False,
    )
    assert done.returncode != 0
    return done.stderr


@pytest.fixture(params=["FIFO", "socket", "device", "directory"])
def special(request: pytest.FixtureRequest, area: Path) -> tuple[Path, str]:
    path = area / "special"
    if request.param == "FIFO":
        os.mkfifo(path)
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    elif request.param == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/tty")
    return path, f"cannot read {path}: {_EXPECTED} a {request.param}"


def _point(area: Path) -> Path:
    (area / "point").mkdir()
    return area / "point"


def test_kubeconfig(special: tuple[Path, str], area: Path):
    """--kubeconfig of mount and of exec."""
    path, message = special
    point = _point(area)
    assert message in _run(area, "mount", "-f", "--kubeconfig", path, "secret/app", point)
    assert message in _run(area, "exec", "--kubeconfig", path, "--env", "A=secret/app/a", "--", "true")
    assert mounts_at(point) == []


def test_volume_file(special: tuple[Path, str], area: Path, manifests):
    """--volume of mount."""
    path, message = special
    point = _point(area)
    assert message in _run(area, "mount", "-f", *manifests.arguments, "--volume", path, point)


def test_env_spec(special: tuple[Path, str], area: Path, manifests):
    """--env-spec of exec."""
    path, message = special
    command = ["exec", *manifests.arguments, "--env-spec", path, "--", "true"]
    assert message in _run(area, *command)


def test_node_configuration(special: tuple[Path, str], area: Path):
    """--config of the node daemon."""
    path, message = special
    assert message in _run(area, "node", "--config", path)


@pytest.mark.parametrize(
    "credential", ["tokenFile", "client-certificate", "client-key", "certificate-authority"]
)
def test_credentials(special: tuple[Path, str], area: Path, credential: str):
    """Each file that a kubeconfig names."""
    path, message = special
    cluster: dict[str, Any] = {"server": "https://127.0.0.1:1"}
    user: dict[str, Any] = {}
    (cluster if credential == "certificate-authority" else user)[credential] = str(path)
    if credential in ("client-certificate", "client-key"):
        other = area / "other"
        other.write_text("dummy-1")
        user = {"client-certificate": str(other), "client-key": str(other), **user}
    config = area / "kubeconfig"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n"
        f"clusters: [{{name: a, cluster: {_flow(cluster)}}}]\n"
        f"users: [{{name: a, user: {_flow(user)}}}]\n"
        "contexts: [{name: a, context: {cluster: a, user: a}}]\n"
    )
    arguments = ["--kubeconfig", config, "--wait", "1s", "secret/app", _point(area)]
    assert message in _run(area, "mount", "-f", *arguments)


def _flow(members: dict[str, Any]) -> str:
    return "{" + ", ".join(f'{key}: "{value}"' for key, value in members.items()) + "}"
