"""`--on-update reload-unit:NAME.service` and `--on-update exec:NAME`, of a single mount."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib import program
from lib.cell import Cell
from lib.sources import Manifests
from lib.system_bus import SystemBus
from lib.volume import VolumeMaker
from lib.waiting import until

RELOAD = "--on-update=reload-unit:app.service"
SCRIPT = """#!/bin/sh
echo "$(cat "$SECRETFS_TARGET/password") $SECRETFS_VOLUME" >>{runs}
"""


@pytest.fixture
def runs(area: Path) -> Path:
    path = area / "runs"
    path.touch()
    path.chmod(0o666)
    return path


@pytest.fixture
def command(area: Path, runs: Path) -> str:
    path = area / "note"
    path.write_text(SCRIPT.format(runs=runs))
    path.chmod(0o755)
    return f"--command=note={path}"


def test_unit_is_reloaded(mount: VolumeMaker, manifests: Manifests, bus: SystemBus) -> None:
    """After each update that changes the files, and not for the first content."""
    manifests.put_secret({"password": b"dummy-1"})
    volume = mount(manifests, RELOAD, env=bus.environment)
    manifests.put_secret({"password": b"dummy-2"})
    volume.wait_log("reloaded a unit after an update")
    assert bus.reloads == ["app.service"]
    manifests.touch_secret()
    manifests.put_secret({"password": b"dummy-3"})
    until(lambda: len(bus.reloads) == 2, "the second reload")


def test_reload_that_fails(mount: VolumeMaker, manifests: Manifests, area: Path) -> None:
    manifests.put_secret({"password": b"dummy-1"})
    volume = mount(manifests, RELOAD, env={"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={area}/none"})
    manifests.put_secret({"password": b"dummy-2"})
    reason = "cannot call systemd by the system bus: No such file or directory"
    volume.wait_log(reason)
    assert volume.status()["updateError"] == reason
    volume.wait_content({"password": b"dummy-2"})


def test_command_runs(
    mount: VolumeMaker, manifests: Manifests, command: str, runs: Path
) -> None:
    manifests.put_secret({"password": b"dummy-1"})
    volume = mount(manifests, command, "--on-update=exec:note")
    manifests.put_secret({"password": b"dummy-2"})
    volume.wait_log("ran a command after an update")
    assert runs.read_text() == "dummy-2 secret/default/app\n"


def test_ordinary_user(
    cell: Cell, start_mount: VolumeMaker, manifests: Manifests, area: Path
) -> None:
    """Has services of their own reloaded, by their own bus."""
    bus = SystemBus(area / "bus")
    (area / "bus").chmod(0o666)
    try:
        manifests.put_secret({"password": b"dummy-1"})
        env = {"DBUS_SESSION_BUS_ADDRESS": bus.environment["DBUS_SYSTEM_BUS_ADDRESS"]}
        volume = cell.start_mount(start_mount, *manifests.arguments, RELOAD, env=env).wait_ready()
        manifests.put_secret({"password": b"dummy-2"})
        volume.wait_log("reloaded a unit after an update")
        assert bus.reloads == ["app.service"]
    finally:
        bus.close()


def test_ordinary_user_without_a_bus(
    cell: Cell, start_mount: VolumeMaker, manifests: Manifests
) -> None:
    volume = cell.start_mount(start_mount, *manifests.arguments, RELOAD)
    volume.expected_exit = 2
    volume.wait_end()
    assert "--on-update: cannot find the user's systemd" in volume.log()


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("signal:HUP", '--on-update: invalid onUpdate "signal:HUP": use reload-unit:NAME.service'),
        ("reload-unit:app", '--on-update: invalid onUpdate "reload-unit:app"'),
        ("exec:/bin/sh", '--on-update: invalid onUpdate "exec:/bin/sh"'),
        ("exec:note", "exec:note: unknown command; name it with --command note=PROGRAM"),
    ],
)
def test_invalid_words(area: Path, word: str, reason: str) -> None:
    (area / "m").mkdir()
    (area / "t").mkdir()
    command = [str(program.binary()), "mount", "-f", "--manifests", str(area / "m")]
    done = program.run(
        [*command, f"--on-update={word}", "secret/app", str(area / "t")], home=area / "home"
    )
    assert done.returncode == 2
    assert reason in done.stderr
