"""Random sequences of payloads: after each the tree, and what inotify saw, are those of the rules.

The rules are the kubelet's steps on a tmpfs (support/kubelet.py), made for the same payloads.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from .support.inotify import Event, Watcher, ends_update, normalised
from .support.kubelet import ReferenceVolume
from .support.sources import Manifests
from .support.volume import Volume, unmount
from .support.waiting import until
from .test_events import listing

GROUP = 4711
ITEMS = {"a": "a", "b": "d/b", "c": "d/e/c", "f": "d/f", "g": "g/g", "h": ".h"}
N_STEPS = 25


@pytest.fixture
def tmpfs(area: Path) -> Iterator[Path]:
    path = area / "reference"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "reference", str(path)], check=True)
    yield path
    unmount(path)


def random_values(chance: random.Random, before: dict[str, bytes]) -> dict[str, bytes]:
    """Some keys go, some come, some change, and now and then nothing does."""
    values = dict(before)
    for key in ITEMS:
        fate = chance.random()
        if fate < 0.2:
            values.pop(key, None)
        elif fate < 0.4:
            values[key] = chance.randbytes(chance.choice([0, 1, 5000]))
    return values


def payload_of(values: dict[str, bytes]) -> dict[str, bytes]:
    return {ITEMS[key]: value for key, value in values.items()}


def watch(root: Path, with_files: bool) -> Watcher:
    """On everything that is there: root, links, and unless they are left out, what they lead to."""
    watcher = Watcher()
    watcher.add("root", root)
    for link in sorted(path for path in root.iterdir() if path.is_symlink()):
        watcher.add(f"link {link.name}", link, follow=False)
        if with_files:
            watcher.add(f"what {link.name} leads to", link)
    return watcher


def settle(watcher: Watcher) -> list[Event]:
    """What was seen; of equal events in a row one, as the kernel has it if nobody reads between."""
    events = normalised(watcher.wait(ends_update))
    watcher.close()
    return [event for i, event in enumerate(events) if i == 0 or event != events[i - 1]]


def run_steps(
    chance: random.Random, source: Manifests, volume: Volume, reference: ReferenceVolume
) -> None:
    """All steps; the volume shows the empty payload, and so does the reference."""
    values: dict[str, bytes] = {}
    # a new group for what is about to go is not signalled, see docs/differences.md
    with_files = volume.path.stat().st_gid == 0
    for step in range(N_STEPS):
        before, values = values, random_values(chance, values)
        what = f"step {step}: {sorted(before)} -> {sorted(values)}"
        ours = watch(volume.path, with_files)
        source.put_secret(values)
        if payload_of(values) == payload_of(before):
            source.put_secret({"fence": b""}, name="fence")
            until(lambda: volume.status()["source"]["objects"] == 2, "the fence")
            assert ours.read() == [], what  # E1 to E3
            ours.close()
            continue
        our_events = settle(ours)
        theirs = watch(reference.path, with_files)
        reference.write(payload_of(values))
        assert our_events == settle(theirs), what
        assert listing(volume.path) == listing(reference.path), what


@pytest.mark.parametrize("group", [None, GROUP])
@pytest.mark.parametrize("seed", range(4))
def test_random_payloads(manifests, mount, tmpfs: Path, seed: int, group: int | None):
    """A4 to A10, B2, C3, D2 to D9, E1 to E4, F1 to F15."""
    chance = random.Random(seed)
    items = [f"--item={key}={path}" for key, path in ITEMS.items()]
    group_options = ["--fs-group", str(group)] if group is not None else []
    manifests.put_secret({})
    volume = mount(manifests, "--optional", *items, *group_options)
    reference = ReferenceVolume(tmpfs, group)
    reference.write({})
    assert listing(volume.path) == listing(tmpfs)
    run_steps(chance, manifests, volume, reference)
