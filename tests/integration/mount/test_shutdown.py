"""Every way in which a mount ends: cleanly, from outside, and by SIGKILL."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest

from lib import program
from lib.mountinfo import mounts_at
from lib.sources import Manifests
from lib.volume import Volume, abort_connection, unmount
from lib.waiting import until

READ_FOR_EVER = 'while :; do read -r line < "$0/n"; : < "$0/absent$((i += 1))"; done 2>/dev/null'


@pytest.fixture
def volume(manifests: Manifests, mount) -> Volume:
    manifests.put_secret({"a": b"value", "b": b"other"})
    return mount(manifests)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it_cleanly(source, mount, number: int):
    """Exit 0, no mount, no socket, a directory that can be used again."""
    source.put_secret({"a": b"1"})
    volume = mount(source)
    volume.signal(number)
    assert volume.wait_end() == 0
    volume.check_nothing_left()


def test_umount_from_outside(source, mount):
    """umount(8) ends the program, with success."""
    source.put_secret({"a": b"1"})
    volume = mount(source)
    unmount(volume.path)
    assert volume.wait_end() == 0
    volume.check_nothing_left()
    assert len(volume.log_lines("unmounted by another process; stopping")) == 1


def test_fusermount_as_root(volume: Volume):
    """fusermount3 -u does, too."""
    done = program.run(["fusermount3", "-u", volume.path], home=volume.home)
    assert (done.returncode, done.stderr) == (0, "")
    assert volume.wait_end() == 0


def test_unmount_command_waits_for_the_end(volume: Volume):
    """`secretfs unmount` returns when the program has ended, and says nothing."""
    done = volume.run("unmount", str(volume.path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not os.path.exists(f"/proc/{volume.pid}/fd/0")  # ended; perhaps not reaped yet
    assert volume.wait_end() == 0
    volume.check_nothing_left()


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """An open file, whose close may fail as the server is gone."""
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        try:
            os.close(fd)
        except OSError as error:
            assert error.errno == errno.ENOTCONN


def test_unmount_command_when_busy(volume: Volume):
    """A mount in use is left alone; --lazy detaches it, and the program ends with the use."""
    with opened(volume.path / "a"):
        done = volume.run("unmount", str(volume.path))
        assert done.returncode == 1
        assert f"{volume.path} is in use" in done.stderr
        assert volume.exit_status is None
        assert volume.read("a") == b"value"

        done = volume.run("unmount", "--lazy", str(volume.path))
        assert (done.returncode, done.stderr) == (0, "")
        assert volume.exit_status is None
    assert volume.wait_end() == 0
    volume.check_nothing_left()


def test_lazy_umount_with_an_open_file(volume: Volume):
    """Readers can read on; the program ends with the last open file."""
    with opened(volume.path / "a") as read, opened(volume.path / "b") as unread:
        assert os.read(read, 100) == b"value"
        unmount(volume.path, lazily=True)
        assert mounts_at(volume.path) == []
        volume.wait_log("other mounts of it are served until they are gone")
        assert os.pread(read, 100, 0) == b"value"
        assert os.read(unread, 100) == b"other"
    assert volume.wait_end() == 0


def test_signal_with_an_open_file(volume: Volume):
    """A busy mount is detached, as the program that got a signal to end does end."""
    with opened(volume.path / "a") as file:
        assert os.read(file, 100) == b"value"
        volume.finish()


def test_signal_with_a_working_directory_inside(volume: Volume):
    """So is one that is some process's working directory."""
    with subprocess.Popen(["cat"], cwd=volume.path, stdin=subprocess.PIPE) as inside:
        volume.finish()
        inside.communicate()


def test_bind_mount_outlives_the_program(volume: Volume, area):
    """X6: a consumer's bind mount stays mounted, and reads fail with ENOTCONN."""
    target = area / "container"
    target.mkdir()
    subprocess.run(["mount", "--bind", str(volume.path), str(target)], check=True)
    try:
        volume.signal(signal.SIGTERM)
        assert volume.wait_end() == 0
        with pytest.raises(OSError) as raised:
            os.stat(target / "never-looked-at")
        assert raised.value.errno == errno.ENOTCONN
    finally:
        unmount(target)


def test_kill_leaves_a_dead_mount_that_can_be_cleared(manifests: Manifests, volume: Volume, mount):
    """After SIGKILL the mount says ENOTCONN; `unmount` clears it; mounting again works."""
    volume.kill()
    with pytest.raises(OSError) as raised:
        os.stat(volume.path / "never-looked-at")
    assert raised.value.errno == errno.ENOTCONN
    assert len(mounts_at(volume.path)) == 1

    done = volume.run("unmount", str(volume.path))
    assert (done.returncode, done.stderr) == (0, "")
    assert mounts_at(volume.path) == []
    again = mount(manifests, path=volume.path)
    assert again.read("a") == b"value"


def test_mounting_over_a_dead_mount_is_refused(manifests: Manifests, volume: Volume, area):
    """The message says how to get rid of it."""
    volume.kill()
    command = [program.binary(), "mount", *manifests.arguments, "secret/app", volume.path]
    done = program.run(command, home=area)
    assert done.returncode == 1
    assert f"secretfs unmount {volume.path}" in done.stderr
    assert len(mounts_at(volume.path)) == 1


def test_kill_amid_updates_and_readers(source, start_mount, area):
    """SIGKILL at any moment: the process is gone at once and never hangs in the kernel."""
    source.put_secret({"n": b"start"})
    path = area / "volume"
    path.mkdir()
    for round_ in range(5):
        volume = start_mount(*source.arguments, "secret/app", path=path).wait_ready()
        with subprocess.Popen(["sh", "-c", READ_FOR_EVER, str(path)]) as reader:
            try:
                for i in range(20 + 10 * round_):
                    source.put_secret({"n": b"%d" % i})
                volume.kill()
            finally:
                volume.destroy()
                reader.kill()
    until(lambda: mounts_at(path) == [], "the mount to go")


def test_abort_of_the_connection_ends_it(volume: Volume):
    """fusectl's abort, the administrator's last resort, ends the program like an unmount."""
    abort_connection(mounts_at(volume.path)[-1].device)
    assert volume.wait_end() == 0
    volume.check_nothing_left()


def test_unmount_of_what_is_no_mount(area):
    done = program.run([program.binary(), "unmount", area], home=area)
    assert done.returncode == 1
    assert done.stderr == f"secretfs: {area} is not in a secretfs mount\n"


def test_unmount_of_a_path_inside_a_mount(volume: Volume):
    """Only the mount point itself is taken; nothing is unmounted by way of a file."""
    done = volume.run("unmount", str(volume.path / "..data"))
    assert done.returncode == 1
    assert "below the mount point of a secretfs mount" in done.stderr
    assert volume.read("a") == b"value"


def test_mount_point_that_is_replaced(volume: Volume, area):
    """Another mount on top does not disturb the one below, nor is it unmounted in its place."""
    subprocess.run(["mount", "-t", "tmpfs", "above", str(volume.path)], check=True)
    assert volume.exit_status is None
    unmount(volume.path)
    assert volume.read("a") == b"value"
