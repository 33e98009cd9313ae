"""`secretfs observe`: updates of a volume of secretfs, and of one that the kubelet's writer makes."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import pytest

from lib import program
from lib.atomic_writer import ReferenceVolume
from lib.sources import Api, Manifests
from lib.volume import unmount
from lib.waiting import PATIENCE_SECONDS, until


class Observer:
    """A running `secretfs observe -o json`."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self._process = process
        self._output = output

    def records(self) -> list[dict[str, Any]]:
        """But for events that came so late that they are a record of their own."""
        lines = self._output.read_text().splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        return [record for record in records if "time" in record]

    def wait_records(self, count: int) -> list[dict[str, Any]]:
        until(lambda: len(self.records()) >= count, f"{count} records")
        return self.records()

    def opens(self) -> list[dict[str, Any]]:
        return [record for record in self.records() if "open" in record]

    def wait_open(self, reader: subprocess.Popen[bytes]) -> dict[str, Any]:
        """The first open by that process."""

        def by_reader() -> list[dict[str, Any]]:
            return [record for record in self.opens() if record["open"]["pid"] == reader.pid]

        return until(by_reader, f"an open by process {reader.pid}")[0]

    def wait_end(self) -> tuple[int, str]:
        _, errors = self._process.communicate(timeout=PATIENCE_SECONDS)
        return self._process.returncode, errors


@contextmanager
def reading(*paths: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the files open: of one that has ended no name is known."""
    with subprocess.Popen(["tail", "-f", *paths], stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def observing(area: Path, *arguments: str | Path) -> Iterator[Observer]:
    output = area / "observed"
    command = [program.binary(), "observe", "-o", "json", *arguments]
    with output.open("w") as file, subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=subprocess.PIPE,
        text=True,
        env=program.environment(area / "home"),
    ) as process:
        try:
            yield Observer(process, output)
        finally:
            process.kill()


def changes(record: dict[str, Any]) -> dict[str, list[str]]:
    return {kind: record[kind] for kind in ("added", "changed", "removed") if record[kind]}


def test_updates_of_a_mount(source, mount, area: Path):
    """What changed by name, the object's version, and the events, with ..data in their middle."""
    source.put_secret({"a": b"dummy-1", "b": b"dummy"})
    volume = mount(source)
    with observing(area, volume.path, "--count", "2") as observer:
        (first,) = observer.wait_records(1)
        assert first["added"] == ["a", "b"] and "events" not in first
        assert first["object"]["name"] == "app" and first["generation"] == volume.generation()
        source.put_secret({"a": b"dummy-2", "b": b"dummy", "c": b"dummy"})
        second = observer.wait_records(2)[1]
        assert changes(second) == {"added": ["c"], "changed": ["a"]}
        assert second["generation"] == volume.generation()
        assert f"CREATE {second['generation']}/" in second["events"]
        assert second["events"].index("MOVED_TO ..data") < second["events"].index("CREATE c")
        assert f"DELETE {first['generation']}/" in second["events"]
        assert int(second["object"]["resourceVersion"]) > int(first["object"]["resourceVersion"])
        assert second["latencySeconds"] > 0
        source.put_secret({"b": b"dummy", "c": b"dummy"})
        assert changes(observer.wait_records(3)[2]) == {"removed": ["a"]}
        assert observer.wait_end() == (0, "")
        assert b"dummy" not in (area / "observed").read_bytes()


def test_update_in_place(manifests: Manifests, mount, area: Path):
    """The generation stays, and it is an update all the same."""
    manifests.put_secret({"a": b"dummy-1"})
    volume = mount(manifests, "--updates", "in-place")
    with observing(area, volume.path, "--count", "2") as observer:
        observer.wait_records(1)
        manifests.put_secret({"a": b"dummy-2"})
        assert changes(observer.wait_records(2)[1]) == {"changed": ["a"]}
        manifests.put_secret({"a": b"dummy-3"})
        third = observer.wait_records(3)[2]
        assert changes(third) == {"changed": ["a"]}
        assert third["events"][0] == "CREATE ..data_tmp"
        assert observer.wait_end() == (0, "")


def test_readers_of_a_version(source, mount, area: Path):
    """Each process once; not the one that serves the volume, and not the observer."""
    source.put_secret({"a": b"dummy-1", "b": b"dummy"})
    volume = mount(source)
    with observing(area, volume.path) as observer:
        observer.wait_records(1)
        source.put_secret({"a": b"dummy-2", "b": b"dummy"})
        updated = observer.wait_records(2)[1]
        with reading(volume.path / "b", volume.path / "b") as first:
            opened = observer.wait_open(first)
        assert (opened["path"], opened["open"]["file"]) == (str(volume.path), "b")
        assert opened["open"]["generation"] == updated["generation"]
        assert opened["open"]["sinceUpdateSeconds"] > 0
        assert (opened["open"]["process"], opened["open"]["uid"]) == ("tail", 0)
        with reading(volume.path / "a") as second:
            assert observer.wait_open(second)["open"]["file"] == "a"
        assert [record["open"]["pid"] for record in observer.opens()] == [first.pid, second.pid]


def test_volumes_beside_each_other(each_api: Api, mount, area: Path):
    """One of the kubelet's and one of secretfs, by the time since the object changed."""
    each_api.put_secret({"a": b"dummy-1"})
    ours = mount(each_api)
    (area / "volume").mkdir()
    theirs = ReferenceVolume(area / "volume")
    theirs.write({"a": b"dummy-1"})
    arguments = ["--object", "secret/app", "--kubeconfig", each_api.kubeconfig()]
    with observing(area, *arguments, ours.path, theirs.path) as observer:
        observer.wait_records(2)
        each_api.server.wait_watches(2)
        each_api.put_secret({"a": b"dummy-2"})
        change, first = observer.wait_records(4)[2:]
        version = change["change"]["resourceVersion"]
        assert first["path"] == str(ours.path)
        assert first["sinceChange"]["resourceVersion"] == first["object"]["resourceVersion"] == version
        assert first["sinceChange"]["seconds"] >= 0
        theirs.write({"a": b"dummy-2"})
        second = observer.wait_records(5)[4]
        assert second["path"] == str(theirs.path)
        assert second["sinceChange"]["resourceVersion"] == version
        assert second["sinceChange"]["seconds"] > first["sinceChange"]["seconds"]
        each_api.delete_secret()
        assert "resourceVersion" not in observer.wait_records(6)[5]["change"]


def test_volume_of_the_kubelet(area: Path):
    """The kubelet's steps are the same, and no status is asked for."""
    (area / "volume").mkdir()
    volume = ReferenceVolume(area / "volume")
    volume.write({"a": b"dummy-1", "below/b": b"dummy"})
    with observing(area, volume.path, "-c", "2") as observer:
        (first,) = observer.wait_records(1)
        assert first["added"] == ["a", "below/b"]
        volume.write({"a": b"dummy-1", "below/b": b"dummy-2"})
        assert changes(observer.wait_records(2)[1]) == {"changed": ["below/b"]}
        assert "object" not in observer.records()[1]
        with reading(volume.path / "a") as reader:
            assert observer.wait_open(reader)["open"]["file"] == "a"
        assert len(observer.opens()) == 1  # the writer is none
        volume.write({"a": b"dummy-1", "below/b": b"dummy-3"})
        assert observer.wait_end() == (0, "")


def test_volume_is_unmounted(manifests, mount, area: Path):
    """The observer does not keep it busy, and says that it is gone."""
    manifests.put_secret({"a": b"dummy"})
    volume = mount(manifests)
    with observing(area, volume.path) as observer:
        observer.wait_records(1)
        unmount(volume.path)
        assert volume.wait_end() == 0
        assert observer.wait_end() == (1, f"secretfs: {volume.path} was unmounted or removed\n")


def test_directory_that_is_not_a_volume(area: Path):
    done = program.run([program.binary(), "observe", area], home=area / "home")
    assert done.returncode == 1
    assert f"{area} is not a volume: it has no link ..data; give the directory where" in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "observe takes paths of volumes"),
        (["-n", "prod", "/"], "--namespace, --kubeconfig, --context and --manifests are of --object"),
        (["--object", "db", "/"], 'invalid object "db", expected secret/NAME or configmap/NAME'),
        (["--object", "secret/A", "/"], '--object: invalid name "A" for a secret'),
        (["-c", "0", "/"], '--count: invalid number "0"'),
    ],
)
def test_usage(area: Path, arguments: list[str], message: str):
    done = program.run([program.binary(), "observe", *arguments], home=area / "home")
    assert done.returncode == 2
    assert message in done.stderr
