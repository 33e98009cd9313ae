"""One `secretfs mount`: started, asked, read through, and ended without leaving anything behind."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Callable, Sequence

from lib import program
from lib.daemon_process import DaemonProcess
from lib.inotify import is_generation
from lib.mountinfo import mounts_at
from lib.waiting import PATIENCE_SECONDS, until

_MNT_DETACH = 2
_READY = " INFO mounted "
_ANSWER_SECONDS = 5.0  # then it waits for an answer from itself
_libc = ctypes.CDLL(None, use_errno=True)

# A link of the old generation, for systemd's path units: differs from the kubelet on purpose.
NOTICE = "..replaced"


def unmount(path: Path, *, lazily: bool = False) -> None:
    """umount(2). The program that has just made a mount holds it busy for a moment."""

    def detach() -> bool:
        if _libc.umount2(os.fsencode(path), _MNT_DETACH if lazily else 0) == 0:
            return True
        if (code := ctypes.get_errno()) != errno.EBUSY:
            raise OSError(code, os.strerror(code), str(path))
        return False

    until(detach, f"{path} to be free", forgive=())


class Kept:
    """A file by which to tell it from a later one of that name, which may get the same inode number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = self._look()

    def _look(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_ino, status.st_ctime_ns

    def is_there(self) -> bool:
        try:
            return self._look() == self._identity
        except FileNotFoundError:
            return False


def abort_connection(device: str) -> None:
    """Ends a FUSE connection ("major:minor"), in any state of its server."""
    with tempfile.TemporaryDirectory(prefix="secretfs-test-") as point:
        subprocess.run(["mount", "-t", "fusectl", "fusectl", point], check=True)
        try:
            (Path(point) / device.split(":")[1] / "abort").write_text("1")
        finally:
            unmount(Path(point))


class Volume(DaemonProcess):
    """A daemon in the foreground and the volume it shows at `path`.

    prefix: a command that runs another one, to start the program as another user or in another namespace.
    """

    def __init__(
        self,
        path: Path,
        arguments: Sequence[str],
        *,
        home: Path,
        log: Path,
        prefix: Sequence[str] = (),
        binary: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self.path = path
        self.binary = binary or program.binary()
        self.prefix = list(prefix)
        self._socket: Kept | None = None
        command = [*prefix, str(self.binary), "mount", "-f", *arguments, str(path)]
        super().__init__(command, home=home, log=log, env=env)

    # ---- life

    def wait_ready(self) -> Volume:
        self.wait_until(_READY, "the mount")
        self._note_socket()
        return self

    def kill(self) -> None:
        """SIGKILL: leaves a dead mount behind."""
        self.expected_exit = -signal.SIGKILL
        self.signal(signal.SIGKILL)
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError("it does not die of SIGKILL: it hangs in the kernel") from None

    def finish(self) -> None:
        """Ends it if it still runs, and checks its leftovers and its log."""
        try:
            self.end()
            if self.exit_status != -signal.SIGKILL:
                self.check_nothing_left()
            self.check_log()
        finally:
            self.destroy()

    def destroy(self) -> None:
        """Takes everything down that may be left, without a word."""
        if self.exit_status is None:
            self._process.kill()
            try:
                self._process.wait(_ANSWER_SECONDS)
            except subprocess.TimeoutExpired:
                abort_connection(mounts_at(self.path)[-1].device)
                self._process.wait()
        for _ in mounts_at(self.path):
            unmount(self.path, lazily=True)

    def check_nothing_left(self) -> None:
        """No mount, no control socket, and a directory that can be used again."""
        assert mounts_at(self.path) == [], f"still mounted:\n{self.log()}"
        assert not self._has_socket(), f"the control socket is still there:\n{self.log()}"
        if self.path.is_dir() and not self.prefix:
            probe = self.path / "probe"
            probe.write_bytes(b"usable again")
            probe.unlink()

    # ---- the control socket

    def _note_socket(self) -> None:
        mounts = mounts_at(self.path)
        if mounts:
            self._socket = Kept(Path(f"/run/secretfs/{mounts[-1].device}.sock"))

    def _has_socket(self) -> bool:
        """Another mount may have got the device number meanwhile, with a socket of its own."""
        return self._socket is not None and self._socket.is_there()

    def status(self) -> dict[str, Any]:
        done = self.run("status", "-o", "json", str(self.path))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command of the program, run as and where this mount runs."""
        return program.run([*self.prefix, self.binary, *arguments], home=self.home)

    def requests(self) -> int:
        """How many FUSE requests have reached the daemon."""
        return int(self.status()["requests"]["total"])

    # ---- content

    def generation(self) -> str:
        return os.readlink(self.path / "..data")

    def read(self, key: str) -> bytes:
        return (self.path / key).read_bytes()

    def keys(self) -> set[str]:
        """As a consumer enumerates them (A9)."""
        return {name for name in os.listdir(self.path) if not name.startswith("..")}

    def content(self) -> dict[str, bytes] | None:
        """Everything, or None if an update came in between."""
        generation = self.path / self.generation()
        try:
            return {name: (generation / name).read_bytes() for name in os.listdir(generation)}
        except FileNotFoundError:
            return None

    def wait_content(self, content: dict[str, bytes]) -> None:
        """Waits until exactly this is published and the old generation is gone."""
        until(lambda: self.content() == content and self._is_settled(content), "the content")

    def wait_cleaned(self) -> None:
        """Waits until the old generations are gone."""

        def is_cleaned() -> bool:
            names = {name for name in os.listdir(self.path) if name.startswith("..2")}
            return names == {self.generation()}

        until(is_cleaned, "the old generation to go")

    def _is_settled(self, content: dict[str, bytes]) -> bool:
        return set(os.listdir(self.path)) == {"..data", self.generation(), *content}


def listing(root: Path) -> list[tuple[str, str, str]]:
    """Path, mode and target of everything below, generations by another name."""
    found = []
    for path in [root, *sorted(root.rglob("*"))]:
        relative = str(path.relative_to(root))
        target = str(path.readlink()) if path.is_symlink() else ""
        status = path.lstat()
        mode = f"{status.st_mode:o} {status.st_nlink} {status.st_uid}:{status.st_gid}"
        found.append((hide_generation(relative), mode, hide_generation(target)))
    return sorted(found)


def hide_generation(path: str) -> str:
    return "/".join("TS" if is_generation(part) else part for part in path.split("/"))


def files_of(volume: Volume) -> dict[str, bytes] | None:
    """Path and content of all files, or None if an update came in between."""
    generation = volume.path / volume.generation()
    try:
        return {
            str(path.relative_to(generation)): path.read_bytes()
            for path in generation.rglob("*")
            if path.is_file()
        }
    except FileNotFoundError:
        return None


def wait_files(volume: Volume, files: dict[str, bytes]) -> None:
    until(lambda: files_of(volume) == files, f"{sorted(files)}")


VolumeMaker = Callable[..., Volume]
