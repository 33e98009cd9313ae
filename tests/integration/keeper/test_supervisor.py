"""secretfs-keeper as the service manager of a command."""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path
from typing import Callable

import pytest

from lib import keeper as keeper_lib
from lib import program
from lib.keeper import Child, Keeper
from lib.service_manager import Manager
from lib.waiting import PATIENCE_SECONDS, until

StartKeeper = Callable[..., Keeper]


def kill(child: Child) -> None:
    os.kill(child.pid, signal.SIGKILL)
    child.wait_end()


# ---- descriptors


def test_the_next_child_gets_what_a_killed_one_has_stored(keeper: Keeper) -> None:
    first = keeper.child()
    assert first.hello["LISTEN_FDS"] is None and first.hello["can_notify"]
    first.store("state", "one")
    first.store("fuse", "two", "\nFDPOLL=0")
    kill(first)
    second = keeper.child()
    assert second.pid != first.pid
    assert second.hello["LISTEN_PID"] == str(second.pid)
    assert second.names == ["state", "fuse"]
    assert second.do("contents") == ["one", "two"]


def test_what_is_sent_last_is_not_lost(keeper: Keeper) -> None:
    """The message lies in the queue when its sender dies by its own hand."""
    child = keeper.child()
    for generation in range(20):
        child.store(f"g{generation}", str(generation))
        child.end("die", signal.SIGKILL)
        child = keeper.child()
        assert child.do("contents") == [str(n) for n in range(generation + 1)]


def test_no_descriptor_leaks(keeper: Keeper) -> None:
    child = keeper.child()
    plain = child.hello["descriptors"]
    child.store("a", "a")
    child.do("barrier")
    before = keeper.descriptors()
    for _ in range(10):
        kill(child)
        child = keeper.child()
        child.do("barrier")
    assert keeper.descriptors() == before
    assert len(child.hello["descriptors"]) == len(plain) + 1


def test_several_of_one_name_stay_in_order(keeper: Keeper) -> None:
    child = keeper.child()
    for content in ("one", "two", "three"):
        child.store("same", content)
    kill(child)
    child = keeper.child()
    assert child.names == ["same", "same", "same"]
    assert child.do("contents") == ["one", "two", "three"]
    child.do("notify", "FDSTOREREMOVE=1\nFDNAME=same")
    kill(child)
    assert keeper.child().hello["LISTEN_FDS"] is None


def test_the_same_open_file_is_stored_once(keeper: Keeper) -> None:
    child = keeper.child()
    child.store("first", "one")
    kill(child)
    child = keeper.child()
    child.do("store_again", 0, "second")
    kill(child)
    assert keeper.child().names == ["first"]


def test_a_descriptor_without_a_name(keeper: Keeper) -> None:
    """sd_pid_notify_with_fds(3): "stored"."""
    child = keeper.child()
    child.do("store", "a:b", "invalid name")
    kill(child)
    assert keeper.child().names == ["stored"]
    keeper.wait_log("ignoring FDNAME= in a message: invalid value")


def test_a_full_store(start_keeper: StartKeeper) -> None:
    keeper = start_keeper("--fds-max=2", "--backoff-max=0")
    child = keeper.child()
    for name in "abc":
        child.store(name, name)
    child.do("barrier")
    before = keeper.descriptors()
    keeper.wait_log('descriptor "c" is not stored: 2 are the limit')
    child.store("d", "d")
    child.do("barrier")
    assert keeper.descriptors() == before
    kill(child)
    assert keeper.child().names == ["a", "b"]


def test_as_many_as_the_limit(keeper: Keeper) -> None:
    child = keeper.child()
    for n in range(253):
        child.store("x" * 250 + str(n), str(n))
    kill(child)
    child = keeper.child()
    assert child.names == ["x" * 250 + str(n) for n in range(253)]
    assert child.do("contents") == [str(n) for n in range(253)]


def test_a_pipe_that_hung_up_is_closed(keeper: Keeper) -> None:
    """FDPOLL=0 keeps it."""
    child = keeper.child()
    child.do("store_pipe", "kept", "\nFDPOLL=0")
    child.do("close_pipe")
    child.do("store_pipe", "closed")
    child.do("barrier")
    child.do("close_pipe")
    keeper.wait_log("closed 1 stored descriptors that hung up")
    kill(child)
    assert keeper.child().names == ["kept"]


# ---- messages


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "FDSTORE=1",
        "FDSTORE=1\nFDNAME=x",
        "FDSTOREREMOVE=1",
        "FDSTOREREMOVE=1\nFDNAME=a:b",
        "BARRIER=1\nREADY=1",
        "READY=1\0",
        "x" * 4097,
        "MAINPID=1",
        "MAINPID=-1",
        "MAINPID=99999999999999999999",
        "WATCHDOG_USEC=-1",
        "WATCHDOG_USEC=18446744073709551616",
        "WATCHDOG=2",
        "=",
        "FDNAME=\x7f",
    ],
)
def test_malformed_messages(keeper: Keeper, text: str) -> None:
    child = keeper.child()
    child.store("state", "one")
    child.do("notify", text)
    child.do("barrier")
    kill(child)
    child = keeper.child()
    assert child.names == ["state"]


def notify_socket_of(keeper: Keeper) -> str:
    """From the table of Unix sockets, by the inode of the keeper's descriptor."""
    links = [os.readlink(f"/proc/{keeper.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{keeper.pid}/fd")]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[6] in inodes and len(fields) > 7:
            return fields[7]
    raise AssertionError("the keeper has no socket with a name")


def test_strangers_are_refused(keeper: Keeper) -> None:
    child = keeper.child()
    child.store("state", "one")
    path = notify_socket_of(keeper)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger, open("/dev/null") as null:
        stranger.connect(path)
        socket.send_fds(stranger, [b"FDSTORE=1\nFDNAME=evil"], [null.fileno()])
        stranger.send(b"FDSTOREREMOVE=1\nFDNAME=state")
        stranger.send(b"MAINPID=%d" % os.getpid())
        stranger.send(b"STOPPING=1")
    keeper.wait_log(f"refusing a message of process {os.getpid()}: it is not from the child", 4)
    child.do("fork_stranger", "FDSTOREREMOVE=1\nFDNAME=state")
    keeper.wait_log("it is not from the child", 5)
    before = keeper.descriptors()
    kill(child)
    assert keeper.child().names == ["state"]
    assert keeper.descriptors() == before


def test_other_users_cannot_reach_the_socket(keeper: Keeper) -> None:
    keeper.child()
    directory = Path(notify_socket_of(keeper)).parent
    assert directory.stat().st_mode & 0o777 == 0o700


def test_the_notification_socket_goes_with_the_keeper(keeper: Keeper) -> None:
    keeper.child()
    directory = Path(notify_socket_of(keeper)).parent
    assert directory.exists()
    keeper.send(signal.SIGTERM)
    keeper.wait()
    assert not directory.exists()


def test_the_directory_of_a_killed_keeper(start_keeper: StartKeeper) -> None:
    """The next keeper removes it, and none that is in use."""
    alive = start_keeper()
    alive.child()  # it has its directory
    killed = start_keeper()
    killed.child()
    directories = [Path(notify_socket_of(keeper)).parent for keeper in (alive, killed)]
    killed.process.stop(signal.SIGKILL)
    assert all(directory.exists() for directory in directories)
    later = start_keeper()
    later.child()
    assert [directory.exists() for directory in directories] == [True, False]
    assert Path(notify_socket_of(later)).exists()


def test_a_new_main_process(keeper: Keeper) -> None:
    """The first process names its child and ends; that one has what a main process has."""
    child = keeper.child()
    child.begin("new_main")
    assert child._receive() is None
    child.store("state", "of the new one")
    child.do("barrier")
    assert keeper.process.exit_code() is None
    child.end("exit", 1)
    assert keeper.child().do("contents") == ["of the new one"]


def test_orphans_are_reaped(keeper: Keeper) -> None:
    child = keeper.child()
    orphan = child.do("orphan")
    status = Path(f"/proc/{orphan}/status")
    assert f"PPid:\t{keeper.pid}\n" in status.read_text()
    child.ready()
    kill(child)  # closes the pipe that the orphan waits for
    until(lambda: not status.exists(), "the orphan's end")
    assert keeper.child().pid


def test_a_helper_that_outlives_the_child(keeper: Keeper) -> None:
    """It has the end of the keeper's pipe, too, which delays nothing: the child can be reaped."""
    child = keeper.child()
    helper = child.do("start_helper")
    child.ready()
    kill(child)
    assert keeper.child().pid != child.pid
    assert "has threads that wait" not in keeper.log()
    os.kill(helper, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{helper}").exists(), "the helper's end")


def test_what_goes_to_the_keepers_own_manager(start_keeper: StartKeeper, area: Path) -> None:
    manager = Manager(area / "manager")
    keeper = start_keeper("--backoff-max=0", env=manager.env)
    child = keeper.child()
    child.store("state", "one")
    child.do("notify", "READY=1\nSTATUS=serving")
    child.do("notify", "RELOADING=1\nMONOTONIC_USEC=5")
    child.do("notify", "READY=1\nMAINPID=77\nWATCHDOG=1\nFDSTOREREMOVE=1\nFDNAME=none")
    child.do("barrier")
    lines = ["READY=1", "STATUS=serving", "RELOADING=1", "MONOTONIC_USEC=5", "READY=1"]
    assert manager.lines() == lines
    keeper.send(signal.SIGTERM)
    keeper.wait()
    assert manager.lines() == [*lines, "STOPPING=1"]


def test_the_keeper_serves_its_own_watchdog(start_keeper: StartKeeper, area: Path) -> None:
    manager = Manager(area / "manager")
    start_keeper(env={**manager.env, "WATCHDOG_USEC": "20000"})
    manager.wait("WATCHDOG=1", 3)


# ---- ends and restarts


def test_a_clean_exit_ends_the_keeper(keeper: Keeper) -> None:
    child = keeper.child()
    child.store("state", "one")
    child.ready()
    child.end("exit", 0)
    assert keeper.wait() == 0


def test_a_child_that_stops_ends_the_keeper_with_its_status(keeper: Keeper) -> None:
    child = keeper.child()
    child.ready()
    child.do("notify", "STOPPING=1")
    child.end("exit", 7)
    assert keeper.wait() == 7


def test_a_false_start_ends_the_keeper(keeper: Keeper) -> None:
    keeper.child().end("exit", 2)
    assert keeper.wait() == 2


def test_a_command_that_is_missing(area: Path) -> None:
    done = program.run([keeper_lib.binary(), "--", "/nonexistent/command"], home=area)
    assert done.returncode == 127
    assert "cannot run /nonexistent/command: No such file or directory" in done.stderr


def test_failures_after_the_first_readiness_are_restarted(keeper: Keeper) -> None:
    keeper_children = keeper.child()
    keeper_children.ready()
    keeper_children.end("exit", 3)
    second = keeper.child()
    second.end("exit", 3)  # before it was ready
    third = keeper.child()
    third.end("die", signal.SIGSEGV)
    keeper.child().ready()


def test_a_process_with_a_thread_that_does_not_end(keeper: Keeper) -> None:
    """The next one starts when the first thread is dead: the other may wait for it."""
    first = keeper.child()
    first.store("state", "one")
    first.ready()
    first.begin("leave_thread")
    second = keeper.child()
    assert second.do("contents") == ["one"]
    keeper.wait_log("has threads that wait for an answer of a file system")
    second.ready()
    first.close()
    until(lambda: not Path(f"/proc/{first.pid}").exists(), "the end of the first process")
    second.do("barrier")
    assert "exited" not in keeper.log()


def test_a_child_that_hangs_while_it_stops_by_itself(start_keeper: StartKeeper) -> None:
    keeper = start_keeper("--stop-timeout=50ms")
    child = keeper.child()
    child.ready()
    child.begin("notify", "STOPPING=1")
    assert keeper.wait() == 128 + signal.SIGKILL


def test_a_child_that_closes_its_descriptors(keeper: Keeper) -> None:
    """It lives, though the keeper's pipe has hung up."""
    child = keeper.child()
    child.store("state", "one")
    child.do("close_all")
    child.do("barrier")
    child.end("exit", 3)
    keeper.wait_log("exited with status 3")
    assert keeper.child().do("contents") == ["one"]


def test_the_delay_grows(start_keeper: StartKeeper) -> None:
    """At once after the first failure, then twice as long each time, up to the limit."""
    keeper = start_keeper("--backoff-max=150ms")
    for number in range(4):
        child = keeper.child()
        if number == 0:
            child.store("state", "one")
        kill(child)
    keeper.child()
    delays = [f"again in {delay} ms; 1 descriptors" for delay in (0, 100, 150, 150)]
    found = [line.split("starting ")[1] for line in keeper.log().splitlines() if " again in " in line]
    assert [line.split(" ", 1)[1].removesuffix(" are kept") for line in found] == delays


def test_sigterm_while_it_waits(start_keeper: StartKeeper) -> None:
    """The status is the last child's: the one before the delay, or after it if that was faster."""
    keeper = start_keeper("--backoff-max=1h")
    child = keeper.child()
    child.ready()
    for delay in (0, 100, 200, 400):
        kill(child)
        keeper.wait_log(f"again in {delay} ms")
        if delay < 400:
            child = keeper.child()
    keeper.send(signal.SIGTERM)
    assert keeper.wait() in (128 + signal.SIGKILL, 128 + signal.SIGTERM)


# ---- signals


def test_signals_are_forwarded(keeper: Keeper) -> None:
    child = keeper.child()
    child.do("catch", signal.SIGUSR1, signal.SIGTERM)
    child.ready()
    keeper.send(signal.SIGUSR1)
    until(lambda: child.do("signals") == [signal.SIGUSR1])
    keeper.send(signal.SIGTERM)
    until(lambda: child.do("signals") == [signal.SIGUSR1, signal.SIGTERM])
    child.end("exit", 5)
    assert keeper.wait() == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_the_keeper_ends_with_its_child(keeper: Keeper, number: signal.Signals) -> None:
    child = keeper.child()
    child.store("state", "one")
    child.ready()
    keeper.send(number)
    assert keeper.wait() in (128 + number, 1)  # Python ends with 1 on SIGINT
    assert "closing 1 descriptors" in keeper.log()


def test_a_child_that_does_not_stop_is_killed(start_keeper: StartKeeper) -> None:
    keeper = start_keeper("--stop-timeout=50ms")
    child = keeper.child()
    child.do("catch", signal.SIGTERM)
    child.ready()
    keeper.send(signal.SIGTERM)
    assert keeper.wait() == 128 + signal.SIGKILL


def test_signal_mask_of_the_child(keeper: Keeper) -> None:
    child = keeper.child()
    status = Path(f"/proc/{child.pid}/status").read_text()
    assert "SigBlk:\t0000000000000000" in status


# ---- hand-over


def test_hand_over(start_keeper: StartKeeper) -> None:
    """SIGHUP: the child gets SIGUSR2, and the next one starts at once, with any status of it."""
    keeper = start_keeper("--backoff-max=1h")
    child = keeper.child()
    child.store("state", "one")
    child.ready()
    for status in (0, 3, 0, 3):
        child.do("catch", signal.SIGUSR2)
        keeper.send(signal.SIGHUP)
        until(lambda: child.do("signals") == [signal.SIGUSR2])
        child.do("notify", "STOPPING=1")
        child.end("exit", status)
        child = keeper.child()
        assert child.do("contents") == ["one"]
        child.ready()
    assert " again in " not in keeper.log()


def test_hand_over_of_a_program_that_does_not_know_of_it(keeper: Keeper) -> None:
    child = keeper.child()
    child.ready()
    keeper.send(signal.SIGHUP)
    child.wait_end()
    assert keeper.child().pid != child.pid


def test_a_child_that_does_not_hand_over_is_killed(start_keeper: StartKeeper) -> None:
    keeper = start_keeper("--stop-timeout=50ms")
    child = keeper.child()
    child.do("catch", signal.SIGUSR2)
    child.ready()
    keeper.send(signal.SIGHUP)
    child.wait_end()
    assert keeper.child().pid != child.pid


def test_the_next_program_proves_itself_first(start_keeper: StartKeeper) -> None:
    keeper = start_keeper("--check")
    child = keeper.child()
    child.store("state", "one")
    child.ready()
    keeper.send(signal.SIGHUP)
    check = keeper.child()
    assert check.hello["arguments"] == ["--check"] and not check.hello["can_notify"]
    assert check.names == ["state"] and check.do("contents") == ["one"]
    check.end("exit", 1)
    keeper.wait_log("there is no hand-over, the running process goes on")
    child.do("barrier")

    keeper.send(signal.SIGHUP)
    check = keeper.child()
    check.end("exit", 0)
    child.wait_end()
    assert keeper.child().hello["arguments"] == []


class Request:
    """A hand-over that this process requests, which is not the keeper's child."""

    def __init__(self, child: Child, user: int | None = None) -> None:
        self._answer, theirs = socket.socketpair()
        self._answer.settimeout(PATIENCE_SECONDS)
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
            if user is not None:
                credentials = struct.pack("iII", os.getpid(), user, user)
                control.append((socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials))
            sender.sendmsg([b"HANDOVER=1"], control, 0, child.do("notify_socket"))

    def close(self) -> None:
        self._answer.close()

    def outcome(self) -> str:
        received = b""
        while part := self._answer.recv(4096):
            received += part
        self._answer.close()
        return received.decode()


def test_a_requested_hand_over(keeper: Keeper) -> None:
    """Its outcome is sent when the next process is ready."""
    child = keeper.child()
    child.store("state", "one")
    child.ready()
    request = Request(child)
    child.wait_end()
    second = keeper.child()
    assert second.do("contents") == ["one"]
    second.ready()
    assert request.outcome() == "HANDOVER=done\n"


def test_a_requested_hand_over_that_is_refused(start_keeper: StartKeeper) -> None:
    """The process that has requested it gets what the check prints; a later one succeeds."""
    keeper = start_keeper("--check")
    child = keeper.child()
    child.ready()
    request = Request(child)
    check = keeper.child()
    assert Request(child).outcome() == "another hand-over is in progress\nHANDOVER=failed\n"
    check.do("print_error", "the reason")
    check.end("exit", 1)
    assert request.outcome() == "the reason\n--check failed\nHANDOVER=failed\n"
    assert "the reason" not in keeper.log()
    keeper.wait_log("there is no hand-over, the running process goes on")
    child.do("barrier")

    request = Request(child)
    keeper.child().end("exit", 0)
    child.wait_end()
    keeper.child().ready()
    assert request.outcome() == "HANDOVER=done\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="the message of another user takes root")
def test_a_request_of_another_user(keeper: Keeper) -> None:
    child = keeper.child()
    child.ready()
    assert Request(child, user=65534).outcome() == ""
    keeper.wait_log("refusing a message of process .*: it is not from the child")
    child.do("barrier")


def test_a_child_that_becomes_ready_during_the_check(start_keeper: StartKeeper) -> None:
    """It is not the one that the request waits for."""
    keeper = start_keeper("--check")
    child = keeper.child()
    request = Request(child)
    check = keeper.child()
    child.ready()
    check.end("exit", 0)
    child.wait_end()
    keeper.child().end("exit", 3)
    keeper.child().ready()
    assert request.outcome() == "HANDOVER=done\n"


def test_a_requested_hand_over_of_a_process_that_stops(keeper: Keeper) -> None:
    child = keeper.child()
    child.do("catch", signal.SIGTERM)
    child.ready()
    keeper.send(signal.SIGTERM)
    until(lambda: child.do("signals") == [signal.SIGTERM])
    assert Request(child).outcome() == "the process is about to end\nHANDOVER=failed\n"
    child.end("exit", 0)
    assert keeper.wait() == 0


def test_the_end_of_the_keeper_during_a_requested_hand_over(keeper: Keeper) -> None:
    child = keeper.child()
    child.ready()
    request = Request(child)
    child.wait_end()
    keeper.child().end("exit", 0)
    assert request.outcome() == "the keeper ends\nHANDOVER=failed\n"
    assert keeper.wait() == 0


def test_a_request_whose_process_has_ended(start_keeper: StartKeeper) -> None:
    """The keeper goes on, and nothing of the request is left."""
    keeper = start_keeper("--check")
    child = keeper.child()
    child.ready()
    before = keeper.descriptors()
    Request(child).close()
    keeper.child().end("exit", 1)
    keeper.wait_log("there is no hand-over")
    Request(child).close()
    keeper.child().end("exit", 0)
    child.wait_end()
    child = keeper.child()
    child.ready()
    assert keeper.descriptors() == before


# ---- watchdog


def test_a_silent_child_is_replaced(start_keeper: StartKeeper) -> None:
    keeper = start_keeper("--watchdog=50ms", "--backoff-max=0")
    child = keeper.child()
    assert child.hello["WATCHDOG_USEC"] == "50000" and child.hello["WATCHDOG_PID"] == str(child.pid)
    child.store("state", "one")
    child.end("notify", "READY=1")
    keeper.wait_log("has not responded within the watchdog's limit")
    keeper.wait_log(r"was killed by signal 6 \(Aborted\)")
    assert keeper.child().do("contents") == ["one"]


def test_a_child_that_survives_sigabrt_is_killed(start_keeper: StartKeeper) -> None:
    """As a stopped process does."""
    keeper = start_keeper("--watchdog=50ms", "--backoff-max=0", "--stop-timeout=50ms")
    child = keeper.child()
    child.store("state", "one")
    child.do("catch", signal.SIGABRT)
    child.end("notify", "READY=1")
    keeper.wait_log(r"was killed by signal 9 \(Killed\)")
    assert keeper.child().do("contents") == ["one"]


def test_the_watchdog_waits_for_readiness(start_keeper: StartKeeper) -> None:
    keeper = start_keeper("--watchdog=1ms", "--backoff-max=0")
    child = keeper.child()
    for _ in range(20):
        child.do("barrier")
    assert "watchdog" not in keeper.log()


def test_a_child_sets_and_triggers_its_watchdog(keeper: Keeper) -> None:
    child = keeper.child()
    assert child.hello["WATCHDOG_USEC"] is None
    child.ready()
    child.end("notify", "WATCHDOG=trigger")
    child = keeper.child()
    child.ready()
    child.end("notify", "WATCHDOG_USEC=1000")
    keeper.wait_log("has not responded within the watchdog's limit", 2)


# ---- the program


@pytest.mark.parametrize("is_full", [True, False])
def test_a_log_that_is_not_read(area: Path, is_full: bool) -> None:
    """Neither the end of its reader nor a full pipe ends or stops the keeper."""
    read, write = os.pipe()
    if is_full:
        os.set_blocking(write, False)
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(write, b"x" * size)
        os.set_blocking(write, True)
    else:
        os.close(read)
    command = [keeper_lib.binary(), "--", "sh", "-c", "exit 7"]
    done = subprocess.run(command, env=program.environment(area), stderr=write, timeout=PATIENCE_SECONDS)
    assert done.returncode == 7


def test_sigpipe_of_the_child() -> None:
    """It has the default action. Python ignores it, so another program is asked."""
    command = [keeper_lib.binary(), "--", "grep", "SigIgn", "/proc/self/status"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[1], 16) & 1 << (signal.SIGPIPE - 1) == 0


def test_links_only_libc() -> None:
    if program.has_sanitizer():
        pytest.skip("a sanitizer brings libraries of its own")
    listed = subprocess.run(
        ["readelf", "-d", keeper_lib.binary()], capture_output=True, text=True, check=True
    ).stdout
    needed = [line.split("[")[1].rstrip("]") for line in listed.splitlines() if "(NEEDED)" in line]
    assert needed == ["libc.so.6"]


def test_no_process_of_the_same_user_can_take_descriptors(keeper: Keeper) -> None:
    """A process that is not dumpable belongs to root in /proc."""
    keeper.child()
    assert Path(f"/proc/{keeper.pid}/fd").stat().st_uid == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "give a COMMAND, or --socket PATH"),
        (["--socket", "/x", "true"], "--socket goes with --fds-max only"),
        (["--socket", "/x", "--check"], "--socket goes with --fds-max only"),
        (["--fds-max=0", "true"], 'invalid --fds-max "0": a number from 1 to 253'),
        (["--fds-max=254", "true"], 'invalid --fds-max "254"'),
        (["--watchdog=forever", "true"], "it must have an end"),
        (["--watchdog=x", "true"], 'invalid duration "x"'),
        (["--bad"], "invalid option"),
    ],
)
def test_usage_errors(area: Path, arguments: list[str], text: str) -> None:
    done = program.run([keeper_lib.binary(), *arguments], home=area)
    assert done.returncode == 2
    assert text in done.stderr


def test_help_and_version(area: Path) -> None:
    done = program.run([keeper_lib.binary(), "--help"], home=area)
    assert done.returncode == 0 and done.stdout.startswith("Usage: secretfs-keeper")
    done = program.run([keeper_lib.binary(), "--version"], home=area)
    assert done.returncode == 0 and done.stdout.startswith("secretfs-keeper ")


def test_the_subcommand(area: Path) -> None:
    """secretfs keeper is secretfs-keeper, with all of its arguments."""
    run = [program.binary(), "keeper"]
    assert program.run([*run, "--help"], home=area).stdout.startswith("Usage: secretfs-keeper")
    assert program.run([*run, "--", "sh", "-c", "exit 7"], home=area).returncode == 7
    done = program.run([*run, "--", "sh", "-c", "echo $0", "a b"], home=area)
    assert done.stdout == "a b\n"
