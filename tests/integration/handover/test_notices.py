"""`secretfs mount --on-update`: the update that a process has shown when it ends, and not notified of."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

from lib.descriptor_store import Service
from lib.sources import Manifests
from lib.storm import read
from lib.waiting import until

SCRIPT = """#!/bin/sh
cat "$SECRETFS_TARGET/password" >>{runs}
echo >>{runs}
while ! test -e {gate}; do sleep 0.01; done
"""


@pytest.fixture(params=["killed", "handed over"])
def end(request: pytest.FixtureRequest) -> Callable[[Service], object]:
    return Service.kill if request.param == "killed" else Service.hand_over


def test_run_that_is_ended(
    area: Path, service: Service, manifests: Manifests, end: Callable[[Service], object]
) -> None:
    """It is repeated, and one that has ended is not."""
    runs, gate, program = area / "runs", area / "gate", area / "note"
    runs.touch()
    runs.chmod(0o666)
    program.write_text(SCRIPT.format(runs=runs, gate=gate))
    program.chmod(0o755)
    service.arguments[:0] = [f"--command=note={program}", "--on-update=exec:note"]
    service.start()
    end(service)
    service.start()  # nothing to notify of
    manifests.put_secret({"password": b"dummy-2"})
    until(lambda: runs.read_text() == "dummy-2\n", f"a run; {service.log()}")
    end(service)
    service.start()
    until(lambda: runs.read_text() == "dummy-2\n" * 2, f"another run; {service.log()}")
    gate.touch()
    until(lambda: "ran a command after an update" in service.log(), "its end")
    end(service)
    service.start()
    manifests.put_secret({"password": b"dummy-3"})
    until(lambda: read(service.path / "password") == b"dummy-3", "the update")
    until(lambda: runs.read_text() == "dummy-2\n" * 2 + "dummy-3\n", "one run for it")
    service.reap()
