#!/usr/bin/python3
"""What an ordinary user can have a node's kernel and its daemon do, without end.

`attackers.py ATTACK DIRECTORY VOLUME PORT` is such a user: it begins, says so in a line, and goes on
until it is killed. It has the lowest priority, as its own use of the processor is not the attack.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import socket
import sys
import threading
from pathlib import Path
from typing import Callable, NoReturn

_USER = 65534  # without rights
_PR_SET_DUMPABLE = 4
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNS = 0x00020000
_MS_BIND = 0x1000
_MNT_DETACH = 2
_IN_ALL_EVENTS = 0xFFF
_ADD_KEY = {"x86_64": 248, "aarch64": 217, "riscv64": 217}
_SESSION_KEYRING = -3

N_MOUNTS = 2000
N_CONNECTIONS = 400
N_INSTANCES = 100  # fs.inotify.max_user_instances is 128 by default
N_KEYS = 150  # kernel.keys.maxkeys is 200 by default
N_FILES = 900  # the soft limit is 1,024 by default
N_THREADS = 1000

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _begun() -> None:
    print("begun", flush=True)


def _mount(source: bytes, target: Path, kind: bytes | None, flags: int) -> None:
    _check(_libc.mount(source, bytes(target), kind, flags, None), "mount")


def mounts(directory: Path, volume: Path, port: int) -> NoReturn:
    """Mounts in a user namespace, of which one comes and goes."""
    _libc.prctl(_PR_SET_DUMPABLE, 1)  # which setuid(2) took away, and with it its files in /proc
    _check(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    for name in ("uid_map", "gid_map"):
        Path("/proc/self", name).write_text(f"0 {_USER} 1")
    _mount(b"tmpfs", directory, b"tmpfs", 0)
    for name in ("source", *map(str, range(N_MOUNTS))):
        (directory / name).mkdir()
    for number in range(N_MOUNTS):
        _mount(bytes(directory / "source"), directory / str(number), None, _MS_BIND)
    _begun()
    while True:
        _check(_libc.umount2(bytes(directory / "0"), _MNT_DETACH), "umount")
        _mount(bytes(directory / "source"), directory / "0", None, _MS_BIND)


def inotify(directory: Path, volume: Path, port: int) -> NoReturn:
    """Instances that watch the volume and each name in it."""
    instances = [_check(_libc.inotify_init1(os.O_NONBLOCK), "inotify") for _ in range(N_INSTANCES)]
    for instance in instances:
        for path in (volume, *volume.iterdir()):
            _libc.inotify_add_watch(instance, bytes(path), _IN_ALL_EVENTS)
    _begun()
    while True:
        for instance in select.select(instances, [], [])[0]:
            os.read(instance, 65536)


def keys(directory: Path, volume: Path, port: int) -> NoReturn:
    """Keys of the kernel, added and replaced."""
    number = _ADD_KEY[os.uname().machine]
    begins = True
    while True:
        for each in range(N_KEYS):
            name = b"secretfs-bench-%d" % each
            _libc.syscall(number, b"user", name, b"x" * 100, 100, _SESSION_KEYRING)
        if begins:
            _begun()
        begins = False


def connections(directory: Path, volume: Path, port: int) -> NoReturn:
    """Requests for the metrics that do not end."""

    def slow() -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        return client

    clients = [slow() for _ in range(N_CONNECTIONS)]
    _begun()
    while True:
        for closed in select.select(clients, [], [])[0]:
            clients.remove(closed)
            closed.close()
            clients.append(slow())


def files(directory: Path, volume: Path, port: int) -> NoReturn:
    """Open files of many versions of the volume."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    held: list[int] = []
    begins = True
    while True:
        try:
            held.append(os.open(volume / "changing", os.O_RDONLY))
        except FileNotFoundError:
            continue
        if len(held) > N_FILES:
            os.close(held.pop(0))
            if begins:
                _begun()
            begins = False


def requests(directory: Path, volume: Path, port: int) -> NoReturn:
    """Look-ups of names that the kernel does not keep, from many threads."""

    all_started = threading.Event()  # a thread would hardly be started beside those that look up

    def look_up() -> None:
        all_started.wait()
        number = 0
        while True:
            number += 1
            (volume / f"none-{threading.get_ident()}-{number}").exists()

    for _ in range(N_THREADS):
        threading.Thread(target=look_up, daemon=True).start()
    all_started.set()
    _begun()
    while True:
        select.select([], [], [])


ATTACKS: dict[str, Callable[[Path, Path, int], NoReturn]] = {
    "mounts": mounts,
    "inotify": inotify,
    "keys": keys,
    "connections": connections,
    "files": files,
    "requests": requests,
}
# those that can be made on any file system
ON_FILES = ("mounts", "inotify", "keys", "files", "requests")


def main() -> None:
    attack, directory, volume, port = sys.argv[1:]
    os.setgroups([])
    os.setgid(_USER)
    os.setuid(_USER)
    os.nice(19)
    ATTACKS[attack](Path(directory), Path(volume), int(port))


if __name__ == "__main__":
    main()
