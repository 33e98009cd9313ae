"""The sockets' files: made, replaced, refused and removed."""

from __future__ import annotations

import os
import resource
import socket
import stat
from pathlib import Path

from .conftest import HarnessMaker
from .support import kubelet
from .support.client import call
from .support.harness import Harness
from .support.waiting import until


def test_private_sockets_in_new_directories(plugin: Harness) -> None:
    for path in (plugin.endpoint, plugin.registration):
        status = path.stat()
        assert stat.S_ISSOCK(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) & 0o027 == 0
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    # the kubelet calls the one as soon as it sees the other
    assert plugin.endpoint.stat().st_ctime_ns <= plugin.registration.stat().st_ctime_ns


def test_an_orderly_end_removes_them(start: HarnessMaker) -> None:
    plugin = start().started()
    assert plugin.finish() == (0, "")
    assert not plugin.endpoint.exists() and not plugin.registration.exists()
    assert plugin.endpoint.parent.is_dir()


def test_those_of_a_dead_process_are_replaced(start: HarnessMaker) -> None:
    dead = start().started()
    dead.kill()
    assert dead.endpoint.exists() and dead.registration.exists()
    plugin = start().started()
    assert call(plugin.endpoint, kubelet.PROBE).code == kubelet.OK
    assert call(plugin.registration, kubelet.GET_INFO).code == kubelet.OK


def test_those_of_a_living_process_are_left(start: HarnessMaker) -> None:
    living = start().started()
    assert f"another process listens on {living.endpoint}" in start().refused()
    assert call(living.endpoint, kubelet.PROBE).code == kubelet.OK
    assert call(living.registration, kubelet.GET_INFO).code == kubelet.OK


def test_what_is_no_socket_is_left(start: HarnessMaker, area: Path) -> None:
    path = area / "plugins" / "csi.secretfs.io" / "csi.sock"
    path.parent.mkdir(parents=True)
    path.write_text("a file of somebody")
    assert "is no socket" in start().refused()
    assert path.read_text() == "a file of somebody"


def test_no_registration_without_the_csi_socket(start: HarnessMaker, area: Path) -> None:
    """The kubelet must not be told of a plug-in that cannot be called."""
    registration = area / "plugins_registry" / "csi.secretfs.io-reg.sock"
    (area / "plugins").write_text("in the way")
    assert str(area / "plugins") in start().refused()
    assert not registration.exists()


def test_only_its_own_are_removed(start: HarnessMaker) -> None:
    plugin = start().started()
    plugin.endpoint.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(plugin.endpoint))
        assert plugin.finish() == (0, "")
        assert plugin.endpoint.exists()
    os.unlink(plugin.endpoint)


def test_descriptors_run_out(start: HarnessMaker) -> None:
    """Newcomers wait until there are some again."""
    plugin = start().started()
    pid = plugin.pid
    used = len(os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 2, used + 2))
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(5)]
    for client in waiting:
        client.connect(str(plugin.endpoint))
    until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == used + 2, "all descriptors to be used")
    for client in waiting:
        client.close()
    assert call(plugin.endpoint, kubelet.PROBE).code == kubelet.OK
