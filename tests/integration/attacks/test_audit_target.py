"""Where the audit's lines go, in another one's hands."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from lib import program
from lib.sources import Manifests
from lib.volume import VolumeMaker

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="these tests mount as root"
)


def fill_queue(path: Path) -> list[socket.socket]:
    """Clients until a listening socket takes no more; its process accepts none."""
    clients = []
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        try:
            client.connect(str(path))
        except BlockingIOError:
            client.close()
            return clients
        clients.append(client)


def test_listener_whose_queue_is_full(
    mount: VolumeMaker, manifests: Manifests, area: Path
) -> None:
    """It counts as a failure, after which the thread waits, rather than tries without a pause."""
    path = area / "audit.sock"
    manifests.put_secret({"a": b"dummy-1"})
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)
        clients = fill_queue(path)
        volume = mount(manifests, "--consumers", f"--audit=unix:{path}")
        volume.expected_words = "cannot write the audit"
        subprocess.run(["cat", volume.path / "a"], stdout=subprocess.DEVNULL, check=True)
        volume.wait_log("cannot write the audit")
        for client in clients:
            client.close()
            server.accept()[0].close()
        peer, _ = server.accept()
        with peer, peer.makefile() as lines:
            assert json.loads(lines.readline())["event"] == "open"
        volume.wait_log("the audit is written again")


def test_file_with_bytes_that_a_terminal_follows(area: Path) -> None:
    """An audit has printable ASCII only; a file that a user hands to an administrator may not."""
    path = area / "audit.log"
    path.write_bytes(b'{"event":"\033]0;x\007\x9b2J\r\xc3\xa4\0"}\nnext\n')
    done = program.run([program.binary(), "audit", path], home=area)
    assert (done.returncode, done.stdout) == (0, '{"event":"?]0;x??2J????"}\nnext\n')
