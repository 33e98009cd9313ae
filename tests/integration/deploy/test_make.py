"""What `make` says when something is missing, and what it writes for editors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lib.deploy import TOP

FAKE_PKG_CONFIG = """#!/bin/sh
case "$*" in *libcurl*) exit 1 ;; esac
exec {real} "$@"
"""
FAKE_DPKG_QUERY = """#!/bin/sh
case "$*" in
*strace*) echo "unknown ok not-installed" ;;
*) echo "install ok installed" ;;
esac
"""
FAKE_APT_GET = """#!/bin/sh
echo "$@" >>{calls}
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory of programs that stand before those of PATH."""
    path = tmp_path / "programs"
    path.mkdir()
    return path


def add_program(programs: Path, name: str, text: str) -> None:
    (programs / name).write_text(text)
    (programs / name).chmod(0o755)


def make(programs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    environ["PATH"] = f"{programs}:{environ['PATH']}"
    return subprocess.run(
        ["make", *arguments],
        cwd=TOP,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_missing_library_is_named_with_package_and_command(programs: Path) -> None:
    real = shutil.which("pkg-config")
    add_program(programs, "pkg-config", FAKE_PKG_CONFIG.format(real=real))
    run = make(programs, "-j4", "BUILD=debug", "build/debug/secretfs")
    assert run.returncode != 0
    lines = run.stdout.splitlines()
    assert "  libcurl (Debian package libcurl4-openssl-dev)" in lines
    assert "install them as root with: make packages-build" in lines
    assert "or with: apt-get install libcurl4-openssl-dev" in lines
    assert "  CC " not in run.stdout
    assert len(lines) < 8, run.stdout


def test_missing_unit_library_is_named_with_package_and_command(programs: Path) -> None:
    real = shutil.which("pkg-config")
    text = FAKE_PKG_CONFIG.format(real=real).replace("libcurl", "cmocka")
    add_program(programs, "pkg-config", text)
    run = make(programs, "BUILD=debug", "needs-cmocka")
    assert run.returncode != 0
    assert "  cmocka (Debian package libcmocka-dev)" in run.stdout.splitlines()
    assert "install them as root with: make packages-test" in run.stdout.splitlines()


@pytest.mark.parametrize("verb", ["test", "test-tsan", "integration", "bench", "e2e", "systemd-test"])
def test_missing_package_is_named_and_not_installed(programs: Path, verb: str) -> None:
    calls = programs / "calls"
    add_program(programs, "dpkg-query", FAKE_DPKG_QUERY)
    add_program(programs, "apt-get", FAKE_APT_GET.format(calls=calls))
    run = make(programs, verb, "BUILD=debug")
    assert run.returncode != 0
    lines = run.stdout.splitlines()
    assert "Debian packages are missing: strace" in lines
    assert "or with: apt-get install strace" in lines
    assert any(line.startswith("install them as root with: make packages-") for line in lines)
    assert not calls.exists()


def test_compiler_is_asked_only_when_something_is_compiled(programs: Path) -> None:
    """A package verb installs it: until then make says nothing of it, and knows nothing about it."""
    calls = programs / "calls"
    add_program(programs, "asked", f'#!/bin/sh\necho "$@" >>{calls}\nexec gcc "$@"\n')
    assert make(programs, "-n", "packages-demo", "CC=asked").returncode == 0
    assert not calls.exists()
    run = make(programs, "-n", "all", "CC=asked", "BUILD=release")
    assert run.returncode == 0, run.stdout
    assert calls.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root installs")
def test_package_verb_installs_with_one_call(programs: Path) -> None:
    calls = programs / "calls"
    add_program(programs, "dpkg-query", FAKE_DPKG_QUERY)
    add_program(programs, "apt-get", FAKE_APT_GET.format(calls=calls))
    run = make(programs, "packages-test")
    assert run.returncode == 0, run.stdout
    update, install = calls.read_text().splitlines()
    assert update.split()[0] == "update"
    assert install.split()[0] == "install"
    assert install.split()[-1] == "strace"


def test_package_verb_goes_before_the_verbs_beside_it(programs: Path) -> None:
    calls = programs / "calls"
    add_program(programs, "dpkg-query", FAKE_DPKG_QUERY)
    add_program(programs, "apt-get", FAKE_APT_GET.format(calls=calls))
    run = make(programs, "-n", "-j8", "packages-test", "needs-test")
    orders = [line.split()[1] for line in run.stdout.splitlines() if "packages.sh" in line]
    assert orders == ["install", "check"], run.stdout


def test_compilation_database_has_each_source(programs: Path) -> None:
    database = TOP / "compile_commands.json"
    before = database.read_bytes() if database.exists() else None
    try:
        run = make(programs, "compdb", "BUILD=debug")
        assert run.returncode == 0, run.stdout
        entries = json.loads(database.read_text())
    finally:
        database.unlink(missing_ok=True)
        if before is not None:
            database.write_bytes(before)
    listed = subprocess.check_output(["git", "ls-files", "*.c"], cwd=TOP, text=True).split()
    assert [entry["file"] for entry in entries] == listed
    assert all(entry["directory"] == str(TOP) for entry in entries)
    for entry in entries:
        assert entry["arguments"][-1] == entry["file"]
        assert "-I." in entry["arguments"]


def test_conformance_without_its_programs_fails(programs: Path, tmp_path: Path) -> None:
    result = make(programs, "conformance", "KUBE=newest", f"KUBE_ASSETS_newest={tmp_path}")

    assert result.returncode != 0
    assert "set KUBE_ASSETS_newest=DIR" in result.stdout
    assert "skipped" not in result.stdout
