"""A container with CAP_DAC_READ_SEARCH opens files of its volume's file system by handle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lib import program
from lib.node_daemon import NodeMaker, read
from lib.sources import Manifests

PROGRAM = Path(__file__).parent / "programs" / "open_handles.py"
N_NODES = 200  # more than two volumes have


def _need_no_export_support(home: Path) -> None:
    done = program.run([program.binary(), "doctor"], home=home)
    if "no FUSE_NO_EXPORT_SUPPORT" in done.stdout:
        pytest.skip("no FUSE_NO_EXPORT_SUPPORT")


@pytest.mark.parametrize("attributes", [{}, {"updates": "in-place"}])
def test_nothing_is_opened_by_handle(
    area: Path, start_node: NodeMaker, manifests: Manifests, attributes: dict[str, str]
) -> None:
    _need_no_export_support(area)
    for name in ("mine", "theirs"):
        manifests.put_secret({"password": f"dummy-{name}".encode()}, name=name)
    node = start_node(*manifests.arguments).wait_ready()
    mine, theirs = (
        node.publish(node.pod(i, attributes={"secretName": name, **attributes}))
        for i, name in enumerate(("mine", "theirs"))
    )
    assert read(theirs, "password") == b"dummy-theirs"  # the kernel has it cached
    root = area / "container"
    root.mkdir()
    command = [sys.executable, str(PROGRAM), str(root), str(mine.target), str(N_NODES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {}
