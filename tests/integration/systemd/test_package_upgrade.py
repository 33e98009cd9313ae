"""Two versions of the package, one installed over the other, under units and in the background."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest

from lib import storm
from lib.machine import Machine
from lib.package import VERSION, make_other_version, other_version

NODE = "secretfs.service"
UNIT = "secretfs@app.service"
PLACES = {"node": "/run/static/db", "unit": "/run/app/secrets", "background": "/mnt/background"}
# few, as the package manager needs processors, too
READERS = [storm.READERS[0], storm.READERS[-1]]
OTHER, INSTALLED = "/root/other.deb", "/root/secretfs.deb"


def put_version(host: Machine, number: int) -> None:
    """Of the secret that readers in loops expect."""
    text = storm.value(number).decode()
    secret = {"metadata": {"name": "storm"}, "stringData": {"password": text, "cold": text}}
    host.write("/manifests/storm.yaml", json.dumps({"apiVersion": "v1", "kind": "Secret", **secret}))


def wait_version(host: Machine, number: int) -> None:
    for path in PLACES.values():
        host.wait_read(f"{path}/password", storm.value(number).decode())


def status(host: Machine, path: str) -> dict[str, str | int]:
    return json.loads(host.output("secretfs", "status", "-o", "json", path))


def served(host: Machine) -> dict[str, str]:
    """The version of the process that serves each volume."""
    return {name: str(status(host, path)["version"]) for name, path in PLACES.items()}


def processes(host: Machine) -> set[int]:
    return {int(status(host, path)["pid"]) for path in PLACES.values()}


@contextmanager
def readers(host: Machine) -> Iterator[None]:
    """Readers of each volume in loops, of which no call may fail."""
    loops = {
        name: storm.readers_of(host.root / path.lstrip("/"), READERS)
        for name, path in PLACES.items()
    }
    try:
        yield
    finally:
        outcomes = {name: each.stop() for name, each in loops.items()}
    print(f"\nreaders of {outcomes}")
    for each in outcomes.values():
        storm.check(each)


@pytest.fixture
def other_package(installed: Machine, package: Path) -> Iterator[str]:
    """Beside the installed one, which is installed again afterwards."""
    make_other_version(package, installed.path(OTHER))
    yield OTHER
    installed.run("dpkg", "-i", INSTALLED)
    installed.run("rm", OTHER)


@pytest.fixture
def host(installed: Machine) -> Iterator[Machine]:
    """With a static volume of the node daemon, one of a unit, and one in the background."""
    shipped = installed.path("/etc/secretfs/node.yaml").read_text()
    installed.write(
        "/etc/secretfs/node.yaml",
        'manifests: /manifests\nmetrics-bind-address: "0"\nregistration-path: none\n',
    )
    volume = {"target": PLACES["node"], "volume": {"secret": {"secretName": "storm"}}}
    installed.write("/etc/secretfs/volumes.d/db.yaml", json.dumps(volume))
    installed.write(
        "/etc/secretfs/app.env",
        f"SECRETFS_OBJECT=secret/storm\nSECRETFS_TARGET={PLACES['unit']}\n"
        "SECRETFS_OPTIONS=--manifests=/manifests\n",
    )
    installed.run("mkdir", "-p", PLACES["background"])
    put_version(installed, 1)
    installed.run("systemctl", "start", NODE, UNIT)
    installed.run("secretfs", "mount", "--manifests=/manifests", "secret/storm", PLACES["background"])
    wait_version(installed, 1)
    yield installed
    installed.run("secretfs", "unmount", "--lazy", PLACES["background"], check=False)
    installed.run("systemctl", "stop", NODE, UNIT, check=False)
    installed.write("/etc/secretfs/node.yaml", shipped)
    installed.shell("rm -f /etc/secretfs/volumes.d/db.yaml /etc/secretfs/app.env /manifests/storm.yaml")
    installed.run("rmdir", PLACES["background"])


def test_upgrade_and_downgrade(host: Machine, other_package: str) -> None:
    """By apt and by dpkg: all processes are of the new version, and no call of a reader fails."""
    steps = (
        (["apt-get", "install", "-y", "--allow-downgrades", other_package], other_version()),
        (["dpkg", "-i", INSTALLED], VERSION),
    )
    assert served(host) == dict.fromkeys(PLACES, VERSION)
    with readers(host):
        for number, (command, expected) in enumerate(steps, 2):
            before = processes(host)
            host.run(*command)
            assert served(host) == dict.fromkeys(PLACES, expected)
            assert processes(host).isdisjoint(before)
            put_version(host, number)
            wait_version(host, number)
    assert host.is_active(NODE) and host.is_active(UNIT)


def test_the_same_version_again(host: Machine) -> None:
    """What was built again replaces what runs, too."""
    before = processes(host)
    with readers(host):
        host.run("dpkg", "-i", INSTALLED)
    assert processes(host).isdisjoint(before)
    installed = host.output("secretfs", "upgrade", "--all")
    assert installed.startswith("All processes run the installed program, version ")


def test_the_commands(host: Machine) -> None:
    """`secretfs upgrade` for the node daemon, and for each volume by a path in it."""
    before = processes(host)
    assert host.output("secretfs", "upgrade", "--node").startswith("node daemon: version ")
    assert host.output("secretfs", "upgrade", f"{PLACES['node']}/password").startswith("node daemon: ")
    for name in ("unit", "background"):
        done = host.output("secretfs", "upgrade", PLACES[name])
        assert done.startswith(f"{PLACES[name]}: version ")
    assert processes(host).isdisjoint(before)


def test_a_version_that_fails_its_check(host: Machine) -> None:
    """The installation succeeds, dpkg prints the reason, and what runs goes on; others are replaced."""
    before = {name: status(host, path)["pid"] for name, path in PLACES.items()}
    host.write("/etc/secretfs/node.yaml", "sparkle: 1\n")
    done = host.run("dpkg", "-i", INSTALLED)
    assert 'unknown option "sparkle"' in done.stderr
    assert "secretfs: node daemon: there is no hand-over: " in done.stderr
    after = {name: status(host, path)["pid"] for name, path in PLACES.items()}
    assert after["node"] == before["node"]
    assert after["unit"] != before["unit"] and after["background"] != before["background"]
    put_version(host, 2)
    wait_version(host, 2)
