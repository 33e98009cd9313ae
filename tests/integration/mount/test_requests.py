"""Reading what was read before costs no request to the daemon.

Except for ioctl(2), whose refusal the kernel does not remember: Python's open() asks TCGETS unless
buffering is given, so files are opened without it here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from lib.volume import Volume

ROUNDS = 10_000


def read_file(root: str) -> None:
    fd = os.open(f"{root}/key", os.O_RDONLY)
    while os.read(fd, 65536):
        pass
    os.close(fd)


def miss(root: str) -> None:
    try:
        os.stat(f"{root}/absent")
    except FileNotFoundError:
        pass


def list_attributes(root: str) -> None:
    """As `getfattr -d` and `tar --xattrs` do; they go on without."""
    with pytest.raises(OSError, match="not supported"):
        os.listxattr(f"{root}/key")
    with pytest.raises(OSError, match="not supported"):
        os.getxattr(f"{root}/key", "user.any")


READERS: dict[str, Callable[[str], object]] = {
    "open, read, close": read_file,
    "stat": lambda root: os.stat(f"{root}/key"),
    "lstat": lambda root: os.lstat(f"{root}/key"),
    "readlink": lambda root: os.readlink(f"{root}/..data"),
    "listdir": os.listdir,
    "listdir of a generation": lambda root: os.listdir(f"{root}/..data/"),
    "realpath": lambda root: os.path.realpath(f"{root}/key"),
    "a name that is not there": miss,
    "extended attributes": list_attributes,
    "access": lambda root: os.access(f"{root}/key", os.R_OK),
}


@pytest.fixture
def volume(manifests, mount) -> Volume:
    manifests.put_secret({"key": b"value", "large": b"x" * 300_000})
    return mount(manifests)


def warm_up(root: Path) -> None:
    """Twice, as a first read changes the access time, which the kernel then asks for once."""
    for _ in range(2):
        for reader in READERS.values():
            reader(str(root))


@pytest.mark.parametrize("name", READERS)
def test_ten_thousand_warm_rounds_cost_nothing(volume: Volume, name: str):
    """Zero requests for what was asked before."""
    warm_up(volume.path)
    before = volume.requests()
    root, reader = str(volume.path), READERS[name]
    for _ in range(ROUNDS):
        reader(root)
    assert volume.requests() - before == 0


def test_everything_mixed_costs_nothing(volume: Volume):
    """Zero requests also when the ways of reading take turns."""
    warm_up(volume.path)
    before = volume.requests()
    for _ in range(1000):
        for reader in READERS.values():
            reader(str(volume.path))
    assert volume.requests() - before == 0


def test_another_process_profits(volume: Volume):
    """What one process read is warm for every other."""
    warm_up(volume.path)
    before = volume.requests()
    script = "import sys; assert open(sys.argv[1], 'rb', buffering=0).read() == b'value'"
    subprocess.run([sys.executable, "-c", script, str(volume.path / "key")], check=True)
    assert volume.requests() - before == 0


def test_a_large_file_is_read_once(volume: Volume):
    """Its pages are kept: reading it again in any pieces costs nothing."""
    assert len(volume.read("large")) == 300_000
    (volume.path / "large").stat()
    before = volume.requests()
    with open(volume.path / "large", "rb", buffering=0) as file:
        assert len(file.read()) == 300_000
        for at in range(0, 300_000, 10_000):
            assert os.pread(file.fileno(), 100, at) == b"x" * 100
    assert volume.requests() - before == 0


def test_warm_again_after_an_update(manifests, mount):
    """An update costs its own requests and the new content's first reads, no more."""
    manifests.put_secret({"key": b"1"})
    volume = mount(manifests)
    warm_up(volume.path)
    manifests.put_secret({"key": b"2"})
    volume.wait_content({"key": b"2"})
    warm_up(volume.path)
    before = volume.requests()
    for _ in range(1000):
        for reader in READERS.values():
            reader(str(volume.path))
    assert volume.requests() - before == 0
