"""One container for all of these tests, in which the Debian package gets installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator

import pytest

from lib.debian_tree import TreeUnusable, make_tree
from lib.deploy import TOP
from lib.machine import BootFailed, Machine, all_files


@pytest.fixture(scope="session")
def package() -> Path:
    """The package that `make deb` made; SECRETFS_DEB names another."""
    named = os.environ.get("SECRETFS_DEB")
    found = [Path(named)] if named else sorted((TOP / "build").glob("secretfs_*.deb"))
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
