"""What /proc/PID/mountinfo says about secretfs mounts."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class MountInfo(NamedTuple):
    mount_id: int
    device: str  # "major:minor"
    path: str
    options: tuple[str, ...]  # of the mount
    kind: str  # fuse.secretfs, tmpfs, ...
    source: str
    super_options: tuple[str, ...]  # of the file system


def all_mounts(pid: int | str = "self") -> list[MountInfo]:
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return [_parse(line) for line in lines]


def mounts_at(path: Path | str, pid: int | str = "self") -> list[MountInfo]:
    """The mounts on a path, the one on top last."""
    return [mount for mount in all_mounts(pid) if mount.path == str(path)]


def mounts_below(path: Path | str, pid: int | str = "self") -> list[MountInfo]:
    """The mounts on a path and below it."""
    prefix = f"{path}/"
    return [m for m in all_mounts(pid) if m.path == str(path) or m.path.startswith(prefix)]


def _parse(line: str) -> MountInfo:
    before, after = line.split(" - ", 1)
    fields, tail = before.split(), after.split()
    return MountInfo(
        int(fields[0]),
        fields[2],
        fields[4].replace("\\040", " "),
        tuple(fields[5].split(",")),
        tail[0],
        tail[1],
        tuple(tail[2].split(",")),
    )
