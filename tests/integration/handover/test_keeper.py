"""`secretfs-keeper -- secretfs mount`: the keeper starts the next process, also while a killed one cannot end."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

from lib import program
from lib.mountinfo import mounts_at
from lib.process import die_with_parent
from lib.sources import Manifests
from lib.waiting import PATIENCE_SECONDS, until

KILLS = int(os.environ.get("SECRETFS_TEST_KILLS", "25"))


class Kept:
    """`secretfs mount` under the keeper."""

    def __init__(self, area: Path, manifests: Manifests) -> None:
        self.path = area / "volume"
        self.path.mkdir()
        self._log = area / "log"
        command = [program.binary().with_name("secretfs-keeper"), "--backoff-max", "100ms", "--"]
        command += [program.binary(), "mount", "-f", *manifests.arguments, "secret/app", self.path]
        with open(self._log, "ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=program.environment(area / "home"),
                preexec_fn=die_with_parent(signal.SIGTERM),
            )

    def log(self) -> str:
        return self._log.read_text()

    def pids(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"started .* as process (\d+) with", self.log())]

    def n_ready(self) -> int:
        return len(re.findall("INFO (mounted|took over the mount) ", self.log()))

    def wait_ready(self, count: int) -> None:
        until(lambda: self.n_ready() >= count, f"process {count}; log:\n{self.log()}")

    def end(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(PATIENCE_SECONDS)
        finally:
            if self._process.poll() is None:
                self._process.kill()  # the descriptors go with it, and every wait for an answer
                self._process.wait()


def _read(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


def test_kills_during_updates(area: Path, manifests: Manifests) -> None:
    """Some of the kills find the publisher waiting for an answer, which only the next process gives."""
    manifests.put_secret({"password": b"dummy-0"})
    kept = Kept(area, manifests)
    try:
        kept.wait_ready(1)
        for i in range(1, KILLS + 1):
            value = f"dummy-{i}".encode()
            manifests.put_secret({"password": value})
            time.sleep(random.random() / 100)
            os.kill(kept.pids()[-1], signal.SIGKILL)
            kept.wait_ready(i + 1)
            until(lambda value=value: _read(kept.path / "password") == value, "the update")
    finally:
        status = kept.end()
    assert status == 0
    assert mounts_at(kept.path) == []
