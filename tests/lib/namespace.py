"""Mount namespaces: one kept by a process, as a container has it, and one for a single command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lib.waiting import until

_READY = "ready"
# The directory's file system must not pass the mount on to where it is shared with.
_HIDE = """
    directory=$1
    shift
    mount --make-private "$(findmnt --noheadings --output TARGET --target "$directory")"
    mount -t tmpfs tmpfs "$directory"
    exec "$@"
"""


def hiding(directory: str) -> list[str]:
    """What to put before a command to have it see `directory` empty.

    What the command mounts is seen outside only below a shared mount other than the directory's.
    """
    if not os.path.isdir(directory):
        return []
    enter = ["unshare", "--mount", "--propagation", "unchanged", "--", "sh", "-ec", _HIDE, "sh"]
    return [*enter, directory]


class MountNamespace:
    """Mounts made in it are private to it; paths in it are reached through /proc/PID/root."""

    def __init__(self, *commands: str) -> None:
        script = "; ".join([*commands, f"echo {_READY}", "read _"])
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line == _READY, "the namespace could not be set up"

    @property
    def pid(self) -> int:
        return self._process.pid

    def path(self, path: Path | str) -> Path:
        """What a path of the namespace is called outside."""
        return Path(f"/proc/{self.pid}/root{path}")

    def run(self, *command: str | Path) -> None:
        subprocess.run(
            ["nsenter", "--mount", "--target", str(self.pid), *map(str, command)], check=True
        )

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.communicate("\n")
        until(lambda: self._process.poll() is not None, "the end of the namespace")
