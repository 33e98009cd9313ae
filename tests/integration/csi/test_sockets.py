"""The sockets' files: made, replaced, refused and removed."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import stat
from pathlib import Path

import pytest

from lib import kubelet
from lib.grpc_client import call
from lib.harness import Harness, HarnessMaker
from lib.kubelet import PodVolume
from lib.waiting import until


def test_private_sockets_in_new_directories(plugin: Harness) -> None:
    for path in (plugin.endpoint, plugin.registration):
        status = path.stat()
        assert stat.S_ISSOCK(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) & 0o027 == 0
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    # the kubelet calls the one as soon as it sees the other
    assert plugin.endpoint.stat().st_ctime_ns <= plugin.registration.stat().st_ctime_ns


def test_orderly_end_removes_the_sockets(start_plugin: HarnessMaker) -> None:
    plugin = start_plugin().started()
    assert plugin.finish() == (0, "")
    assert not plugin.endpoint.exists() and not plugin.registration.exists()
    assert plugin.endpoint.parent.is_dir()


def test_those_of_a_dead_process_are_replaced(start_plugin: HarnessMaker) -> None:
    dead = start_plugin().started()
    dead.kill()
    assert dead.endpoint.exists() and dead.registration.exists()
    plugin = start_plugin().started()
    assert call(plugin.endpoint, kubelet.PROBE).code == kubelet.OK
    assert call(plugin.registration, kubelet.GET_INFO).code == kubelet.OK


def test_those_of_a_living_process_are_left(start_plugin: HarnessMaker) -> None:
    living = start_plugin().started()
    assert f"another process listens on {living.endpoint}" in start_plugin().refused()
    assert call(living.endpoint, kubelet.PROBE).code == kubelet.OK
    assert call(living.registration, kubelet.GET_INFO).code == kubelet.OK


def test_what_is_no_socket_is_left(start_plugin: HarnessMaker, area: Path) -> None:
    path = area / "plugins" / "csi.secretfs.io" / "csi.sock"
    path.parent.mkdir(parents=True)
    path.write_text("a file of another program")
    assert "is not a socket" in start_plugin().refused()
    assert path.read_text() == "a file of another program"


def test_no_registration_without_the_csi_socket(start_plugin: HarnessMaker, area: Path) -> None:
    """The kubelet must not find a plug-in that cannot be called."""
    registration = area / "plugins_registry" / "csi.secretfs.io-reg.sock"
    (area / "plugins").write_text("in the way")
    assert str(area / "plugins") in start_plugin().refused()
    assert not registration.exists()


def test_sockets_of_others_stay(start_plugin: HarnessMaker) -> None:
    plugin = start_plugin().started()
    plugin.endpoint.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(plugin.endpoint))
        assert plugin.finish() == (0, "")
        assert plugin.endpoint.exists()
    os.unlink(plugin.endpoint)


@pytest.mark.parametrize("which", ["endpoint", "registration"])
def test_a_file_that_is_removed_is_made_again(plugin: Harness, which: str) -> None:
    path: Path = getattr(plugin, which)
    method = kubelet.PROBE if which == "endpoint" else kubelet.GET_INFO
    for _ in range(2):
        path.unlink()
        until(path.exists, "the socket")
        assert call(path, method).code == kubelet.OK


def test_directories_that_are_removed_are_made_again(plugin: Harness, area: Path) -> None:
    """As when a node leaves its cluster; who is connected already does not notice."""
    volume = PodVolume()
    connection, stream = volume.start_publish(plugin.endpoint)
    plugin.wait("publish")
    shutil.rmtree(area / "plugins")
    (area / "plugins_registry").rename(area / "elsewhere")
    for path, method in (
        (plugin.endpoint, kubelet.PROBE),
        (plugin.registration, kubelet.GET_INFO),
    ):
        until(path.exists, "the socket")
        assert call(path, method).code == kubelet.OK
    plugin.reply(volume.volume_id)
    assert connection.finish(stream).code == kubelet.OK
    connection.close()


def test_a_path_that_another_process_has_taken(start_plugin: HarnessMaker, plugin: Harness) -> None:
    """It is left to that one, for as long as it lives."""
    os.kill(plugin.pid, signal.SIGSTOP)
    plugin.endpoint.unlink()
    plugin.registration.unlink()
    other = start_plugin().started()
    taken_at = plugin.endpoint.stat().st_ctime_ns
    os.kill(plugin.pid, signal.SIGCONT)
    for _ in range(20):
        # the stopped one looks at its files again, and at these
        (plugin.endpoint.parent / "x").touch()
        (plugin.endpoint.parent / "x").unlink()
        assert call(plugin.endpoint, kubelet.PROBE).code == kubelet.OK
    assert plugin.endpoint.stat().st_ctime_ns == taken_at
    assert other.finish()[0] == 0
    until(plugin.endpoint.exists, "the first one's socket")
    assert call(plugin.endpoint, kubelet.PROBE).code == kubelet.OK


def test_plug_in_serves_again_after_descriptors_run_out(start_plugin: HarnessMaker) -> None:
    """Newcomers wait until there are some again."""
    plugin = start_plugin().started()
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
