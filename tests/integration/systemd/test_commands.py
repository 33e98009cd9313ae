"""Commands of the administrator under the unit, which needs a drop-in for them."""

from __future__ import annotations

import json
from typing import Iterator

import pytest

from lib.machine import Machine, put_secret
from lib.waiting import until

SERVICE = "secretfs.service"
CONFIG = """\
manifests: /manifests
metrics-bind-address: "0"
registration-path: none
commands:
- name: not-bad
  command: [/usr/local/bin/not-bad]
"""
CHECK = """#!/bin/sh
test "$(id -u)" -ge 1879048192 || { echo "user $(id -u)" >&2; exit 1; }
test "$(tar -xOf - password)" != bad || { echo "password: invalid" >&2; exit 1; }
"""
VOLUME = {
    "target": "/run/static/db",
    "volume": {"secret": {"secretName": "db"}, "secretfs": {"check": "command:not-bad"}},
}
DROP_IN = "/etc/systemd/system/secretfs.service.d/commands.conf"


@pytest.fixture
def host(installed: Machine) -> Iterator[Machine]:
    """With a static volume whose content a command checks; afterwards as it was."""
    shipped = installed.path("/etc/secretfs/node.yaml").read_text()
    put_secret(installed, "db", "dummy-1")
    installed.write("/usr/local/bin/not-bad", CHECK)
    installed.run("chmod", "755", "/usr/local/bin/not-bad")
    installed.write("/etc/secretfs/node.yaml", CONFIG)
    installed.write("/etc/secretfs/volumes.d/db.yaml", json.dumps(VOLUME))
    yield installed
    installed.run("systemctl", "stop", SERVICE, check=False)
    installed.shell(f"rm -f {DROP_IN} /etc/secretfs/volumes.d/db.yaml /manifests/db.yaml /usr/local/bin/not-bad")
    installed.run("systemctl", "daemon-reload")
    installed.run("systemctl", "reset-failed", SERVICE, check=False)
    installed.write("/etc/secretfs/node.yaml", shipped)


def test_drop_in(host: Machine) -> None:
    """Without it the service says what to do; with it a command checks content, as a user of its own."""
    host.run("systemctl", "start", SERVICE, check=False)
    until(lambda: "install the example commands.conf as a drop-in" in host.journal(SERVICE), "the reason")
    host.run("systemctl", "stop", SERVICE, check=False)
    host.run("systemctl", "reset-failed", SERVICE, check=False)
    host.run("install", "-D", "-m", "0644", "/usr/share/doc/secretfs/examples/commands.conf", DROP_IN)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", SERVICE)
    host.wait_read("/run/static/db/password", "dummy-1", SERVICE)
    put_secret(host, "db", "bad")
    reason = "command:not-bad ended with exit status 1: password: invalid"
    until(lambda: reason in host.journal(SERVICE), "the update to be held")
    assert host.read("/run/static/db/password") == "dummy-1"
    put_secret(host, "db", "dummy-2")
    host.wait_read("/run/static/db/password", "dummy-2", SERVICE)
