"""The Debian package that `make deb` has built."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

TOP = Path(__file__).parents[3]
VERSION = (TOP / "VERSION").read_text().strip()


def output_of(*command: str) -> str:
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True).stdout


def built_in(top: Path) -> dict[str, str]:
    """The digests of what `make deb` makes."""
    files = [*(top / "build").glob("secretfs_*.deb"), top / "build" / f"secretfs_{VERSION}.spdx.json"]
    assert len(files) == 2
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_two_builds_in_two_folders_are_byte_identical(tmp_path: Path) -> None:
    other = tmp_path / "another-folder"
    for name in output_of("git", "ls-files").splitlines():
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TOP / name, other / name, follow_symlinks=False)
    epoch = output_of("git", "log", "-1", "--format=%ct").strip()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    command = ["make", f"-j{os.cpu_count()}", "deb"]
    subprocess.run(command, cwd=other, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert built_in(other) == built_in(TOP)


def test_sbom_lists_the_libraries_with_versions() -> None:
    document = json.loads((TOP / "build" / f"secretfs_{VERSION}.spdx.json").read_text())
    assert document["spdxVersion"] == "SPDX-2.3"
    versions = {package["name"]: package["versionInfo"] for package in document["packages"]}
    assert versions["secretfs"] == VERSION
    for name in ("libfuse3-3", "libnghttp2-14", "libsystemd0"):
        assert versions[name] == output_of("dpkg-query", "-W", "-f", "${Version}", name)


def test_program_is_hardened() -> None:
    """A position-independent program with full RELRO, whose calls of libc are fortified."""
    program = str(TOP / "build" / "release" / "secretfs")
    header = output_of("readelf", "-Wh", program)
    dynamic = output_of("readelf", "-Wd", program)
    symbols = output_of("readelf", "-Ws", "--dyn-syms", program)
    assert "DYN (Position-Independent Executable file)" in header
    assert "BIND_NOW" in dynamic and "GNU_RELRO" in output_of("readelf", "-Wl", program)
    assert "__stack_chk_fail" in symbols and "__snprintf_chk" in symbols
    information = output_of("readelf", "--debug-dump=info", "--dwarf-depth=1", program)
    options = re.findall(r"DW_AT_producer.*?: (GNU C17 .*)", information)
    assert options
    for each in ("-fstack-protector-strong", "-fstack-clash-protection", "-ftrivial-auto-var-init"):
        assert all(each in unit for unit in options), each
    if os.uname().machine == "x86_64":  # each function that a pointer may lead to begins so
        assert output_of("objdump", "-d", "--no-show-raw-insn", program).count("endbr64") > 500


def test_lintian_finds_no_error() -> None:
    (package,) = (TOP / "build").glob("secretfs_*.deb")
    subprocess.run(["lintian", "--allow-root", "--fail-on", "error", package], check=True)
