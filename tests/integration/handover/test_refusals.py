"""A stored state that cannot be read: it is never guessed at."""

from __future__ import annotations

import mmap
import os
from typing import Iterator

import pytest

from lib.descriptor_store import Service
from lib.mountinfo import mounts_at
from lib.waiting import until

_FORMAT_AT = 8  # offsets in struct state_header
_COMMITTED_AT = 104
_LENGTH_MASK = (1 << 40) - 1


def _content(service: Service) -> bytes:
    fd = os.open(service.path / "password", os.O_RDONLY)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _is_warm(service: Service) -> bool:
    """Whether the kernel answers by itself, as it has to while no process does."""
    before = service.requests()
    assert _content(service) == b"dummy-1"
    return service.requests() == before


@pytest.fixture
def state(service: Service) -> Iterator[mmap.mmap]:
    """The state of a process that was killed, writable."""
    service.start()
    until(lambda: _is_warm(service), "reads that need no process")
    service.kill()
    name, fd = next(entry for entry in service.store.stored() if ".state." in entry[0])
    assert name == "mount.state.1"
    with mmap.mmap(fd, os.fstat(fd).st_size) as memory:
        yield memory


def test_damaged(service: Service, state: mmap.mmap) -> None:
    """The old mount ends, and the content is mounted again."""
    service.expected_words = "cannot take the mount over; mounting again"
    length = int.from_bytes(state[_COMMITTED_AT : _COMMITTED_AT + 8], "little") & _LENGTH_MASK
    assert length < len(state)
    state[length // 2] ^= 1
    service.start()
    service.wait_log("the stored state is damaged: invalid record")
    assert _content(service) == b"dummy-1"
    assert len(mounts_at(service.path)) == 1
    service.reap()


def test_newer_format(service: Service, state: mmap.mmap) -> None:
    """A program that is too old does not serve and drops nothing; the newer one goes on."""
    assert state[_FORMAT_AT] == 1
    state[_FORMAT_AT] = 3
    assert service.run() != 0
    service.wait_log("has written the stored state, in format 3")
    assert service.store.names() == ["mount.device", "mount.state.1"]
    assert _content(service) == b"dummy-1"
    state[_FORMAT_AT] = 1
    service.start()
    service.wait_log("took over the mount")
    assert _content(service) == b"dummy-1"
    service.reap()


def test_mount_becomes_one_with_live_files(service: Service) -> None:
    """The stored one is unmounted, and the new one mounted in its place."""
    service.start()
    service.kill()
    service.arguments += ["--updates", "in-place"]
    service.start()
    service.wait_log("the stored mount is not the one that this command serves")
    assert _content(service) == b"dummy-1"
    assert len(mounts_at(service.path)) == 1
    service.reap()
