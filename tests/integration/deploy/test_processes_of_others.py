"""No other mount namespace is entered, and nothing that a process makes is opened below its /proc.

A container could answer from there: with mounts, links and FIFOs of its own. So neither the sources
nor the program nor the units have what it takes.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
from pathlib import Path

import pytest

from lib.deploy import TOP

ROOMS = runpy.run_path(str(TOP / "tests/lint/layers.py"))["MAY_INCLUDE"]
SOURCES = sorted(path for room in ROOMS for path in (TOP / room).glob("*.[ch]"))
UNITS = sorted((TOP / "systemd").glob("*.service.in"))

# What enters a namespace, another root or another process.
CALLS = {"setns", "chroot", "pivot_root", "ptrace", "process_vm_readv", "process_vm_writev"}
CAPABILITIES = {"CAP_SYS_CHROOT", "CAP_SYS_PTRACE"}

COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|("(?:[^"\\\n]|\\.)*")', re.DOTALL)
LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
# The process itself, or what /proc says of the machine. "/proc" and "/proc/%d" lead to others.
ALLOWED = re.compile(r"/proc/(self|thread-self|stat|meminfo|cpuinfo|sys)(/|$)")
# The keeper asks for the state of its own child, which no container can be. Consumers, and processes that
# are signalled, are identified by texts that the kernel makes, and that it makes without waiting for the
# process; the owner of the directory is the process's user. `secretfs rollout status` reads texts as root: the
# daemon has not the right to.
EXCEPTIONS = {
    TOP / "cmd" / "rollout" / "holders.c": [
        "/proc/%d/fdinfo/%s",
        "/proc/%d/mountinfo",
        "/proc/%d/fd",
        "/proc/%d/maps",
        "/proc",
    ],
    TOP / "keeper" / "leader.c": ["/proc/%d/stat"],
    TOP / "consumers" / "process.c": [
        "/proc/%d/stat",
        "/proc/%d",
        "/proc/%d/cgroup",
        "/proc/%d/status",
    ],
    TOP / "node" / "pod_signal.c": ["/proc/%d/stat", "/proc/%d/cgroup", "/proc/%d/mountinfo"],
}
FILTER = TOP / "base" / "confinement.c"
DENIED = re.compile(r"\bDENY\(\w+\),")
NAMESPACE = re.compile(r"(\./|/)?ns/")


def code_of(path: Path) -> str:
    """Without comments; strings stay. A filter of system calls has to name those that it denies."""
    code = COMMENT.sub(lambda found: found.group(1) or " ", path.read_text())
    return DENIED.sub("", code) if path == FILTER else code


def faults_of(code: str) -> list[str]:
    found = re.findall(r"\w*mount_namespace\w*", code)
    found += [word for word in re.findall(r"\w+", code) if word.removeprefix("SYS_") in CALLS]
    # adjacent strings are one
    for literal in LITERAL.findall(re.sub(r'"\s*"', "", code)):
        paths = re.findall(r"/proc(?!\w)\S*", literal)
        found += [path for path in paths if not ALLOWED.match(path)]
        found += [literal] if NAMESPACE.match(literal) else []
    return found


@pytest.mark.parametrize(
    "code",
    [
        "setns(fd, CLONE_NEWNS)",
        "syscall(SYS_setns, fd, 0)",
        "mount_namespace_enter(n)",
        'opendir("/proc")',
        'snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid)',
        'snprintf(path, sizeof(path), "/proc/" "%s" "/fdinfo", pid)',
        'open("/proc/1/root", O_PATH)',
        'openat(fd, "ns/mnt", O_RDONLY)',
    ],
)
def test_fault_in_code_is_found(code: str) -> None:
    assert faults_of(code)


def test_the_process_itself_may_be_looked_at() -> None:
    for path in ("/proc/self/mountinfo", "/proc/thread-self/ns/mnt", "/proc/stat", "/process"):
        assert faults_of(f'open("{path}", O_RDONLY)') == []


def test_sources_touch_no_process_of_others() -> None:
    assert len(SOURCES) > 200
    found = {path: faults_of(code_of(path)) for path in SOURCES}
    assert {path: faults for path, faults in found.items() if faults} == EXCEPTIONS


def test_program_imports_no_namespace_calls() -> None:
    program = os.environ.get("SECRETFS", TOP / "build" / "debug" / "secretfs")
    command = ["nm", "-D", "--undefined-only", program]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    symbols = {line.split()[-1].split("@")[0] for line in told.splitlines()}
    assert "open" in symbols or "open64" in symbols
    assert symbols & CALLS == set()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_restrict_namespaces(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    words = {word for line in lines for word in re.split(r"[=\s]+", line)}
    assert "CapabilityBoundingSet" in words
    assert words & (CALLS | CAPABILITIES) == set()
    assert "RestrictNamespaces=yes" in lines
