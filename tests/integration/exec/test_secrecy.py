"""Values are in the command's environment and nowhere else where they could be seen."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lib import memory
from lib.memory import new_marker, not_asan
from lib.sources import Api, Source

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can read the program's memory")


def ps(*columns: str) -> bytes:
    """What everybody can list, of all processes and all their threads."""
    command = ["ps", "-eLww", "-o", ",".join(columns)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def assert_shown_nowhere(execution, marker: bytes) -> None:
    listed = ps("pid=", "comm=", "args=")
    log = execution.log().encode()
    for needle in memory.needles(marker):
        assert needle not in listed
        assert needle not in log
        for name in ("cmdline", "environ", "comm"):
            assert needle not in Path(f"/proc/{execution.pid}/{name}").read_bytes(), name


def test_no_value_in_ps_or_log(source: Source, start_exec, area: Path):
    """While it waits, runs and restarts, logging all it can; nor is a literal of --env-spec."""
    first, second, literal = new_marker(), new_marker(), new_marker()
    spec = area / "env.yaml"
    spec.write_text(
        "env:\n"
        "- {name: A, valueFrom: {secretKeyRef: {name: app, key: k}}}\n"
        f"- {{name: B, value: {literal.decode()}-$(A)}}\n"
    )
    execution = start_exec(
        *source.arguments,
        *("--log-level", "debug", "--on-change", "restart", "--env-spec", spec, "--", "@worker"),
        secrets=(literal.decode(), first.decode(), second.decode()),
    )
    assert_shown_nowhere(execution, literal)
    for count, marker in enumerate((first, second), 1):
        source.put_secret({"k": marker})
        environment = execution.record.environment(count)
        assert environment["B"] == f"{literal.decode()}-{marker.decode()}"
        assert_shown_nowhere(execution, marker)
        assert_shown_nowhere(execution, literal)
    if isinstance(source, Api):
        assert source.server.admin_token not in execution.log()


@not_asan
@needs_root
def test_replaced_value_is_nowhere(source: Source, start_exec, area: Path):
    """Promise 5: after a restart the old value is in no memory of ours, nor what it made."""
    old, new = new_marker(), new_marker()
    spec = area / "env.yaml"
    spec.write_text("env: [{name: B, value: 'prefix-$(A)'}]")
    source.put_secret({"k": old})
    execution = start_exec(
        *source.arguments,
        *("--on-change", "restart", "--env-from", "secret/app:A", "--env", "A=secret/app/k"),
        *("--env-spec", spec, "--", "@worker"),
    )
    first = execution.record.environment(1)
    assert first["Ak"] == old.decode()
    assert memory.find(execution.pid, old), "the search has to find what is there"
    source.put_secret({"k": new})
    assert execution.record.environment(2)["Ak"] == new.decode()
    memory.wait_gone(execution.pid, old)


@needs_root
def test_no_core_dump_is_possible(manifests, start_exec):
    """Of secretfs itself, while it waits and beside its command; the command's limit is its own."""
    execution = start_exec(
        *manifests.arguments,
        *("--on-change", "restart", "--env", "A=secret/app/k", "--", "@worker"),
    )
    manifests.put_secret({"k": b"dummy"})
    execution.record.wait("start")
    limits = Path(f"/proc/{execution.pid}/limits").read_text()
    (core,) = [line.split() for line in limits.splitlines() if line.startswith("Max core")]
    assert core[4] == "0"
    assert Path(f"/proc/{execution.pid}/coredump_filter").read_text().strip() == "00000000"
