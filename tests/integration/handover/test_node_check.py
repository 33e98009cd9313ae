"""`secretfs node --check`: a hand-over that would end volumes does not take place, and the daemon goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib.kubelet import PodVolume
from lib.mountinfo import mounts_at
from lib.node_daemon import CheckedNode, NodeMaker
from lib.sources import Manifests
from lib.waiting import until

REFUSED = "--check failed: there is no hand-over, the running process goes on"
CONFIG = "log-level: info\n"


def _content(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


@pytest.fixture
def config(area: Path) -> Path:
    path = area / "node.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def kept(start_node: NodeMaker, manifests: Manifests, config: Path) -> CheckedNode:
    manifests.put_secret({"password": b"dummy-1"})
    node = start_node(f"--config={config}", *manifests.arguments, kind=CheckedNode).wait_ready()
    assert isinstance(node, CheckedNode)
    return node


def _expect_refusal(kept: CheckedNode, reason: str) -> None:
    """The same daemon serves, and says why."""
    kept.expected_words = REFUSED
    before = kept.pid
    kept.request_hand_over()
    until(lambda: REFUSED in kept.log(), f"the refusal; log:\n{kept.log()}")
    assert reason in kept.log()
    assert kept.pid == before


def _expect_update(manifests: Manifests, volume: PodVolume, content: bytes) -> None:
    manifests.put_secret({"password": content})
    until(lambda: _content(volume.target / "password") == content, f"{content!r}")


def test_invalid_configuration(kept: CheckedNode, manifests: Manifests, config: Path) -> None:
    volume = kept.publish(kept.pod())
    mount = mounts_at(volume.target)
    config.write_text("sparkle: 1\n")
    _expect_refusal(kept, 'unknown option "sparkle"')
    _expect_update(manifests, volume, b"dummy-2")
    config.write_text(CONFIG)
    kept.hand_over()
    assert mounts_at(volume.target) == mount
    _expect_update(manifests, volume, b"dummy-3")


def test_live_volumes(kept: CheckedNode, manifests: Manifests) -> None:
    """Both file systems are checked, and handed over."""
    live = kept.publish(kept.pod(0, attributes={"secretName": "app", "updates": "in-place"}))
    volume = kept.publish(kept.pod(1))
    before = mounts_at(live.target)
    kept.hand_over()
    assert mounts_at(live.target) == before
    _expect_update(manifests, live, b"dummy-2")
    _expect_update(manifests, volume, b"dummy-2")
