"""A reader opens a file of each generation, or of each version, and closes none."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Iterator

import pytest

SIZE = 900_000
N_GENERATIONS = 40
LIMIT = 16 << 20  # fuse/held.h


@contextlib.contextmanager
def closing(fds: list[int]) -> Iterator[None]:
    try:
        yield
    finally:
        for fd in fds:
            os.close(fd)


def value(i: int) -> bytes:
    return f"{i:08}".encode() * (SIZE // 8)


def test_held_generations_cost_a_limited_amount_of_memory(manifests, mount):
    """The oldest ones fail with ESTALE; those within the limit, and the volume, are not affected."""
    manifests.put_secret({"a": value(0)})
    volume = mount(manifests)
    fds: list[int] = []

    with closing(fds):
        for i in range(N_GENERATIONS):
            fds.append(os.open(volume.path / "..data" / "a", os.O_RDONLY))
            manifests.put_secret({"a": value(i + 1)})
            volume.wait_content({"a": value(i + 1)})

        # besides what is held: the current generation, the last removed one, and the next
        assert volume.status()["memory"]["secretBytes"] < LIMIT + 4 * (1 << 20)
        # without the pages of earlier reads the kernel has to request the content
        os.posix_fadvise(fds[0], 0, 0, os.POSIX_FADV_DONTNEED)
        with pytest.raises(OSError) as raised:
            os.pread(fds[0], 8, SIZE // 2)
        assert raised.value.errno == errno.ESTALE
        assert os.fstat(fds[0]).st_size == SIZE
        assert os.pread(fds[-1], SIZE, 0) == value(N_GENERATIONS - 1)
        assert volume.content() == {"a": value(N_GENERATIONS)}


def test_open_files_of_older_versions_cost_a_limited_amount_of_memory(manifests, mount):
    """The same for files whose inode stays."""
    manifests.put_secret({"a": value(0)})
    volume = mount(manifests, "--updates=in-place")
    fds: list[int] = []

    with closing(fds):
        for i in range(N_GENERATIONS):
            fds.append(os.open(volume.path / "a", os.O_RDONLY))
            manifests.put_secret({"a": value(i + 1)})
            volume.wait_content({"a": value(i + 1)})
        assert volume.status()["memory"]["secretBytes"] < LIMIT + 4 * (1 << 20)
        assert "readers hold too much older content" in volume.log()
        with pytest.raises(OSError) as raised:
            os.pread(fds[0], 8, 0)
        assert raised.value.errno == errno.ESTALE
        assert os.pread(fds[-1], SIZE, 0) == value(N_GENERATIONS - 1)
        assert volume.content() == {"a": value(N_GENERATIONS)}


@pytest.mark.parametrize("options", [(), ("--updates=in-place",)])
def test_small_file_of_a_big_object(manifests, mount, options):
    """It holds the object, whose other files are not read."""
    manifests.put_secret({"a": b"0", "b": value(0)})
    volume = mount(manifests, *options)
    fds: list[int] = []

    with closing(fds):
        for i in range(N_GENERATIONS):
            fds.append(os.open(volume.path / "a", os.O_RDONLY))
            content = {"a": b"%d" % (i + 1), "b": value(i + 1)}
            manifests.put_secret(content)
            volume.wait_content(content)
        assert volume.status()["memory"]["secretBytes"] < LIMIT + 4 * (1 << 20)
        assert os.pread(fds[-1], 8, 0) == b"%d" % (N_GENERATIONS - 1)
