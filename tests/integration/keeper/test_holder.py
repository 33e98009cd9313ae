"""secretfs-keeper --socket: descriptors of a program in another container."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lib import keeper as keeper_lib
from lib import program
from lib.holder import FDS_MAX, Holder
from lib.idmap import UserNamespace
from lib.service_manager import Manager


def test_the_next_client_gets_what_an_earlier_one_has_stored(holder: Holder) -> None:
    first = holder.client()
    assert first.take() == {}
    first.store("state", "one")
    first.store("fuse", "two")
    first.store("fuse", "three")
    first.close()
    second = holder.client()
    assert second.take() == {"state": ["one"], "fuse": ["two", "three"]}
    second.send("FDSTOREREMOVE=1\nFDNAME=fuse")
    second.close()
    assert holder.client().take() == {"state": ["one"]}


def test_the_next_client_waits_for_the_end_of_the_earlier_one(holder: Holder) -> None:
    """It receives what the earlier one stored after it had connected."""
    first = holder.client()
    first.take()
    second, third = holder.client(), holder.client()
    first.store("state", "one")
    first.barrier()
    assert not second.has_message() and not third.has_message()
    first.store("more", "two")
    first.close()
    assert second.take() == {"state": ["one"], "more": ["two"]}
    assert not third.has_message()
    second.close()
    assert third.take() == {"state": ["one"], "more": ["two"]}


def test_a_client_that_was_killed(holder: Holder) -> None:
    """SIGKILL directly after it has stored: the message is in the queue."""
    code = (
        "import os, signal, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1])\n"
        "s.recv(9999); fd = os.memfd_create('x'); os.write(fd, b'one')\n"
        "socket.send_fds(s, [b'FDSTORE=1\\nFDNAME=state'], [fd])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, holder.path]).returncode == -signal.SIGKILL
    assert holder.client().take() == {"state": ["one"]}


def test_a_client_that_has_left_before_its_turn(holder: Holder) -> None:
    first = holder.client()
    first.take()
    holder.client().close()
    last = holder.client()
    first.store("state", "one")
    first.close()
    assert last.take() == {"state": ["one"]}


def test_no_descriptor_for_a_client(holder: Holder) -> None:
    """The client waits in the queue; the keeper pauses between its tries, and serves it at last."""
    pid = holder.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (holder.descriptors(), limits[1]))
    client = holder.client()
    holder.wait_log("Too many open files; trying again in 200 ms")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert client.take() == {}


def test_as_many_as_the_limit_with_the_longest_names(holder: Holder) -> None:
    client = holder.client()
    client.take()
    names = [str(n).rjust(255, "x") for n in range(FDS_MAX)]
    for name in [*names, "one more"]:
        client.store(name, "content")
    holder.wait_log(f'descriptor "one more" is not stored: {FDS_MAX} are the limit')
    client.close()
    assert holder.client().take() == {name: ["content"] for name in names}


@pytest.mark.parametrize(
    "text", ["\0", "FDSTORE=1\nFDNAME=x\0", "x" * 4097, "BARRIER=1\nFDSTORE=1", "FDSTOREREMOVE=1"]
)
def test_malformed_messages(holder: Holder, text: str) -> None:
    """Nothing is stored, and the descriptor beside the message is closed."""
    client = holder.client()
    client.take()
    client.store("state", "one")
    client.barrier()
    before = holder.descriptors()
    read, write = os.pipe()
    client.send(text, write)
    os.close(write)
    assert os.read(read, 1) == b""
    os.close(read)
    assert holder.descriptors() == before
    client.close()
    assert holder.client().take() == {"state": ["one"]}


def test_no_descriptor_leaks(holder: Holder) -> None:
    client = holder.client()
    client.take()
    client.store("state", "one")
    client.barrier()
    before = holder.descriptors()
    for _ in range(20):
        client.close()
        client = holder.client()
        client.take()
    assert holder.descriptors() == before


def test_the_socket_is_the_users_own(holder: Holder) -> None:
    status = holder.path.stat()
    assert stat.S_ISSOCK(status.st_mode) and status.st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_other_users_are_refused(area: Path, holder: Holder) -> None:
    """Also if the directory and the socket are open to them."""
    holder.client().close()
    area.chmod(0o755)
    holder.path.chmod(0o666)
    code = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1])\n"
        "sys.exit(len(s.recv(9999)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code, holder.path]).returncode == 0
    holder.wait_log("Permission denied")
    assert holder.client().take() == {}


CONNECT = (
    "import socket, sys\n"
    "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
    "s.connect(sys.argv[1])\n"
    "sys.exit(len(s.recv(9999)))\n"
)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make other roots")
def test_root_of_a_user_namespace_is_refused(area: Path, holder: Holder) -> None:
    """As in a pod with hostUsers: false that mounts the directory: by the socket's mode, and if that
    were open, by the keeper."""
    users = UserNamespace()
    command = [*users.command(), sys.executable, "-c", CONNECT, str(holder.path)]
    try:
        area.chmod(0o755)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "PermissionError" in done.stderr
        holder.path.chmod(0o666)
        assert subprocess.run(command, check=False).returncode == 0
        holder.wait_log("refusing process")
    finally:
        users.close()
    assert holder.client().take() == {}


def test_floods_of_descriptors(holder: Holder) -> None:
    """Of one client: what is too much is closed, and the next client is served."""
    client = holder.client()
    client.take()
    client.store("state", "one")
    client.barrier()
    before = holder.descriptors()
    with open(os.devnull) as null:
        for number in range(40):
            client.send("BARRIER=1" if number % 2 else "no message", *[null.fileno()] * FDS_MAX)
    client.barrier()
    assert holder.descriptors() == before
    client.close()
    assert holder.client().take() == {"state": ["one"]}


def test_its_end(holder: Holder) -> None:
    client = holder.client()
    client.take()
    client.store("state", "one")
    client.barrier()
    assert holder.process.stop(signal.SIGTERM) == 0
    assert not holder.path.exists()
    assert client.socket.recv(1) == b""


def test_a_socket_that_a_dead_keeper_left(area: Path) -> None:
    for _ in range(2):
        made = Holder(area)
        assert made.client().take() == {}
        made.process.stop(signal.SIGKILL)
        made.close()
        assert made.path.exists()


def test_two_keepers_at_once(area: Path, holder: Holder) -> None:
    """The second one fails, and the first one's socket stays."""
    second = [keeper_lib.binary(), "--socket", holder.path]
    done = program.run(second, home=area)
    assert done.returncode == 1
    assert f'cannot listen at "{holder.path}", where another keeper or file is' in done.stderr
    assert holder.client().take() == {}


def test_a_file_is_not_replaced(area: Path) -> None:
    path = area / "file"
    path.write_text("content")
    done = program.run([keeper_lib.binary(), "--socket", path], home=area)
    assert done.returncode == 1 and path.read_text() == "content"
    link = area / "link"
    link.symlink_to(area / "elsewhere")
    done = program.run([keeper_lib.binary(), "--socket", link], home=area)
    assert done.returncode == 1 and link.is_symlink()


@pytest.mark.parametrize("path", ["/nonexistent/keeper", "/tmp/" + "x" * 120])
def test_a_path_that_cannot_be_bound(area: Path, path: str) -> None:
    done = program.run([keeper_lib.binary(), "--socket", path], home=area)
    assert done.returncode == 1 and path in done.stderr


def test_its_own_service_manager(area: Path) -> None:
    manager = Manager(area / "manager")
    made = Holder(area, env={**manager.env, "WATCHDOG_USEC": "20000"})
    manager.wait("READY=1")
    manager.wait("WATCHDOG=1", 3)
    made.close()
