"""The Debian package: what it brings, and that it starts nothing by itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from lib.machine import Machine
from lib.pages import dangling_links

UNITS = ("secretfs.service", "secretfs@x.service", "secretfs-keeper.service")
UNIT_DIRECTORY = "/usr/lib/systemd/system"

# `systemd-analyze security` gives 0.0 for a service that can do nothing, 10.0 for one without any
# bounds. What is left is what mounting needs; secretfs.service has the reasons.
EXPOSURE_MAX = {"secretfs.service": 4.7, "secretfs@x.service": 4.6, "secretfs-keeper.service": 4.5}


def test_what_is_installed(installed: Machine):
    assert "secretfs " in installed.output("secretfs", "version")
    assert "kubectl secretfs mount" in installed.output("kubectl-secretfs", "mount", "--help")
    assert installed.output("readlink", "-f", "/sbin/mount.fuse.secretfs") == "/usr/bin/secretfs"
    listed = installed.output("dpkg", "-L", "secretfs").splitlines()
    for page in ("secretfs.1", "kubectl-secretfs.1", "mount.fuse.secretfs.8", "secretfs.service.8"):
        assert f"/usr/share/man/man{page[-1]}/{page}.gz" in listed
    conffiles = installed.output("dpkg-query", "-W", "-f", "${Conffiles}", "secretfs")
    assert [line.split()[0] for line in conffiles.split("\n")] == ["/etc/secretfs/node.yaml"]


def test_links_of_the_pages_have_targets(package: Path, tmp_path: Path):
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    doc = tmp_path / "usr/share/doc/secretfs"
    pages = sorted(doc.rglob("*.md"))
    assert doc / "README.md" in pages and doc / "docs/README.md" in pages
    assert {page: links for page in pages if (links := dangling_links(page))} == {}


@pytest.mark.parametrize("unit", ["secretfs.service", "secretfs-keeper.service"])
def test_installing_starts_nothing(installed: Machine, unit: str):
    enabled = installed.run("systemctl", "is-enabled", unit, check=False)
    assert enabled.stdout.strip() == "disabled"
    assert installed.property(unit, "ActiveState") == "inactive"


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_well_formed(installed: Machine, unit: str):
    path = f"{UNIT_DIRECTORY}/{unit}"
    done = installed.run("systemd-analyze", "verify", "--man=no", path, check=False)
    complaints = [line for line in done.stderr.splitlines() if "secretfs" in line]
    assert (done.returncode, complaints) == (0, [])


@pytest.mark.parametrize("unit", UNITS)
def test_security_exposure_stays_below_the_limit(
    installed: Machine, unit: str, capsys: pytest.CaptureFixture[str]
):
    table = installed.output("systemd-analyze", "security", "--no-pager", unit)
    level = re.search(r"exposure level for \S+: ([0-9.]+) (\S+)", table)
    assert level, table
    with capsys.disabled():
        print(f"\n  {unit}: exposure {level[1]} {level[2]}")
    assert float(level[1]) <= EXPOSURE_MAX[unit], table
