"""How soon its threads run beside busy ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib.scheduling import slice_ns

SHORT_NS = 100_000
OWN_NS = slice_ns(0)

pytestmark = pytest.mark.skipif(OWN_NS == 0, reason="the kernel has no slices of threads' choice")


def test_all_threads_of_a_mount_have_short_slices(manifests, mount):
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    threads = [int(name) for name in os.listdir(f"/proc/{volume.pid}/task")]
    assert len(threads) > 3
    names = {Path(f"/proc/{volume.pid}/task/{each}/comm").read_text().strip() for each in threads}
    assert {"fuse-worker", "publisher", "privileged"} <= names
    assert {slice_ns(each) for each in threads} == {SHORT_NS}


def test_a_command_of_exec_has_the_usual_slice(manifests, start_exec):
    manifests.put_secret({"k": b"dummy"})
    execution = start_exec(*manifests.arguments, "--env", "A=secret/app/k", "--", "@worker")
    command = execution.record.wait("start")["pid"]
    assert slice_ns(command) == OWN_NS
