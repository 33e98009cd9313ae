"""`--consumers`: which processes have opened which version, and what could not be seen."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest

from lib import cgroup
from lib.hang import POLL, hanging_idle
from lib.reading_process import ReadingProcess
from lib.sources import Api, Manifests
from lib.volume import Volume, VolumeMaker
from lib.waiting import until

QUEUE_MAX = 512  # OPEN_QUEUE_VOLUME_MAX
POD_UID = "11111111-2222-3333-4444-555555555555"
CONTAINER = "0123456789abcdef" * 4

# Opens the files behind its descriptors again, from so many processes; no request needs the daemon.
FLOOD = """
import os, sys
fds = [os.open(path, os.O_RDONLY) for path in sys.argv[2:]]
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        for fd in fds:
            os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY))
        os._exit(0)
    os.waitpid(child, 0)
print("done", flush=True)
sys.stdin.readline()
"""


class Flood:
    """Opens files that it has open already, once in each of so many processes, which end at once."""

    def __init__(self, n_processes: int, paths: list[Path]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FLOOD, str(n_processes), *map(str, paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def _expect(self, line: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{line}\n"

    def __enter__(self) -> None:
        self._expect("ready")

    def run(self) -> None:
        assert self._process.stdin is not None
        print("go", file=self._process.stdin, flush=True)
        self._expect("done")

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


@contextlib.contextmanager
def stopped(volume: Volume) -> Iterator[None]:
    """All threads: the signal takes effect some time after it was sent."""

    def is_stopped() -> bool:
        tasks = Path(f"/proc/{volume.pid}/task").iterdir()
        return all((task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "T" for task in tasks)

    volume.signal(signal.SIGSTOP)
    try:
        until(is_stopped, "the daemon to stop")
        yield
    finally:
        volume.signal(signal.SIGCONT)


@pytest.fixture(params=["generations", "in-place"])
def updates(request: pytest.FixtureRequest) -> str:
    """How files change: the kernel reports opens of immutable ones, the workers those of live ones."""
    return str(request.param)


@pytest.fixture
def volume(mount: VolumeMaker, manifests: Manifests, updates: str) -> Volume:
    manifests.put_secret({"a": b"dummy-1", "b": b"dummy-b"})
    return mount(manifests, "--consumers", f"--updates={updates}")


def told(volume: Volume) -> dict[str, Any]:
    consumers: dict[str, Any] = volume.status()["volume"]["consumers"]
    return consumers


def consumer(volume: Volume, pid: int) -> dict[str, Any] | None:
    return next((c for c in told(volume)["list"] if c.get("pid") == pid), None)


def state(volume: Volume, pid: int) -> str | None:
    found = consumer(volume, pid)
    return found["state"] if found else None


def wait_state(volume: Volume, pid: int, expected: str | None) -> None:
    until(lambda: state(volume, pid) == expected, f"{pid} to be {expected}")


def update(volume: Volume, manifests: Manifests, **data: bytes) -> None:
    """Waits until it is shown, without a read."""
    before = volume.status()["lastUpdate"]["count"]
    manifests.put_secret({"a": b"dummy-1", "b": b"dummy-b"} | data)
    until(lambda: volume.status()["lastUpdate"]["count"] != before, "the update")


def test_consumer_is_old_until_it_opens_again(volume: Volume, manifests: Manifests) -> None:
    with ReadingProcess(volume.path / "a") as first, ReadingProcess(volume.path / "a") as second:
        for each in (first, second):
            each.do("read")
            wait_state(volume, each.pid, "current")
        update(volume, manifests, a=b"dummy-2")
        found = consumer(volume, first.pid)
        assert found is not None
        assert found["state"] == "old"
        (key,) = found["keys"]
        assert (key["object"], key["key"], key["state"]) == ("secret/default/app", "a", "old")
        assert found["process"].startswith("python")
        first.do("read")
        wait_state(volume, first.pid, "current")
        assert state(volume, second.pid) == "old"
    wait_state(volume, second.pid, None)
    assert "notSeen" not in told(volume)


def test_key_that_stays_makes_no_consumer_old(volume: Volume, manifests: Manifests) -> None:
    with ReadingProcess(volume.path / "b") as made:
        made.do("read")
        wait_state(volume, made.pid, "current")
        update(volume, manifests, a=b"dummy-2")
        assert state(volume, made.pid) == "current"
        update(volume, manifests, a=b"dummy-2", b=b"dummy-c")
        assert state(volume, made.pid) == "old"


def test_open_and_mapped_files_are_held(
    volume: Volume, manifests: Manifests, updates: str
) -> None:
    """A process with both versions is current, and the volume says that the old one is held."""
    with ReadingProcess(volume.path / "a") as opened, ReadingProcess(volume.path / "a") as mapped:
        opened.do("open")
        mapped.do("open", "map", "close")
        for each in (opened, mapped):
            wait_state(volume, each.pid, "current")
        assert told(volume)["heldFiles"] == 0
        update(volume, manifests, a=b"dummy-2")
        for each in (opened, mapped):
            each.do("read")
            wait_state(volume, each.pid, "current")
        until(lambda: told(volume)["oldGenerations"] == 0, "the old generation to go")
        # of an immutable file the node counts, of a live one each that is open
        assert told(volume)["heldFiles"] == (1 if updates == "generations" else 2)
        opened.do("close")
        until(lambda: told(volume)["heldFiles"] == 1, "the mapped file alone")
        mapped.do("unmap")
        until(lambda: told(volume)["heldFiles"] == 0, "the old file to go")


def test_process_stays_the_same_after_exec(volume: Volume, manifests: Manifests) -> None:
    shell = 'exec 3<"$1"; echo done; exec cat'
    process = subprocess.Popen(
        ["sh", "-c", shell, "sh", str(volume.path / "a")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "done\n"
        wait_state(volume, process.pid, "current")
        update(volume, manifests, a=b"dummy-2")
        assert state(volume, process.pid) == "old"
        assert told(volume)["heldFiles"] == 1
    finally:
        process.communicate()
    wait_state(volume, process.pid, None)


@pytest.mark.parametrize("updates", ["generations"], indirect=True)  # others need the daemon to open
def test_process_that_ended_before_it_was_identified(volume: Volume, manifests: Manifests) -> None:
    """It is a gap once what it had is old: it may have passed it on."""
    flood = Flood(1, [volume.path / "a"])
    with flood:
        with stopped(volume):
            flood.run()
        wait_state(volume, flood.pid, "current")
        assert "notSeen" not in told(volume)
        update(volume, manifests, a=b"dummy-2")
        (reason,) = until(lambda: told(volume).get("notSeen"), "the gap")
        assert "ended before it was identified" in reason


@pytest.mark.parametrize("updates", ["in-place"], indirect=True)
def test_opens_that_the_queue_dropped(volume: Volume) -> None:
    """More at a time than a volume may have in it, from as many threads of one process."""
    threads = f"""
import threading
together = threading.Barrier({QUEUE_MAX + 1})
def read():
    open({str(volume.path / "a")!r}).read()
    together.wait()
for _ in range({QUEUE_MAX + 1}):
    threading.Thread(target=read).start()
"""
    with hanging_idle(volume.pid, "consumers", POLL):
        subprocess.run([sys.executable, "-c", threads], check=True)
        assert told(volume)["opensWait"]
    lost = "more opens at a time than are kept"
    until(lambda: lost in told(volume).get("notSeen", []), "the gap")
    assert rollout(volume).returncode == 3


@pytest.mark.parametrize("updates", ["in-place"], indirect=True)
def test_open_counts_before_it_is_in_the_table(volume: Volume, manifests: Manifests) -> None:
    """A reader of the old version that is not in the table yet: there is no answer before."""
    with ReadingProcess(volume.path / "a") as made:
        with hanging_idle(volume.pid, "consumers", POLL):
            made.do("read")
            update(volume, manifests, a=b"dummy-2")
            assert told(volume)["list"] == []
            done = rollout(volume, "--watch=false")
            assert done.returncode != 0, done.stdout
        wait_state(volume, made.pid, "old")


def test_opens_that_the_kernel_dropped(mount: VolumeMaker, manifests: Manifests) -> None:
    """More at a time than its queue has: the daemon says that it missed some."""
    limit = int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text())
    keys = [f"k{number}" for number in range(200)]
    manifests.put_secret({key: key.encode() for key in keys})
    volume = mount(manifests, "--consumers")
    flood = Flood(limit // len(keys) + 2, [volume.path / key for key in keys])
    with flood:
        with stopped(volume):
            flood.run()
        lost = "more opens at a time than are kept"
        until(lambda: lost in told(volume).get("notSeen", []), "the gap")


@contextlib.contextmanager
def container(parent: str) -> Iterator[cgroup.Cgroup]:
    """A control group as a runtime makes it for a container, below that path."""
    with cgroup.freezer() as made:
        directory = made.path / parent / CONTAINER
        directory.mkdir(parents=True)
        inner = cgroup.Cgroup(directory)
        try:
            yield inner
        finally:
            until(lambda: (directory / "cgroup.procs").read_text() == "", "its processes to end")
            for each in (directory, *directory.parents[: len(Path(parent).parts)]):
                each.rmdir()


@pytest.mark.parametrize(
    ("parent", "pod_uid"), [(f"kubepods/pod{POD_UID}", POD_UID), ("k8s.io", None)]
)
def test_container_is_a_consumer_until_it_is_gone(
    volume: Volume, manifests: Manifests, parent: str, pod_uid: str | None
) -> None:
    """What its ended processes have read, it may use. A path may name no pod."""

    def in_container() -> list[dict[str, Any]]:
        return [c for c in told(volume)["list"] if c.get("container") == CONTAINER]

    with container(parent) as made:
        with ReadingProcess(volume.path / "a") as inside:
            made.add(inside.pid)
            inside.do("read")
            wait_state(volume, inside.pid, "current")
        until(lambda: [c.get("pid") for c in in_container()] == [None], "its end")
        update(volume, manifests, a=b"dummy-2")
        (ended,) = in_container()
        assert (ended["state"], ended.get("podUID")) == ("old", pod_uid)
        with ReadingProcess(volume.path / "a") as inside:
            made.add(inside.pid)
            inside.do("read")
            wait_state(volume, inside.pid, "current")
        until(lambda: [c.get("pid") for c in in_container()] == [None], "its end")
        (ended,) = in_container()
        assert ended["state"] == "current"
    until(lambda: in_container() == [], "the container to go")


def rollout(volume: Volume, *options: str) -> subprocess.CompletedProcess[str]:
    return volume.run("rollout", "status", *options, str(volume.path))


def test_rollout_waits_for_a_consumer(volume: Volume, manifests: Manifests) -> None:
    with ReadingProcess(volume.path / "a") as made:
        made.do("read")
        wait_state(volume, made.pid, "current")
        done = rollout(volume)
        assert done.returncode == 0, done.stderr
        assert f"({made.pid})" in done.stdout
        assert "successfully rolled out" in done.stdout
        update(volume, manifests, a=b"dummy-2")
        for options in (["--watch=false"], ["--timeout", "1ms"]):
            done = rollout(volume, *options)
            assert done.returncode == 1
            assert f"({made.pid}) has not opened the newest version" in done.stderr
        waiting = subprocess.Popen(
            [volume.binary, "rollout", "status", volume.path], stdout=subprocess.PIPE, text=True
        )
        try:
            assert waiting.stdout is not None
            assert "Waiting for rollout" in waiting.stdout.readline()
            made.do("read")
            output, _ = waiting.communicate()
        finally:
            waiting.kill()
            waiting.wait()
        assert waiting.returncode == 0
        assert "successfully rolled out" in output


def test_rollout_waits_for_held_files(volume: Volume, manifests: Manifests) -> None:
    with ReadingProcess(volume.path / "a") as made:
        made.do("open")
        wait_state(volume, made.pid, "current")
        update(volume, manifests, a=b"dummy-2")
        made.do("read")
        wait_state(volume, made.pid, "current")
        done = rollout(volume, "--watch=false")
        assert done.returncode == 1
        assert "older versions" in done.stderr
        made.do("close")
        assert rollout(volume).returncode == 0


@pytest.mark.parametrize("updates", ["generations"])
def test_rollout_names_who_holds_an_older_file(volume: Volume, manifests: Manifests) -> None:
    """It is current, as it has opened the newest version as well."""
    with ReadingProcess(volume.path / "a") as opened, ReadingProcess(volume.path / "b") as mapped:
        opened.do("open")
        mapped.do("open", "map", "close")
        for each in (opened, mapped):
            wait_state(volume, each.pid, "current")
        generation = volume.generation()
        update(volume, manifests, a=b"dummy-2")
        opened.do("read")
        wait_state(volume, opened.pid, "current")
        until(lambda: told(volume)["heldFiles"] == 2, "both files")
        done = rollout(volume, "--watch=false")
        lines = [line.split(") has ")[1] for line in done.stderr.splitlines() if ") has /" in line]
        held = ("a open", "b mapped", "b open")  # Python's mmap has a descriptor of its own
        assert sorted(lines) == [f"{volume.path}/{generation}/{each}" for each in held]
        for each in (opened, mapped):
            assert f"({each.pid}) has " in done.stderr


def test_rollout_waits_for_a_version(http1: Api, mount: VolumeMaker) -> None:
    http1.put_secret({"a": b"dummy-1"})
    volume = mount(http1, "--consumers")
    until(lambda: volume.status()["source"]["state"] == "live", "the watch")
    http1.put_secret({"a": b"dummy-2"})
    stored = http1.server.get_object("secrets", "default", "app")["metadata"]["resourceVersion"]
    done = rollout(volume, "--resource-version", stored, "--timeout", "10s")
    assert done.returncode == 0, done.stderr
    done = rollout(volume, "--resource-version", "no-such", "--watch=false")
    assert done.returncode == 1
    assert f"shows version {stored}, not no-such" in done.stderr


def test_rollout_without_the_option(mount: VolumeMaker, manifests: Manifests) -> None:
    manifests.put_secret({"a": b"dummy-1"})
    done = rollout(mount(manifests))
    assert done.returncode == 3
    assert "its consumers are not noted" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["status"], ["restart", "secret/a"], ["status", "a", "b"], ["status", "--watch=x", "a"]],
)
def test_rollout_usage(volume: Volume, arguments: list[str]) -> None:
    assert volume.run("rollout", *arguments).returncode == 2


def test_status_without_the_option_has_no_consumers(mount: VolumeMaker, manifests: Manifests):
    manifests.put_secret({"a": b"dummy-1"})
    assert "consumers" not in mount(manifests).status()["volume"]


