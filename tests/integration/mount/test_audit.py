"""`--audit`: a line for each first open of a version by a process, and where lines may go."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lib.reading_process import ReadingProcess
from lib.sources import Manifests
from lib.volume import Volume, VolumeMaker
from lib.waiting import until

# Opens a file in so many processes, one after the other.
FLOOD = """
import os, sys
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        os.close(os.open(sys.argv[1], os.O_RDONLY))
        os._exit(0)
    os.waitpid(child, 0)
"""


def lines_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def opens_of(path: Path, pid: int) -> list[tuple[str, str]]:
    lines = [line for line in lines_of(path) if line.get("pid") == pid]
    return [(line["key"], line["resourceVersion"]) for line in lines]


def wait_opens(path: Path, pid: int, number: int) -> list[tuple[str, str]]:
    until(lambda: len(opens_of(path, pid)) >= number, f"{number} lines of {pid}")
    return opens_of(path, pid)


@pytest.fixture
def log(area: Path) -> Path:
    return area / "audit.log"


def mount_with_audit(mount: VolumeMaker, manifests: Manifests, target: object) -> Volume:
    manifests.put_secret({"a": b"dummy-1", "b": b"dummy-b"})
    return mount(manifests, "--consumers", f"--audit={target}")


def update(volume: Volume, manifests: Manifests, **data: bytes) -> None:
    """Waits until it is shown, without a read."""
    before = volume.status()["volume"]["generation"]
    manifests.put_secret({"a": b"dummy-1", "b": b"dummy-b"} | data)
    until(lambda: volume.status()["volume"]["generation"] != before, "the update")


def test_first_open_of_each_version(mount: VolumeMaker, manifests: Manifests, log: Path) -> None:
    volume = mount_with_audit(mount, manifests, log)
    with ReadingProcess(volume.path / "a") as first, ReadingProcess(volume.path / "b") as second:
        for each in (first, first, second):
            each.do("read")
        assert [key for key, _ in wait_opens(log, second.pid, 1)] == ["b"]
        update(volume, manifests, a=b"dummy-2")
        first.do("read")
        first.do("read")
        second.do("read")
        wait_opens(log, second.pid, 2)
        # the lines of a process are in the order of its opens, so no second one of "a" follows
        found = opens_of(log, first.pid)
        assert [key for key, _ in found] == ["a", "a"]
        assert len(set(found)) == 2
        (line, *_) = (line for line in lines_of(log) if line.get("pid") == first.pid)
    assert (line["event"], line["uid"]) == ("open", 0)
    assert line["object"] == "secret/default/app"
    assert line["mountpoint"] == str(volume.path)
    assert line["process"].startswith("python")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert "dummy" not in log.read_text()


def test_file_that_is_rotated_away(mount: VolumeMaker, manifests: Manifests, log: Path) -> None:
    volume = mount_with_audit(mount, manifests, log)
    with ReadingProcess(volume.path / "a") as reader:
        reader.do("read")
        wait_opens(log, reader.pid, 1)
        log.rename(log.with_suffix(".1"))
        update(volume, manifests, a=b"dummy-2")
        reader.do("read")
        wait_opens(log, reader.pid, 1)
        assert len(opens_of(log.with_suffix(".1"), reader.pid)) == 1


def test_full_disk_delays_no_reader(mount: VolumeMaker, manifests: Manifests, area: Path) -> None:
    """Lines wait in memory, and are written when there is room, each of them whole."""
    disk = area / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
    try:
        filler = disk / "filler"
        log = disk / "audit.log"
        log.touch(0o600)
        with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        volume = mount_with_audit(mount, manifests, log)
        volume.expected_words = "cannot write the audit"
        with ReadingProcess(volume.path / "a") as reader:
            reader.do("read")
            volume.wait_log("cannot write the audit")
            update(volume, manifests, a=b"dummy-2")
            reader.do("read")
            filler.unlink()
            wait_opens(log, reader.pid, 2)
            volume.wait_log("the audit is written again")
        volume.finish()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_flood_is_limited_and_counted(mount: VolumeMaker, manifests: Manifests, log: Path) -> None:
    """Processes without end, each of which is a consumer."""
    volume = mount_with_audit(mount, manifests, log)
    number = 2000
    command = [sys.executable, "-c", FLOOD, str(volume.path / "a"), str(number)]
    with subprocess.Popen(command) as flood:
        pass

    def counted() -> int:
        lines = [line for line in lines_of(log) if line.get("pid") != flood.pid]
        opens = sum(line["event"] == "open" for line in lines)
        return opens + sum(line["count"] for line in lines if line["event"] == "dropped")

    until(lambda: any(line["event"] == "dropped" for line in lines_of(log)), "the count")
    until(lambda: counted() >= number, "each process to be written or counted")


def test_socket_whose_peer_comes_late(mount: VolumeMaker, manifests: Manifests, area: Path) -> None:
    path = area / "audit.sock"
    volume = mount_with_audit(mount, manifests, f"unix:{path}")
    volume.expected_words = "cannot write the audit"
    with ReadingProcess(volume.path / "a") as reader, socket.socket(socket.AF_UNIX) as server:
        reader.do("read")
        volume.wait_log("cannot write the audit")
        server.bind(str(path))
        server.listen()
        for version in (2, 3):
            peer, _ = server.accept()
            with peer, peer.makefile() as file:
                while json.loads(file.readline()).get("pid") != reader.pid:
                    pass
            update(volume, manifests, a=f"dummy-{version}".encode())
            reader.do("read")  # the next line goes to the next peer


def test_peer_that_does_not_read(mount: VolumeMaker, manifests: Manifests, area: Path) -> None:
    path = area / "audit.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        volume = mount_with_audit(mount, manifests, f"unix:{path}")
        command = [sys.executable, "-c", FLOOD, str(volume.path / "a"), "2000"]
        subprocess.run(command, check=True)
        update(volume, manifests, a=b"dummy-2")
        assert (volume.path / "a").read_bytes() == b"dummy-2"
        volume.finish()


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_files_of_others(mount: VolumeMaker, manifests: Manifests, log: Path, kind: str) -> None:
    """The volume is served without: who can write to the directory must not redirect the lines."""
    victim = log.with_name("victim")
    if kind == "link":
        log.symlink_to(victim)
    else:
        os.mkfifo(log)
    volume = mount_with_audit(mount, manifests, log)
    volume.expected_words = "cannot write the audit"
    assert (volume.path / "a").read_bytes() == b"dummy-1"
    volume.wait_log("cannot write the audit")
    assert not victim.exists()


def test_command_prints_and_follows(mount: VolumeMaker, manifests: Manifests, log: Path) -> None:
    volume = mount_with_audit(mount, manifests, log)
    with ReadingProcess(volume.path / "a") as reader:
        reader.do("read")
        wait_opens(log, reader.pid, 1)
        for arguments in ([], [str(log)]):
            done = volume.run("audit", *arguments)
            assert (done.returncode, done.stdout) == (0, log.read_text()), done.stderr
    follow = [volume.binary, "audit", "--follow", str(log)]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as following:
        try:
            # its standing on the file's end shows in its descriptors
            fds = Path(f"/proc/{following.pid}/fd")
            until(lambda: str(log) in [os.readlink(fd) for fd in fds.iterdir()], "it to follow")
            assert following.stdout is not None
            for rotated in (False, True):
                if rotated:
                    log.rename(log.with_suffix(".1"))
                with ReadingProcess(volume.path / "b") as reader:
                    reader.do("read")
                    line = json.loads(following.stdout.readline())
                    while line.get("pid") != reader.pid:
                        line = json.loads(following.stdout.readline())
        finally:
            following.kill()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--consumers", "--audit=log"], "audit takes an absolute path"),
        (["--audit=/log"], "--audit takes --consumers"),
    ],
)
def test_usage(
    start_mount: VolumeMaker, manifests: Manifests, arguments: list[str], reason: str
) -> None:
    volume = start_mount(*manifests.arguments, *arguments, "secret/app")
    volume.expected_exit = 2
    assert volume.wait_end() == 2
    assert reason in volume.log()
