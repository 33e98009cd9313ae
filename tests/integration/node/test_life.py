"""A daemon's beginning and end, orderly and not, and what a service manager hears of it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from lib import program
from lib.hang import threads_named, traced
from lib.kubelet import OK
from lib.mountinfo import mounts_at
from lib.node_daemon import Node, NodeMaker, is_shown, read
from lib.service_manager import Manager
from lib.sources import Manifests
from lib.volume import abort_connection, unmount
from lib.waiting import until

MOVE_MOUNT = 429  # the number of the system call, on every architecture


def test_orderly_end(node: Node) -> None:
    volumes = [node.publish(node.pod(number)) for number in range(3)]
    node.signal(signal.SIGTERM)
    assert node.wait_end() == 0
    assert node.mounts() == []
    assert [v.target.exists() for v in volumes] == [False] * 3
    assert not node.endpoint.exists()


def test_the_next_takes_over_from_one_that_was_killed(
    node: Node, start_node: NodeMaker, manifests: Manifests
) -> None:
    """Dead mounts stay until the kubelet requests the volumes again: an error, never an empty secret."""
    volumes = [node.publish(node.pod(number)) for number in range(3)]
    node.kill()
    assert len(node.mounts()) == 4
    following = start_node(*manifests.arguments).wait_ready()
    for volume in volumes:
        assert _reads_enotconn(volume.target / "user")
        following.publish(volume)
        assert is_shown(volume)
        assert len(mounts_at(volume.target)) == 1
        assert read(volume, "user") == b"admin"


def _reads_enotconn(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def test_file_of_a_killed_one_that_is_mounted_elsewhere(
    node: Node, start_node: NodeMaker, manifests: Manifests, area: Path
) -> None:
    """A bind mount of one file on the host is not ours to detach; below it is an empty file."""
    volume = node.publish(node.pod())
    elsewhere = area / "elsewhere"
    elsewhere.touch()
    subprocess.run(["mount", "--bind", str(volume.target / "user"), str(elsewhere)], check=True)
    try:
        node.kill()
        start_node(*manifests.arguments).wait_ready().publish(volume)
        assert read(volume, "user") == b"admin"
        assert _reads_enotconn(elsewhere)
    finally:
        unmount(elsewhere, lazily=True)


def test_target_is_never_empty_while_a_dead_mount_is_replaced(
    node: Node, start_node: NodeMaker, manifests: Manifests
) -> None:
    """A reader finds the dead mount or the new one."""
    volume = node.publish(node.pod())
    keys = sorted(os.listdir(volume.target))
    seen: list[list[str]] = []
    ends = threading.Event()

    def look() -> None:
        while not ends.is_set():
            try:
                seen.append(sorted(os.listdir(volume.target)))
            except OSError as error:
                seen.append([errno.errorcode[error.errno or 0]])

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(5):
            node.kill()
            node = start_node(*manifests.arguments).wait_ready()
            node.publish(volume)
    finally:
        ends.set()
        reader.join()
    names = {key for each in seen for key in each if not key.startswith("..2")}
    assert all(seen), "an empty directory"
    assert names <= {key for key in keys if not key.startswith("..2")} | {"ENOTCONN", "ECONNABORTED"}


def test_unpublish_of_what_a_killed_one_had_mounted(
    node: Node, start_node: NodeMaker, manifests: Manifests
) -> None:
    volume = node.publish(node.pod())
    node.kill()
    following = start_node(*manifests.arguments).wait_ready()
    following.unpublish(volume)
    assert not volume.target.exists()


def test_dead_mount_of_a_stranger_on_the_target(
    node: Node, start_node: NodeMaker, manifests: Manifests
) -> None:
    """S11: of another driver's daemon."""
    volume = node.publish(node.pod())
    other = start_node(*manifests.arguments, driver="other.secretfs.io", run="other").wait_ready()
    node.kill()
    other.publish(volume)
    (mount,) = mounts_at(volume.target)
    assert mount.source == "other.secretfs.io"
    assert read(volume, "user") == b"admin"


def test_second_daemon_with_the_same_run_directory_ends(
    node: Node, start_node: NodeMaker, manifests: Manifests
) -> None:
    volume = node.publish(node.pod())
    second = start_node(*manifests.arguments)
    second.expected_exit = 1
    assert second.wait_end() == 1
    assert f"process {node.pid} serves {node.run_dir}" in second.log()
    assert is_shown(volume) and node.is_ready()


def test_file_system_is_unmounted_by_an_administrator(node: Node) -> None:
    """What is shown stays, and what comes later can be shown."""
    before = node.publish(node.pod(0))
    unmount(node.run_dir / "fs")
    until(lambda: "mounted it again" in node.log(), "the mount")
    after = node.publish(node.pod(1))
    assert read(before, "user") == read(after, "user") == b"admin"


def test_file_system_is_unmounted_while_it_is_mounted_again(node: Node) -> None:
    """However short it was mounted, it is mounted again, and the daemon goes on."""
    before = node.publish(node.pod(0))
    for _ in range(3):
        with traced(node.pid, threads_named(node.pid, "privileged")[0]) as thread:
            unmount(node.run_dir / "fs", lazily=True)  # the loop may be using it
            thread.run_until_after(MOVE_MOUNT)
            unmount(node.run_dir / "fs", lazily=True)
        until(lambda: mounts_at(node.run_dir / "fs") or node.exit_status is not None, "the mount")
        assert node.exit_status is None, f"the program ended:\n{node.log()}"
    after = node.publish(node.pod(1))
    assert read(before, "user") == read(after, "user") == b"admin"


def test_connection_is_aborted(node: Node, start_node: NodeMaker, manifests: Manifests) -> None:
    """It cannot recover; a service manager restarts it. A container that starts before the kubelet's next
    publish finds the dead mount: the runtime would start it with an empty directory."""
    volume = node.publish(node.pod())
    node.expected_exit = 1
    abort_connection(node.mounts()[0].device)
    assert node.wait_end() == 1
    assert "connection to the kernel was aborted" in node.log()
    assert _reads_enotconn(volume.target / "user")
    following = start_node(*manifests.arguments).wait_ready()
    assert _reads_enotconn(volume.target / "user")
    following.publish(volume)
    assert read(volume, "user") == b"admin"
    assert len(mounts_at(volume.target)) == 1


def test_not_as_an_ordinary_user(area: Path) -> None:
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program.binary()]
    done = program.run([*command, "node", f"--run-dir={area}/run"], home=area)
    assert done.returncode == 1
    assert "as root" in done.stderr


def test_what_a_service_manager_hears(
    start_node: NodeMaker, manifests: Manifests, area: Path
) -> None:
    manifests.put_secret({"user": b"admin"})
    manager = Manager(area / "notify")
    node = start_node(*manifests.arguments, env=manager.env).wait_ready()
    manager.wait("READY=1")
    node.publish(node.pod())
    manager.wait("STATUS=1 volumes; not registered with the kubelet")
    node.signal(signal.SIGHUP)
    manager.wait("READY=1", 2)
    assert "RELOADING=1" in manager.lines()
    assert not any(line.startswith("WATCHDOG") for line in manager.lines())
    node.signal(signal.SIGTERM)
    assert node.wait_end() == 0
    assert "STOPPING=1" in manager.lines()


def test_watchdog_is_notified_while_workers_answer(
    start_node: NodeMaker, manifests: Manifests, area: Path
) -> None:
    """It says that it is alive as long as those are who serve the mount."""
    manifests.put_secret({"user": b"admin"})
    manager = Manager(area / "notify")
    env = {**manager.env, "WATCHDOG_USEC": "100000"}
    node = start_node(*manifests.arguments, env=env).wait_ready()
    manager.wait("WATCHDOG=1", 5)
    assert node.publish(node.pod())


def test_probe_of_a_serving_daemon_is_ready(node: Node) -> None:
    assert node.is_ready()


@pytest.mark.parametrize("other", ["missing", "empty"])
def test_a_root_of_no_kubelet_is_refused(
    start_node: NodeMaker, manifests: Manifests, area: Path, other: str
) -> None:
    """A wrong --kubelet-root ends the program; without registration no kubelet is needed."""
    (area / "empty").mkdir()
    arguments = [*manifests.arguments, f"--kubelet-root={area / other}"]
    node = start_node(*arguments)
    node.expected_exit = 1
    assert node.wait_end() == 1
    assert f"no kubelet uses {area / other}" in node.log()
    assert "set --kubelet-root to the kubelet's --root-dir" in node.log()
    start_node(*arguments, "--registration-path=none", f"--endpoint={area}/csi.sock").wait_ready()


def test_help_names_every_option(area: Path) -> None:
    done = program.run([program.binary(), "node", "--help"], home=area)
    assert done.returncode == 0
    for name in ("endpoint", "driver-name", "node-id", "kubelet-root", "kubeconfig", "rights"):
        assert f"--{name} " in done.stdout


def test_socket_paths_of_their_own(start_node: NodeMaker, manifests: Manifests, area: Path) -> None:
    manifests.put_secret({"user": b"admin"})
    node = start_node(
        *manifests.arguments,
        f"--endpoint=unix://{area}/s/csi.sock",
        f"--registration-path={area}/r/x-reg.sock",
    ).wait_ready()
    assert not node.endpoint.exists()
    node.endpoint = area / "s" / "csi.sock"
    assert (area / "r" / "x-reg.sock").is_socket()
    assert node.pod().publish(node.endpoint).code == OK
    assert os.listdir(node.pod().target)
