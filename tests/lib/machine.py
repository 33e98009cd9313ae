"""A container with systemd as process 1, in which tests run commands as root."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from lib.process import Process
from lib.waiting import until

_COMMAND_SECONDS = 120  # only a failing test ever takes that long
_END_SECONDS = 60
_CGROUP2_MAGIC = "cgroup2fs"
_DEVICES = (Path("/dev/fuse"), Path("/dev/autofs"))

Done = subprocess.CompletedProcess


class BootFailed(Exception):
    """systemd did not come up; the text has its last words."""


def _cgroup_arguments() -> list[str]:
    """The container's systemd takes what the host has."""
    done = subprocess.run(
        ["stat", "-f", "-c", "%T", "/sys/fs/cgroup"], capture_output=True, text=True, check=True
    )
    return [] if done.stdout.strip() == _CGROUP2_MAGIC else ["systemd.unified_cgroup_hierarchy=0"]


class Machine:
    """Boots `tree`. Its network is the host's; of the host's devices it has two."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self._log = tree.with_suffix(".console")
        self._process: Process | None = None
        self._init = 0
        self.boot()

    # ---- life

    def boot(self) -> None:
        command = ["systemd-nspawn", "-q", "-D", str(self.tree), "--register=no", "--keep-unit"]
        command += ["--boot", *(f"--bind={device}" for device in _DEVICES if device.exists())]
        command += ["--capability=all", *_cgroup_arguments()]
        # an orderly end for what runs in there, should the tests be gone all at once
        self._process = Process("nspawn", command, self._log, death=signal.SIGTERM)
        try:
            until(self._is_up, "the boot of the container")
        except AssertionError as error:
            self.kill()
            raise BootFailed(f"{error}\n{self.console()}") from None

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.exit_code() is not None:
            raise BootFailed(f"the container ended at once:\n{self.console()}")
        self._init = self._find_init()
        if self._init == 0:
            return False
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def _find_init(self) -> int:
        """The child of nspawn that is process 1 in there."""
        assert self._process is not None
        pid = self._process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for child in children:
                for line in Path(f"/proc/{child}/status").read_text().splitlines():
                    if line.startswith("NSpid:") and line.split()[-1] == "1":
                        return int(child)
        except FileNotFoundError:
            pass
        return 0

    def reboot(self) -> None:
        self.power_off()
        self.boot()

    def power_off(self) -> None:
        assert self._process is not None
        if self._process.exit_code() is None:
            self.run("systemctl", "poweroff", "--no-block", check=False)
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the container does not end:\n{self.console()}") from None

    def kill(self) -> None:
        """Everything in there goes with its process 1."""
        assert self._process is not None
        if self._process.exit_code() is None:
            self._process.stop(signal.SIGKILL)

    def console(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-40:])

    # ---- commands

    def run(self, *command: str | Path, check: bool = True, stdin: str = "") -> Done[str]:
        enter = ["nsenter", f"--target={self._init}", "--mount", "--uts", "--ipc", "--pid"]
        enter += ["--root", "--wd=/root"]
        environment = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C"]
        done = subprocess.run(
            [*enter, "--", *environment, *(str(word) for word in command)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        if check and done.returncode != 0:
            words = " ".join(str(word) for word in command)
            raise AssertionError(
                f"{words} exits with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done

    def output(self, *command: str | Path) -> str:
        return self.run(*command).stdout.strip()

    def shell(self, script: str) -> str:
        return self.run("/bin/sh", "-ec", script).stdout

    @property
    def root(self) -> Path:
        """Its files as its process 1 sees them, with what is mounted in there."""
        return Path(f"/proc/{self._init}/root")

    def path(self, path: str) -> Path:
        """A file of the tree as the host sees it; what is mounted in there is not seen."""
        return self.tree / path.lstrip("/")

    def write(self, path: str, text: str) -> None:
        """By renaming, so that no reader sees half of it."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.new")
        aside.write_text(text)
        os.rename(aside, target)

    def read(self, path: str) -> str:
        return self.run("cat", path).stdout

    def wait_read(self, path: str, text: str, unit: str = "") -> None:
        """Waits until this is what a file says. `unit`: whose journal tells if it never does."""

        def is_there() -> bool:
            done = self.run("cat", path, check=False)
            return (done.returncode, done.stdout) == (0, text)

        try:
            until(is_there, f"{text} in {path}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.journal(unit) if unit else ''}") from None

    # ---- units

    def property(self, unit: str, name: str) -> str:
        return self.output("systemctl", "show", "--value", "-p", name, unit)

    def is_active(self, unit: str) -> bool:
        return self.property(unit, "ActiveState") == "active"

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "-o", "cat", "--no-pager", "-u", unit, check=False).stdout

    def failed_units(self) -> str:
        return self.output("systemctl", "list-units", "--failed", "--no-legend", "--plain")

    def mounts_at(self, path: str) -> list[str]:
        """The types of what is mounted there, the one on top last."""
        lines = self.read("/proc/1/mountinfo").splitlines()
        fields = [line.split(" - ") for line in lines]
        return [after.split()[0] for before, after in fields if before.split()[4] == path]


def all_files(machine: Machine) -> set[str]:
    """What is on the disk, apart from what changes by itself."""
    script = "find / -xdev -path /proc -prune -o -path /sys -prune -o -path /run -prune -o -print"
    changing = re.compile(r"^/(var/(lib/apt|lib/dpkg|log|cache|tmp|lib/systemd)|tmp|root|etc/mtab)(/|$)")
    return {line for line in machine.shell(script).splitlines() if not changing.match(line)}

SECRET = """\
apiVersion: v1
kind: Secret
metadata:
  name: {name}
stringData:
  password: {password}
"""


def put_secret(machine: Machine, name: str, password: str, directory: str = "/manifests") -> None:
    machine.write(f"{directory}/{name}.yaml", SECRET.format(name=name, password=password))


@contextmanager
def file_alone(machine: Machine, path: str) -> Iterator[str]:
    """A file of a volume, bind-mounted in another mount namespace; gives its path from outside."""
    machine.shell("touch /mnt-file")
    script = f"mount --bind {path} /mnt-file && touch /run/alone && exec sleep infinity"
    unit = ["systemd-run", "-q", "--unit=alone", "-p", "PrivateMounts=yes"]
    machine.run(*unit, "/bin/sh", "-c", script)
    try:
        there = ["test", "-e", "/run/alone"]
        until(lambda: machine.run(*there, check=False).returncode == 0, "the bind mount")
        pid = machine.property("alone.service", "MainPID")
        yield f"/proc/{pid}/root/mnt-file"
    finally:
        machine.run("systemctl", "stop", "alone.service", check=False)
        machine.run("rm", "-f", "/mnt-file", "/run/alone")
