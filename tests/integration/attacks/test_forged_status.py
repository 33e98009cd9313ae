"""A user mounts, and answers requests for the mount's status with the document of a node daemon."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from lib import program
from lib.cell import PYTHON, USER, Cell
from lib.mountinfo import mounts_at
from lib.sources import Manifests
from lib.volume import Volume, VolumeMaker

PROGRAM = Path(__file__).parent / "programs" / "forged_status.py"
ESCAPE = "\033]0;forged\007"


@pytest.fixture
def forged(cell: Cell, start_mount: VolumeMaker, area: Path) -> Iterator[Volume]:
    source = Manifests(area / "manifests")
    source.put_secret({"a": b"dummy"})
    volume = cell.start_mount(start_mount, *source.arguments).wait_ready()
    audit = cell.home / "audit.log"
    audit.write_text('{"event":"forged"}\n')
    process = {
        "process": "node",
        "pid": 1,
        "since": "now",
        "version": ESCAPE,
        "audit": str(audit),
        "notifySocket": str(cell.directory(f"secretfs-keeper-{ESCAPE}") / "notify"),
    }
    listed = {
        "mountpoint": str(volume.path),
        "object": {"kind": "Secret", "namespace": "default", "name": "app"},
        "debug": {
            "history": [
                {"object": "secret/default/app", "time": "now", "resourceVersion": ESCAPE}
            ]
        },
    }
    document = f"{json.dumps(process)}\n{json.dumps(listed)}\n\n"
    (info,) = mounts_at(volume.path, cell.pid)
    runtime = Path(f"/run/user/{USER}")
    is_runtime = runtime.is_dir() and runtime.stat().st_uid == USER
    directory = runtime / "secretfs" if is_runtime else Path(f"/tmp/secretfs-{USER}")
    command = [*cell.user, PYTHON, PROGRAM, directory / f"{info.device}.sock", document]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forger:
        assert forger.stdout is not None and forger.stdout.readline() == "listening\n"
        yield volume
        forger.kill()


def run_as_root(cell: Cell, *arguments: str | Path) -> tuple[str, str]:
    done = program.run([*cell.root, cell.binary, *arguments], home=cell.home)
    return done.stdout, done.stderr


def test_root_prints_no_audit_of_a_user(cell: Cell, forged: Volume) -> None:
    out, _ = run_as_root(cell, "audit")
    assert "forged" not in out


def test_root_upgrades_no_process_of_a_user(cell: Cell, forged: Volume) -> None:
    """Root's own node daemon is found in any case, and no text of the document is printed."""
    for arguments in (["--node"], ["--all"], [forged.path]):
        out, err = run_as_root(cell, "upgrade", *arguments)
        assert "forged" not in out + err
    assert f"belongs to user {USER}" in err


def test_root_sees_no_history_of_a_user(cell: Cell, forged: Volume) -> None:
    out, err = run_as_root(cell, "rollout", "history", "secret/app")
    assert "forged" not in out + err


def test_the_document_is_read(cell: Cell, forged: Volume) -> None:
    """Root's list has the user's volumes."""
    out, _ = run_as_root(cell, "status", "-o", "json")
    assert "forged" in out
