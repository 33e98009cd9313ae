"""A process of a pod holds a directory of its volume: the updates of other volumes go on."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path
from typing import Iterator

import pytest

from lib import live, program
from lib.hang import threads_named
from lib.held_directory import holding
from lib.kubelet import PodVolume
from lib.mountinfo import mounts_at
from lib.node_daemon import KeptNode, Node, NodeMaker, read
from lib.live import SubPaths
from lib.sources import Api, Manifests
from lib.waiting import until

IN_PLACE = {"secretName": "app", "updates": "in-place"}
REASON = "publishing has not returned for "
N_HELD = 8
STANDBY_MAX = 4  # PUBLISHER_STANDBY_MAX
assert N_HELD + 1 > 2 + STANDBY_MAX, "a thread for each held volume is more"


@pytest.fixture
def watched(start_node: NodeMaker, manifests: Manifests) -> Node:
    manifests.put_secret({"user": b"1"})
    return start_node(*manifests.arguments).wait_ready()


def put(manifests: Manifests, value: bytes) -> None:
    manifests.put_secret({"user": value})


def shows(volume: PodVolume, value: bytes) -> None:
    until(lambda: read(volume, "user") == value, f"{volume.target} shows {value!r}")


def is_read(volume: PodVolume, *values: bytes) -> None:
    """An open that waited would wait for the one who holds the directory."""
    got: list[bytes] = []
    threading.Thread(target=lambda: got.append(read(volume, "user")), daemon=True).start()
    until(lambda: got != [], f"{volume.target} is read")
    assert got[0] in values


def state(node: Node, volume: PodVolume) -> tuple[str, str]:
    status = node.status()["volumes"][str(volume.target)]["volume"]
    return status["state"], status.get("error", "")


def is_failing(node: Node, volume: PodVolume) -> None:
    def found() -> bool:
        name, error = state(node, volume)
        return name == "failing" and error.startswith(REASON)

    until(found, "the state is failing")
    assert state(node, volume)[1].endswith("a process holds the volume's directory")


def is_current(node: Node, volume: PodVolume) -> None:
    until(lambda: state(node, volume)[0] == "current", "the state is current")


def count_threads(node: Node) -> int:
    return len(threads_named(node.pid, "publisher"))


@pytest.mark.parametrize("attributes", [{"secretName": "app"}, IN_PLACE])
def test_other_volumes_are_updated(
    watched: Node, manifests: Manifests, attributes: dict[str, str]
) -> None:
    held, other = (
        watched.publish(watched.pod(i, attributes=attributes)) for i in range(2)
    )
    with holding(held.target):
        for value in (b"2", b"3", b"4"):
            put(manifests, value)
            shows(other, value)
        is_failing(watched, held)
        is_current(watched, other)
        is_read(held, b"1")
        # and volumes come and go
        third = watched.publish(watched.pod(3, attributes=attributes))
        shows(third, b"4")
        watched.unpublish(third)
    shows(held, b"4")
    is_current(watched, held)
    assert "publishing does not return" in watched.log()


def test_directory_that_is_held_again_and_again(watched: Node, manifests: Manifests) -> None:
    held, other = (watched.publish(watched.pod(i)) for i in range(2))
    for i in range(5):
        with holding(held.target):
            put(manifests, b"%d" % i)
            shows(other, b"%d" % i)
        shows(held, b"%d" % i)


def test_generation_is_held(watched: Node, manifests: Manifests) -> None:
    """Nothing replaces it: the update makes and removes a name in it."""
    held, other = (watched.publish(watched.pod(i)) for i in range(2))
    shows(held, b"1")  # what the kernel has not cached yet waits for the directory as well
    with holding((held.target / "..data").resolve()):
        for value in (b"2", b"3"):
            put(manifests, value)
            shows(other, value)
        is_failing(watched, held)
        assert read(held, "user") == b"1"
    shows(held, b"3")


def test_many_directories_are_held(watched: Node, manifests: Manifests) -> None:
    *all_held, other = (watched.publish(watched.pod(i)) for i in range(N_HELD + 1))
    with contextlib.ExitStack() as stack:
        for held in all_held:
            stack.enter_context(holding(held.target))
        put(manifests, b"2")
        shows(other, b"2")
        put(manifests, b"3")
        shows(other, b"3")
        for held in all_held:
            is_failing(watched, held)
    for held in all_held:
        shows(held, b"3")


@pytest.mark.parametrize("attributes", [{"secretName": "app"}, IN_PLACE])
def test_pod_holds_all_its_volumes(
    watched: Node, manifests: Manifests, attributes: dict[str, str]
) -> None:
    """It has one blocked thread, so that it cannot use up those that there may be."""
    *all_held, other = (
        watched.publish(watched.pod(int(i == N_HELD), volume=f"v{i}", attributes=attributes))
        for i in range(N_HELD + 1)
    )
    with contextlib.ExitStack() as stack:
        for held in all_held:
            stack.enter_context(holding(held.target))
        for value in (b"2", b"3"):
            put(manifests, value)
            shows(other, value)
        until(lambda: state(watched, all_held[0])[0] == "failing", "the state is failing")
        for held in all_held:
            is_read(held, b"1")
        # the blocked one, the one that leads, and on a slow machine some that stand by
        assert 2 <= count_threads(watched) <= 2 + STANDBY_MAX
    for held in all_held:
        shows(held, b"3")


def test_update_that_has_begun_when_another_volume_of_its_pod_is_held(
    watched: Node, manifests: Manifests
) -> None:
    """It waits for a reader for a moment, and then for the other volume."""
    begun, held = (
        watched.publish(watched.pod(0, volume=f"v{i}", attributes=IN_PLACE)) for i in range(2)
    )
    with holding(held.target), (begun.target / "user").open("rb"):
        put(manifests, b"2")
        is_failing(watched, held)
        is_read(begun, b"1", b"2")
    shows(begun, b"2")
    shows(held, b"2")


def test_volume_that_is_held_is_unpublished(watched: Node, manifests: Manifests) -> None:
    """Its directory is removed later; a volume of its name is published after that."""
    held, other = (watched.publish(watched.pod(i)) for i in range(2))
    n_directories = len(watched.directories())
    with holding(held.target):
        put(manifests, b"2")
        shows(other, b"2")
        watched.unpublish(held)
        assert mounts_at(held.target) == []
        put(manifests, b"3")
        shows(other, b"3")
    until(lambda: len(watched.directories()) == n_directories - 1, "its directory is gone")
    shows(watched.publish(held), b"3")


def test_part_that_is_mounted_alone(node_on_api: Node, api: Api, sub_path: SubPaths) -> None:
    """It is taken out of a generation that is held; parts of other volumes follow updates."""
    node = node_on_api
    held, other = (live.publish(node, api, i) for i in range(2))
    shows(held, b"admin")
    with holding((held.target / "..data").resolve()):
        sub_path(held, "user")
        file = sub_path(other, "user")
        live.wait_alone(node, other, 1)
        for value in ("root", "other"):
            live.put(api, user=value)
            live.wait_text(file, value)
    shows(held, b"other")


def n_waiting_in(node: Node, call: str) -> int:
    """How many threads of the publisher are in a function of the kernel."""
    threads = (Path(f"/proc/{node.pid}/task/{tid}") for tid in threads_named(node.pid, "publisher"))
    return sum(call in (thread / "stack").read_text() for thread in threads)


def is_queued(path: Path) -> bool:
    """Whether a process waits for the directory's lock, which another one holds."""
    for stack in Path("/proc").glob("[0-9]*/stack"):
        with contextlib.suppress(OSError):
            arguments = (stack.parent / "cmdline").read_bytes().split(b"\0")
            if str(path).encode() in arguments and "iterate_dir" in stack.read_text():
                if "userfault" not in (stack.parent / "wchan").read_text():
                    return True
    return False


@contextlib.contextmanager
def exchange_held_up(node: Node, held: PodVolume, sub_path: SubPaths) -> Iterator[None]:
    """The publisher waits for one process that lists a generation, and another one is next: it holds the
    directory when a part is exchanged, and the kernel a lock of the whole file system with it."""
    path = (held.target / "..data").resolve()
    is_second, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with holding(path):
            is_second.set()
            is_over.wait()

    second = threading.Thread(target=hold)  # its process ends with it
    try:
        with holding(path):
            sub_path(held, "user")
            until(lambda: n_waiting_in(node, "unlinkat") == 1, "the publisher waits")
            second.start()
            until(lambda: is_queued(path), "a second process waits")
        is_second.wait()
        until(lambda: n_waiting_in(node, "renameat2") == 1, "the exchange waits")
        yield
    finally:
        is_over.set()
        if second.ident is not None:
            second.join()


def test_exchange_waits_for_a_directory(node_on_api: Node, api: Api, sub_path: SubPaths) -> None:
    """Parts of other pods that would be exchanged wait for it; updates do not, nor does a file after one."""
    node = node_on_api
    attributes = {"secretName": "app", "items": live.ITEMS}
    held, other, third = (live.publish(node, api, i, attributes=attributes) for i in range(3))
    shows(other, b"admin")
    with exchange_held_up(node, held, sub_path):
        file, directory = sub_path(other, "user"), sub_path(third, "deep")
        for volume in (other, third):
            live.wait_alone(node, volume, 1)
        live.put(api, user="root", password="dummy-1", host="db-1")
        live.wait_text(file, "root")
        for volume in (other, third):
            shows(volume, b"root")
        live.put(api, user="other", password="dummy-2", host="db-2")
        live.wait_text(file, "other")
        assert (directory / "er" / "host").read_text() == "db-0", "what it has shown stays"
        assert n_waiting_in(node, "renameat2") == 1
    live.wait_text(directory / "er" / "host", "db-2")
    shows(held, b"other")


def test_daemon_is_killed_in_an_exchange(
    start_node: NodeMaker, api: Api, sub_path: SubPaths
) -> None:
    """Its thread has the kernel's lock until the directory is let go: the next daemon has one exchange wait, too."""
    live.put(api, user="admin", password="dummy-0", host="db-0")
    kept = start_node("--rights=daemon", *api.arguments, kind=KeptNode).wait_ready()
    assert isinstance(kept, KeptNode)
    attributes = {"secretName": "app", "items": live.ITEMS}
    held, *parts, whole = (live.publish(kept, api, i, attributes=attributes) for i in range(4))
    with exchange_held_up(kept, held, sub_path):
        directories = [sub_path(volume, "deep") for volume in parts]
        for volume in parts:
            live.wait_alone(kept, volume, 1)
        kept.kill_daemon()
        until(lambda: n_waiting_in(kept, "renameat2") == 1, "an exchange waits")
        live.put(api, user="root", password="dummy-1", host="db-1")
        shows(whole, b"root")
        until(lambda: b"root" in [read(volume, "user") for volume in parts], "one is updated")
        assert n_waiting_in(kept, "renameat2") == 1
    for directory in directories:
        live.wait_text(directory / "er" / "host", "db-1")
    for volume in (held, *parts):
        shows(volume, b"root")


@contextlib.contextmanager
def held_mount(manifests: Manifests, mount) -> Iterator:
    manifests.put_secret({"user": b"1"})
    volume = mount(manifests)
    volume.wait_content({"user": b"1"})
    with holding(volume.path):
        manifests.put_secret({"user": b"2"})
        until(lambda: volume.status()["volume"]["state"] == "failing", "it is failing")
        yield volume


def test_mount(manifests: Manifests, mount) -> None:
    with held_mount(manifests, mount) as volume:
        assert volume.status()["volume"]["error"].startswith(REASON)
        assert volume.read("user") == b"1"
    volume.wait_content({"user": b"2"})


@pytest.mark.skipif(
    program.binary().exists() and program.has_sanitizer(),
    reason="what the blocked thread needs stays until the process ends, which is reported",
)
def test_mount_that_is_held_is_stopped(manifests: Manifests, mount) -> None:
    """Its path is free before the process can end."""
    with held_mount(manifests, mount) as volume:
        volume.signal(signal.SIGTERM)
        until(lambda: mounts_at(volume.path) == [], "it is unmounted")
    volume.wait_end()
