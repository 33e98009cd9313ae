"""Live files where something gets in the way: other kinds, other modes, names that are gone."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

import pytest

from lib.live import Containers, SubPaths, publish, put, wait_alone, wait_text
from lib.node_daemon import Node
from lib.sources import Api
from lib.volume import unmount
from lib.waiting import until

PAGE = mmap.PAGESIZE


@pytest.fixture
def node(node_on_api: Node) -> Node:
    return node_on_api


ITEMS = """
- {key: password, path: deep/p}
- {key: user, path: deep/x}
- {key: host, path: deep/x/y}
"""


def is_shown(directory: Path, kind: str) -> bool:
    return (directory / "x").is_file() if kind == "user" else (directory / "x/y").is_file()


@pytest.mark.parametrize("kinds", [("user", "host", "user"), ("host", "user", "host")])
def test_directory_alone_follows_when_a_file_becomes_a_directory(
    node: Node, api: Api, sub_path: SubPaths, kinds: tuple[str, str, str]
) -> None:
    """And the reverse, by one update, in a directory that is mounted alone: all others follow, and
    so does this one."""
    put(api, password="p", **{kinds[0]: "0"})
    volume = publish(
        node, api, attributes={"secretName": "app", "items": ITEMS, "optional": "true"}
    )
    directory = sub_path(volume, "deep")
    wait_alone(node, volume, 1)
    for number, kind in enumerate(kinds):
        put(api, password=f"p-{number}", **{kind: "new"})
        wait_text(volume.target / "deep/p", f"p-{number}")
        wait_text(directory / "p", f"p-{number}")
        until(lambda k=kind: is_shown(directory, k), "the other kind")


MODES = """
- secret: {name: app, items: [{key: user, path: file, mode: 0400}]}
- secret: {name: other, optional: true}
"""


@pytest.mark.parametrize("updates", [{}, {"updates": "in-place"}])
def test_file_alone_takes_content_and_mode_of_the_source_that_remains(
    node: Node, api: Api, sub_path: SubPaths, updates: dict[str, str]
) -> None:
    """Of two sources with one path the later has it, until its object is gone: what the other one
    hides from others is not shown with the mode of this one."""
    api.put_secret({"file": b"public"}, name="other")
    volume = publish(node, api, attributes={"sources": MODES, **updates})
    file = sub_path(volume, "file")
    wait_alone(node, volume, 1)
    assert [file.read_text(), file.stat().st_mode & 0o777] == ["public", 0o644]
    api.delete_secret("other")
    wait_text(file, "admin")
    for path in (file, volume.target / "file"):
        assert path.stat().st_mode & 0o777 == 0o400


def sent(path: Path, size: int) -> bytes:
    """What sendfile(2) gives, which takes the kernel's pages."""
    with path.open("rb", buffering=0) as file, os.fdopen(os.memfd_create("copy"), "r+b") as copy:
        os.fstat(file.fileno())
        os.sendfile(copy.fileno(), file.fileno(), 0, size)
        return os.pread(copy.fileno(), size, 0)


def test_pages_of_a_file_unmounted_on_the_host_follow_updates(
    node: Node, api: Api, sub_path: SubPaths, containers: Containers
) -> None:
    """It has no name for the publisher to open it by, so the next reader has its pages dropped."""
    put(api, user="a" * PAGE)
    volume = publish(node, api)
    file = sub_path(volume, "user")
    wait_alone(node, volume, 1)
    path = containers.mount(file)
    with path.open("rb") as opened:
        mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    with mapping:
        assert mapping[:] == b"a" * PAGE
        unmount(file)
        wait_alone(node, volume, 0)
        put(api, user="b" * 2 * PAGE)
        wait_text(path, "b" * 2 * PAGE)
        assert sent(path, 2 * PAGE) == b"b" * 2 * PAGE
        assert mapping[:] == b"b" * PAGE


RETURNING = "[{key: password, path: deep/password}, {key: host, path: deep/host}]"


@pytest.mark.parametrize("delay_ms", [10, 20, 30, 40, 50])
def test_directory_alone_shows_a_key_that_returns_as_its_file_is_closed(
    node: Node, api: Api, sub_path: SubPaths, delay_ms: int
) -> None:
    """It would have been the same file again, and is a new one then. The update waits for the
    reader of the other file, that there is time for it."""
    attributes = {"secretName": "app", "items": RETURNING, "optional": "true"}
    volume = publish(node, api, attributes=attributes)
    directory = sub_path(volume, "deep")
    wait_alone(node, volume, 1)
    with (directory / "password").open("rb", buffering=0):
        put(api, host="db-1")
        until(lambda: os.listdir(directory) == ["host"], "the key to go")
        unread = os.open(directory / "host", os.O_RDONLY)
        put(api, host="db-2", password="dummy-2")
        time.sleep(delay_ms / 1000)
    until((volume.target / "deep/password").exists, "the update")
    os.close(unread)
    wait_text(directory / "host", "db-2")
    until((directory / "password").exists, "the name to return")
    wait_text(directory / "password", "dummy-2")
