"""tests/integration/run.py shows one group after the other, and names what failed at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from lib.deploy import TOP
from lib.waiting import until

RUNNER = TOP / "tests" / "integration" / "run.py"
PASSING = "def test_passes():\n    print('detail')\n"
FAILING = "def test_fails():\n    print('detail')\n    assert False\n"
WAITING = """
import pathlib, time
def test_waits():
    try:
        pathlib.Path({started!r}).touch()
        time.sleep(1000)
    finally:
        pathlib.Path({cleaned!r}).touch()
"""


def write(directory: Path, text: str) -> Path:
    directory.mkdir()
    (directory / f"test_{directory.name}.py").write_text(text)
    return directory


def run(*groups: str | Path) -> tuple[int, list[str]]:
    """Return: exit status and output."""
    command = [sys.executable, str(RUNNER), *map(str, groups)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_passing_groups_are_shown_by_their_closing_lines(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", PASSING), write(tmp_path / "b", PASSING)
    status, lines = run(f"{a},{b}")
    assert status == 0
    assert lines[0] == f"== {a},{b}: passed"
    assert lines[1].startswith("2 passed in ")
    assert lines[2].startswith("integration: 1 of 1 groups passed, ")
    assert len(lines) == 3


def test_failing_group_is_shown_whole_and_its_tests_named_at_the_end(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "a", PASSING), write(tmp_path / "b", FAILING)
    status, lines = run(good, bad)
    assert status == 1
    assert f"== {bad}: failed with 1" in lines
    assert lines.count("detail") == 1
    assert lines[-2].startswith("FAILED ") and "test_fails" in lines[-2]
    assert lines[-1].startswith("integration: 1 of 2 groups passed, ")


def test_group_without_tests_fails(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    status, lines = run(tmp_path / "a")
    assert status == 1
    assert lines[-2] == f"FAILED {tmp_path}/a: pytest exits with 5"


def test_groups_clean_up_when_the_runner_is_ended(tmp_path: Path) -> None:
    started, cleaned = tmp_path / "started", tmp_path / "cleaned"
    text = WAITING.format(started=str(started), cleaned=str(cleaned))
    group = write(tmp_path / "a", text)
    command = [sys.executable, str(RUNNER), str(group)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as runner:
        until(lambda: os.path.exists(started) or runner.poll() is not None, "the test")
        runner.send_signal(signal.SIGTERM)
        output, _ = runner.communicate()
    assert runner.returncode == 128 + signal.SIGTERM
    assert cleaned.exists()
    assert f"FAILED {group}: interrupted by SIGTERM" in output.splitlines()
