"""Files and directories that are mounted alone (subPath) show the newest content.

With the kubelet they never do (P2). The mount is replaced by one of the new file, so an inode never
has two contents: who opened the old one keeps it, and who watches it is told.
"""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator

import pytest

from .support.inotify import Event, Watcher, is_generation
from .support.mountinfo import mounts_at
from .support.namespace import MountNamespace
from .support.sources import Manifests
from .support.volume import Volume, unmount
from .support.waiting import until

OLD_KERNEL = Path(__file__).parent / "programs" / "without_beneath.py"
PIVOT = Path(__file__).parent / "programs" / "pivot.py"

PROJECTED = """
name: all
projected:
  sources:
  - secret:
      name: app
      optional: true
      items:
      - {key: password, path: password}
      - {key: user, path: deep/er/user}
      - {key: host, path: deep/host}
"""


@pytest.fixture
def bind(area: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a file or directory of a volume alone."""
    targets: list[Path] = []

    def make(source: Path) -> Path:
        target = area / f"alone{len(targets)}"
        if source.is_dir():
            target.mkdir()
        else:
            target.write_text("beneath")
        subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
        targets.append(target)
        return target

    yield make
    for target in targets:
        for _ in mounts_at(target):
            unmount(target, lazily=True)


@pytest.fixture
def namespace() -> Iterator[Callable[..., MountNamespace]]:
    made: list[MountNamespace] = []

    def make(*commands: str) -> MountNamespace:
        made.append(MountNamespace(*commands))
        return made[-1]

    yield make
    for each in made:
        each.close()


def wait_text(path: Path, text: str) -> None:
    until(lambda: path.read_text() == text, f"{text!r} in {path}")


def put(manifests: Manifests, **values: str) -> None:
    manifests.put_secret({key: value.encode() for key, value in values.items()})


def changes(watcher: Watcher, label: str = "file") -> list[str]:
    return [event.kind for event in watcher.events if event.watch == label]


def can_unmount(path: Path) -> bool:
    try:
        unmount(path)
    except OSError as error:
        assert error.errno == errno.EBUSY
        return False
    return True


def nodes(volume: Volume) -> int:
    """How many files, directories and links the daemon keeps, those of old generations included."""
    return os.statvfs(volume.path).f_files


def test_file(manifests, mount, bind):
    put(manifests, password="dummy-0", user="app")
    volume = mount(manifests)
    alone = bind(volume.path / "password")

    for number in range(1, 4):
        put(manifests, password=f"dummy-{number}", user="app")
        wait_text(alone, f"dummy-{number}")

    assert len(mounts_at(alone)) == 1
    assert "ro" in mounts_at(alone)[0].options
    assert alone.stat().st_ino == (volume.path / "password").stat().st_ino
    until(lambda: volume.status()["volume"]["followers"] == 1, "the follower in the status")


def test_options_of_the_mount_stay(manifests, mount, bind):
    put(manifests, password="dummy-0")
    volume = mount(manifests)
    alone = bind(volume.path / "password")
    subprocess.run(["mount", "-o", "remount,bind,ro,noexec,nosuid,nodev", alone], check=True)

    put(manifests, password="dummy-1")
    wait_text(alone, "dummy-1")

    assert {"ro", "noexec", "nosuid", "nodev"} <= set(mounts_at(alone)[0].options)


def test_nested_file_and_directory(manifests, area: Path, start, bind):
    spec = area / "spec.yaml"
    spec.write_text(PROJECTED)
    put(manifests, password="dummy", user="app-0", host="db-0")
    volume = start(*manifests.arguments, "--volume", str(spec)).wait_ready()
    file = bind(volume.path / "deep/er/user")
    directory = bind(volume.path / "deep")
    whole = bind(volume.path / "..data")

    for number in range(1, 4):
        put(manifests, password="dummy", user=f"app-{number}", host=f"db-{number}")
        wait_text(file, f"app-{number}")
        wait_text(directory / "er/user", f"app-{number}")
        assert (directory / "host").read_text() == f"db-{number}"
        wait_text(whole / "deep/host", f"db-{number}")


def test_readers_of_a_directory_never_find_it_empty(manifests, area: Path, start, bind):
    """Promise 4: also not at the first update, when the mount is not known yet."""
    spec = area / "spec.yaml"
    spec.write_text(PROJECTED)
    put(manifests, password="dummy", user="app", host="db-0")
    volume = start(*manifests.arguments, "--volume", str(spec)).wait_ready()
    directory = bind(volume.path / "deep")

    for number in range(1, 20):
        put(manifests, password="dummy", user="app", host=f"db-{number}")
        while (text := (directory / "host").read_text()) != f"db-{number}":
            assert text == f"db-{number - 1}"
            assert sorted(os.listdir(directory)) == ["er", "host"]


def test_key_that_disappears_and_returns(manifests, mount, bind, watcher):
    """A reader keeps the last content."""
    put(manifests, password="dummy-0", user="app")
    volume = mount(manifests)
    alone = bind(volume.path / "password")
    watcher.add("file", alone)

    put(manifests, user="app")
    volume.wait_content({"user": b"app"})
    assert alone.read_text() == "dummy-0"
    put(manifests, user="app-2")
    volume.wait_content({"user": b"app-2"})
    assert alone.read_text() == "dummy-0"
    assert "DELETE_SELF" not in changes(watcher)

    put(manifests, password="dummy-1", user="app-2")
    wait_text(alone, "dummy-1")
    watcher.wait(lambda event: event.kind == "CLOSE_WRITE")


def test_directory_whose_keys_are_all_gone(manifests, area: Path, start, bind):
    spec = area / "spec.yaml"
    spec.write_text(PROJECTED)
    put(manifests, password="dummy", user="app", host="db")
    volume = start(*manifests.arguments, "--volume", str(spec)).wait_ready()
    directory = bind(volume.path / "deep")

    put(manifests, password="dummy-2")
    until(lambda: volume.read("password") == b"dummy-2", "the update")
    until(lambda: os.listdir(directory) == [], "the directory to be empty")

    put(manifests, password="dummy-3", user="app", host="db-2")
    until((directory / "host").exists, "the file to return")
    wait_text(directory / "host", "db-2")


def test_in_another_mount_namespace(manifests, mount, area: Path, namespace):
    put(manifests, password="dummy-0")
    volume = mount(manifests)
    target = area / "target"
    target.write_text("beneath")
    container = namespace(f"mount --bind {volume.path}/password {target}")
    assert target.read_text() == "beneath"

    for number in range(1, 4):
        put(manifests, password=f"dummy-{number}")
        wait_text(container.path(target), f"dummy-{number}")

    assert target.read_text() == "beneath"
    assert len(mounts_at(target, container.pid)) == 1


def test_namespace_that_hides_its_proc(manifests, mount, area: Path, namespace):
    """A container with another root, in which there is neither /proc nor anything else of ours."""
    put(manifests, password="dummy-0")
    volume = mount(manifests)
    root = area / "root"
    root.mkdir()
    container = namespace(
        f"mount -t tmpfs tmpfs {root}",
        f"mkdir {root}/old {root}/etc",
        f"touch {root}/etc/password",
        f"mount --bind {volume.path}/password {root}/etc/password",
        f"exec {sys.executable} {PIVOT} {root}",
    )
    inside = container.path("/etc/password")
    assert inside.read_text() == "dummy-0"
    assert sorted(os.listdir(container.path("/"))) == ["etc", "old"]
    assert os.listdir(container.path("/old")) == []

    put(manifests, password="dummy-1")
    wait_text(inside, "dummy-1")


def test_many_followers_of_one_key(manifests, mount, area: Path, bind, namespace):
    put(manifests, password="dummy-0", user="app")
    volume = mount(manifests)
    target = area / "target"
    target.write_text("beneath")
    paths = [bind(volume.path / "password") for _ in range(5)]
    for _ in range(3):
        container = namespace(f"mount --bind {volume.path}/password {target}")
        paths.append(container.path(target))

    for number in range(1, 4):
        put(manifests, password=f"dummy-{number}", user="app")
        for path in paths:
            wait_text(path, f"dummy-{number}")


def test_namespace_does_not_outlive_its_processes(manifests, mount, area: Path, namespace):
    """Nothing of a container is held: what it has mounted can be unmounted when it is gone."""
    put(manifests, password="dummy-0")
    volume = mount(manifests)
    target, other = area / "target", area / "other"
    target.write_text("beneath")
    other.mkdir()
    image = area / "image"
    subprocess.run(["truncate", "-s", "4M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    container = namespace(
        f"mount --bind {volume.path}/password {target}", f"mount -o loop {image} {other}"
    )
    put(manifests, password="dummy-1")
    wait_text(container.path(target), "dummy-1")
    device = os.stat(container.path(other)).st_dev
    loop = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/loop/backing_file")
    assert loop.exists()

    container.close()

    until(lambda: not loop.exists(), "the loop device to be free")


def test_descriptor_keeps_its_snapshot(manifests, mount, bind):
    """Also when the kernel has dropped its pages and has to ask again."""
    put(manifests, password="a" * 10000)
    volume = mount(manifests)
    alone = bind(volume.path / "password")
    with open(alone, "rb") as file:
        for letter in "bcd":
            put(manifests, password=letter * 20000)
            wait_text(alone, letter * 20000)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            Path("/proc/sys/vm/drop_caches").write_text("3")
            file.seek(0)
            assert file.read() == b"a" * 10000
            assert os.fstat(file.fileno()).st_size == 10000


def test_mapping_keeps_its_snapshot(manifests, mount, bind):
    put(manifests, password="a" * 10000)
    volume = mount(manifests)
    alone = bind(volume.path / "password")
    with open(alone, "rb") as file:
        old = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

    put(manifests, password="b" * 10000)
    wait_text(alone, "b" * 10000)
    with open(alone, "rb") as file:
        new = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    old.madvise(mmap.MADV_DONTNEED)

    assert old[:] == b"a" * 10000
    assert new[:] == b"b" * 10000
    old.close()
    new.close()


def test_watchers_are_told_of_every_update(manifests, mount, bind, watcher):
    """One that never watches anew, and one that came later."""
    put(manifests, password="dummy-0")
    volume = mount(manifests)
    alone = bind(volume.path / "password")
    watcher.add("first", alone)
    watcher.take()

    for number in range(1, 40):
        put(manifests, password=f"dummy-{number}")
        watcher.wait(lambda event: event == Event("first", "CLOSE_WRITE", ""))
        assert alone.read_text() == f"dummy-{number}"
        if number > 20:
            watcher.wait(lambda event: event == Event("later", "CLOSE_WRITE", ""))
        if number == 20:
            watcher.add("later", alone)
        seen = watcher.take()
        kinds = [event.kind for event in seen if event.watch == "first"]
        kinds = [kind for kind in kinds if kind != "ATTRIB"]  # its name went with its generation
        assert kinds == ["MODIFY", "CLOSE_WRITE"]
    # files that nobody watches do not pile up
    assert nodes(volume) < 40


def test_other_keys_do_not_bother_watchers(manifests, mount, bind, watcher):
    put(manifests, password="dummy", user="app-0")
    volume = mount(manifests)
    alone, other = bind(volume.path / "password"), bind(volume.path / "user")
    watcher.add("same", alone)
    watcher.add("other", other)

    for number in range(1, 4):
        put(manifests, password="dummy", user=f"app-{number}")
        wait_text(other, f"app-{number}")
    watcher.wait(lambda event: event == Event("other", "CLOSE_WRITE", ""), count=3)

    assert "MODIFY" not in changes(watcher, "same")
    assert "CLOSE_WRITE" not in changes(watcher, "same")


@pytest.fixture
def directory(manifests: Manifests, area: Path, start, bind) -> tuple[Volume, Path]:
    """A volume, and a directory of it that is mounted alone."""
    spec = area / "spec.yaml"
    spec.write_text(PROJECTED)
    put(manifests, password="dummy", user="app", host="db-0")
    volume = start(*manifests.arguments, "--volume", str(spec)).wait_ready()
    return volume, bind(volume.path / "deep")


def test_watch_on_a_directory(manifests, directory, watcher):
    """It hears of every update, and of nothing else, although it is on what was mounted first."""
    _, alone = directory
    watcher.add("directory", alone)
    watcher.add("nested", alone / "er")
    watcher.take()

    for number in range(1, 20):
        put(manifests, password="dummy", user="app", host=f"db-{number}")
        watcher.wait(lambda event: event.kind == "CLOSE_WRITE")
        assert (alone / "host").read_text() == f"db-{number}"
        assert [(e.watch, e.kind, e.name) for e in watcher.take() if e.kind != "ATTRIB"] == [
            ("directory", "MODIFY", "host"),
            ("directory", "CLOSE_WRITE", "host"),
        ]

    put(manifests, password="dummy", user="app-2", host="db-19")
    watcher.wait(lambda event: event.kind == "CLOSE_WRITE")
    assert [(e.watch, e.kind, e.name) for e in watcher.take() if e.kind != "ATTRIB"] == [
        ("nested", "MODIFY", "user"),
        ("nested", "CLOSE_WRITE", "user"),
    ]


def test_watch_on_a_directory_whose_keys_come_and_go(manifests, directory, watcher):
    volume, alone = directory
    watcher.add("directory", alone)
    watcher.take()

    put(manifests, password="dummy", user="app")
    watcher.wait(lambda event: event == Event("directory", "DELETE", "host"))
    assert os.listdir(alone) == ["er"]
    put(manifests, password="dummy", user="app", host="db-1")
    watcher.wait(lambda event: event == Event("directory", "CREATE", "host"))
    put(manifests, password="dummy", host="db-2")
    watcher.wait(lambda event: event == Event("directory", "DELETE|ISDIR", "er"))
    put(manifests, password="dummy", user="app", host="db-2")
    watcher.wait(lambda event: event == Event("directory", "CREATE|ISDIR", "er"))
    until((alone / "er/user").exists, "the file to return")

    kinds = [event.kind for event in watcher.events]
    assert not any(kind.startswith(("DELETE_SELF", "IGNORED")) for kind in kinds)
    assert volume.read("password") == b"dummy"


def test_old_directories_do_not_pile_up(manifests, directory, watcher):
    """What nobody watches any more is forgotten, by us and by the kernel."""
    volume, alone = directory
    for number in range(1, 40):
        put(manifests, password="dummy", user="app", host=f"db-{number}")
        wait_text(alone / "host", f"db-{number}")
    assert nodes(volume) < 100

    other = Watcher()
    other.add("directory", alone)
    for number in range(40, 80):
        put(manifests, password="dummy", user="app", host=f"db-{number}")
        other.wait(lambda event: event.kind == "CLOSE_WRITE")
        other.take()
    other.close()
    assert nodes(volume) < 100

    unmount(alone, lazily=True)
    put(manifests, password="dummy", user="app", host="db")
    until(lambda: volume.status()["volume"]["followers"] == 0, "the mount to be missed")
    until(lambda: nodes(volume) < 20, "all that was kept to go")


def test_namespace_that_cannot_be_seen(manifests, mount, area: Path, namespace):
    """One without a process keeps what it has, and catches up soon after it can be seen."""
    put(manifests, password="dummy-0")
    volume = mount(manifests)
    target, name, holder = area / "target", area / "names" / "name", area / "names"
    target.write_text("beneath")
    holder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", holder], check=True)
    try:
        subprocess.run(["mount", "--make-private", holder], check=True)
        name.touch()
        container = namespace(f"mount --bind {volume.path}/password {target}")
        subprocess.run(["mount", "--bind", f"/proc/{container.pid}/ns/mnt", name], check=True)
        container.close()
        put(manifests, password="dummy-1")
        volume.wait_content({"password": b"dummy-1"})

        inside = subprocess.Popen(
            ["nsenter", f"--mount={name}", "tail", "-F", "-s", "0.1", target],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert inside.stdout is not None
            assert inside.stdout.read(7) == b"dummy-0"
            assert inside.stdout.read(7) == b"dummy-1"
        finally:
            inside.kill()
            inside.communicate()
    finally:
        if mounts_at(name):
            unmount(name)
        unmount(holder, lazily=True)


def test_before_linux_6_5(manifests, start, bind):
    """What is mounted alone stays as it is, and all else works."""
    put(manifests, password="dummy-0")
    prefix = [sys.executable, str(OLD_KERNEL)]
    volume = start(*manifests.arguments, "secret/app", prefix=prefix).wait_ready()
    alone = bind(volume.path / "password")

    for number in range(1, 4):
        put(manifests, password=f"dummy-{number}")
        volume.wait_content({"password": f"dummy-{number}".encode()})

    assert alone.read_text() == "dummy-0"
    assert len(mounts_at(alone)) == 1
    assert volume.status()["volume"]["followers"] == 0


def test_unmounting_is_left_alone(manifests, mount, bind):
    """Taking the mount off is one umount, before and after updates."""
    put(manifests, password="dummy-0")
    volume = mount(manifests)
    alone = bind(volume.path / "password")
    put(manifests, password="dummy-1")
    wait_text(alone, "dummy-1")

    until(lambda: can_unmount(alone), "the mount not to be busy, as it is while it is replaced")

    assert mounts_at(alone) == []
    assert alone.read_text() == "beneath"
    put(manifests, password="dummy-2")
    volume.wait_content({"password": b"dummy-2"})
    assert alone.read_text() == "beneath"
    until(lambda: volume.status()["volume"]["followers"] == 0, "no follower in the status")


def test_updates_do_not_wait_for_many_containers(manifests, mount, namespace):
    """To look into each of them takes long and is done rarely; meanwhile old generations stay, up
    to a limit, at which it is done nevertheless."""
    limit = 16  # OLD_GENERATIONS_MAX in fuse/publisher.c
    put(manifests, password="dummy-0")
    volume = mount(manifests)
    for _ in range(100):
        namespace()

    most = 0
    for number in range(1, 81):
        put(manifests, password=f"dummy-{number}")
        wait_text(volume.path / "password", f"dummy-{number}")
        most = max(most, len(generations(volume)))

    assert 2 < most <= limit + 1  # and the one that is shown
    until(lambda: len(generations(volume)) == 1, "what was replaced is gone")


def generations(volume: Volume) -> list[str]:
    return [name for name in os.listdir(volume.path) if is_generation(name)]
