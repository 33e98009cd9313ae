"""System calls that are made to fail: what was shown stays, and the work is taken up again.

strace makes them fail. With -D the program is the child and strace is beside it, so that signals and
the exit status are the program's own.
"""

from __future__ import annotations

import resource
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest

from lib import program
from lib.hang import hanging
from lib.sources import Api, Source
from lib.volume import Volume
from lib.waiting import until

pytestmark = [
    pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace"),
    pytest.mark.skipif(
        program.binary().exists() and program.has_sanitizer(),
        reason="LeakSanitizer cannot look at a process that is traced",
    ),
]


def failing(calls: str, error: str, when: str) -> list[str]:
    """A prefix for a command of which these calls fail; `when` counts each of them by itself."""
    inject = f"inject={calls}:error={error}:when={when}"
    return ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", inject]


@contextmanager
def limited(volume: Volume, which: int, most: int) -> Iterator[None]:
    """For as long as the block takes; what is beyond the limit already stays."""
    before = resource.prlimit(volume.pid, which)
    resource.prlimit(volume.pid, which, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(volume.pid, which, before)


@pytest.mark.parametrize("call", ["mkdirat", "fchmodat", "symlinkat", "renameat"])
def test_publishing_fails_and_works_again(manifests, start_mount, call: str):
    """C8, C9: the old content stays whole; it is tried again until it works, and told once."""
    first = 3 if call == "symlinkat" else 2  # the first publish has links to make
    manifests.put_secret({"a": b"1"})
    prefix = failing(call, "ENOSPC", f"{first}..{first + 1}")
    volume = start_mount(*manifests.arguments, "secret/app", prefix=prefix).wait_ready()
    volume.expected_words = "publish failed, retrying"
    generation = volume.generation()
    manifests.put_secret({"a": b"2"})
    volume.wait_log("ERROR publish failed, retrying .*No space left")
    assert (volume.read("a"), volume.generation()) == (b"1", generation)
    volume.wait_content({"a": b"2"})
    volume.wait_log("INFO publish recovered")
    assert len(volume.log_lines("ERROR")) == 1


def test_old_files_that_cannot_be_removed(manifests, start_mount):
    """C13, Q5: the new content is there all the same, and they go later."""
    manifests.put_secret({"a": b"1", "gone": b"1"})
    prefix = failing("unlinkat", "EIO", "1..4")
    volume = start_mount(*manifests.arguments, "secret/app", prefix=prefix).wait_ready()
    volume.expected_words = "publish failed, retrying"
    manifests.put_secret({"a": b"2"})
    until(lambda: volume.read("a") == b"2", "the new content")
    volume.wait_content({"a": b"2"})


def test_first_publish_fails(manifests, start_mount):
    """G1: nothing is mounted, and the error says why."""
    manifests.put_secret({"a": b"1"})
    prefix = failing("mkdirat", "ENOSPC", "1+")
    volume = start_mount(*manifests.arguments, "secret/app", prefix=prefix)
    volume.expected_exit = 1
    assert volume.wait_end() == 1
    assert "cannot publish secret/default/app: No space left on device" in volume.log()


def test_memory_cannot_be_locked(manifests, start_mount):
    """It is said, in the log and in the status, and works."""
    manifests.put_secret({"a": b"1" * 5000})
    prefix = failing("mlock,mlock2,mlockall", "ENOMEM", "1+")
    volume = start_mount(*manifests.arguments, "secret/app", prefix=prefix).wait_ready()
    volume.wait_log("WARN secret memory is not locked and could be swapped")
    assert volume.status()["memory"]["unlockedBytes"] > 0


def little_memory(volume: Volume) -> tuple[int, int]:
    """Room for the stack to grow, and for little else."""
    pages = int(Path(f"/proc/{volume.pid}/statm").read_text().split()[0])
    return resource.RLIMIT_AS, pages * resource.getpagesize() + 100_000


def no_descriptors(volume: Volume) -> tuple[int, int]:
    del volume
    return resource.RLIMIT_NOFILE, 3


def is_joining(volume: Volume) -> bool:
    """Whether the main thread waits for another one to end."""
    return "futex" in Path(f"/proc/{volume.pid}/wchan").read_text()


def test_end_without_memory(manifests, mount):
    """Nothing is loaded to cancel the workers."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    with hanging(volume.pid, "fuse-worker"):
        resource.prlimit(volume.pid, resource.RLIMIT_AS, (0, 0))
        volume.signal(signal.SIGTERM)
        until(lambda: volume.exit_status is not None or is_joining(volume), "the end of the workers")
    assert volume.wait_end() == 0


@pytest.mark.parametrize("limit", [little_memory, no_descriptors])
def test_something_is_short_for_a_while(source: Source, mount, limit):
    """Promise 4: no read fails, and the newest version is shown when memory suffices again."""
    source.put_secret({"a": b"0" * 300_000})
    volume = mount(source)
    volume.expected_words = "."
    with limited(volume, *limit(volume)):
        for value in (b"1", b"2", b"3"):
            source.put_secret({"a": value * 300_000})
            assert len(volume.read("a")) == 300_000
        if isinstance(source, Api):
            source.server.close_watches()
        volume.wait_log("Cannot allocate memory" if limit is little_memory else "Too many open files")
    until(lambda: volume.read("a") == b"3" * 300_000, "the newest version")

    source.put_secret({"a": b"4"})
    volume.wait_content({"a": b"4"})
