"""Fixtures: a private directory, and plug-ins that are always ended."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Iterator

import pytest

from lib import harness as harness_module
from lib.harness import Harness, HarnessMaker


@pytest.fixture(scope="session", autouse=True)
def requirements() -> None:
    if not harness_module.binary().exists():
        pytest.fail(f"{harness_module.binary()} is not built (CSI_HARNESS names another)")


@pytest.fixture
def area() -> Iterator[Path]:
    """A directory of this test's own, with a short name: sockets' paths have 108 bytes."""
    path = Path(tempfile.mkdtemp(prefix="secretfs-csi-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start(area: Path) -> Iterator[HarnessMaker]:
    """Starts plug-ins; at the end each has to come to an orderly end, unless it was killed."""
    made: list[Harness] = []

    def make(**options: int) -> Harness:
        made.append(Harness(area, **options))
        return made[-1]

    yield make
    failures = []
    for harness in made:
        if harness.has_refused:
            continue
        status, errors = harness.finish()
        if status not in (0, -9) or "Sanitizer" in errors or "Assertion" in errors:
            failures.append(f"exit status {status}: {errors}")
    assert not failures, "\n".join(failures)


@pytest.fixture
def plugin(start: HarnessMaker) -> Harness:
    return start().started()
