"""A command on a terminal: bash with job control takes secretfs for the command."""

from __future__ import annotations

import os
import pty
import signal
from pathlib import Path

import pytest

from lib import program
from lib.execution import PYTHON, WORKER, Record
from lib.sources import Manifests
from lib.waiting import until

# Commands say `exec sleep`: sh can lose a signal that comes while it starts a child.
CTRL_C, CTRL_Z, CTRL_BACKSLASH = "\x03", "\x1a", "\x1c"


@pytest.fixture
def command(manifests: Manifests) -> str:
    """`secretfs exec ... --`, as typed."""
    manifests.put_secret({"k": b"dummy-1"})
    arguments = [*manifests.arguments, "--on-change", "restart", "--env", "A=secret/app/k", "--"]
    return f"{program.binary()} exec --log-level warn {' '.join(arguments)}"


@pytest.fixture
def worker(command: str, area: Path) -> str:
    return f"{command} {PYTHON} {WORKER} {area / 'record'}"


@pytest.fixture
def record(area: Path) -> Record:
    return Record(area / "record")


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_it_has_the_terminal(terminal, worker, record):
    terminal.type(f"{worker}\n")
    note = record.wait("start")
    assert note["foreground"] is True
    assert terminal.foreground() == note["group"] == note["pid"]
    terminal.type(CTRL_C)
    terminal.expect_prompt()
    terminal.type("echo status $?\n")
    terminal.expect("status 1\n|status 130\n")  # Python's KeyboardInterrupt
    assert terminal.foreground() == terminal.pid


def test_ctrl_c_ends_the_command_with_130(terminal, command):
    terminal.type(f"{command} sh -c 'echo started; exec sleep 1000'\n")
    terminal.expect("\nstarted\n")
    terminal.type(CTRL_C)
    terminal.expect_prompt()
    terminal.type("echo status $?\n")
    terminal.expect("status 130\n")


def test_reading_the_terminal(terminal, command):
    terminal.type(f"{command} sh -c 'read line; echo got $line; exit 4'\n")
    terminal.type("some text\n")
    terminal.expect("\ngot some text\n")
    terminal.expect_prompt()
    terminal.type("echo status $?\n")
    terminal.expect("status 4\n")


def test_suspending_and_continuing(terminal, worker, record, manifests: Manifests):
    """Ctrl-Z stops both; fg continues both, and the command has the terminal again."""
    terminal.type(f"{worker}\n")
    note = record.wait("start")
    until(lambda: terminal.foreground() == note["group"])
    terminal.type(CTRL_Z)
    terminal.expect("Stopped")
    terminal.expect_prompt()
    assert state_of(note["pid"]) == "T"
    assert state_of(note["parent"]) == "T"
    assert terminal.foreground() == terminal.pid

    terminal.type("fg\n")
    record.wait("SIGCONT")
    until(lambda: terminal.foreground() == note["group"])
    until(lambda: state_of(note["parent"]) == "S")

    terminal.type(CTRL_Z)
    terminal.expect("Stopped")
    terminal.expect_prompt()
    terminal.type("bg\n")
    record.wait("SIGCONT", 2)
    terminal.expect_prompt()
    assert terminal.foreground() == terminal.pid
    # bash does not report when it brings a running job to the front: the terminal is ours until the
    # command needs it, and what is typed there reaches the command nevertheless
    terminal.type("fg\n")
    until(lambda: terminal.foreground() == os.getpgid(note["parent"]))
    terminal.type(CTRL_BACKSLASH)
    terminal.expect_prompt()
    terminal.type("echo status $?\n")
    terminal.expect("status 131\n")


def test_restart_keeps_the_terminal(terminal, worker, record, manifests: Manifests):
    terminal.type(f"{worker}\n")
    first = record.wait("start")
    manifests.put_secret({"k": b"dummy-2"})
    second = record.wait("start", 2)
    assert second["foreground"] is True
    assert second["group"] != first["group"]
    assert terminal.foreground() == second["group"]
    terminal.type(CTRL_C)
    terminal.expect_prompt()


def test_background_command_stops_when_it_reads_the_terminal(terminal, command):
    """Started with &, it is stopped when it reads the terminal, until it is brought to the front."""
    terminal.type(f"{command} sh -c 'echo started; read line; echo got $line' &\n")
    terminal.expect("started\n")
    until(lambda: "Stopped" in jobs(terminal), "the stop")
    terminal.type("fg\n")
    terminal.type("text\n")
    terminal.expect("\ngot text\n")
    terminal.expect_prompt()


def jobs(terminal) -> str:
    terminal.type("jobs; echo end of list\n")
    return terminal.expect(r"(?s).*\nend of list\n")


def test_pipeline_member_may_read_the_terminal(terminal, command):
    """Another member of the pipeline may read the terminal."""
    reader = f"{PYTHON} -c 'tty = open(\"/dev/tty\"); print(\"got\", tty.readline())'"
    terminal.type(f"{command} sleep 1000 | {reader}\n")
    terminal.type("text\n")
    terminal.expect("\ngot text\n")
    terminal.type(CTRL_C)
    terminal.expect_prompt()


def test_ctrl_z_in_a_pipeline(terminal, command, area: Path):
    """The command is stopped and continued with the rest of it."""
    terminal.type(f"{command} sh -c 'echo $$ >{area}/pid; exec sleep 1000' | cat\n")
    until(lambda: (area / "pid").exists() and (area / "pid").read_text().endswith("\n"))
    pid = int((area / "pid").read_text())
    until(lambda: state_of(pid) == "S")
    terminal.type(CTRL_Z)
    terminal.expect("Stopped")
    until(lambda: state_of(pid) == "T")
    terminal.type("fg\n")
    until(lambda: state_of(pid) == "S")
    terminal.type(CTRL_C)
    terminal.expect("\n")
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_pipeline_whose_first_member_reads(terminal, command):
    """It gets the terminal when it is stopped for want of it."""
    terminal.type(f"{command} sh -c 'read line; echo got $line' | cat\n")
    terminal.type("text\n")
    terminal.expect("\ngot text\n")
    terminal.expect_prompt()


def test_shell_as_the_command_has_job_control(terminal, command):
    """An interactive shell, with jobs of its own."""
    terminal.type(f"{command} env PS1='inner> ' bash --norc --noprofile --noediting -i\n")
    terminal.expect("\ninner> ")
    terminal.type("sh -c 'echo started; exec sleep 1000'\n")
    terminal.expect("\nstarted\n")
    terminal.type(CTRL_Z)
    terminal.expect("Stopped")
    terminal.expect("inner> ")
    terminal.type("fg\n")
    terminal.expect("exec sleep 1000'\n")
    until(lambda: "sleep" in Path(f"/proc/{terminal.foreground()}/cmdline").read_text())
    terminal.type(CTRL_C)
    terminal.expect("inner> ")
    terminal.type("exit 9\n")
    terminal.expect_prompt()
    terminal.type("echo status $?\n")
    terminal.expect("status 9\n")


def test_ctrl_z_stops_and_fg_continues_within_a_script(terminal, command):
    """A shell without job control shares our group and is stopped and continued with us."""
    terminal.type(f"bash -c \"{command} sh -c 'echo started; exec sleep 1000'; echo after $?\"\n")
    terminal.expect("\nstarted\n")
    terminal.type(CTRL_Z)
    terminal.expect("Stopped")
    terminal.expect_prompt()
    terminal.type("fg\n")
    until(lambda: terminal.foreground() != terminal.pid)
    terminal.type(CTRL_C)
    terminal.expect_prompt()


def test_first_process_of_a_session_survives_ctrl_z(command, area: Path):
    """It has no shell to continue it, so that Ctrl-Z stops nothing for good."""
    pid, fd = pty.fork()
    if pid == 0:
        words = [*command.split(), PYTHON, WORKER, str(area / "record")]
        os.execve(words[0], words, program.environment(area / "home"))
    try:
        record = Record(area / "record")
        note = record.wait("start")
        assert note["foreground"] is True
        os.write(fd, CTRL_Z.encode())
        record.wait("SIGCONT")
        until(lambda: state_of(pid) == "S", "the program to sleep")
    finally:
        os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
        os.close(fd)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM
