"""What a descriptor of a live file shows, through calls other than read(2)."""

from __future__ import annotations

import mmap
import os
import subprocess
from pathlib import Path

import pytest

from lib.live import SubPaths, publish, put, wait_alone, wait_text
from lib.node_daemon import ContainerNode, Node, NodeMaker
from lib.sources import Api
from lib.waiting import until

PAGES = 8


@pytest.fixture
def node(daemon: Node, api: Api) -> Node:
    put(api, user="a" * PAGES * mmap.PAGESIZE)
    return daemon


def test_lseek_of_a_held_descriptor_ends_at_its_own_version(file: Path, api: Api) -> None:
    """The kernel says for which descriptor it asks, unlike with fstat(2)."""
    with file.open("rb", buffering=0) as held:
        assert len(held.read()) == PAGES * mmap.PAGESIZE
        put(api, user="root")
        wait_text(file, "root")
        assert os.lseek(held.fileno(), 0, os.SEEK_END) == PAGES * mmap.PAGESIZE


def test_sendfile_of_a_held_descriptor_sends_the_newest_content(file: Path, api: Api) -> None:
    """Since Linux 6.5 it takes the kernel's pages, which are the inode's: a descriptor that is held
    for long shows the newest content, and one that was just opened is waited for."""
    copy = os.memfd_create("copy")
    whole = PAGES * mmap.PAGESIZE
    try:
        with file.open("rb", buffering=0) as held:
            for letter in "bcd":
                put(api, user=letter * whole)
                wait_text(file, letter * whole)
                assert os.sendfile(copy, held.fileno(), 0, whole) == whole
                assert set(os.pread(copy, whole, os.lseek(copy, 0, os.SEEK_CUR) - whole)) == {
                    ord(letter)
                }
    finally:
        os.close(copy)


def test_tail_follow_shows_the_version_it_opened_once(file: Path, api: Api, area: Path) -> None:
    """`tail -F` holds the file open: it shows that version, once, and does not see another."""
    other, output = area / "other", area / "output"
    other.touch()
    command = ["tail", "-F", "--quiet", "--sleep-interval=0.01", "--lines=+1", file, other]
    with open(output, "wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.DEVNULL)
    shown = b"a" * PAGES * mmap.PAGESIZE
    try:
        until(lambda: output.read_bytes() == shown, "the first version")
        for number in range(1, 4):
            put(api, user="b" * 100 * number)
            wait_text(file, "b" * 100 * number)
            for _ in range(2):  # it looks at each file in turn
                before = output.read_bytes().count(b"|")
                with other.open("ab") as stream:
                    stream.write(b"|")
                until(lambda: output.read_bytes().count(b"|") > before, "tail to go round")
    finally:
        process.terminate()
        process.wait()
    assert output.read_bytes().replace(b"|", b"") == shown


def test_fstat_of_a_held_descriptor_after_another_is_closed_has_its_own_size(
    file: Path, api: Api
) -> None:
    """The kernel sends the release of a file after close(2) has returned: what comes next may be
    answered first."""
    with file.open("rb", buffering=0) as held:
        put(api, user="root")
        wait_text(file, "root")
        for _ in range(500):
            with file.open("rb", buffering=0) as other:
                assert os.fstat(other.fileno()).st_size == len("root")
            assert os.fstat(held.fileno()).st_size == PAGES * mmap.PAGESIZE


@pytest.fixture
def container_node(start_node: NodeMaker, api: Api) -> Node:
    put(api, user="a" * PAGES * mmap.PAGESIZE)
    command = ["unshare", "--pid", "--fork", "--kill-child"]
    made = start_node("--rights=daemon", *api.arguments, kind=ContainerNode, prefix=command)
    return made.wait_ready()


def test_fstat_with_the_daemon_in_a_container_shows_the_newest_size(
    container_node: Node, api: Api, sub_path: SubPaths
) -> None:
    """The kernel tells it neither which thread asks nor which descriptor is meant: a descriptor
    that is held for long has the newest size, and reads its own version."""
    volume = publish(container_node, api)
    file = sub_path(volume, "user")
    wait_alone(container_node, volume, 1)
    with file.open("rb", buffering=0) as held:
        put(api, user="root")
        wait_text(file, "root")
        assert os.fstat(held.fileno()).st_size == len("root")
        assert held.read() == b"a" * PAGES * mmap.PAGESIZE
