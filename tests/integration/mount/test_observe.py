"""`secretfs observe`: updates of a volume of secretfs, and of one that the kubelet's writer makes."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from lib import program
from lib.atomic_writer import ReferenceVolume
from lib.volume import unmount
from lib.waiting import PATIENCE_SECONDS, until


class Observer:
    """A running `secretfs observe -o json`."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self._process = process
        self._output = output

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._output.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def wait_records(self, count: int) -> list[dict[str, Any]]:
        until(lambda: len(self.records()) >= count, f"{count} records")
        return self.records()

    def wait_end(self) -> tuple[int, str]:
        _, errors = self._process.communicate(timeout=PATIENCE_SECONDS)
        return self._process.returncode, errors


@contextmanager
def observing(area: Path, path: Path, *arguments: str) -> Iterator[Observer]:
    output = area / "observed"
    command = [program.binary(), "observe", "-o", "json", *arguments, path]
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


def test_volume_of_the_kubelet(area: Path):
    """The kubelet's steps are the same, and no status is asked for."""
    (area / "volume").mkdir()
    volume = ReferenceVolume(area / "volume")
    volume.write({"a": b"dummy-1", "below/b": b"dummy"})
    with observing(area, volume.path, "-c", "1") as observer:
        (first,) = observer.wait_records(1)
        assert first["added"] == ["a", "below/b"]
        volume.write({"a": b"dummy-1", "below/b": b"dummy-2"})
        assert changes(observer.wait_records(2)[1]) == {"changed": ["below/b"]}
        assert "object" not in observer.records()[1]
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
