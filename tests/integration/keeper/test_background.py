"""`secretfs mount` in the background: it runs under a keeper, so that the mount outlives its process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Iterator, Sequence

import pytest

from lib import cgroup, program, storm
from lib.cell import Cell
from lib.mountinfo import mounts_at
from lib.places import Clients, Place, status_path
from lib.sources import Manifests
from lib.volume import unmount
from lib.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="these tests mount as root"
)


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def _has_ended(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


class Background:
    """A mount, asked and read as the one who made it does. `prefix` runs a command as that user."""

    def __init__(self, path: Path, binary: Path, home: Path, prefix: Sequence[str] = ()) -> None:
        self.path = path
        self.home = home
        self._binary = binary
        self._prefix = list(prefix)

    def run(self, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._prefix, str(self._binary), *map(str, arguments)],
            env=program.environment(self.home, ASAN_OPTIONS="detect_leaks=0"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            cwd=cwd,
            check=False,
        )

    def mount(self, *arguments: str | Path, cwd: Path | None = None) -> None:
        done = self.run("mount", *arguments, self.path, cwd=cwd)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def pid(self) -> int:
        done = self.run("status", "-o", "json", self.path)
        assert done.returncode == 0, done.stderr
        return int(json.loads(done.stdout)["pid"])

    def wait_next(self, pid: int) -> int:
        """Returns the process id of the one that serves after pid; for a moment none does."""

        def find() -> int | None:
            done = self.run("status", "-o", "json", self.path)
            found = int(json.loads(done.stdout)["pid"]) if done.returncode == 0 else pid
            return found if found != pid else None

        found = until(find, f"the process after {pid}")
        assert found is not None
        return found

    def keeper(self) -> int:
        return _parent_of(self.pid())

    def read(self, key: str) -> str:
        """By a program that asks nothing but open and read."""
        command = [*self._prefix, "cat", str(self.path / key)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def kill(self) -> int:
        """Returns the process id of the next process, which then serves."""
        killed = self.pid()
        os.kill(killed, signal.SIGKILL)
        return self.wait_next(killed)


@pytest.fixture
def mounted(area: Path) -> Iterator[Background]:
    path = area / "volume"
    path.mkdir()
    made = Background(path, program.binary(), area / "home")
    yield made
    for _ in mounts_at(path):
        unmount(path, lazily=True)


@pytest.fixture
def source(manifests: Manifests) -> Manifests:
    manifests.put_secret({"password": b"dummy-1", "user": b"dummy-user"})
    return manifests


def _check_survival(mount: Background, source: Manifests) -> None:
    assert mount.read("password") == "dummy-1"
    keeper = mount.keeper()
    mount.kill()
    assert mount.keeper() == keeper
    assert mount.read("password") == "dummy-1"
    assert mount.read("user") == "dummy-user"  # never read before
    source.put_secret({"password": b"dummy-2"})
    until(lambda: mount.read("password") == "dummy-2", "the update")


def _check_end(mount: Background) -> None:
    """After an unmount neither the process nor the keeper is left."""
    pid, keeper = mount.pid(), mount.keeper()
    done = mount.run("unmount", mount.path)
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: _has_ended(pid) and _has_ended(keeper), "the end of process and keeper")


def test_a_killed_process(mounted: Background, source: Manifests) -> None:
    mounted.mount(*source.arguments, "secret/app")
    _check_survival(mounted, source)
    _check_end(mounted)
    assert mounts_at(mounted.path) == []


def test_clients_of_a_killed_process(mounted: Background, source: Manifests) -> None:
    """Its status socket refuses none, over kills."""
    mounted.mount(*source.arguments, "secret/app")
    clients = Clients(Place("status", status_path(mounted.path)))
    try:
        for _ in range(5):
            mounted.kill()
    finally:
        clients.stop()
    assert clients.errors == [] and clients.n > 0
    _check_end(mounted)


def test_a_killed_process_of_a_user(cell: Cell, area: Path) -> None:
    source = Manifests(area / "manifests")
    source.put_secret({"password": b"dummy-1", "user": b"dummy-user"})
    mounted = Background(cell.directory("volume"), cell.binary, cell.home, cell.user)
    mounted.mount(*source.arguments, "secret/app")
    _check_survival(mounted, source)
    _check_end(mounted)
    assert mounts_at(mounted.path, cell.pid) == []


def test_a_killed_process_of_the_mount_helper(mounted: Background, source: Manifests) -> None:
    helper = mounted.home / "mount.fuse.secretfs"
    helper.symlink_to(program.binary())
    command = [helper, "secret/app", mounted.path, "-o", f"manifests={source.directory}"]
    done = program.run(command, home=mounted.home)
    assert (done.returncode, done.stderr) == (0, "")
    _check_survival(mounted, source)
    unmount(mounted.path)


def test_relative_paths_mean_the_same_after_a_restart(mounted: Background, source: Manifests) -> None:
    area = mounted.path.parent
    mounted.mount("--manifests", source.directory.name, "secret/app", cwd=area)
    _check_survival(mounted, source)
    for pid in (mounted.pid(), mounted.keeper()):
        assert os.readlink(f"/proc/{pid}/cwd") == "/"  # so that the area can be unmounted
    _check_end(mounted)


def test_nothing_writes_to_the_terminal(mounted: Background, source: Manifests) -> None:
    """Neither the keeper nor a process that it has started."""
    mounted.mount(*source.arguments, "secret/app")
    for pid in (mounted.keeper(), mounted.pid(), mounted.kill()):
        if not _has_ended(pid):
            links = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)}
            assert links == {"/dev/null"}
    assert os.getsid(mounted.keeper()) == mounted.keeper()


def test_hand_over(mounted: Background, source: Manifests) -> None:
    mounted.mount(*source.arguments, "secret/app")
    pid, keeper = mounted.pid(), mounted.keeper()
    os.kill(keeper, signal.SIGHUP)
    mounted.wait_next(pid)
    assert mounted.keeper() == keeper
    assert mounted.read("password") == "dummy-1"


@pytest.mark.parametrize("is_keeper", [True, False])
def test_sigterm_unmounts(is_keeper: bool, mounted: Background, source: Manifests) -> None:
    """To the keeper, or to the process that status names."""
    mounted.mount(*source.arguments, "secret/app")
    pid, keeper = mounted.pid(), mounted.keeper()
    os.kill(keeper if is_keeper else pid, signal.SIGTERM)
    until(lambda: _has_ended(pid) and _has_ended(keeper), "the end of process and keeper")
    assert mounts_at(mounted.path) == []


def test_live_files_outlive_the_process(mounted: Background, source: Manifests) -> None:
    """An open file keeps its version, and the file changes in place."""
    mounted.mount(*source.arguments, "--updates=in-place", "secret/app")
    pid, keeper = mounted.pid(), mounted.keeper()
    inode = (mounted.path / "password").stat().st_ino
    held = os.open(mounted.path / "password", os.O_RDONLY)
    before = os.read(held, 100)
    os.kill(pid, signal.SIGKILL)
    source.put_secret({"password": b"dummy-2"})
    until(lambda: mounted.read("password") == "dummy-2", "the update")
    assert os.pread(held, 100, 0) == before != b"dummy-2"
    os.close(held)
    assert (mounted.path / "password").stat().st_ino == inode
    assert mounted.keeper() == keeper


def test_an_oom_kill(mounted: Background, source: Manifests) -> None:
    """The next process is the keeper's child, and as large as the keeper's own limits allow."""
    mounted.mount(*source.arguments, "secret/app")
    pid, keeper = mounted.pid(), mounted.keeper()
    with cgroup.memory() as limited:
        limited.add(pid)
        limited.limit_memory(1 << 16)  # the next page that it needs is too much
        source.put_secret({"password": b"dummy-2" * 100_000})
        until(lambda: _has_ended(pid), "the OOM kill")
        until(lambda: mounted.read("password") == "dummy-2" * 100_000, "the update")
    assert mounted.keeper() == keeper


def test_a_stopped_process(mounted: Background, source: Manifests) -> None:
    """What was read before stays readable; another read waits until the process goes on."""
    mounted.mount(*source.arguments, "secret/app")
    assert storm.read(mounted.path / "password") == b"dummy-1"
    pid = mounted.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert storm.read(mounted.path / "password") == b"dummy-1"
        cold = subprocess.Popen(["cat", mounted.path / "user"], stdout=subprocess.PIPE, text=True)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert cold.communicate(timeout=PATIENCE_SECONDS) == ("dummy-user", None)
    assert mounted.pid() == pid


def test_a_second_mount_of_the_same_place(mounted: Background, source: Manifests) -> None:
    mounted.mount(*source.arguments, "secret/app")
    pid = mounted.pid()
    done = mounted.run("mount", *source.arguments, "secret/app", mounted.path)
    assert done.returncode == 1
    assert "already; run `secretfs unmount" in done.stderr
    assert mounted.pid() == pid
    assert mounted.read("password") == "dummy-1"


def test_a_full_run_directory(mounted: Background, source: Manifests) -> None:
    """The keeper's socket is in /tmp then; there is no control socket, and the mount survives."""
    script = """
        mount -t tmpfs -o nr_inodes=1 tmpfs /run
        "$1" mount --manifests "$2" secret/app "$3"
        pid=$(pgrep -P "$(pgrep -nx secretfs-keeper)")
        kill -KILL "$pid"
        cat "$3/user"
        umount "$3"
    """
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec"]
    done = subprocess.run(
        [*command, script, "-", program.binary(), source.directory, mounted.path],
        env={**program.environment(mounted.home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "dummy-user"), done.stderr
    assert "cannot serve the status of this mount" in done.stderr


def test_without_the_keeper(mounted: Background, source: Manifests) -> None:
    """A mount that would not survive is not made, unless it is in the foreground."""
    alone = mounted.home / "secretfs"
    shutil.copy(program.binary(), alone)
    done = program.run([alone, "mount", *source.arguments, "secret/app", mounted.path], home=mounted.home)
    assert done.returncode == 1
    assert "cannot run secretfs-keeper, which belongs beside secretfs" in done.stderr
    assert mounts_at(mounted.path) == []
