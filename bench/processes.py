"""Programs that are started for a measurement, and the promise that none of them outlives it.

`secretfs mount` leaves a process behind that has lost its parent. This process therefore
becomes the one to which such orphans fall (PR_SET_CHILD_SUBREAPER), and ends those that
are left when it ends itself. Mounts are made in a mount namespace of its own, which goes with it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Sequence

_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_SLAVE = 1 << 19
_MNT_DETACH = 2
_END_SECONDS = 10.0
_CLOSE_SECONDS = 60.0  # for all that a program has started

_libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """Something did not run as it should; the text is for people."""


def isolate() -> None:
    """Keeps mounts and orphaned processes to this process. To be called once, as root."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise _os_error("cannot adopt orphaned processes")
    if _libc.unshare(_CLONE_NEWNS) != 0:
        raise _os_error("cannot make a mount namespace")
    if _libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None) != 0:
        raise _os_error("cannot keep mounts to this process")


def isolate_network() -> None:
    """A loopback interface of its own, for this process and those that it starts."""
    if _libc.unshare(_CLONE_NEWNET) != 0:
        raise _os_error("cannot make a network namespace")
    run(["ip", "link", "set", "lo", "up"])


def mount_tmpfs(path: Path) -> None:
    if _libc.mount(b"tmpfs", bytes(path), b"tmpfs", 0, b"mode=1777") != 0:
        raise _os_error(f"cannot mount a tmpfs on {path}")


def bind(source: Path, target: Path) -> None:
    """Mounts a directory or a file once more, on its own."""
    if _libc.mount(bytes(source), bytes(target), None, _MS_BIND, None) != 0:
        raise _os_error(f"cannot mount {source} on {target}")


def bind_all(source: Path, target: Path) -> None:
    """The same with all that is mounted below it."""
    if _libc.mount(bytes(source), bytes(target), None, _MS_BIND | _MS_REC, None) != 0:
        raise _os_error(f"cannot mount {source} on {target}")


def bind_file(source: Path, target: Path) -> None:
    """A file on its own, on one that is made."""
    target.touch()
    bind(source, target)


def unmount(path: Path) -> None:
    """Unmount what is mounted there, if anything."""
    _libc.umount2(bytes(path), _MNT_DETACH)


def unmount_below(directory: Path) -> None:
    """All that is mounted below a directory."""
    paths = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for path in reversed(paths):
        if path.startswith(f"{directory}/"):
            unmount(Path(path))


def run(command: Sequence[object], **environment: str) -> str:
    """Runs a command to its end and returns what it printed."""
    words = [str(word) for word in command]
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        try:
            output, errors = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise Failed(f"{' '.join(words)} failed ({process.returncode}):\n{errors or output}")
    return output


def start(command: Sequence[object], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Starts a server; its output goes to the log."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            start_new_session=True,  # a ^C at the terminal is for this process alone
        )


class Obedient:
    """A program that takes commands, a line each, and answers in lines."""

    def __init__(self, command: Sequence[object], log: Path) -> None:
        self._name = Path(str(command[0])).name
        self._log = log
        with open(log, "ab") as errors:
            self._popen = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def tell(self, command: str) -> None:
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(f"{command}\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def hear(self) -> str:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        if not line:
            raise self._gone()
        return line.rstrip("\n")

    def hear_all(self) -> list[str]:
        """The lines until an empty one."""
        lines = []
        while line := self.hear():
            lines.append(line)
        return lines

    def ask(self, command: str) -> str:
        self.tell(command)
        return self.hear()

    def check(self) -> None:
        """Raises Failed if it has ended."""
        if self._popen.poll() is not None:
            raise self._gone()

    def close(self) -> None:
        """Ends its input, and waits until it has ended what it started."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        try:
            self._popen.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self.end()

    def end(self) -> None:
        self._popen.kill()
        self._popen.communicate()

    def _gone(self) -> Failed:
        self._popen.wait()
        return Failed(f"{self._name} ended ({self._popen.returncode}):\n{tail(self._log)}")


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def time_command(command: Sequence[object], log: Path) -> float:
    """Seconds from the start of a command that must succeed until it has ended.

    What it says goes to the log, and so does what a process says that it leaves behind.
    """
    words = [str(word) for word in command]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    begin = time.monotonic()
    pid = os.posix_spawn(words[0], words, os.environ, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    seconds = time.monotonic() - begin
    if status != 0:
        raise Failed(f"{' '.join(words)} failed:\n{tail(log)}")
    return seconds


def tail(log: Path) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def end_children() -> None:
    """Ends all children, adopted ones included, and waits for them."""
    deadline = time.monotonic() + _END_SECONDS
    while children := _children():
        late = time.monotonic() > deadline
        for pid in children:
            os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(0.02)
        reap()
    reap()  # what ended on its own


def reap() -> None:
    """Takes note of adopted processes that ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        pass


def _children() -> list[int]:
    own, found = os.getpid(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # the name, in parentheses, may hold anything; state and parent follow it
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == own and state != "Z":
            found.append(int(entry.name))
    return found


def _os_error(text: str) -> Failed:
    return Failed(f"{text}: {os.strerror(ctypes.get_errno())}")
