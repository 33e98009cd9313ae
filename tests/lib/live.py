"""Live files: volumes that a pod mounts by subPath, the mounts that the kubelet and containers make
of their files and directories, and waiting for what these show.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from lib.kubelet import PodVolume
from lib.mountinfo import mounts_at
from lib.namespace import MountNamespace
from lib.node_daemon import Node
from lib.pods import is_live, put_pod
from lib.sources import Api
from lib.volume import unmount
from lib.waiting import until

# of the secret that node_on_api has
ITEMS = """
- {key: user, path: user}
- {key: password, path: deep/password}
- {key: host, path: deep/er/host}
"""


def put(api: Api, **values: str) -> None:
    api.put_secret({key: value.encode() for key, value in values.items()})


def publish(node: Node, api: Api, number: int = 0, **fields: Any) -> PodVolume:
    """Publishes the volume of a pod that mounts a file of it by subPath."""
    volume = node.pod(number, **fields)
    put_pod(api, volume, subPath="user")
    node.publish(volume)
    assert is_live(node, volume)
    return volume


class SubPaths:
    """Bind mounts beside a volume, where the kubelet has volume-subpaths/."""

    def __init__(self) -> None:
        self._made: list[Path] = []

    def __call__(self, volume: PodVolume, path: str) -> Path:
        source = volume.target / path
        target = volume.root / "pods" / volume.uid / "volume-subpaths" / str(len(self._made))
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            target.mkdir()
        else:
            target.touch()
        self._made.append(target)
        # as the kubelet tries again when an update came between the two steps
        until(lambda: self._bind(source.resolve(), target), "the bind mount")
        return target

    @staticmethod
    def _bind(source: Path, target: Path) -> bool:
        return subprocess.run(["mount", "--bind", source, target]).returncode == 0

    def close(self) -> None:
        for target in self._made:
            for _ in mounts_at(target):
                unmount(target, lazily=True)


class Containers:
    """Mount namespaces, as the containers of a pod have them."""

    def __init__(self, inside: Path) -> None:
        """inside: where a container has its file; not there yet."""
        self._inside = inside
        self._made: list[MountNamespace] = []

    def start(self, *commands: str) -> MountNamespace:
        """A container that has run these commands."""
        self._made.append(MountNamespace(*commands))
        return self._made[-1]

    def mount(self, file: Path) -> Path:
        """A container that has mounted a file. Returns the path to it from outside."""
        self._inside.touch()
        return self.start(f"mount --bind {file} {self._inside}").path(self._inside)

    def close(self) -> None:
        for each in self._made:
            each.close()


class MountLoop:
    """A process that mounts and unmounts directories of its own, over and over."""

    def __init__(self, directory: Path, *prefix: str) -> None:
        """prefix: a command that runs another one, to have the mounts in another namespace."""
        source, target, self._stop = (directory / each for each in ("source", "target", "stop"))
        for each in (source, target):
            each.mkdir(parents=True)
        command = f"mount --bind {source} {target}; umount {target}"
        script = f"while [ ! -e {self._stop} ]; do {command}; done"
        self._process = subprocess.Popen([*prefix, "sh", "-c", script])

    def end(self) -> None:
        self._stop.touch()
        self._process.wait()


def generation(volume: PodVolume) -> str:
    return os.readlink(volume.target / "..data")


def mounted_alone(node: Node, volume: PodVolume) -> dict[str, Any]:
    """What the status says of the files and directories of a volume that are mounted alone."""
    return node.status()["volumes"][str(volume.target)]["volume"]["mountedAlone"]


def alone(node: Node, volume: PodVolume) -> int:
    return mounted_alone(node, volume)["count"]


def wait_alone(node: Node, volume: PodVolume, count: int) -> None:
    until(lambda: alone(node, volume) == count, f"{count} mounts alone to be seen")


def wait_text(path: Path, text: str) -> None:
    until(lambda: path.read_text() == text, f"{text!r} in {path}")


def live_names(node: Node) -> list[str]:
    """Of the files and directories that the daemon keeps because they are mounted alone. File and link
    come and go one after the other: meanwhile there is an entry that says so."""
    directory = node.run_dir / "fs-live" / ".live"
    names = set(os.listdir(directory)) if directory.exists() else set()
    pairs = {name for name in names if f"{name}.from" in names}
    left = names - pairs - {f"{name}.from" for name in pairs}
    return sorted(pairs) + [f"without its other part: {name}" for name in left]


def secret_bytes(node: Node) -> int:
    return node.status()["memory"]["secretBytes"]


def is_waiting_or_over(process: subprocess.Popen[bytes]) -> bool:
    """Whether it waits for an answer of the file system."""
    where = Path(f"/proc/{process.pid}/wchan").read_text()
    return process.poll() is not None or "request_wait" in where or "fuse" in where
