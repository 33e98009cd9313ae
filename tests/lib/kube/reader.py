"""Readers that go on and on while something happens to what they read."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Callable, Sequence

from .mounts import version_of


class Reader(threading.Thread):
    """Reads files again and again, in the order given, and never forgets what went wrong.

    Every value begins with its version. A version must not be older than any that was seen before
    it, in any of the files; `check` may look closer.

    As with the kubelet, a reader that loses its processor between ..data and the file may find the old
    directory removed. It finds the new one at once, and this is rare.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        check: Callable[[bytes], None] = lambda value: None,
        pause: float = 0.0,
    ) -> None:
        super().__init__(daemon=True)
        self._paths = paths
        self._check = check
        self._pause = pause
        self._stopping = threading.Event()
        self.errors: list[str] = []
        self.n_reads = 0
        self.n_late = 0
        self.versions: set[int] = set()

    def run(self) -> None:
        newest = -1
        while not self._stopping.is_set() and len(self.errors) < 10:
            for path in self._paths:
                newest = self._read(path, newest)
            if self._pause > 0:
                self._stopping.wait(self._pause)

    def _read(self, path: Path, newest: int) -> int:
        try:
            value = self._read_bytes(path)
            self._check(value)
            version = version_of(value)
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(f"{path.name}: {error!r}")
            return newest
        if version < newest:
            self.errors.append(f"{path.name}: version {version} after {newest}")
        self.n_reads += 1
        self.versions.add(version)
        return max(version, newest)

    def _read_bytes(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            self.n_late += 1
            return path.read_bytes()

    def __enter__(self) -> Reader:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self.join(60)
        assert not self.is_alive(), "a reader hangs"
        if exception[0] is None:
            assert not self.errors, self.errors
            assert self.n_reads > 0
            assert self.n_late <= 1 + self.n_reads // 1000, (self.n_late, self.n_reads)
