"""secretfs as the parent of the command: changes, signals, exit status."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from lib.execution import PYTHON
from lib.sources import Manifests
from lib.waiting import until

KEY = ("--env", "A=secret/app/k")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_changed_value_restarts_the_command(source, start_exec):
    """A changed value: the command is ended and started again with the new one."""
    source.put_secret({"k": b"dummy-1", "other": b"1"})
    execution = start_exec(
        *source.arguments, "--on-change", "restart", *KEY, "--", "@worker", "TERM=0"
    )
    first = execution.record.wait("start")
    assert first["environment"]["A"] == "dummy-1"
    assert first["parent"] == execution.pid
    assert first["group"] == first["pid"]
    execution.check_shows_nothing()

    source.put_secret({"k": b"dummy-2", "other": b"1"})
    second = execution.record.wait("start", 2)
    assert second["environment"]["A"] == "dummy-2"
    assert second["parent"] == execution.pid
    assert not is_alive(first["pid"])
    assert [note["event"] for note in execution.record.events()] == ["start", "SIGTERM", "start"]
    execution.check_shows_nothing()


def test_only_values_in_use_count(source, start_exec):
    """Metadata, and keys that no variable shows, change nothing."""
    source.put_secret({"k": b"dummy-1", "other": b"1"})
    execution = start_exec(*source.arguments, "--on-change", "restart", *KEY, "--", "@worker")
    execution.record.wait("start")
    source.touch_secret()
    source.put_secret({"k": b"dummy-1", "other": b"2", "more": b"3"})
    source.put_secret({"k": b"dummy-2"})
    assert execution.record.environment(2)["A"] == "dummy-2"
    assert len(execution.record.events("start")) == 2


@pytest.mark.parametrize("name, signo", [("HUP", "SIGHUP"), ("SIGUSR1", "SIGUSR1")])
def test_changed_value_sends_the_signal(source, start_exec, name, signo):
    """A changed value: the command gets the signal and nothing else happens to it."""
    source.put_secret({"k": b"dummy-1"})
    execution = start_exec(
        *source.arguments, "--on-change", f"signal:{name}", *KEY, "--", "@worker"
    )
    execution.record.wait("start")
    for count in (1, 2):
        source.put_secret({"k": b"dummy-%d" % (count + 1)})
        execution.record.wait(signo, count)
    assert len(execution.record.events("start")) == 1


def test_signal_is_for_the_command_alone(manifests: Manifests, start_exec):
    """Not for its helpers, who may not expect it."""
    manifests.put_secret({"k": b"dummy-1"})
    script = 'trap "echo got" USR1; sleep 1000 & echo $!; while wait; do :; done; wait'
    execution = start_exec(
        *manifests.arguments, "--on-change", "signal:USR1", *KEY, "--", "sh", "-c", script
    )
    until(lambda: execution._output.read_text().count("\n") == 1)
    helper = int(execution._output.read_text())
    manifests.put_secret({"k": b"dummy-2"})
    until(lambda: "got" in execution._output.read_text())
    assert is_alive(helper)
    os.kill(helper, signal.SIGKILL)


def test_deleted_object_changes_nothing(source, start_exec):
    """G8: what is required and vanishes is stale; the command goes on and the log says so once."""
    source.put_secret({"k": b"dummy-1"})
    execution = start_exec(*source.arguments, "--on-change", "restart", *KEY, "--", "@worker")
    execution.record.wait("start")
    source.delete_secret()
    execution.wait_log("cannot update the environment; the command keeps the last one")
    assert 'secret \\"app\\" not found' in execution.log()
    source.put_secret({"k": b"dummy-1"})
    execution.wait_log("the environment is up to date again")
    source.put_secret({"k": b"dummy-2"})
    assert execution.record.environment(2)["A"] == "dummy-2"


def test_optional_object_appears_and_disappears(source, start_exec):
    """G2, G9: both are changes."""
    source.put_secret({"k": b"dummy-0"}, name="always")
    execution = start_exec(
        *source.arguments, "--on-change", "restart", "--optional", *KEY, "--", "@worker"
    )
    assert "A" not in execution.record.environment(1)
    source.put_secret({"k": b"dummy-1"})
    assert execution.record.environment(2)["A"] == "dummy-1"
    source.delete_secret()
    assert "A" not in execution.record.environment(3)


def test_slow_command_gets_the_newest(manifests: Manifests, start_exec):
    """Changes while it is ending do not queue up."""
    manifests.put_secret({"k": b"dummy-1"})
    execution = start_exec(
        *manifests.arguments, "--on-change", "restart", "--env-names", "strict", "--env-from", "secret/app",
        "--", "@worker", "TERM=ignore", "INT=0",
    )
    first = execution.record.wait("start")
    manifests.put_secret({"k": b"dummy-2"})
    execution.record.wait("SIGTERM")
    manifests.put_secret({"k": b"dummy-3"})
    manifests.put_secret({"k": b"dummy-4", "4th": b"skipped"})
    execution.wait_log('names="4th"')  # which tells that it has been seen
    os.kill(first["pid"], signal.SIGINT)
    assert execution.record.environment(2)["k"] == "dummy-4"
    assert len(execution.record.events("start")) == 2
    os.kill(execution.record.wait("start", 2)["pid"], signal.SIGKILL)
    assert execution.wait_end() == 128 + signal.SIGKILL


def test_command_that_ignores_sigterm_is_killed_after_grace(manifests: Manifests, start_exec):
    """A command that does not end is killed, and its helpers with it."""
    manifests.put_secret({"k": b"dummy-1"})
    execution = start_exec(
        *manifests.arguments, "--on-change", "restart", "--grace", "300ms", *KEY, "--", "@worker",
        "TERM=ignore",
    )
    first = execution.record.wait("start")
    manifests.put_secret({"k": b"dummy-2"})
    second = execution.record.wait("start", 2)
    assert not is_alive(first["pid"])
    execution.wait_log("the command did not exit within the grace period; killing it")
    os.kill(second["pid"], signal.SIGKILL)
    assert execution.wait_end() == 128 + signal.SIGKILL


def test_restart_ends_the_whole_group(manifests: Manifests, start_exec, area: Path):
    manifests.put_secret({"k": b"dummy-1"})
    file = area / "helpers"
    script = f'sleep 1000 & echo $! >>{file}; test "$A" = dummy-2 && exit 5; wait'
    execution = start_exec(
        *manifests.arguments, "--on-change", "restart", *KEY, "--", "sh", "-c", script
    )
    until(lambda: file.exists() and file.read_text().count("\n") == 1)
    manifests.put_secret({"k": b"dummy-2"})
    assert execution.wait_end() == 5
    first, second = map(int, file.read_text().split())
    until(lambda: not is_alive(first), "the helper's end")
    os.kill(second, signal.SIGKILL)


def test_stopped_command_is_restarted(manifests: Manifests, start_exec):
    """SIGTERM alone would wait until it is continued."""
    manifests.put_secret({"k": b"dummy-1"})
    execution = start_exec(*manifests.arguments, "--on-change", "restart", *KEY, "--", "@worker")
    first = execution.record.wait("start")
    os.kill(first["pid"], signal.SIGSTOP)
    manifests.put_secret({"k": b"dummy-2"})
    assert execution.record.environment(2)["A"] == "dummy-2"


def test_command_that_cannot_be_restarted(manifests: Manifests, start_exec, area: Path):
    manifests.put_secret({"k": b"dummy-1"})
    script = area / "script"
    script.write_text("#!/bin/sh\necho running\nsleep 1000\n")
    script.chmod(0o755)
    execution = start_exec(*manifests.arguments, "--on-change", "restart", *KEY, "--", str(script))
    until(lambda: execution._output.read_text() == "running\n", "the shell has read it")
    script.unlink()
    manifests.put_secret({"k": b"dummy-2"})
    assert execution.wait_end() == 127
    assert f"cannot run {script}: command not found" in execution.log()


# ---- signals and exit status


@pytest.mark.parametrize("signo", ["HUP", "USR1", "WINCH", "CONT", "RTMIN"])
def test_signals_are_passed_on(manifests: Manifests, start_exec, signo):
    manifests.put_secret({"k": b"dummy"})
    execution = start_exec(*manifests.arguments, "--on-change", "restart", *KEY, "--", "@worker")
    execution.record.wait("start")
    execution.signal(getattr(signal, f"SIG{signo}"))
    execution.record.wait(f"SIG{signo}")
    assert execution.process.poll() is None


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR2])
def test_death_by_a_signal_is_passed_back(manifests: Manifests, start_exec, signo):
    manifests.put_secret({"k": b"dummy"})
    command = (PYTHON, "-c", "import signal as s; s.signal(2, s.SIG_DFL); print(1, flush=True)\n"
               "while True: s.pause()")
    execution = start_exec(*manifests.arguments, "--on-change", "restart", *KEY, "--", *command)
    until(lambda: execution._output.read_text() == "1\n")
    execution.signal(signo)
    assert execution.wait_end() == 128 + signo


def test_ending_takes_the_commands_time(manifests: Manifests, start_exec):
    """SIGTERM is the command's to answer, with a status of its own."""
    manifests.put_secret({"k": b"dummy"})
    execution = start_exec(
        *manifests.arguments, "--on-change", "restart", *KEY, "--", "@worker", "TERM=42"
    )
    execution.record.wait("start")
    execution.signal(signal.SIGTERM)
    assert execution.wait_end() == 42


def test_no_restart_after_sigterm(manifests: Manifests, start_exec):
    """Who asked for the end is not given another command because a value changed meanwhile."""
    manifests.put_secret({"k": b"dummy-1"})
    execution = start_exec(
        *manifests.arguments, "--on-change", "restart", *KEY, "--", "@worker", "TERM=ignore",
        "INT=3",
    )
    first = execution.record.wait("start")
    execution.signal(signal.SIGTERM)
    execution.record.wait("SIGTERM")
    manifests.put_secret({"k": b"dummy-2"})
    os.kill(first["pid"], signal.SIGINT)
    assert execution.wait_end() == 3
    assert len(execution.record.events("start")) == 1


def test_sigint_during_a_restart_ends_it(manifests: Manifests, start_exec):
    manifests.put_secret({"k": b"dummy-1"})
    execution = start_exec(
        *manifests.arguments, "--on-change", "restart", *KEY, "--", "@worker", "TERM=ignore",
        "INT=3",
    )
    execution.record.wait("start")
    manifests.put_secret({"k": b"dummy-2"})
    execution.record.wait("SIGTERM")
    execution.signal(signal.SIGINT)
    assert execution.wait_end() == 3
    assert len(execution.record.events("start")) == 1


def test_interrupted_while_waiting(manifests: Manifests, start_exec):
    execution = start_exec(
        *manifests.arguments, "--on-change", "restart", "--env", "A=secret/gone/k", "--", "true"
    )
    until(lambda: blocks(execution.pid, signal.SIGINT), "the signals")
    execution.signal(signal.SIGINT)
    assert execution.wait_end() == 128 + signal.SIGINT


def blocks(pid: int, signo: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:")]
    return bool(int(mask, 16) >> (signo - 1) & 1)


def test_a_parent_that_ignores_children(manifests: Manifests, start_exec):
    """An inherited SIG_IGN for SIGCHLD would let the command vanish unseen."""
    manifests.put_secret({"k": b"dummy"})
    execution = start_exec(
        *manifests.arguments, "--on-change", "restart", *KEY, "--", "sh", "-c", "exit 7",
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )
    assert execution.wait_end() == 7
