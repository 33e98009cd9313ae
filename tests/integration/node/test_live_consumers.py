"""Who has read what of a volume that a pod mounts by subPath: opens that the daemon itself answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lib import program
from lib.kubelet import PodVolume
from lib.live import Containers, SubPaths, publish, put, wait_alone, wait_text
from lib.node_daemon import KeptNode, Node, NodeMaker
from lib.reading_process import ReadingProcess
from lib.sources import Api
from lib.volume import unmount
from lib.waiting import until


@pytest.fixture
def log(area: Path) -> Path:
    return area / "audit.log"


@pytest.fixture
def node(start_node: NodeMaker, api: Api, log: Path) -> Node:
    put(api, user="admin", password="dummy")
    arguments = ["--rights=daemon", "--kubeconfig", api.kubeconfig()]
    return start_node(*arguments, "--consumers=on", f"--audit={log}").wait_ready()


@pytest.fixture
def volume(node: Node, api: Api) -> PodVolume:
    return publish(node, api)


def described(node: Node, volume: PodVolume) -> dict[str, Any]:
    done = program.run([program.binary(), "status", "-o", "json", volume.target], home=node.root)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["volume"]["consumers"]
    return found


def state(node: Node, volume: PodVolume, pid: int) -> str | None:
    listed = described(node, volume)["list"]
    return next((each["state"] for each in listed if each.get("pid") == pid), None)


def wait_state(node: Node, volume: PodVolume, pid: int, expected: str | None) -> None:
    until(lambda: state(node, volume, pid) == expected, f"{pid} to be {expected}")


def rollout(node: Node, volume: PodVolume, *options: str) -> tuple[int, str]:
    command = [program.binary(), "rollout", "status", volume.target, *options]
    done = program.run(command, home=node.root)
    return done.returncode, done.stdout + done.stderr


def test_file_alone_has_its_consumers(
    node: Node, api: Api, volume: PodVolume, file: Path, containers: Containers
) -> None:
    """Through the kubelet's mount, a container's, and the volume's directory."""
    paths = [file, containers.mount(file), volume.target / "user", volume.target / "password"]
    readers = [ReadingProcess(path) for path in paths]
    try:
        for each in readers:
            each.do("read")
            wait_state(node, volume, each.pid, "current")
        code, output = rollout(node, volume)
        assert code == 0, output
        put(api, user="root", password="dummy")
        wait_text(file, "root")
        states = [state(node, volume, each.pid) for each in readers]
        assert states == ["old", "old", "old", "current"]
        code, output = rollout(node, volume, "--watch=false")
        assert code == 1
        assert f"({readers[1].pid}) has not opened the newest version" in output
        for each in readers[:3]:
            each.do("read")
            wait_state(node, volume, each.pid, "current")
        code, output = rollout(node, volume, "--timeout=120s")
        assert code == 0, output
    finally:
        for each in readers:
            each.__exit__()


def test_descriptor_of_the_old_version_is_held(
    node: Node, api: Api, volume: PodVolume, file: Path
) -> None:
    """Its process has both versions."""
    with ReadingProcess(file) as both:
        both.do("open")
        wait_state(node, volume, both.pid, "current")
        put(api, user="root", password="dummy")
        wait_text(file, "root")
        wait_state(node, volume, both.pid, "old")
        both.do("read")
        wait_state(node, volume, both.pid, "current")
        assert described(node, volume)["heldFiles"] == 1
        code, output = rollout(node, volume, "--watch=false")
        assert (code, "older" in output) == (1, True)
        both.do("close")
        assert rollout(node, volume, "--timeout=120s")[0] == 0


def test_file_that_was_open_before_it_was_mounted_alone(
    node: Node, api: Api, volume: PodVolume, sub_path: SubPaths
) -> None:
    """It stays as it is until it is closed, also for those that open it meanwhile."""
    with ReadingProcess(volume.target / "user") as early:
        early.do("open")
        file = sub_path(volume, "user")
        wait_alone(node, volume, 1)
        with ReadingProcess(file) as late:
            put(api, user="root", password="dummy")
            wait_text(volume.target / "user", "root")
            assert file.read_text() == "admin"
            late.do("read")
            wait_state(node, volume, late.pid, "old")
            early.do("read")
            wait_state(node, volume, early.pid, "current")
            assert described(node, volume)["heldFiles"] == 1
            early.do("close")
            wait_text(file, "root")
            late.do("read")
            wait_state(node, volume, late.pid, "current")
            until(lambda: described(node, volume)["heldFiles"] == 0, "the file to be free")
            assert rollout(node, volume, "--timeout=120s")[0] == 0


def test_file_that_only_a_container_still_has(
    node: Node, api: Api, volume: PodVolume, file: Path, containers: Containers
) -> None:
    """It has no name any more on the host."""
    inside = containers.mount(file)
    unmount(file)
    wait_alone(node, volume, 0)
    with ReadingProcess(inside) as reader:
        for number in range(2):
            reader.do("read")
            wait_state(node, volume, reader.pid, "current")
            put(api, user=f"root-{number}", password="dummy")
            wait_text(inside, f"root-{number}")
            wait_state(node, volume, reader.pid, "old")


def test_key_that_goes_and_returns(
    node: Node, api: Api, volume: PodVolume, file: Path
) -> None:
    """Meanwhile the file has its last content, which is not what the object has."""
    with ReadingProcess(file) as reader:
        reader.do("read")
        wait_state(node, volume, reader.pid, "current")
        put(api, password="dummy")
        wait_state(node, volume, reader.pid, "old")
        put(api, password="dummy", user="admin")
        until(lambda: (volume.target / "user").exists(), "the key")
        until(lambda: reader.do("read") or state(node, volume, reader.pid) == "current", "it")


def test_new_key_of_a_directory_that_is_mounted_alone(
    node: Node, api: Api, sub_path: SubPaths
) -> None:
    """A reader that opens it as soon as it has a name, and not again, is current."""
    items = "- {key: user, path: deep/user}\n- {key: host, path: deep/host}"
    volume = publish(node, api, attributes={"secretName": "app", "items": items, "optional": "true"})
    directory = sub_path(volume, "deep")
    wait_alone(node, volume, 1)
    put(api, user="admin", host="db-1")
    until(lambda: (directory / "host").exists(), "the new file")
    with ReadingProcess(directory / "host") as reader:
        reader.do("read")
        wait_state(node, volume, reader.pid, "current")
        put(api, user="root", host="db-1")
        wait_text(directory / "user", "root")
        assert state(node, volume, reader.pid) == "current"
        put(api, user="root", host="db-2")
        wait_state(node, volume, reader.pid, "old")


def test_audit_has_each_version(
    node: Node, api: Api, volume: PodVolume, file: Path, log: Path
) -> None:
    def versions(reader: ReadingProcess) -> list[str]:
        text = log.read_text() if log.exists() else ""
        found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line["resourceVersion"] for line in found if line.get("pid") == reader.pid]

    with ReadingProcess(file) as reader:
        reader.do("read", "read")
        until(lambda: len(versions(reader)) == 1, "the first line")
        put(api, user="root", password="dummy")
        wait_text(file, "root")
        reader.do("read", "read")
        until(lambda: len(versions(reader)) == 2, "the second line")
        assert len(set(versions(reader))) == 2


def test_next_process_notes_opens_of_what_it_takes_over(
    start_node: NodeMaker, api: Api, sub_path: SubPaths
) -> None:
    """Each process counts as new, and who has opened what before is not known."""
    put(api, user="admin", password="dummy")
    kept = start_node("--rights=daemon", *api.arguments, "--consumers=on", kind=KeptNode)
    assert isinstance(kept.wait_ready(), KeptNode)
    volume = publish(kept, api)
    file = sub_path(volume, "user")
    wait_alone(kept, volume, 1)
    with ReadingProcess(file) as reader:
        reader.do("read")
        wait_state(kept, volume, reader.pid, "current")
        kept.kill_daemon()
        put(api, user="root", password="dummy")
        wait_text(file, "root")
        until(lambda: state(kept, volume, reader.pid) is None, "the next process")
        assert described(kept, volume)["notSeen"] == ["an earlier process served the volume"]
        reader.do("read")
        wait_state(kept, volume, reader.pid, "current")
        put(api, user="user", password="dummy")
        wait_text(file, "user")
        wait_state(kept, volume, reader.pid, "old")
        assert rollout(kept, volume, "--watch=false")[0] == 3
