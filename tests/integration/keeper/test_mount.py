"""`secretfs mount` under `secretfs keeper`: the mount outlives the process."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from typing import Iterator

import pytest

from lib import program
from lib.mountinfo import mounts_at
from lib.process import Process
from lib.sources import Manifests
from lib.volume import unmount
from lib.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="these tests mount as root"
)


def content(path: Path) -> bytes:
    """Without Python's open(), which asks the daemon each time whether the file is a terminal."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


class KeptMount:
    def __init__(self, area: Path, manifests: Manifests) -> None:
        self.path = area / "volume"
        self.path.mkdir()
        self.manifests = manifests
        self._log = area / "keeper.log"
        command = [program.binary(), "keeper", "--backoff-max=0s", "--", program.binary(), "mount", "-f"]
        self.process = Process(
            "secretfs keeper",
            [*command, *manifests.arguments, "secret/app", self.path],
            self._log,
            program.environment(area),
        )
        self.wait_log('INFO mounted mountpoint="')

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_log(self, pattern: str, count: int = 1) -> None:
        until(
            lambda: len(re.findall(pattern, self.log())) >= count,
            f"{count} times {pattern} in the log",
        )

    def pids(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"keeper: started \S+ as process (\d+)", self.log())]

    def kill(self) -> int:
        """Returns which start it was."""
        pids = self.pids()
        os.kill(pids[-1], signal.SIGKILL)
        return len(pids)

    def wait_taken_over(self, count: int) -> None:
        self.wait_log("took over the mount", count)

    def close(self) -> None:
        if self.process.exit_code() is None:
            self.process.stop(signal.SIGTERM)
        while mounts_at(self.path):
            unmount(self.path)
        assert not program.SUSPICIOUS.search(self.log())


@pytest.fixture
def kept(area: Path, manifests: Manifests) -> Iterator[KeptMount]:
    manifests.put_secret({"password": b"dummy-1", "user": b"dummy-user"})
    made = KeptMount(area, manifests)
    yield made
    made.close()


def test_a_killed_process(kept: KeptMount) -> None:
    assert content(kept.path / "password") == b"dummy-1"
    kept.kill()
    assert content(kept.path / "password") == b"dummy-1"
    assert content(kept.path / "user") == b"dummy-user"  # never read before
    kept.wait_taken_over(1)
    kept.manifests.put_secret({"password": b"dummy-2"})
    until(lambda: content(kept.path / "password") == b"dummy-2")


def test_kills_beside_updates(kept: KeptMount) -> None:
    """Each kill is in some step of an update."""
    is_over = threading.Event()

    def update() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            kept.manifests.put_secret({"password": b"dummy-%d" % number, "user": b"user-%d" % number})

    writer = threading.Thread(target=update)
    writer.start()
    try:
        last = 0
        for _ in range(20):
            kept.wait_taken_over(kept.kill())
            found = int(content(kept.path / "password").removeprefix(b"dummy-"))
            assert found >= last
            last = found
    finally:
        is_over.set()
        writer.join()
    kept.manifests.put_secret({"password": b"dummy-last"})
    until(lambda: content(kept.path / "password") == b"dummy-last")
    # what remained of killed processes has ended
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in kept.pids()[:-1]))


def test_hand_over(kept: KeptMount) -> None:
    for count in (1, 2):
        kept.process.send(signal.SIGHUP)
        kept.wait_taken_over(count)
        assert content(kept.path / "password") == b"dummy-1"
    assert " again in " not in kept.log() and "was killed by" not in kept.log()
    kept.wait_log("exited with status 0", 2)


def test_sigterm_unmounts(kept: KeptMount) -> None:
    kept.process.send(signal.SIGTERM)
    assert kept.process.wait(PATIENCE_SECONDS) == 0
    assert not mounts_at(kept.path)


def test_an_unmount_ends_the_keeper(kept: KeptMount) -> None:
    kept.wait_taken_over(kept.kill())
    assert program.run([program.binary(), "unmount", kept.path], home=kept.path.parent).returncode == 0
    assert kept.process.wait(PATIENCE_SECONDS) == 0


def test_a_killed_keeper(kept: KeptMount) -> None:
    """The child continues; the mount now ends with it."""
    kept.process.stop(signal.SIGKILL)
    kept.manifests.put_secret({"password": b"dummy-2"})
    until(lambda: content(kept.path / "password") == b"dummy-2")
    pid = kept.pids()[-1]
    os.kill(pid, signal.SIGTERM)
    until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the child")
    assert not mounts_at(kept.path)
