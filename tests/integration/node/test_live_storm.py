"""Storm on live files: readers of every habit during thousands of updates, in plain mounts and in
mounts with an id map, with contents from nothing to 1 MiB, and keys that are removed and return.

SECRETFS_TEST_UPDATES says how many updates there are, of all volumes together. What each habit has
seen is printed (pytest -s).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator, Sequence

import pytest

from lib.idmap import IdMapped, UserNamespace
from lib.inotify import Watcher, is_generation
from lib.kubelet import PodVolume
from lib.live import SubPaths, live_names, secret_bytes, wait_alone
from lib.node_daemon import Node
from lib.pods import is_live, put_pod
from lib.sources import Api
from lib.waiting import until

PROGRAMS = Path(__file__).parent / "programs"
UPDATES = int(os.environ.get("SECRETFS_TEST_UPDATES", "1000"))

# An update of one volume waits until the old generation of the one before is removed. So there are
# several volumes, which are updated side by side, and each has its share of the readers.
VOLUMES = 8

# of version N, in turn; a prime number of them, lest the same ones are removed
SIZES = (
    *(300, 28, 4000, 5000, 0, 9000, 40, 70_000, 4096, 200, 16_384, 100, 8192, 31, 30_000, 512),
    *(4095, 4097, 0, 1000, 12_288, 60, 262_144, 2000, 29, 6000, 150, 12_000, 4124, 700, 45),
    *((1 << 20) - 512, 3000, 80, 20_000, 400, 1500),
)
REMOVED_EVERY = 6  # and return with the next version, as new files or as those still in use

ITEMS = """
- {key: value, path: value}
- {key: value, path: deep/value}
- {key: beside, path: deep/beside}
- {key: number, path: number}
"""

FILE_HABITS = (
    *("once", "threads", "handed", "held", "pieces", "go", "seek", "sendfile"),
    *("private", "shared", "java", "watch"),
)
# These read the kernel's pages, which are the inode's and so of the newest version.
PAGE_HABITS = ("sendfile", "copyfile")
PYTHON_HABITS = ("python", "copyfile", "cp", "cat")


def value(number: int, size: int) -> bytes:
    """See programs/storm.c."""
    if size == 0:
        return b""
    filling = (b"%015d\n" % number * (size // 16 + 1))[: size - 28]
    return b"%010d %07d %08x\n" % (number, size, zlib.crc32(filling)) + filling


def is_removed(number: int) -> bool:
    return number % REMOVED_EVERY == REMOVED_EVERY - 1


def content(number: int) -> dict[str, bytes]:
    values = {"number": b"%d" % number}
    if not is_removed(number):
        values["value"] = value(number, SIZES[number % len(SIZES)])
        values["beside"] = value(number, 28 + number % 300)
    return values


def last_number() -> int:
    """All updates, of the first one's size."""
    number = max(2, UPDATES // VOLUMES // len(SIZES)) * len(SIZES)
    return number - len(SIZES) if is_removed(number) else number


class Reader:
    """A process that reads; see storm.c and storm.py."""

    def __init__(self, name: str, *command: str | Path) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "reading\n"

    def end(self, number: int) -> None:
        """To be ended when it has seen this version."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()

    def result(self) -> dict:
        return json.loads(self._process.communicate()[0])

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@dataclass
class Place:
    """Where readers find a file and a directory that are mounted alone."""

    name: str
    file: Path
    directory: Path
    prefix: Sequence[str] = ()


@dataclass
class Storm:
    """A volume, with its readers."""

    number: int
    volume: PodVolume
    places: list[Place] = field(default_factory=list)

    @property
    def secret(self) -> str:
        return f"app-{self.number}"

    def shown(self) -> int:
        return int((self.volume.target / "number").read_bytes())


@pytest.fixture
def program(area: Path) -> Path:
    made = area / "storm"
    command = ["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-pthread", "-o", str(made)]
    subprocess.run([*command, str(PROGRAMS / "storm.c")], check=True)
    return made


@pytest.fixture
def node(daemon: Node) -> Node:
    return daemon


@pytest.fixture
def storms(
    node: Node, api: Api, sub_path: SubPaths, idmapped: IdMapped, users: UserNamespace
) -> list[Storm]:
    return [make_storm(i, node, api, sub_path, idmapped, users) for i in range(VOLUMES)]


def make_storm(
    number: int,
    node: Node,
    api: Api,
    sub_path: SubPaths,
    idmapped: IdMapped,
    users: UserNamespace,
) -> Storm:
    attributes = {"secretName": f"app-{number}", "items": ITEMS, "optional": "true"}
    storm = Storm(number, node.pod(number, attributes=attributes))
    api.put_secret(content(0), name=storm.secret)
    put_pod(api, storm.volume, subPath="value")
    node.publish(storm.volume)
    assert is_live(node, storm.volume)
    file, directory = sub_path(storm.volume, "value"), sub_path(storm.volume, "deep")
    storm.places.append(Place("plain", file, directory))
    try:
        mapped = Place("mapped", idmapped(file), idmapped(directory), users.command())
        storm.places.append(mapped)
    except OSError as error:
        print(f"without mounts with an id map: {error}")
    wait_alone(node, storm.volume, 2)
    return storm


@pytest.fixture
def readers() -> Iterator[list[Reader]]:
    made: list[Reader] = []
    yield made
    for reader in made:
        reader.kill()


def start_readers(storms: list[Storm], program: Path, readers: list[Reader]) -> None:
    """Each habit once in each kind of place, dealt out to the volumes."""
    sizes = ",".join(map(str, SIZES))
    python = [sys.executable, PROGRAMS / "storm.py"]
    for kind in range(len(storms[0].places)):
        places = [storm.places[kind] for storm in storms]
        for i, habit in enumerate([*FILE_HABITS, *PYTHON_HABITS]):
            place = places[(i + kind) % len(places)]
            command = [program, habit, sizes] if habit in FILE_HABITS else [*python, habit]
            readers.append(
                Reader(f"{place.name} {habit}", *place.prefix, *command, place.file)
            )
        for place in places[kind :: len(storms[0].places)]:
            paths = [place.directory / "value", place.file, place.directory / "beside"]
            command = [*place.prefix, program, "each", sizes]
            readers.append(Reader(f"{place.name} each", *command, *paths))
    for storm in storms[:2]:
        target = storm.volume.target
        names = ["value", "deep/value", "deep/beside", "value"]
        command = [program, "generation", sizes]
        readers.append(Reader("volume generation", *command, target / "..data", *names))
        readers.append(Reader("volume each", program, "each", sizes, target / "value"))


def update(storms: list[Storm], api: Api, number: int) -> None:
    for storm in storms:
        api.put_secret(content(number), name=storm.secret)
    for storm in storms:
        until(lambda: storm.shown() == number, f"version {number} of {storm.secret}")


def add_up(results: list[tuple[str, dict]]) -> dict[str, dict]:
    sums: dict[str, dict] = {}
    for name, result in results:
        known = sums.setdefault(name, dict.fromkeys(result, 0) | {"faults": []})
        for key, count in result.items():
            known[key] += count
    return sums


class Tail:
    """`tail -F`, and what it has shown."""

    def __init__(self, path: Path, output: Path, prefix: Sequence[str] = ()) -> None:
        self._output = output
        with open(output, "wb") as stream:
            self._process = subprocess.Popen(
                [*prefix, "tail", "--retry", "--follow=name", "--lines=+1", str(path)],
                stdout=stream,
                stderr=subprocess.DEVNULL,
            )

    def end(self) -> bytes:
        self._process.terminate()
        self._process.wait()
        return self._output.read_bytes()


def pieces_of(shown: bytes) -> dict[str, int]:
    """How often whole versions are in a text, and pieces of one, and up to which version."""
    whole = cut = number = 0
    header = rb"\d{10} \d{7} [0-9a-f]{8}\n"
    for piece in re.findall(header + b"(?:(?!" + header + b").)*", shown, re.DOTALL):
        number, length = map(int, piece[:28].split()[:2])
        whole += piece == value(number, length)
        cut += piece != value(number, length)
    return {"bytes": len(shown), "whole": whole, "cut": cut, "last": number}


@pytest.fixture
def tails(storms: list[Storm], area: Path) -> Iterator[list[Tail]]:
    made = [
        Tail(place.file, area / f"tail-{place.name}", place.prefix) for place in storms[0].places
    ]
    yield made
    for tail in made:
        tail.end()


def is_let_go(node: Node, storms: list[Storm]) -> bool:
    """Whether there is one generation of each volume, and what is mounted alone of it."""
    names = [name for storm in storms for name in os.listdir(storm.volume.target)]
    generations = [name for name in names if is_generation(name)]
    return len(live_names(node)) == 2 * len(storms) and len(generations) == len(storms)


def faults_of(name: str, result: dict) -> list[str]:
    """What may not be in a result, which is printed."""
    faults = result.pop("faults")
    counted = {key: count for key, count in result.items() if count}
    print(f"{name}: {counted}{' ' if faults else ''}{' '.join(faults)}")
    habit = name.split()[1]
    wrong = {key for key in ("torn", "back", "errors", "late") if result.get(key)}
    if habit in PAGE_HABITS:
        wrong.discard("torn")
    if habit in ("once", "threads", "go", "watch"):
        wrong |= {key for key in ("sizeDiffers",) if result[key]}
    if result["versions"] < 2:
        wrong.add("versions")
    return [f"{name}: {sorted(wrong)}: {counted} {faults}"] if wrong else []


def test_readers_of_every_habit_see_whole_versions_during_updates(
    node: Node,
    api: Api,
    storms: list[Storm],
    program: Path,
    readers: list[Reader],
    tails: list[Tail],
    watcher: Watcher,
) -> None:
    last = last_number()
    update(storms, api, 1)
    update(storms, api, len(SIZES))
    until(lambda: is_let_go(node, storms), "the old generations to go")
    before = secret_bytes(node)
    for storm in storms:
        watcher.add(storm.secret, storm.places[-1].file)
    start_readers(storms, program, readers)
    for number in range(len(SIZES) + 1, last + 1):
        update(storms, api, number)
    for reader in readers:
        reader.end(last)
    results = add_up([(reader.name, reader.result()) for reader in readers])
    print(f"\n{(last - len(SIZES)) * VOLUMES} updates")
    for tail in tails:
        print(f"tail -F: {pieces_of(tail.end())}")
    for storm in storms:
        for place in storm.places:
            assert place.file.read_bytes() == content(last)["value"]
        kinds = [event.kind for event in watcher.read() if event.watch == storm.secret]
        assert set(kinds) == {"MODIFY", "CLOSE_WRITE"} and kinds[-1] == "CLOSE_WRITE"
    until(lambda: is_let_go(node, storms), "the old generations to go")
    until(lambda: secret_bytes(node) <= before, f"memory to be back at {before} bytes")
    faults = [fault for name in results for fault in faults_of(name, results[name])]
    assert not faults, "\n".join(faults)
