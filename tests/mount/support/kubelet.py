"""The kubelet's AtomicWriter in the order of Kubernetes 1.23 and later (C3), to compare with."""

from __future__ import annotations

import os
from pathlib import Path

from .inotify import is_generation


class ReferenceVolume:
    """A volume in an ordinary directory; meant for one on a tmpfs.

    Files and links are made and removed in the order of their names. The kubelet has no order there
    (B11), so the comparison may have one.
    """

    def __init__(self, root: Path) -> None:
        self.path = root
        self._count = 0

    def write(self, payload: dict[str, bytes]) -> None:
        old = os.readlink(self.path / "..data") if self._has("..data") else None
        new = self._make_generation(payload)
        os.symlink(new, self.path / "..data_tmp")
        os.rename(self.path / "..data_tmp", self.path / "..data")
        for key in sorted(payload):
            if not self._has(key):
                os.symlink(f"..data/{key}", self.path / key)
        for name in sorted(os.listdir(self.path)):
            if not name.startswith("..") and name not in payload:
                os.unlink(self.path / name)
        if old is not None:
            self._remove_generation(old)

    def _make_generation(self, payload: dict[str, bytes]) -> str:
        self._count += 1
        name = f"..2026_01_02_03_04_05.{self._count}"
        assert is_generation(name)
        os.mkdir(self.path / name, 0o700)
        os.chmod(self.path / name, 0o755)
        for key in sorted(payload):
            file = self.path / name / key
            file.write_bytes(payload[key])
            os.chmod(file, 0o644)
        return name

    def _remove_generation(self, name: str) -> None:
        for file in sorted(os.listdir(self.path / name)):
            os.unlink(self.path / name / file)
        os.rmdir(self.path / name)

    def _has(self, name: str) -> bool:
        return os.path.lexists(self.path / name)
