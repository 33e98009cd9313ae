"""A small Debian with systemd in a directory, to be booted as a container.

It is made once by debootstrap, which takes most of a minute, and kept; each run of the tests works
on a copy. SECRETFS_SYSTEMD_TREES names the place where trees are kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

_TREES = Path(os.environ.get("SECRETFS_SYSTEMD_TREES", "/var/cache/secretfs-tests/trees"))
_PACKAGES = ("systemd", "systemd-sysv", "dbus", "procps", "fuse3", "kmod", "inotify-tools")
_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
_COMPLETE = ".complete"


class TreeUnusable(Exception):
    """There can be no such tree here; the text says why."""


def _release() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.split("=", 1)[1].strip('"')
    raise TreeUnusable("/etc/os-release names no Debian release")


def _mirror() -> str:
    """Where this system has its packages from."""
    for source in filter(Path.exists, _SOURCES):
        found = re.search(r"^(?:URIs: *|deb (?:\[[^]]*\] )?)(\S+)", source.read_text(), re.M)
        if found:
            return found.group(1)
    raise TreeUnusable("apt has no source of Debian packages")


def _check_tools() -> None:
    if os.geteuid() != 0:
        raise TreeUnusable("only root can boot a container")
    for tool, package in (("debootstrap",) * 2, ("systemd-nspawn", "systemd-container")):
        if shutil.which(tool) is None:
            raise TreeUnusable(f"{tool} is missing (Debian package {package})")


def _debootstrap(tree: Path, packages: list[str]) -> None:
    log = tree.with_suffix(".log")
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}"]
    shutil.rmtree(tree, ignore_errors=True)
    with open(log, "wb") as output:
        done = subprocess.run(
            [*command, _release(), str(tree), _mirror()], stdout=output, stderr=output, check=False
        )
    if done.returncode != 0:
        last = log.read_text(errors="replace").splitlines()[-1:]
        raise TreeUnusable(f"debootstrap failed, see {log}: {' '.join(last)}")
    (tree / _COMPLETE).touch()


@contextmanager
def _locked(name: str, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """A process that makes, copies or removes a tree has its lock."""
    with open(_TREES / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, how)
        yield


def _remove_others(kept: str) -> None:
    """The package needs other packages now; a tree is a few hundred megabytes."""
    for tree in _TREES.iterdir():
        if not tree.is_dir() or tree.name == kept:
            continue
        try:
            with _locked(tree.name, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(tree)
        except BlockingIOError:
            pass  # in use


def make_tree(more_packages: list[str], to: Path) -> None:
    """A tree with systemd and these packages in a new directory."""
    _check_tools()
    packages = sorted({*_PACKAGES, *more_packages})
    name = hashlib.sha256(" ".join([_release(), *packages]).encode()).hexdigest()[:12]
    _TREES.mkdir(parents=True, exist_ok=True)
    with _locked(name):
        if not (_TREES / name / _COMPLETE).exists():
            _remove_others(name)
            _debootstrap(_TREES / name, packages)
        subprocess.run(["cp", "-a", "--reflink=auto", str(_TREES / name), str(to)], check=True)
    (to / _COMPLETE).unlink()
