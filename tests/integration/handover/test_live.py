"""`secretfs mount --updates=in-place`: live files outlive the process, with what readers have open of them."""

from __future__ import annotations

import mmap
import os
import threading
from multiprocessing import Event, Process, Semaphore
from pathlib import Path

from lib.descriptor_store import Service
from lib.inotify import Watcher
from lib.process import close_devices
from lib.sources import Manifests
from lib.storm import read
from lib.waiting import PATIENCE_SECONDS, until


class Held:
    """An open file that keeps the version it was opened with.

    Each is opened by a thread of its own. Of a file of which one thread has two versions open, each close(2) waits
    for the daemon, also the one of a child that this process starts: the daemon would not start.
    """

    def __init__(self, path: Path) -> None:
        thread = threading.Thread(target=self._open, args=(path,))
        thread.start()
        thread.join()

    def _open(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY)

    def read(self) -> bytes:
        os.lseek(self._fd, 0, os.SEEK_SET)
        return os.read(self._fd, 1 << 20)

    def map(self, length: int) -> mmap.mmap:
        return mmap.mmap(self._fd, length, prot=mmap.PROT_READ)

    def close(self) -> None:
        os.close(self._fd)


class Openers:
    """Processes that open a file without end, and keep what they have opened."""

    MAX = 900  # descriptors of one

    def __init__(self, path: Path, expected: bytes) -> None:
        self._path = path
        self._expected = expected
        self._must_stop, self._may_read = Event(), Event()
        self._stopped = Semaphore(0)
        self._all = [Process(target=self._run) for _ in range(3)]
        for process in self._all:
            process.start()

    def _run(self) -> None:
        fds: list[int] = []
        close_devices()
        while not self._must_stop.is_set():
            fds.append(os.open(self._path, os.O_RDONLY))
            if len(fds) > self.MAX:
                os.close(fds.pop(0))
        self._stopped.release()
        self._may_read.wait()
        for fd in fds:
            assert os.fstat(fd).st_size == len(self._expected)
            assert os.read(fd, 1 << 20) == self._expected

    def stop(self) -> None:
        """Returns when they open nothing more."""
        self._must_stop.set()
        for _ in self._all:
            assert self._stopped.acquire(timeout=PATIENCE_SECONDS)

    def check(self) -> None:
        """All that they have open is what was expected, now that the file has changed."""
        self._may_read.set()
        for process in self._all:
            process.join()
        assert [process.exitcode for process in self._all] == [0] * len(self._all)


def _start(service: Service, manifests: Manifests, content: bytes = b"first") -> Path:
    manifests.put_secret({"password": content, "user": b"admin"})
    service.start()
    return service.path / "password"


def _put(manifests: Manifests, path: Path, content: bytes) -> None:
    manifests.put_secret({"password": content, "user": b"admin"})
    until(lambda: read(path) == content, f"{content!r}")


def test_descriptors_keep_their_versions(live_service: Service, manifests: Manifests) -> None:
    path = _start(live_service, manifests)
    inode = path.stat().st_ino
    oldest = Held(path)
    assert oldest.read() == b"first"
    _put(manifests, path, b"the second")
    older, unread = Held(path), Held(path)
    assert older.read() == b"the second"
    live_service.kill()
    live_service.start()
    assert oldest.read() == b"first"
    assert read(path) == b"the second"
    _put(manifests, path, b"3")
    for _ in range(3):
        assert oldest.read() == b"first"
        assert older.read() == b"the second"
        assert unread.read() == b"the second"
        assert read(path) == b"3"
        live_service.kill()
        live_service.start()
    assert path.stat().st_ino == inode
    assert path.stat().st_size == 1
    for held in (oldest, older, unread):
        held.close()
    _put(manifests, path, b"the fourth")
    assert path.stat().st_size == len(b"the fourth")
    live_service.reap()


def test_reader_opened_before_any_process_ends(live_service: Service, manifests: Manifests) -> None:
    """Its first read is a request that no process answers until the next one does."""
    path = _start(live_service, manifests)
    held = Held(path)
    live_service.kill()
    live_service.start()
    assert held.read() == b"first"
    live_service.kill()
    held.close()  # the request waits for the next process
    live_service.start()
    _put(manifests, path, b"second")
    live_service.reap()


def test_mapping_shows_the_newest_content(live_service: Service, manifests: Manifests) -> None:
    path = _start(live_service, manifests)
    held = Held(path)
    with held.map(5) as mapped:
        assert mapped[:] == b"first"
        live_service.kill()
        assert mapped[:] == b"first"
        live_service.start()
        assert mapped[:] == b"first"
        _put(manifests, path, b"other")
        until(lambda: mapped[:] == b"other", "the update in the mapping")
        assert held.read() == b"first"
        live_service.kill()
        live_service.start()
        assert mapped[:] == b"other"
        assert held.read() == b"first"
    held.close()
    live_service.reap()


def test_watchers_get_each_change(
    live_service: Service, manifests: Manifests, watcher: Watcher
) -> None:
    path = _start(live_service, manifests)
    watcher.add("file", path)
    for number in range(2, 8):
        live_service.kill()
        live_service.start()
        _put(manifests, path, b"x" * number)
        watcher.wait(lambda e: e.kind == "MODIFY", number - 1)
        watcher.wait(lambda e: e.kind == "CLOSE_WRITE", number - 1)
    live_service.reap()


def test_keys_come_and_go(live_service: Service, manifests: Manifests) -> None:
    _start(live_service, manifests)
    held = Held(live_service.path / "user")
    for number in range(6):
        data = {"password": b"%d" % number, ("user" if number % 2 else "other"): b"dummy"}
        manifests.put_secret(data)
        if number % 3:
            until(lambda d=data: _shows(live_service.path, d), f"{data}")
        live_service.kill()
        live_service.start()
        until(lambda d=data: _shows(live_service.path, d), f"{data}")
        assert held.read() in (b"admin", b"dummy")
    held.close()
    live_service.reap()


def _shows(path: Path, data: dict[str, bytes]) -> bool:
    """The links and the generation have these names, and the files the content."""
    names = {name for name in os.listdir(path) if not name.startswith("..")}
    if names != set(data) or set(os.listdir(path / "..data")) != set(data):
        return False
    return all(read(path / key) == content for key, content in data.items())


def test_orderly_restart(live_service: Service, manifests: Manifests) -> None:
    path = _start(live_service, manifests)
    held = Held(path)
    _put(manifests, path, b"second")
    assert live_service.hand_over() == 0
    live_service.start()
    assert held.read() == b"first"
    assert read(path) == b"second"
    held.close()


def test_files_that_are_opened_meanwhile(live_service: Service, manifests: Manifests) -> None:
    """A process answers opens until it has ended; the next one knows all of them."""
    content = b"first"
    path = _start(live_service, manifests, content)
    for number in range(5):
        openers = Openers(path, content)
        assert live_service.hand_over() == 0
        live_service.start()
        openers.stop()
        content = b"x" * number
        _put(manifests, path, content)
        openers.check()
