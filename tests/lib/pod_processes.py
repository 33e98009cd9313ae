"""Processes in control groups that are named as those of a pod's containers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Iterator, Sequence

import pytest

from lib.cgroup import roots
from lib.kubelet import PodVolume
from lib.process import die_with_parent
from lib.waiting import until

CGROUP = Path("/sys/fs/cgroup")

# Appends a line for each signal: its name, and the value that the volume shows then.
PROGRAM = """
import ctypes, os, signal, sys
value, log, name, user = sys.argv[1:]
def read():
    try:
        with open(value) as file:
            return file.read()
    except OSError:
        return "-"  # the daemon has ended
def note(number, frame):
    with open(log, "a") as to:
        to.write(f"{signal.Signals(number).name} {read()}\\n")
for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, note)
open(log, "a").close()
os.chmod(log, 0o666)
if name:
    ctypes.CDLL(None).prctl(15, name.encode())
os.setuid(int(user))
print("ready", flush=True)
while True:
    signal.pause()
"""


class Process:
    """It has the volumes of this mount namespace, or a private one in which `script` has run."""

    def __init__(
        self, group: Path, key: Path, log: Path, *, name: str, user: int, script: str
    ) -> None:
        self._log = log
        procs = str(group / "cgroup.procs")
        die = die_with_parent(9)  # type: ignore[arg-type]

        def prepare() -> None:
            die()
            Path(procs).write_text(str(os.getpid()))

        program = [sys.executable, "-c", PROGRAM, str(key), str(log), name, str(user)]
        inside = ["unshare", "--mount", "--propagation=private", "sh", "-ec", f'{script}\nexec "$@"', "-"]
        self._process = subprocess.Popen(
            [*inside, *program], preexec_fn=prepare, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        return self._process.pid

    def signals(self) -> list[str]:
        """"SIGHUP dummy-2", one for each."""
        return self._log.read_text().splitlines()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class PodProcesses:
    """`top`: a directory in a hierarchy, the test's own, in the place of a kubelet's cgroup root."""

    def __init__(self, top: Path, area: Path) -> None:
        self.top = top
        self._area = area
        self._processes: list[Process] = []

    def container(self, volume: PodVolume, number: int = 0) -> Path:
        """The directory of a container of the volume's pod."""
        return self.top / "kubepods" / f"pod{volume.uid}" / f"{number:064x}"

    def start(
        self,
        group: Path,
        volume: PodVolume,
        key: str = "password",
        *,
        name: str = "",
        user: int = 0,
        script: str = "",
    ) -> Process:
        group.mkdir(parents=True, exist_ok=True)
        log = self._area / f"signals-{len(self._processes)}"
        process = Process(group, volume.target / key, log, name=name, user=user, script=script)
        self._processes.append(process)
        return process

    def log_of(self, volume: PodVolume, container: str) -> str:
        """For `script`: the mount by which a container's name is found."""
        path = volume.root / "pods" / volume.uid / "containers" / container / "1a2b3c4d"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        log = self._area / "termination-log"
        log.touch()
        return f"mount --bind {path} {log}"

    def end(self) -> None:
        for process in self._processes:
            process.end()
        directories = [Path(path) for path, _, _ in os.walk(self.top, topdown=False)]
        for directory in directories:
            until(lambda: (directory / "cgroup.procs").read_text() == "", "its processes to end")
            directory.rmdir()


def _usable_roots() -> Sequence[Path]:
    """Hierarchies in which the daemon looks for pods."""
    known = [CGROUP, *(CGROUP / name for name in ("systemd", "memory", "pids", "unified"))]
    found = [*roots("cgroup2"), *roots("cgroup")]
    return [path for path in known if path in found]


@contextlib.contextmanager
def pod_processes(area: Path) -> Iterator[PodProcesses]:
    if not _usable_roots():
        pytest.skip("no control groups are mounted on /sys/fs/cgroup")
    top = _usable_roots()[0] / f"secretfs-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        top.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    made = PodProcesses(top, area)
    try:
        yield made
    finally:
        made.end()
