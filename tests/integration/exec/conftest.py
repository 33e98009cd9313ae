"""Fixtures: sources of objects, and commands run by `secretfs exec`. No root and no FUSE needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from lib import program
from lib.execution import Execution
from lib.sources import Api, Manifests, Source, make_source
from lib.terminal import Terminal


@pytest.fixture(scope="session", autouse=True)
def requirements() -> None:
    if not program.binary().exists():
        pytest.fail(f"{program.binary()} is not built (SECRETFS names another)")


@pytest.fixture
def area(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.fixture
def manifests(area: Path) -> Manifests:
    return Manifests(area / "manifests")


@pytest.fixture
def http1(area: Path) -> Iterator[Api]:
    source = Api(area / "api")
    yield source
    source.close()


@pytest.fixture(params=("manifests", "http1", "http2"))
def source(request: pytest.FixtureRequest, area: Path) -> Iterator[Source]:
    """Each kind of source in turn."""
    made = make_source(request.param, area)
    yield made
    made.close()


ExecutionMaker = Callable[..., Execution]


@pytest.fixture
def start(area: Path) -> Iterator[ExecutionMaker]:
    """Starts `secretfs exec ARGUMENTS`; does not wait."""
    executions: list[Execution] = []

    def make(*arguments: str | Path, **options: Any) -> Execution:
        number = len(executions)
        made = Execution(area, number, [str(part) for part in arguments], **options)
        executions.append(made)
        return made

    yield make
    failures = []
    for execution in executions:
        try:
            execution.finish()
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n".join(failures)


@pytest.fixture
def terminal(area: Path) -> Iterator[Terminal]:
    """A shell with job control on a terminal of its own."""
    made = Terminal(area)
    yield made
    made.close()
