"""What a container's runtime sets on its own mount of a volume: options of the bind mount (P6), and
read-only for it and all mounts below (P7, recursiveReadOnly)."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import pytest

from lib.clone import NODEV, NOEXEC, NOSUID, RDONLY, mount_clone
from lib.kubelet import PodVolume
from lib.live import put
from lib.mountinfo import mounts_at
from lib.node_daemon import Node, read
from lib.sources import Api
from lib.volume import unmount
from lib.waiting import until

ATTRIBUTES = {
    "bind options": (NOSUID | NODEV | NOEXEC, False, {"nosuid", "nodev", "noexec", "ro"}),
    "recursive read-only": (RDONLY, True, {"ro"}),
    "both": (RDONLY | NOSUID | NODEV | NOEXEC, True, {"nosuid", "nodev", "noexec", "ro"}),
}


@pytest.fixture
def node(node_on_api: Node) -> Node:
    return node_on_api


@pytest.fixture
def clone(area: Path, node: Node) -> Iterator[Callable[..., Path]]:
    made: list[Path] = []

    def make(source: Path, attributes: int, is_recursive: bool) -> Path:
        target = area / f"clone-{len(made)}"
        if source.is_dir():
            target.mkdir()
        else:
            target.touch()
        mount_clone(source, target, attributes, is_recursive=is_recursive)
        made.append(target)
        return target

    yield make
    for target in made:
        unmount(target, lazily=True)


@pytest.mark.parametrize("what", ATTRIBUTES)
def test_volume(node: Node, api: Api, clone: Callable[..., Path], what: str) -> None:
    attributes, is_recursive, expected = ATTRIBUTES[what]
    volume = node.publish(node.pod())
    mounted = clone(volume.target, attributes, is_recursive)
    assert expected <= set(mounts_at(mounted)[0].options)
    assert (mounted / "user").read_text() == "admin"
    put(api, user="root")
    until(lambda: (mounted / "user").read_text() == "root", "the update")
    with pytest.raises(OSError) as refused:
        (mounted / "new").touch()
    assert refused.value.errno == errno.EROFS


@pytest.mark.parametrize("what", ATTRIBUTES)
def test_file_mounted_alone(
    api: Api, volume: PodVolume, file: Path, clone: Callable[..., Path], what: str
) -> None:
    attributes, is_recursive, expected = ATTRIBUTES[what]
    mounted = clone(file, attributes, is_recursive)
    assert expected <= set(mounts_at(mounted)[0].options)
    put(api, user="root")
    until(lambda: mounted.read_text() == "root", "the update")
    with pytest.raises(OSError) as refused:
        mounted.write_text("x")
    assert refused.value.errno == errno.EROFS


def test_mounts_below_are_read_only_as_well(
    node: Node, api: Api, area: Path, clone: Callable[..., Path]
) -> None:
    """A file system that is mounted on a directory above, with the volume below it."""
    volume = node.publish(node.pod())
    tree = area / "tree"
    tree.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tree], check=True)
    try:
        (tree / "below").mkdir()
        subprocess.run(["mount", "--bind", volume.target, tree / "below"], check=True)
        mounted = clone(tree, RDONLY, True)
        assert "ro" in mounts_at(mounted)[0].options
        assert "ro" in mounts_at(mounted / "below")[0].options
        put(api, user="root")
        until(lambda: (mounted / "below" / "user").read_text() == "root", "the update")
        assert read(volume, "user") == b"root"
    finally:
        unmount(tree / "below", lazily=True)
        unmount(tree, lazily=True)
