"""`--command NAME=PROGRAM` with `--check-content command:NAME`, of a single mount."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib import program
from lib.cell import USER, Cell
from lib.sources import Manifests
from lib.volume import VolumeMaker
from lib.waiting import until

SCRIPT = """#!/bin/sh
test "$(id -u)" %s || { echo "user $(id -u)" >&2; exit 1; }
test "$(tar -xOf - password)" != bad || { echo "password: invalid" >&2; exit 1; }
"""


@pytest.fixture
def check(area: Path) -> Path:
    path = area / "check"
    path.write_text(SCRIPT % "-ge 1879048192")
    path.chmod(0o755)
    return path


def test_update_is_held(mount: VolumeMaker, manifests: Manifests, check: Path) -> None:
    manifests.put_secret({"password": b"dummy-1"})
    volume = mount(manifests, f"--command=c={check}", "--check-content=command:c")
    manifests.put_secret({"password": b"bad"})
    reason = "command:c ended with exit status 1: password: invalid"
    until(lambda: reason in volume.log(), f"held; {reason}")
    assert volume.read("password") == b"dummy-1"
    manifests.put_secret({"password": b"dummy-3"})
    until(lambda: volume.read("password") == b"dummy-3", "the next one")


def test_user(mount: VolumeMaker, manifests: Manifests, check: Path) -> None:
    check.write_text(SCRIPT % "= 1234")
    manifests.put_secret({"password": b"dummy-1"})
    volume = mount(manifests, f"--command=c={check}", "--check-content=command:c", "--command-user=1234")
    assert volume.read("password") == b"dummy-1"


def test_command_of_an_ordinary_user(
    cell: Cell, start_mount: VolumeMaker, manifests: Manifests, check: Path
) -> None:
    """It is the user's, with the limits of any command."""
    check.write_text(SCRIPT % f"= {USER}")
    manifests.put_secret({"password": b"dummy-1"})
    options = (f"--command=c={check}", "--check-content=command:c")
    volume = cell.start_mount(start_mount, *manifests.arguments, *options).wait_ready()
    manifests.put_secret({"password": b"bad"})
    until(lambda: "status 1: password: invalid" in volume.log(), "held")
    manifests.put_secret({"password": b"dummy-3"})
    shown = volume.path / "password"
    until(lambda: cell.run("cat", shown).stdout == "dummy-3", "the next one")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ["--check-content=command:c"],
            "command:c: unknown command; name it with --command c=PROGRAM",
        ),
        (["--command=c=check"], "expected the absolute path of a program"),
        (["--command=C=/check"], 'invalid name "C"'),
        (["--command=c=/check", "--command-user=no-such-user"], 'unknown user "no-such-user"'),
    ],
)
def test_invalid_options(area: Path, options: list[str], reason: str) -> None:
    (area / "m").mkdir()
    (area / "t").mkdir()
    command = [str(program.binary()), "mount", "-f", "--manifests", str(area / "m"), *options]
    done = program.run([*command, "secret/app", str(area / "t")], home=area / "home")
    assert done.returncode == 2
    assert reason in done.stderr


def test_missing_rights_are_named(
    start_mount: VolumeMaker, manifests: Manifests, check: Path
) -> None:
    """As under a systemd unit without the drop-in."""
    manifests.put_secret({"password": b"dummy-1"})
    options = (f"--command=c={check}", "--check-content=command:c", "secret/app")
    prefix = ("setpriv", "--bounding-set=-setuid")
    volume = start_mount(*manifests.arguments, *options, prefix=prefix)
    volume.expected_exit = 1
    assert volume.wait_end() == 1
    assert "need CAP_SETUID, CAP_SETGID and CAP_KILL, which this process lacks: install" in volume.log()
