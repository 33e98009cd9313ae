"""What inotify tells those who watch a volume, in which order, and when it tells nothing.

The last tests compare with the kubelet's own steps on a tmpfs, event by event.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable, Iterator

import pytest

from lib.atomic_writer import ReferenceVolume
from lib.inotify import Event, Watcher, ends_update, kinds_and_names, normalised, swap
from lib.volume import NOTICE, Volume, listing, unmount


def test_update_of_bytes_only(source, mount, watcher: Watcher):
    """D3, D4, D5: the swap and the old generation's end; no event names the key."""
    source.put_secret({"user": b"one"})
    volume = mount(source)
    old = volume.generation()
    watcher.add("root", volume.path)

    source.put_secret({"user": b"two"})
    events = watcher.wait(ends_update)

    assert kinds_and_names(events) == [*swap(), ("DELETE|ISDIR", "TS1")]
    assert events[0].name == volume.generation()
    assert events[-1].name == old
    moved_from, moved_to = events[3], events[4]
    assert moved_from.cookie == moved_to.cookie != 0


def test_added_and_removed_keys(source, mount, watcher: Watcher):
    """D3 as of 1.23 (C3): new links after the swap, then removed links, then the old generation."""
    source.put_secret({"stays": b"1", "goes": b"1"})
    volume = mount(source)
    watcher.add("root", volume.path)

    source.put_secret({"stays": b"1", "comes": b"2"})
    events = watcher.wait(ends_update)

    tail = [("CREATE", "comes"), ("DELETE", "goes"), ("DELETE|ISDIR", "TS1")]
    assert kinds_and_names(events) == [*swap(), *tail]


def test_first_keys_of_an_empty_object(manifests, mount, watcher: Watcher):
    """D2: the keys' links come after the swap."""
    manifests.put_secret({})
    volume = mount(manifests)
    watcher.add("root", volume.path)

    manifests.put_secret({"a": b"1", "b": b"2"})
    events = kinds_and_names(watcher.wait(ends_update))

    assert events[:5] == swap()
    assert sorted(events[5:7]) == [("CREATE", "a"), ("CREATE", "b")]
    assert events[7:] == [("DELETE|ISDIR", "TS1")]


def test_watch_on_a_key(manifests, mount, watcher: Watcher):
    """D6: nothing at the swap; the file's own end when its generation is removed."""
    manifests.put_secret({"user": b"one"})
    volume = mount(manifests)
    watcher.add("root", volume.path)
    watcher.add("key", volume.path / "user")

    manifests.put_secret({"user": b"two"})
    events = watcher.wait(ends_update)

    on_key = [event.kind for event in events if event.watch == "key"]
    assert on_key == ["ATTRIB", "DELETE_SELF", "IGNORED"]
    seen = [(event.watch, event.kind) for event in events]
    assert seen.index(("root", "MOVED_TO")) < seen.index(("key", "ATTRIB"))


def test_watch_on_data_followed(manifests, mount, watcher: Watcher):
    """D6: a watch on `..data` is one on the old TS, which has a notice around the rename."""
    manifests.put_secret({"user": b"one"})
    volume = mount(manifests)
    watcher.add("root", volume.path)
    watcher.add("data", volume.path / "..data")

    manifests.put_secret({"user": b"two"})
    events = [event for event in watcher.wait(ends_update) if event.watch == "data"]

    end = [("DELETE", "user"), ("DELETE_SELF", ""), ("IGNORED", "")]
    assert kinds_and_names(events) == [("CREATE", NOTICE), ("DELETE", NOTICE), *end]


def test_watch_on_data_itself(manifests, mount, watcher: Watcher):
    """D7: with IN_DONT_FOLLOW the link's end comes with the rename."""
    manifests.put_secret({"user": b"one"})
    volume = mount(manifests)
    watcher.add("root", volume.path)
    watcher.add("link", volume.path / "..data", follow=False)

    manifests.put_secret({"user": b"two"})
    events = watcher.wait(ends_update)

    on_link = [event.kind for event in events if event.watch == "link"]
    assert on_link == ["ATTRIB", "DELETE_SELF", "IGNORED"]


def test_metadata_and_identical_content_cause_no_event(source, mount, watcher: Watcher):
    """E1, E2, G14: the next real change is the first thing that a watcher sees."""
    source.put_secret({"user": b"one"})
    volume = mount(source)
    watcher.add("root", volume.path)
    watcher.add("key", volume.path / "user")
    before = volume.generation()

    source.touch_secret()
    source.put_secret({"user": b"one"})
    source.put_secret({"user": b"two"})
    events = watcher.wait(ends_update)

    on_root = [event for event in events if event.watch == "root"]
    assert kinds_and_names(on_root) == [*swap(), ("DELETE|ISDIR", "TS1")]
    assert on_root[-1].name == before


def test_unmounting_is_seen(manifests, mount, watcher: Watcher):
    """Watchers learn of the end, as with any file system that goes."""
    manifests.put_secret({"user": b"one"})
    volume = mount(manifests)
    watcher.add("root", volume.path)

    volume.finish()
    events = watcher.wait(lambda event: event.kind == "IGNORED")
    assert [event.kind for event in events] == ["UNMOUNT|ISDIR", "IGNORED"]


# ---- beside the kubelet's steps on a tmpfs

PAYLOADS: list[dict[str, bytes]] = [
    {"a": b"1", "b": b"1"},
    {"a": b"2", "b": b"1"},  # bytes
    {"a": b"2", "b": b"1", "c": b"1"},  # one more
    {"c": b"1"},  # two fewer
    {"c": b"1", ".d": b"", "e-1": b"x" * 5000},
    {},
    {"a": b"1"},
]
WATCHES: dict[str, tuple[str, bool]] = {
    "root": ("", True),
    "file a": ("a", True),
    "file c": ("c", True),
    "link a": ("a", False),
    "link c": ("c", False),
    "generation": ("..data", True),
    "data": ("..data", False),
}


@pytest.fixture
def reference(area: Path) -> Iterator[ReferenceVolume]:
    path = area / "reference"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "reference", str(path)], check=True)
    yield ReferenceVolume(path)
    unmount(path)


def record(root: Path, write: Callable[[dict[str, bytes]], None]) -> list[list[Event]]:
    """The events of each payload after the first, with watches that are added again before each."""
    streams = []
    write(PAYLOADS[0])
    for payload in PAYLOADS[1:]:
        watcher = Watcher()
        for label, (name, follow) in WATCHES.items():
            if (root / name).is_symlink() or name == "":
                watcher.add(label, root / name, follow=follow)
        write(payload)
        streams.append(normalised(watcher.wait(ends_update)))
        watcher.close()
    return streams


def moved_from(events: list[Event]) -> Event:
    return next(event for event in events if event.kind == "MOVED_FROM")


def test_same_events_as_the_kubelets_steps_on_a_tmpfs(source, mount, reference: ReferenceVolume):
    """D2 to D7, X2: equal streams on root, files, links and generation, in one total order."""
    volumes: list[Volume] = []

    def write(payload: dict[str, bytes]) -> None:
        source.put_secret(payload)
        if not volumes:
            volumes.append(mount(source))

    source.put_secret(PAYLOADS[0])
    volume = mount(source)
    volumes.append(volume)
    ours = record(volume.path, write)
    theirs = record(reference.path, reference.write)

    for payload, our_events, their_events in zip(PAYLOADS[1:], ours, theirs):
        notices = [event for event in our_events if event.name == NOTICE]
        same = [event for event in our_events if event.name != NOTICE]
        assert same == their_events, f"with {payload}"
        seen = [(event.watch, event.kind) for event in notices]
        assert seen == [("generation", "CREATE"), ("generation", "DELETE")]
        created, moved = our_events.index(notices[0]), our_events.index(moved_from(same))
        assert created + 1 == moved


def test_same_listing_as_the_reference(manifests, mount, reference: ReferenceVolume):
    """A4: the same names, kinds of files, modes and link targets after the same payloads."""
    manifests.put_secret(PAYLOADS[0])
    volume = mount(manifests)
    for payload in PAYLOADS:
        manifests.put_secret(payload)
        volume.wait_content(payload)
        reference.write(payload)
        assert listing(volume.path) == listing(reference.path)
