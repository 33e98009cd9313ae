"""One container for all of these tests, in which the Debian package gets installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest

from .machine import BootFailed, Machine, wait_for
from .tree import TreeUnusable, make_tree

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def package() -> Path:
    """The package that `make deb` made; SECRETFS_DEB names another."""
    named = os.environ.get("SECRETFS_DEB")
    found = [Path(named)] if named else sorted((_ROOT / "build").glob("secretfs_*.deb"))
    if len(found) != 1 or not found[0].exists():
        pytest.fail("there is not just one package in build/: run `make deb`")
    return found[0]


def _dependencies(package: Path) -> list[str]:
    done = subprocess.run(
        ["dpkg-deb", "-f", str(package), "Depends"], capture_output=True, text=True, check=True
    )
    return [re.split(r"[ (|]", word.strip())[0] for word in done.stdout.split(",")]


@pytest.fixture(scope="session")
def machine(package: Path) -> Iterator[Machine]:
    """Booted, with everything that the package needs, and the package in /root."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    with tempfile.TemporaryDirectory(prefix="secretfs-systemd-", dir="/var/tmp") as directory:
        tree = Path(directory) / "tree"
        try:
            make_tree(_dependencies(package), tree)
        except TreeUnusable as reason:
            pytest.skip(f"there is no systemd to test with: {reason}")
        shutil.copy(package, tree / "root" / "secretfs.deb")
        try:
            booted = Machine(tree)
        except BootFailed as reason:
            pytest.skip(f"a container with systemd does not boot here: {reason}")
        try:
            yield booted
            booted.power_off()
        finally:
            booted.kill()


@pytest.fixture(scope="session")
def files_before(machine: Machine) -> set[str]:
    return all_files(machine)


@pytest.fixture(scope="session")
def installed(machine: Machine, files_before: set[str]) -> Machine:
    """The container once the package is installed in it."""
    machine.run("dpkg", "-i", "/root/secretfs.deb")
    return machine


def all_files(machine: Machine) -> set[str]:
    """What is on the disk, apart from what changes by itself."""
    script = "find / -xdev -path /proc -prune -o -path /sys -prune -o -path /run -prune -o -print"
    changing = re.compile(r"^/(var/(lib/dpkg|log|cache|tmp|lib/systemd)|tmp|root|etc/mtab)(/|$)")
    return {line for line in machine.shell(script).splitlines() if not changing.match(line)}


SECRET = """\
apiVersion: v1
kind: Secret
metadata:
  name: {name}
stringData:
  password: {password}
"""


def put_secret(machine: Machine, name: str, password: str, directory: str = "/manifests") -> None:
    machine.write(f"{directory}/{name}.yaml", SECRET.format(name=name, password=password))


@contextmanager
def file_alone(machine: Machine, path: str) -> Iterator[str]:
    """A file of a volume, bind-mounted in another mount namespace; gives its path from outside."""
    machine.shell("touch /mnt-file")
    script = f"mount --bind {path} /mnt-file && touch /run/alone && exec sleep infinity"
    unit = ["systemd-run", "-q", "--unit=alone", "-p", "PrivateMounts=yes"]
    machine.run(*unit, "/bin/sh", "-c", script)
    try:
        there = ["test", "-e", "/run/alone"]
        wait_for(lambda: machine.run(*there, check=False).returncode == 0, "the bind mount")
        pid = machine.property("alone.service", "MainPID")
        yield f"/proc/{pid}/root/mnt-file"
    finally:
        machine.run("systemctl", "stop", "alone.service", check=False)
        machine.run("rm", "-f", "/mnt-file", "/run/alone")
