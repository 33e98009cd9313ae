"""What each end-to-end test needs of the machine, and signals that end a daemon."""

from __future__ import annotations

import os
import signal

import pytest

from lib.kube.assets import Assets, AssetsUnusable, find_assets
from lib.kube.mounts import program

# A test of a daemon that ends in order, and of one that does not.
by_signal = pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name
)


def required_assets() -> Assets:
    """Fails the test where a program, root or /dev/fuse is missing."""
    try:
        assets = find_assets()
    except AssetsUnusable as error:
        pytest.fail(str(error))
    assert assets is not None
    if not os.access(program(), os.X_OK):
        pytest.fail(f"{program()} is missing: run make first")
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.fail("these tests mount file systems: run them as root, with /dev/fuse")
    return assets
