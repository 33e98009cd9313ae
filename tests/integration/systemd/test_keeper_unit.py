"""secretfs-keeper.service: what readers see while secretfs.service is stopped."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from lib.machine import Machine, put_secret
from lib.waiting import until

SERVICE, KEEPER = "secretfs.service", "secretfs-keeper.service"
CONFIG = """\
manifests: /manifests
metrics-bind-address: "0"
registration-path: none
"""
TARGET = "/run/static/db"


@pytest.fixture
def host(installed: Machine) -> Iterator[Machine]:
    """With one static volume, and both units started; afterwards as it was."""
    shipped = installed.path("/etc/secretfs/node.yaml").read_text()
    put_secret(installed, "db", "dummy-1")
    installed.write("/manifests/db.yaml", json.dumps(secret("dummy-1", "cold-1")))
    installed.write("/etc/secretfs/node.yaml", CONFIG)
    volume = {"target": TARGET, "volume": {"secret": {"secretName": "db"}}}
    installed.write("/etc/secretfs/volumes.d/db.yaml", json.dumps(volume))
    installed.run("systemctl", "start", KEEPER)
    installed.run("systemctl", "start", SERVICE)
    installed.wait_read(f"{TARGET}/password", "dummy-1", SERVICE)
    yield installed
    installed.run("systemctl", "stop", SERVICE, KEEPER, check=False)
    installed.run("systemctl", "start", SERVICE, check=False)  # without the keeper it leaves nothing behind
    installed.run("systemctl", "stop", SERVICE, check=False)
    installed.write("/etc/secretfs/node.yaml", shipped)
    installed.shell("rm -f /etc/secretfs/volumes.d/db.yaml /manifests/db.yaml")


def secret(password: str, cold: str) -> dict[str, object]:
    data = {"password": password, "cold": cold}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": data}


class Reader:
    """`cat` of a file in there."""

    def __init__(self, host: Machine, path: str) -> None:
        self._process = subprocess.Popen(
            ["cat", str(host.root / path.lstrip("/"))],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )

    def waits(self) -> bool:
        """For an answer of the file system."""
        where = Path(f"/proc/{self._process.pid}/wchan").read_text()
        return "request_wait" in where or "fuse" in where

    def end(self) -> tuple[int, str, str]:
        out, errors = self._process.communicate()
        return self._process.returncode, out, errors


def stopped(host: Machine) -> Reader:
    """Returns a reader of what was never read before, which waits."""
    for _ in range(2):  # after the first read(2) of a file the kernel asks once for its attributes
        host.read(f"{TARGET}/password")
    host.run("systemctl", "stop", SERVICE)
    assert host.property(SERVICE, "ActiveState") == "inactive"
    assert host.mounts_at(TARGET) == ["fuse.secretfs"]
    reader = Reader(host, f"{TARGET}/cold")
    until(reader.waits, "a reader that waits")
    return reader


def test_a_stop_keeps_what_is_mounted(host: Machine) -> None:
    """What was read before is read on; another request waits for the next start, which brings updates."""
    generation = host.output("readlink", f"{TARGET}/..data")
    reader = stopped(host)
    assert host.read(f"{TARGET}/password") == "dummy-1"
    assert host.output("readlink", f"{TARGET}/..data") == generation
    host.run("systemctl", "start", SERVICE)
    assert reader.end() == (0, "cold-1", "")
    host.write("/manifests/db.yaml", json.dumps(secret("dummy-2", "cold-2")))
    host.wait_read(f"{TARGET}/password", "dummy-2", SERVICE)
    assert host.mounts_at(TARGET) == ["fuse.secretfs"]


@pytest.mark.parametrize("action", ["restart", "reload"])
def test_a_restart_and_a_reload_hand_over(host: Machine, action: str) -> None:
    device = os.stat(host.root / TARGET.lstrip("/")).st_dev
    pid = host.read("/run/secretfs/node.lock").strip()
    host.run("systemctl", action, SERVICE)
    until(lambda: host.read("/run/secretfs/node.lock").strip() not in ("", pid), "another daemon")
    host.write("/manifests/db.yaml", json.dumps(secret("dummy-2", "cold-2")))
    host.wait_read(f"{TARGET}/password", "dummy-2", SERVICE)
    assert os.stat(host.root / TARGET.lstrip("/")).st_dev == device


def test_a_killed_daemon(host: Machine) -> None:
    device = os.stat(host.root / TARGET.lstrip("/")).st_dev
    pid = host.read("/run/secretfs/node.lock").strip()
    host.run("kill", "-KILL", pid)
    until(lambda: host.read("/run/secretfs/node.lock").strip() not in ("", pid), "another daemon")
    assert host.read(f"{TARGET}/cold") == "cold-1"
    assert os.stat(host.root / TARGET.lstrip("/")).st_dev == device


def test_stop_unmount(host: Machine) -> None:
    """It refuses while the daemon runs. With the end of the keeper readers that wait get an error."""
    done = host.run("secretfs", "stop", "--unmount", check=False)
    assert done.returncode == 1 and "the node daemon runs (process " in done.stderr
    assert host.mounts_at(TARGET) == ["fuse.secretfs"]
    reader = stopped(host)
    host.run("systemctl", "stop", KEEPER)
    code, out, errors = reader.end()
    assert (code, out) == (1, "")
    assert any(os.strerror(number) in errors for number in (errno.ENOTCONN, errno.ECONNABORTED))
    assert host.mounts_at(TARGET) == []
    assert "fuse.secretfs" not in host.read("/proc/1/mountinfo")
    assert host.output("secretfs", "stop", "--unmount") == "0 mounts unmounted"


def test_an_invalid_configuration_at_a_reload(host: Machine) -> None:
    """What is kept behind the socket is not checked, but the configuration is."""
    pid = host.read("/run/secretfs/node.lock")
    host.write("/etc/secretfs/node.yaml", "sparkle: 1\n")
    host.run("systemctl", "reload", SERVICE)
    refusal = "--check failed: there is no hand-over, the running process goes on"
    until(lambda: refusal in host.journal(SERVICE), "the refusal")
    assert host.read("/run/secretfs/node.lock") == pid


def test_a_shutdown_does_not_wait_for_readers(host: Machine) -> None:
    """One that waits, and handles SIGTERM, gets an error when the keeper ends."""
    stopped(host)
    host.run("systemd-run", "--unit=waiting", "/bin/sh", "-c", f"trap '' TERM; cat {TARGET}/cold")
    host.reboot()
    host.run("systemctl", "start", KEEPER, SERVICE)
    host.wait_read(f"{TARGET}/password", "dummy-1", SERVICE)
