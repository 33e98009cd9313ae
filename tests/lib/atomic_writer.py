"""The kubelet's AtomicWriter in the order of Kubernetes 1.23 and later (C3), to compare with."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lib.inotify import is_generation


class ReferenceVolume:
    """A volume in an ordinary directory; meant for one on a tmpfs.

    Files and links are made and removed in the order of their names. The kubelet has no order there
    (B11), so the comparison may have one. With a group the permissions pass of 1.27 and later is
    made as well (C4, F10, F15).
    """

    def __init__(self, root: Path, fs_group: int | None = None) -> None:
        self.path = root
        self._fs_group = fs_group
        self._count = 0
        if fs_group is not None:
            self._permit(root)

    def write(self, payload: dict[str, bytes]) -> None:
        existing = sorted(os.listdir(self.path))
        old = os.readlink(self.path / "..data") if self._has("..data") else None
        new = self._make_generation(payload)
        if self._fs_group is not None:
            for path in [*(self.path / name for name in existing), self.path / new, self.path]:
                self._permit_all(path, is_root=path == self.path)
        os.symlink(new, self.path / "..data_tmp")
        os.rename(self.path / "..data_tmp", self.path / "..data")
        links = {path.split("/")[0] for path in payload}
        for key in sorted(links):
            if not self._has(key):
                os.symlink(f"..data/{key}", self.path / key)
        for name in sorted(os.listdir(self.path)):
            if not name.startswith("..") and name not in links:
                os.unlink(self.path / name)
        if old is not None:
            self._remove(self.path / old)

    def _make_generation(self, payload: dict[str, bytes]) -> str:
        self._count += 1
        name = f"..2026_01_02_03_04_05.{self._count}"
        assert is_generation(name)
        os.mkdir(self.path / name, 0o700)
        os.chmod(self.path / name, 0o755)
        for key in sorted(payload):
            file = self.path / name / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(payload[key])
            os.chmod(file, 0o644)
        return name

    def _permit_all(self, path: Path, is_root: bool) -> None:
        """Children before their directory."""
        if path.is_dir() and not path.is_symlink() and not is_root:
            for name in sorted(os.listdir(path)):
                self._permit_all(path / name, is_root=False)
        self._permit(path)

    def _permit(self, path: Path) -> None:
        mode = path.lstat().st_mode
        os.chown(path, -1, self._fs_group, follow_symlinks=False)
        if stat.S_ISDIR(mode):
            os.chmod(path, stat.S_IMODE(mode) | 0o2550)
        elif stat.S_ISREG(mode):
            os.chmod(path, stat.S_IMODE(mode) | 0o440)

    def _remove(self, path: Path) -> None:
        for name in sorted(os.listdir(path)):
            if (path / name).is_dir():
                self._remove(path / name)
            else:
                os.unlink(path / name)
        os.rmdir(path)

    def _has(self, name: str) -> bool:
        return os.path.lexists(self.path / name)
