"""Random sequences of payloads: after each the tree, and what inotify saw, are those of the rules.

The rules are the kubelet's steps on a tmpfs (lib/atomic_writer.py), made for the same payloads, and
for what the payload is of random volumes and objects, projected() below.
"""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any, Iterator

import pytest

from lib.atomic_writer import ReferenceVolume
from lib.inotify import Event, Watcher, ends_update, normalised
from lib.sources import Api, Manifests
from lib.volume import NOTICE, Volume, listing, unmount
from lib.waiting import until

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
    """What was seen; of equal events in a row one, as the kernel merges them without a read in between."""
    events = normalised(watcher.wait(ends_update))
    watcher.close()
    notices = [(event.watch, event.kind) for event in events if event.name == NOTICE]
    generation = "what ..data leads to"
    assert notices in ([], [(generation, "CREATE"), (generation, "DELETE")])
    events = [event for event in events if event.name != NOTICE]
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


# ---- random volumes of random objects

OBJECTS = ("secret/one", "secret/two", "configMap/three")
KEYS = ("a", "b", "c", "d")
PATHS = ("a", "b", "d/a", "d/b", "d", "./e", "e", "x//y", "x/z/")
N_CHANGES = 20

Spec = dict[str, Any]
Objects = dict[str, dict[str, bytes]]  # those that are there


def random_spec(chance: random.Random) -> Spec:
    """A projected volume; paths may collide, in one object and between them."""
    sources = []
    for _ in range(chance.randint(1, 4)):
        kind, name = chance.choice(OBJECTS).split("/")
        source: dict[str, Any] = {"name": name}
        if chance.random() < 0.6:
            keys = chance.choices(KEYS, k=chance.randint(1, 3))
            source["items"] = [{"key": key, "path": chance.choice(PATHS)} for key in keys]
        if chance.random() < 0.5:
            source["optional"] = True
        sources.append({kind: source})
    return {"projected": {"sources": sources}}


def cleaned(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def projected(spec: Spec, objects: Objects) -> dict[str, bytes] | None:
    """B1 to B9, G1 to G11, M1, N1 to N6: the payload, or None for an error."""
    payload: dict[str, bytes] = {}
    for source in spec["projected"]["sources"]:
        ((kind, fields),) = source.items()
        data = objects.get(f"{kind}/{fields['name']}")
        is_optional = fields.get("optional", False)
        if data is None:
            if not is_optional:
                return None
            continue
        for item in fields.get("items") or [{"key": key, "path": key} for key in data]:
            if item["key"] in data:
                payload[cleaned(item["path"])] = data[item["key"]]
            elif not is_optional:
                return None
    files = set(payload)
    if any(str(above) in files for path in files for above in Path(path).parents):
        return None
    return payload


def is_refused(spec: Spec) -> bool:
    """N3: paths that are written alike, and what can be seen to collide without any object."""
    items = [
        item["path"]
        for source in spec["projected"]["sources"]
        for fields in source.values()
        for item in fields.get("items", [])
    ]
    return len(items) != len(set(items))


def random_data(chance: random.Random) -> dict[str, bytes]:
    return {key: b"%d" % chance.randrange(10**6) for key in KEYS if chance.random() < 0.7}


def change_object(chance: random.Random, api: Api, objects: Objects, name: str) -> None:
    """It gets other content, or now and then none that is new, comes or goes."""
    kind, short = name.split("/")
    fate = chance.random()
    if name in objects and fate < 0.25:
        del objects[name]
        delete = api.server.delete_secret if kind == "secret" else api.server.delete_configmap
        delete("default", short)
        return
    if name not in objects or fate < 0.8:
        objects[name] = random_data(chance)
    put_object(chance, api, name, objects[name])


def put_object(chance: random.Random, api: Api, name: str, data: dict[str, bytes]) -> None:
    kind, short = name.split("/")
    if kind == "secret":
        api.put_secret(data, short, labels={"n": str(chance.random())})
    else:
        api.put_configmap({key: value.decode() for key, value in data.items()}, {}, short)


def random_volume(chance: random.Random, api: Api) -> tuple[Spec, Objects]:
    """One that can be shown to begin with."""
    while True:
        spec, objects = random_spec(chance), {name: random_data(chance) for name in OBJECTS}
        if not is_refused(spec) and projected(spec, objects) is not None:
            break
    for name in OBJECTS:
        put_object(chance, api, name, objects[name])
    return spec, objects


def is_seen(api: Api, volume: Volume) -> bool:
    """Whether the volume knows what the server has."""
    return all(
        known.get("newestResourceVersion", known.get("resourceVersion"))
        == stored_version(api, known)
        for known in volume.status()["objects"]
        if known.get("presence") != "absent" or stored_version(api, known) is not None
    )


def stored_version(api: Api, known: dict[str, Any]) -> str | None:
    stored = api.server.get_object(f"{known['kind'].lower()}s", "default", known["name"])
    return stored["metadata"]["resourceVersion"] if stored is not None else None


@pytest.mark.parametrize("seed", range(8))
def test_random_volumes(area: Path, http1: Api, start_mount, tmpfs: Path, seed: int):
    """A to E, G and N: what is shown, whether it is new, and in which steps it came."""
    chance = random.Random(seed)
    spec, objects = random_volume(chance, http1)
    (area / "volume.json").write_text(json.dumps(spec))
    volume = start_mount(*http1.arguments, "--volume", str(area / "volume.json")).wait_ready()
    reference = ReferenceVolume(tmpfs)
    shown = projected(spec, objects)
    assert shown is not None
    reference.write(shown)
    assert listing(volume.path) == listing(tmpfs), spec
    for step in range(N_CHANGES):
        what = f"step {step} of {spec}: {objects}"
        ours = watch(volume.path, True)
        change_object(chance, http1, objects, chance.choice(OBJECTS))
        until(lambda: is_seen(http1, volume), f"the change in {what}")
        payload = projected(spec, objects)
        if payload is None or payload == shown:
            state = "stale" if payload is None else "current"
            assert volume.status()["volume"]["state"] == state, what
            assert ours.read() == [], what
            ours.close()
            continue
        our_events = settle(ours)
        theirs = watch(tmpfs, True)
        reference.write(payload)
        shown = payload
        assert our_events == settle(theirs), what
        assert listing(volume.path) == listing(tmpfs), what
        assert read_all(volume.path) == shown, what


def read_all(root: Path) -> dict[str, bytes]:
    data = root / "..data"
    return {
        str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()
    }
