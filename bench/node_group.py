#!/usr/bin/python3
"""Runs the daemons of some nodes on one machine; scale.py starts it for each group of them.

Each daemon has a mount namespace of its own, so that it finds the mounts of its own node only, and
nothing stays mounted when it ends. The group has a user namespace in which all users are the
machine's, but whose inotify instances are charged to a user of its own: a daemon has three, and the
limit is 128 by default. It ends its daemons when its input ends.

Commands are lines of JSON on standard input, and so are the answers:

    {"start": [{"name", "directory", "kubeconfig"}]}   daemons; the answer, their process ids, comes
                                                       when all of them serve
    {"publish": [{"node", "volume", "pod", "uid", "secret"}]}   seconds of each call
    {"follow": TEXT}    two answers: when the group is ready to see it, and with the monotonic time at
                        which each node's shared volume, after inotify, had this text
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import processes

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from lib.inotify import Watcher  # noqa: E402 (found through the path above)
from lib.kubelet import OK, PodVolume  # noqa: E402

DRIVER = "csi.secretfs.io"
SHARED_VOLUME = "shared"
CHANGING_KEY = "changing"
NAMESPACE = "default"
FIRST_USER = 0x7A000000  # of no machine's accounts; group N is charged to this plus N
_START_SECONDS = 120.0
_FOLLOW_SECONDS = 120.0
_CLONE_NEWUSER = 0x10000000
_ALL_USERS = "0 0 4294967295"

_libc = ctypes.CDLL(None, use_errno=True)


class Node:
    """A daemon with what is its own: kubelet's root, directory, mounts."""

    def __init__(self, secretfs: str, name: str, directory: Path, kubeconfig: str) -> None:
        self.name = name
        self.root = directory / "kubelet"
        self.socket = self.root / "plugins" / DRIVER / "csi.sock"
        self._log = directory / "secretfs.log"
        self._shared: Path | None = None
        (self.root / "pods").mkdir(parents=True)
        command = ["unshare", "--mount", "--propagation=private", secretfs, "node"]
        command += [f"--node-id={name}", f"--kubeconfig={kubeconfig}"]
        command += [f"--kubelet-root={self.root}", f"--run-dir={directory / 'run'}"]
        command += [f"--volumes-dir={directory / 'none'}", "--metrics-bind-address=0"]
        self.process = processes.start(command, self._log)

    def wait_until_it_serves(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self.socket.is_socket():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = processes.tail(self._log)
                raise processes.Failed(f"{self.name} does not start:\n{text}")
            time.sleep(0.01)

    def publish(self, volume: str, pod: str, uid: str, secret: str) -> float:
        made = PodVolume(
            root=self.root,
            volume=volume,
            pod=pod,
            namespace=NAMESPACE,
            uid=uid,
            attributes={"secretName": secret},
        )
        made.target.parent.mkdir(parents=True, exist_ok=True)
        begin = time.monotonic()
        answer = made.publish(self.socket)
        if answer.code != OK:
            raise processes.Failed(f"{self.name} does not publish {secret}: {answer.text}")
        if volume == SHARED_VOLUME:
            self._shared = Path(f"/proc/{self.process.pid}/root{made.target}")
        return time.monotonic() - begin

    @property
    def shared(self) -> Path:
        assert self._shared is not None
        return self._shared


class Group:
    def __init__(self, secretfs: str) -> None:
        self._secretfs = secretfs
        self._nodes: dict[str, Node] = {}

    def start(self, nodes: list[dict[str, str]]) -> list[int]:
        made = []
        for node in nodes:
            directory = Path(node["directory"])
            made.append(Node(self._secretfs, node["name"], directory, node["kubeconfig"]))
            self._nodes[node["name"]] = made[-1]
        for node_made in made:
            node_made.wait_until_it_serves()
        return [node_made.process.pid for node_made in made]

    def publish(self, volumes: list[dict[str, str]]) -> list[float]:
        return [self._nodes[volume.pop("node")].publish(**volume) for volume in volumes]

    def follow(self, text: str) -> list[float]:
        watcher = Watcher()
        try:
            for name, node in self._nodes.items():
                watcher.add(name, node.shared)
            _answer("ready")
            return self._follow(watcher, text)
        finally:
            watcher.close()

    def _follow(self, watcher: Watcher, text: str) -> list[float]:
        times: dict[str, float] = {}
        deadline = time.monotonic() + _FOLLOW_SECONDS
        while len(times) < len(self._nodes):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([watcher], [], [], left)[0]:
                raise processes.Failed(f"{len(times)} of {len(self._nodes)} nodes show the change")
            for event in watcher.take():
                path = self._nodes[event.watch].shared / CHANGING_KEY
                if event.watch not in times and _has_text(path, text):
                    times[event.watch] = time.monotonic()
        return list(times.values())

    def end(self) -> None:
        for node in self._nodes.values():
            node.process.terminate()
        for node in self._nodes.values():
            processes.stop(node.process)


def _has_text(path: Path, text: str) -> bool:
    """A generation may be removed while a slow reader is on its way; another event follows then."""
    try:
        return path.read_text() == text
    except FileNotFoundError:
        return False


def _answer(value: object) -> None:
    print(json.dumps(value), flush=True)


def _obey(group: Group, command: dict[str, Any]) -> None:
    ((verb, argument),) = command.items()
    _answer({"start": group.start, "publish": group.publish, "follow": group.follow}[verb](argument))


def _serve(secretfs: str) -> int:
    group = Group(secretfs)
    try:
        for line in sys.stdin:
            _obey(group, json.loads(line))
    except processes.Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    finally:
        group.end()
    return 0


def _enter(user: int, ready: int, mapped: int) -> None:
    """A user namespace of this user's, as root of the machine again once its users are mapped."""
    os.setresuid(0, user, 0)
    if _libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "cannot make a user namespace")
    os.write(ready, b".")
    os.read(mapped, 1)
    os.setresuid(0, 0, 0)


def _map_users(pid: int) -> None:
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text(_ALL_USERS)


def main() -> NoReturn:
    secretfs, number = sys.argv[1:]
    ready, tell_ready = os.pipe()
    mapped, tell_mapped = os.pipe()
    parent = os.getpid()
    mapper = os.fork()  # as a process cannot map the users of its own namespace
    if mapper == 0:
        os.read(ready, 1)
        _map_users(parent)
        os.write(tell_mapped, b".")
        os._exit(0)
    _enter(FIRST_USER + int(number), tell_ready, mapped)
    os.waitpid(mapper, 0)
    sys.exit(_serve(secretfs))


if __name__ == "__main__":
    main()
