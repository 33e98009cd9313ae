"""secretfs.service: the node daemon with static volumes, under a real systemd and its bounds."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import Any, Iterator

import pytest

from lib import storm
from lib.machine import Machine, file_alone, put_secret
from lib.waiting import until

SERVICE = "secretfs.service"
CONFIG = """\
manifests: /manifests
metrics-bind-address: "0"
registration-path: none
"""
TARGET = "/run/static/db"
STORM = "/run/storm/db"


def put_volume(
    host: Machine, name: str, target: str, secret: str, *, updates: str = "generations", **more: Any
) -> None:
    volume = {"secret": {"secretName": secret}, "secretfs": {"updates": updates}}
    text = json.dumps({"target": target, "volume": volume, **more})
    host.write(f"/etc/secretfs/volumes.d/{name}.yaml", text)


def keeper_pid(host: Machine) -> int:
    return int(host.property(SERVICE, "MainPID"))


def daemon_pid(host: Machine) -> int:
    """Of the daemon that has the lock, or had it last; 0 while one takes it."""
    return int(host.read("/run/secretfs/node.lock").strip() or 0)


def wait_for_another(host: Machine, pid: int) -> None:
    until(lambda: daemon_pid(host) not in (0, pid), "another daemon")


def put_version(host: Machine, number: int) -> None:
    """Of the secret that readers in loops expect."""
    text = storm.value(number).decode()
    secret = {"metadata": {"name": "storm"}, "stringData": {"password": text, "cold": text}}
    host.write("/manifests/storm.yaml", json.dumps({"apiVersion": "v1", "kind": "Secret", **secret}))


def wait_version(host: Machine, number: int) -> None:
    host.wait_read(f"{STORM}/password", storm.value(number).decode(), SERVICE)


@contextmanager
def readers(host: Machine) -> Iterator[None]:
    """Readers in loops, of which no call may fail; before them and after them the volume is current."""
    put_version(host, 1)
    put_volume(host, "storm", STORM, "storm")
    wait_version(host, 1)
    loops = storm.readers_of(host.root / STORM.lstrip("/"), storm.READERS)
    try:
        yield
    finally:
        outcomes = loops.stop()
    storm.check(outcomes)


@pytest.fixture
def host(installed: Machine) -> Iterator[Machine]:
    """Set up, with one volume, and not started; afterwards as it was."""
    shipped = installed.path("/etc/secretfs/node.yaml").read_text()
    put_secret(installed, "db", "dummy-1")
    installed.write("/etc/secretfs/node.yaml", CONFIG)
    put_volume(installed, "db", TARGET, "db")
    yield installed
    installed.run("systemctl", "stop", SERVICE, check=False)
    installed.run("systemctl", "reset-failed", SERVICE, check=False)
    installed.write("/etc/secretfs/node.yaml", shipped)
    installed.shell("rm -rf /etc/secretfs/volumes.d/* /etc/systemd/system/secretfs.service.d")
    installed.run("systemctl", "daemon-reload")


@pytest.fixture
def started(host: Machine) -> Machine:
    host.run("systemctl", "start", SERVICE)
    host.wait_read(f"{TARGET}/password", "dummy-1", SERVICE)
    return host


def test_workers_hold_no_capability(started: Machine):
    """The unit permits capset(2), with which threads drop what they do not need."""
    script = f"grep -H . /proc/{daemon_pid(started)}/task/*/comm | grep -E 'fuse-worker|notifier'"
    workers = [line.rsplit("/", 1)[0] for line in started.shell(script).splitlines()]
    assert len(workers) >= 3
    for task in workers:
        status = started.output("cat", f"{task}/status")
        assert re.search(r"^CapPrm:\s0+$", status, re.MULTILINE), status
        assert re.search(r"^NoNewPrivs:\s1$", status, re.MULTILINE), status
    log = started.output("journalctl", "-u", SERVICE, "-o", "cat")
    assert "keeps more rights" not in log


def test_it_starts_and_stops(started: Machine):
    assert started.property(SERVICE, "Type") == "notify"
    assert re.search(r"\bvolumes?\b", started.property(SERVICE, "StatusText"))
    started.run("systemctl", "stop", SERVICE)
    assert started.property(SERVICE, "Result") == "success"
    assert started.mounts_at(TARGET) == []
    assert "fuse.secretfs" not in started.read("/proc/1/mountinfo")
    assert not started.run("ls", "/run/static", check=False).stdout


READER = """\
[Service]
ExecStart=sleep infinity
ExecReload=sh -c 'cat /run/reloaded/db/password >> /run/reloads; echo >> /run/reloads'
"""


def test_unit_is_reloaded_after_an_update(host: Machine):
    """Not one that does not run: it is not started, and the log says so."""
    host.write("/etc/systemd/system/reader.service", READER)
    host.run("systemctl", "daemon-reload")
    put_volume(host, "reloaded", "/run/reloaded/db", "db", onUpdate="reload-unit:reader.service")
    host.run("systemctl", "start", SERVICE)
    host.wait_read("/run/reloaded/db/password", "dummy-1", SERVICE)
    put_secret(host, "db", "dummy-2")
    log = lambda: host.output("journalctl", "-u", SERVICE, "-o", "cat")
    until(lambda: "reader.service is not active, so it cannot be reloaded" in log(), "the failure")
    host.run("systemctl", "start", "reader.service")
    put_secret(host, "db", "dummy-3")
    reloads = lambda: host.run("cat", "/run/reloads", check=False).stdout
    until(lambda: reloads() == "dummy-3\n", f"the reload, not {reloads()!r}; the log:\n{log()}")
    host.run("systemctl", "stop", "reader.service")
    host.shell("rm /etc/systemd/system/reader.service /run/reloads")


def test_volumes_come_and_go(started: Machine):
    put_secret(started, "db", "dummy-2")
    started.wait_read(f"{TARGET}/password", "dummy-2", SERVICE)
    put_volume(started, "more", "/run/more", "db")
    started.wait_read("/run/more/password", "dummy-2", SERVICE)
    started.path("/etc/secretfs/volumes.d/more.yaml").unlink()
    until(lambda: started.mounts_at("/run/more") == [], "the end of the volume")


def test_volumes_of_other_users(started: Machine):
    """All that publishing takes is among the few rights that are left, for files of any owner."""
    owner = {"user": "www-data", "group": "www-data"}
    put_volume(started, "theirs", "/var/theirs/db", "db", owner=owner)
    path = "/var/theirs/db/password"
    started.wait_read(path, "dummy-1", SERVICE)
    put_secret(started, "db", "dummy-2")
    started.wait_read(path, "dummy-2", SERVICE)
    as_user = ["setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups"]
    assert started.output(*as_user, "cat", path) == "dummy-2"
    assert started.output("stat", "-L", "-c", "%U:%G", path) == "www-data:www-data"


def test_target_below_a_directory_of_another_user_is_refused(started: Machine):
    """Its owner could put a link in place of the target."""
    started.run("install", "-d", "-o", "www-data", "-m", "0700", "/var/www-data")
    put_volume(started, "unsafe", "/var/www-data/db", "db")
    refusal = "unsafe path /var/www-data/db"
    until(lambda: refusal in started.journal(SERVICE), "the refusal")
    assert started.mounts_at("/var/www-data/db") == []


def test_volumes_of_a_group(started: Machine):
    """As with a pod's fsGroup, set-group-ID bits included."""
    volume = {"secret": {"secretName": "db"}, "secretfs": {"fsGroup": 4711}}
    text = json.dumps({"target": "/run/group", "volume": volume})
    started.write("/etc/secretfs/volumes.d/group.yaml", text)
    started.wait_read("/run/group/password", "dummy-1", SERVICE)
    assert started.output("stat", "-c", "%g %a", "/run/group") == "4711 3777"
    assert started.output("stat", "-L", "-c", "%g %a", "/run/group/password") == "4711 644"
    assert started.output("stat", "-L", "-c", "%g %a", "/run/group/..data") == "4711 2755"


def test_no_right_is_missed(started: Machine):
    """A call that is not allowed would show as EPERM."""
    put_secret(started, "db", "dummy-2")
    started.wait_read(f"{TARGET}/password", "dummy-2", SERVICE)
    log = started.journal(SERVICE)
    assert "not permitted" not in log, log
    assert "ulimit -l" not in log, log


def test_a_file_mounted_alone_in_a_namespace(host: Machine):
    """As `docker -v` does it: it is updated with the volume, which is in place."""
    put_volume(host, "db", TARGET, "db", updates="in-place")
    host.run("systemctl", "start", SERVICE)
    host.wait_read(f"{TARGET}/password", "dummy-1", SERVICE)
    with file_alone(host, f"{TARGET}/password") as alone:
        put_secret(host, "db", "dummy-2")
        host.wait_read(alone, "dummy-2", SERVICE)


def hand_over(host: Machine, number: int, *command: str) -> None:
    """By a command, during which no reader notices a thing; `number`: of the version afterwards."""
    pid = daemon_pid(host)
    host.run(*command)
    wait_for_another(host, pid)
    put_version(host, number)
    wait_version(host, number)


def test_reload_and_upgrade_hand_over(started: Machine):
    keeper, mounted = keeper_pid(started), started.mounts_at(TARGET)
    with readers(started):
        hand_over(started, 2, "systemctl", "reload", SERVICE)
        hand_over(started, 3, "dpkg", "-i", "/root/secretfs.deb")
    assert keeper_pid(started) == keeper
    assert started.mounts_at(TARGET) == mounted


@pytest.mark.parametrize("number", ["STOP", "KILL"])
def test_volumes_survive_the_daemon(host: Machine, number: str):
    """One that hangs or is killed is replaced by the keeper; the unit and the volumes remain."""
    host.write(
        "/etc/systemd/system/secretfs.service.d/test.conf",
        "[Service]\nExecStart=\nExecStart=/usr/bin/secretfs-keeper --watchdog=10s -- "
        "/usr/bin/secretfs node --config=/etc/secretfs/node.yaml\n",
    )
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", SERVICE)
    keeper = keeper_pid(host)
    with readers(host):
        hand_over(host, 2, "kill", f"-{number}", str(daemon_pid(host)))
    assert keeper_pid(host) == keeper, host.journal(SERVICE)
    assert host.property(SERVICE, "NRestarts") == "0"


def test_a_configuration_that_fails_its_check(started: Machine):
    """The daemon goes on, and the journal says why."""
    pid = daemon_pid(started)
    started.write("/etc/secretfs/node.yaml", "sparkle: 1\n")
    started.run("systemctl", "reload", SERVICE)
    refusal = "--check failed: there is no hand-over, the running process goes on"
    until(lambda: refusal in started.journal(SERVICE), "the refusal")
    assert daemon_pid(started) == pid
    put_secret(started, "db", "dummy-2")
    started.wait_read(f"{TARGET}/password", "dummy-2", SERVICE)


def test_an_oom_kill_does_not_stop_the_unit(host: Machine):
    """systemd would stop the keeper with the daemon that was killed for its memory."""
    assert host.property(SERVICE, "OOMPolicy") == "continue"


@pytest.mark.parametrize("number, result", [("STOP", "watchdog"), ("KILL", "signal")])
def test_its_keeper_is_restarted(host: Machine, number: str, result: str):
    """The volumes end with their keeper, and static ones are mounted again."""
    host.write(
        "/etc/systemd/system/secretfs.service.d/test.conf", "[Service]\nWatchdogSec=5s\n"
    )
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", SERVICE)
    host.wait_read(f"{TARGET}/password", "dummy-1", SERVICE)
    first = keeper_pid(host)
    host.run("kill", f"-{number}", str(first))
    until(lambda: keeper_pid(host) not in (0, first), "another keeper")
    until(lambda: host.is_active(SERVICE), "readiness")
    host.wait_read(f"{TARGET}/password", "dummy-1", SERVICE)
    assert host.mounts_at(TARGET) == ["fuse.secretfs"]
    assert f"result '{result}'" in host.journal(SERVICE)


def test_it_gives_up_on_a_wrong_configuration(host: Machine):
    host.write("/etc/secretfs/node.yaml", "sparkle: 1\n")
    host.run("systemctl", "start", SERVICE, check=False)
    until(lambda: host.property(SERVICE, "ActiveState") == "failed", "failure")
    assert host.property(SERVICE, "NRestarts") == "0"
    assert 'unknown option "sparkle"' in host.journal(SERVICE)


def test_the_configuration_as_shipped(installed: Machine):
    """It says nothing, and no kubelet is needed for the daemon to start."""
    installed.run("systemctl", "start", SERVICE)
    try:
        assert installed.is_active(SERVICE)
    finally:
        installed.run("systemctl", "stop", SERVICE)
