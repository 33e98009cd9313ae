"""A mount and a process namespace of its own for everything that makes up a node.

A kubelet, a container runtime and their pods use the same fixed directories on every machine, mount
on and below them, and leave processes behind that no test has started. Here these directories
are empty file systems that only programs inside can see. All that runs inside is ended by the
kernel when the first process is, in any order, and the last one to go takes
the mounts along.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, Sequence

from lib.process import Process, die_with_parent
from lib.waiting import until

# Where a node keeps its state, its sockets and its logs. They exist on every Debian.
PRIVATE = ("/var/lib", "/var/log", "/run")

_CLONE_NEWNS = 0x00020000
_CLONE_NEWPID = 0x20000000
_libc = ctypes.CDLL(None, use_errno=True)

# A new mount namespace has copies of the mounts of tests that run beside, which would live on in it.
DETACH_MOUNTS = """
    while read -r _ path type _; do
        if [ "$type" = fuse.secretfs ]; then
            umount --lazy "$path" || true  # it may have ended meanwhile
        fi
    done </proc/self/mounts
"""
# The kubelet wants a tree that hands mounts on; /run/lock and the like may be links into /run.
_SCRIPT = f"""
    {DETACH_MOUNTS}
    init=$1
    shift
    mount --make-rshared /
    for directory; do
        mount -t tmpfs -o mode=0755 tmpfs "$directory"
    done
    exec "$init"
"""


class Namespaces:
    def __init__(self, directory: Path, init: Path) -> None:
        """`init`: a static program that waits for ever and reaps; its path must not be PRIVATE."""
        for private in PRIVATE:
            assert not str(init).startswith(f"{private}/"), f"{init} would be hidden"
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command += ["sh", "-ec", _SCRIPT, "sh", init, *PRIVATE]
        self._unshare = Process("namespaces", command, directory / "namespaces.log")
        self._processes: list[Process] = []
        self._fds: list[int] = []
        try:
            self.pid = until(lambda: self._find_init(init), "namespaces are made")
            self._own_pids = self._open("/proc/self/ns/pid")
            self._mounts = self._open(f"/proc/{self.pid}/ns/mnt")
            self._pids = self._open(f"/proc/{self.pid}/ns/pid")
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Kills everything inside, and waits until all of it is gone."""
        while self._fds:
            os.close(self._fds.pop())
        self._unshare.stop(signal.SIGKILL)
        for process in self._processes:
            # the kernel has killed it, but the first process waits until it was waited for here
            process.stop(signal.SIGKILL)
        pid = getattr(self, "pid", None)
        if pid is not None:
            # it is gone once all others are
            until(lambda: not os.path.exists(f"/proc/{pid}"), "the namespaces' end", pause=0.05)

    def path(self, inside: str | Path) -> Path:
        """Where something inside can be seen from outside."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def process(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        death: signal.Signals = signal.SIGKILL,
    ) -> Process:
        """Something that runs inside, at the longest until the namespaces end."""
        self._processes.append(Process(name, command, log, death=death, inside=self._entered()))
        return self._processes[-1]

    @contextmanager
    def _entered(self) -> Iterator[Callable[[], None]]:
        """Children that are made meanwhile are inside; what is given is for their preexec_fn."""
        self._set(self._pids, _CLONE_NEWPID)
        try:
            yield lambda: self._set(self._mounts, _CLONE_NEWNS)
        finally:
            self._set(self._own_pids, _CLONE_NEWPID)

    def run(self, command: Sequence[str | Path], seconds: float = 120) -> str:
        """Runs a command inside to its end. What it printed; AssertionError if it failed."""
        with self._entered() as enter:

            def prepare() -> None:
                enter()
                die_with_parent(signal.SIGKILL)()

            popen = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=prepare,
            )
        with popen:
            try:
                output, errors = popen.communicate(timeout=seconds)
            except BaseException:
                popen.kill()
                raise
        assert popen.returncode == 0, f"{command[0]}: {popen.returncode}: {errors}{output}"
        return output

    def _find_init(self, init: Path) -> int | None:
        code = self._unshare.exit_code()
        assert code is None, f"unshare ended with {code}: {self._unshare.log_tail()}"
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        for pid in map(int, children.read_text().split()):
            try:
                if os.path.samefile(f"/proc/{pid}/exe", init):
                    return pid
            except OSError:
                continue
        return None

    def _open(self, path: str) -> int:
        self._fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return self._fds[-1]

    @staticmethod
    def _set(fd: int, kind: int) -> None:
        if _libc.setns(fd, kind) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), "setns")
