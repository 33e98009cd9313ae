"""A service manager with a descriptor store, and a service of it that can be killed and started again."""

from __future__ import annotations

import array
import fcntl
import json
import os
import select
import signal
import socket
import threading
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from lib import program
from lib.daemon_process import DaemonLog
from lib.kill_point import KillPoint, is_stopped
from lib.mountinfo import mounts_at
from lib.volume import unmount
from lib.waiting import until

_FIRST_FD = 3  # SD_LISTEN_FDS_START
_HIGH_FD = 200  # where descriptors wait that become 3, 4, ... of the program
_CMSG_CLOEXEC = 0x40000000  # no program that is started inherits them; socket does not have it
_STARTER = 'LISTEN_PID=$$ exec "$@"'
_STOPPED_STARTER = f"kill -STOP $$; {_STARTER}"


class DescriptorStore:
    """The service manager's end: NOTIFY_SOCKET with FDSTORE, FDSTOREREMOVE and BARRIER."""

    def __init__(self, path: Path, *, offers: bool = True) -> None:
        self.env = {"NOTIFY_SOCKET": str(path), **({"FDSTORE": "64"} if offers else {})}
        self._offers = offers
        self._n_syncs = 0
        self._lock = threading.Lock()
        self._stored: list[tuple[str, int, bool]] = []  # name, descriptor, whether to poll it
        self._notified: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        for _, fd, _ in self._stored:
            os.close(fd)
        self._stored.clear()

    def _serve(self) -> None:
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(
                4096, socket.CMSG_SPACE(4 * 253), _CMSG_CLOEXEC
            )
            if not data:
                return
            fds = array.array("i")
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(payload[: len(payload) // 4 * 4])
            self._handle(data.decode().splitlines(), list(fds))

    def _handle(self, lines: list[str], fds: list[int]) -> None:
        fields = dict(line.split("=", 1) for line in lines)
        with self._lock:
            if fields.get("FDSTORE") == "1" and self._offers:
                polled = fields.get("FDPOLL") != "0"
                self._stored += [(fields.get("FDNAME", "stored"), fd, polled) for fd in fds]
                fds = []
            if fields.get("FDSTOREREMOVE") == "1":
                self._drop(lambda name, fd, polled: name == fields["FDNAME"])
            self._notified += lines
        for fd in fds:  # of a barrier
            os.close(fd)

    def _drop(self, is_dropped: object) -> None:
        for entry in [entry for entry in self._stored if is_dropped(*entry)]:  # type: ignore[operator]
            self._stored.remove(entry)
            os.close(entry[1])

    @staticmethod
    def _is_dead(_: str, fd: int, polled: bool) -> bool:
        if not polled:
            return False
        poll = select.poll()
        poll.register(fd, 0)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))

    def _process_queue(self) -> None:
        """What a process has sent before its end counts, as with a real service manager."""
        self._n_syncs += 1
        line = f"SYNC={self._n_syncs}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(line.encode(), self.env["NOTIFY_SOCKET"])
        until(lambda: self.notified(line), "the messages before")

    def stored(self) -> list[tuple[str, int]]:
        self._process_queue()
        with self._lock:
            self._drop(self._is_dead)
            return [(name, fd) for name, fd, _ in self._stored]

    def names(self) -> list[str]:
        """Of file systems."""
        return sorted(name for name, _ in self.stored() if not name.startswith("socket."))

    def sockets(self) -> dict[str, str]:
        """Labels by name. Each is stored once."""
        found = [name.split(".", 2) for name, _ in self.stored() if name.startswith("socket.")]
        labels = {name: label for _, name, label in found}
        assert len(labels) == len(found), found
        return labels

    def notified(self, line: str) -> int:
        with self._lock:
            return self._notified.count(line)

    def drop_all(self) -> None:
        """As a service manager that stops the service for good."""
        with self._lock:
            self._drop(lambda *_: True)


class Service(DaemonLog):
    """`secretfs mount -f` under a service manager that keeps its descriptors.

    start() starts it with what it has stored. The end of a killed process is its first thread's: a thread
    that waits in the kernel for an answer of the next process keeps the rest of it.
    """

    def __init__(
        self,
        store: DescriptorStore,
        path: Path,
        arguments: Sequence[str],
        *,
        home: Path,
        log: Path,
        binary: Path | None = None,
        env: Mapping[str, str] | None = None,
        resends: bool = True,
    ) -> None:
        self.store = store
        self.path = path
        self.binary = binary or program.binary()
        self.arguments = list(arguments)
        self.resends = resends  # what a killed process has taken; else such a call fails
        self._env = dict(env or {})
        self._home = home
        super().__init__(log)
        self._pid = 0
        self._dying: list[int] = []
        self.starts = 0
        log.touch()

    # ---- life

    def _command(self) -> list[str]:
        return [str(self.binary), "mount", "-f", *self.arguments, str(self.path)]

    def start(self) -> Service:
        assert self._pid == 0
        ready = self.store.notified("READY=1")
        self._spawn(self._command(), self.store.stored())
        self.starts += 1
        until(
            lambda: self.store.notified("READY=1") > ready or self._has_ended(),
            f"the service; log:\n{self.log()}",
        )
        assert not self._has_ended(), f"it ended:\n{self.log()}"
        return self

    def run(self) -> int:
        """Starts it and waits for its end. Returns its exit status."""
        self._spawn(self._command(), self.store.stored())
        return self.wait_end()

    def start_killed_at(self, number: int, at_kill: Callable[[], None] = lambda: None) -> KillPoint:
        """Kills it before its system call with this number, if it makes as many until it is ready.

        Then kill() has to be called, which waits for its end.
        """
        ready = self.store.notified("READY=1")
        self._spawn(self._command(), self.store.stored(), _STOPPED_STARTER)
        until(lambda: is_stopped(self._pid), "the shell that has stopped itself")
        point = KillPoint(self._pid, number, at_kill)
        until(
            lambda: point.has_killed or self.store.notified("READY=1") > ready,
            f"the service; log:\n{self.log()}",
        )
        return point

    def _spawn(
        self, command: list[str], stored: list[tuple[str, int]], starter: str = _STARTER
    ) -> None:
        env = program.environment(self._home, **self.store.env, **self._env)
        if stored:
            env["LISTEN_FDS"] = str(len(stored))
            env["LISTEN_FDNAMES"] = ":".join(name for name, _ in stored)
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD) for _, fd in stored]
        log = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        actions = [
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        ]
        actions += [(os.POSIX_SPAWN_DUP2, fd, _FIRST_FD + i) for i, fd in enumerate(high)]
        self._pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", starter, "sh", *command],
            {**env, "LISTEN_PID": ""},
            file_actions=actions,
            setsid=True,
        )
        for fd in [*high, log]:
            os.close(fd)

    @property
    def pid(self) -> int:
        return self._pid

    def _has_ended(self) -> bool:
        """Whether the first thread has: a zombie, even while another thread waits in the kernel."""
        stat = Path(f"/proc/{self._pid}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0] == "Z"

    def _wait_first_thread(self) -> None:
        until(self._has_ended, "the end of the process")

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self._pid, signal.SIGKILL)
        self._wait_first_thread()
        self._dying.append(self._pid)
        self._pid = 0

    def reap(self) -> None:
        """Waits until every killed process has ended as a whole."""
        for pid in self._dying:
            until(lambda pid=pid: os.waitpid(pid, os.WNOHANG)[0] == pid, f"the end of process {pid}")
        self._dying.clear()

    def stop(self) -> int:
        """SIGTERM. Returns the exit status."""
        os.kill(self._pid, signal.SIGTERM)
        return self.wait_end()

    def hand_over(self) -> int:
        """SIGUSR2: another process follows. Returns the exit status."""
        os.kill(self._pid, signal.SIGUSR2)
        return self.wait_end()

    def wait_end(self) -> int:
        self._wait_first_thread()
        pid, self._pid = self._pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def finish(self) -> None:
        """Ends it and what it has mounted."""
        for _ in mounts_at(self.path):
            unmount(self.path, lazily=True)
        if self._pid != 0:
            os.kill(self._pid, signal.SIGKILL)
            self._wait_first_thread()
            self._dying.append(self._pid)
            self._pid = 0
        self.store.drop_all()  # the connection ends, and with it every wait for an answer
        self.reap()

    def status(self) -> dict[str, Any]:
        command = [str(self.binary), "status", "-o", "json", str(self.path)]
        done = program.run(command, home=self._home)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def requests(self) -> int:
        """How many FUSE requests have reached the process."""
        return int(self.status()["requests"]["total"])


class NodeService(Service):
    """The same for `secretfs node`; `path` is where its standard file system is mounted."""

    def __init__(
        self, store: DescriptorStore, area: Path, arguments: Sequence[str], **options: Any
    ) -> None:
        self.root = area / "kubelet"
        self.run_dir = area / "run"
        self.endpoint = self.root / "csi.sock"
        (self.root / "pods").mkdir(parents=True)
        places = [f"--kubelet-root={self.root}", f"--run-dir={self.run_dir}"]
        places += [f"--volumes-dir={area / 'volumes.d'}", f"--endpoint=unix://{self.endpoint}"]
        places += ["--node-id=node-0", "--registration-path=none", "--metrics-bind-address=0"]
        super().__init__(
            store,
            self.run_dir / "fs",
            [*places, *arguments],
            home=area / "home",
            log=area / "log",
            **options,
        )

    def _command(self) -> list[str]:
        return [str(self.binary), "node", *self.arguments]

    def kill(self) -> None:
        """The end of the first thread comes before that of the lock on the run directory."""
        super().kill()
        until(self._is_unlocked, "the lock")

    def _is_unlocked(self) -> bool:
        with open(self.run_dir / "node.lock", "rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def finish(self) -> None:
        """A daemon that runs would mount it again."""
        if self._pid != 0:
            self.kill()
        super().finish()
