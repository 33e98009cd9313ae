"""tests/unit/run.py shows closing lines, the whole output of what fails, and fails itself then."""

from __future__ import annotations

import runpy
import signal
import subprocess
import sys
from pathlib import Path

from lib.deploy import TOP

RUNNER = TOP / "tests" / "unit" / "run.py"
PASSING = """\
echo '[==========] Running 2 test(s).'
echo '[ RUN      ] test_detail'
echo '[==========] 2 test(s) run.'
echo '[  PASSED  ] 2 test(s).' >&2
"""
FAILING = """\
echo '[ RUN      ] test_detail'
echo '[  FAILED  ] test_detail' >&2
echo '[==========] 1 test(s) run.'
echo '[  PASSED  ] 0 test(s).'
exit 1
"""


def write(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def run(*programs: Path, options: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """Return: exit status and output."""
    command = [sys.executable, str(RUNNER), "--jobs", "4", *options, *map(str, programs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_passing_program_is_shown_by_its_closing_lines(tmp_path: Path) -> None:
    program = write(tmp_path / "test_a", PASSING)
    status, lines = run(program)
    assert status == 0
    assert lines[:3] == [str(program), "[==========] 2 test(s) run.", "[  PASSED  ] 2 test(s)."]
    assert lines[3].startswith("units: 1 of 1 programs passed, ")
    assert len(lines) == 4


def test_failing_program_is_shown_whole_and_named_at_the_end(tmp_path: Path) -> None:
    good = write(tmp_path / "test_a", PASSING)
    bad = write(tmp_path / "test_b", FAILING)
    status, lines = run(good, bad)
    assert status == 1
    assert "[ RUN      ] test_detail" in lines
    assert "[  FAILED  ] test_detail" in lines
    assert lines[-2] == f"FAILED {bad}: exit status 1"
    assert lines[-1].startswith("units: 1 of 2 programs passed, ")


def test_programs_output_is_not_interleaved(tmp_path: Path) -> None:
    programs = []
    for name in "abcd":
        text = f"for i in 1 2 3 4 5; do echo {name}; sleep 0.0$i; done; exit 1\n"
        programs.append(write(tmp_path / f"test_{name}", text))
    _, lines = run(*programs)
    shown = [line for line in lines if len(line) == 1]
    assert len(shown) == 20
    assert all(len(set(shown[i : i + 5])) == 1 for i in range(0, 20, 5)), shown


def test_killed_program_fails(tmp_path: Path) -> None:
    program = write(tmp_path / "test_a", PASSING + "kill -SEGV $$\n")
    status, lines = run(program)
    assert status == 1
    assert lines[-2] == f"FAILED {program}: killed by SIGSEGV"


def test_program_that_ends_before_its_tests_do_fails(tmp_path: Path) -> None:
    program = write(tmp_path / "test_a", "echo '[ RUN      ] test_detail'\n")
    status, lines = run(program)
    assert status == 1
    assert lines[-2] == f"FAILED {program}: ended without cmocka's closing line"


def test_program_that_still_runs_is_named_when_the_runner_is_ended(tmp_path: Path) -> None:
    started = tmp_path / "started"
    text = f"echo begun; mkfifo {started}; echo >{started}; exec sleep 1000\n"
    program = write(tmp_path / "test_a", text)
    command = [sys.executable, str(RUNNER), "--jobs", "1", str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as runner:
        while not started.exists():
            assert runner.poll() is None
        started.read_text()
        runner.send_signal(signal.SIGTERM)
        output, _ = runner.communicate()
    assert runner.returncode == 128 + signal.SIGTERM
    assert f"FAILED {program}: still runs at SIGTERM" in output.splitlines()
    assert "begun" in output.splitlines()


def test_emulator_runs_all_but_what_it_cannot_run(tmp_path: Path) -> None:
    """Each program that is left out exists, and is named with the reason."""
    names = runpy.run_path(str(RUNNER))["NOT_EMULATED"]
    assert all((TOP / "tests" / "unit" / f"{name}.c").is_file() for name in names)
    name, reason = next(iter(names.items()))
    left_out = tmp_path / "tests" / "unit" / name
    left_out.parent.mkdir(parents=True)
    write(left_out, FAILING)
    calls = tmp_path / "calls"
    emulator = write(tmp_path / "emulator", f'echo "$@" >>{calls}\nexec "$@"\n')
    program = write(tmp_path / "test_a", PASSING)
    status, lines = run(left_out, program, options=("--emulator", str(emulator)))
    assert status == 0 and lines[0] == f"SKIPPED {left_out}: {reason}"
    assert calls.read_text().split() == [str(program)]
    assert lines[-1].startswith("units: 1 of 1 programs passed, ")
