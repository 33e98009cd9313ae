"""mount(8), fstab, .mount units and secretfs@.service."""

from __future__ import annotations

import json

import pytest

from lib.machine import Machine, file_alone, put_secret
from lib.waiting import until

OPTIONS = "manifests=/manifests"
SERVICE = "secretfs@app.service"
ENVIRONMENT = """\
SECRETFS_OBJECT=secret/service
SECRETFS_TARGET=/run/app/secrets
SECRETFS_OPTIONS=--manifests=/manifests --default-mode=0400
"""


@pytest.fixture
def host(installed: Machine) -> Machine:
    """With a secret and a directory to mount on."""
    put_secret(installed, "db", "dummy-1")
    installed.run("mkdir", "-p", "/mnt/db")
    yield installed
    while "fuse.secretfs" in installed.mounts_at("/mnt/db"):
        installed.run("umount", "-l", "/mnt/db")
    until(lambda: daemons(installed) == [], "the end of all daemons")


def daemons(host: Machine) -> list[str]:
    names = "^(secretfs|mount.fuse.secr)"
    return host.run("pgrep", names, check=False).stdout.split()


def test_mount_and_umount(host: Machine):
    """It is readable when mount has returned, and umount ends the program."""
    host.run("mount", "-t", "fuse.secretfs", "secret/db", "/mnt/db", "-o", OPTIONS)
    assert host.read("/mnt/db/password") == "dummy-1"
    assert len(daemons(host)) == 2  # a keeper and its child
    put_secret(host, "db", "dummy-2")
    host.wait_read("/mnt/db/password", "dummy-2")
    host.run("umount", "/mnt/db")
    until(lambda: daemons(host) == [], "the end of the daemon")


def test_mount_with_a_volume(host: Machine):
    spec = {"projected": {"sources": [{"secret": {"name": "db"}}]}, "secretfs": {"uid": 33}}
    host.write("/etc/secretfs/volume.json", json.dumps(spec))
    options = f"{OPTIONS},volume=/etc/secretfs/volume.json"
    host.run("mount", "-t", "fuse.secretfs", "words", "/mnt/db", "-o", options)
    assert host.output("stat", "-L", "-c", "%U", "/mnt/db/password") == "www-data"


def test_mistakes_are_reported_by_mount(host: Machine):
    done = host.run(
        "mount", "-t", "fuse.secretfs", "secret/db", "/mnt/db", "-o", "sparkle", check=False
    )
    assert done.returncode == 1
    assert 'mount.fuse.secretfs: unknown mount option "sparkle"' in done.stderr
    options = f"{OPTIONS},wait=0"
    done = host.run(
        "mount", "-t", "fuse.secretfs", "secret/none", "/mnt/db", "-o", options, check=False
    )
    assert done.returncode == 32
    assert 'secret "none" not found' in done.stderr


# ---- fstab and .mount units


@pytest.fixture
def fstab(host: Machine):
    """Lines for /etc/fstab, of which systemd makes units."""

    def write(*lines: str) -> None:
        host.write("/etc/fstab", "".join(f"{line}\n" for line in lines))
        host.run("systemctl", "daemon-reload")

    yield write
    host.run("systemctl", "stop", "mnt-db.automount", "mnt-db.mount", check=False)
    write()


def test_fstab_entry_is_mounted_once(host: Machine, fstab):
    """`mount -a` does not do again what is done."""
    fstab(f"secret/db /mnt/db fuse.secretfs {OPTIONS},_netdev,nofail 0 0")
    for _ in range(2):
        host.run("mount", "-a")
        assert host.mounts_at("/mnt/db") == ["fuse.secretfs"]
    until(lambda: host.is_active("mnt-db.mount"), "systemd to have seen it")
    assert host.read("/mnt/db/password") == "dummy-1"
    host.run("systemctl", "stop", "mnt-db.mount")
    assert host.mounts_at("/mnt/db") == []


def test_fstab_by_systemd(host: Machine, fstab):
    """The daemon belongs to the unit, and lives on after mount(8) has returned."""
    fstab(f"secret/db /mnt/db fuse.secretfs {OPTIONS},noauto 0 0")
    host.run("systemctl", "start", "mnt-db.mount")
    put_secret(host, "db", "dummy-2")
    host.wait_read("/mnt/db/password", "dummy-2")
    for pid in daemons(host):
        assert "mnt-db.mount" in host.read(f"/proc/{pid}/cgroup")
    host.run("umount", "/mnt/db")
    until(lambda: not host.is_active("mnt-db.mount"), "the end of the unit")


def test_a_killed_daemon_of_an_fstab_mount(host: Machine, fstab):
    """Its keeper starts the next one in the same unit; what both log is in the journal."""
    fstab(f"secret/db /mnt/db fuse.secretfs {OPTIONS},noauto 0 0")
    host.run("systemctl", "start", "mnt-db.mount")
    status = json.loads(host.output("secretfs", "status", "-o", "json", "/mnt/db"))
    host.run("kill", "-KILL", status["pid"])
    put_secret(host, "db", "dummy-2")
    host.wait_read("/mnt/db/password", "dummy-2")
    assert host.is_active("mnt-db.mount")
    words = ["took over the mount", "was killed by signal 9"]
    until(lambda: all(word in host.journal("mnt-db.mount") for word in words), "the journal")
    host.run("systemctl", "stop", "mnt-db.mount")
    until(lambda: daemons(host) == [], "the end of all daemons")


def test_fstab_for_a_user(host: Machine, fstab):
    """With the option "user" everybody may, by way of fusermount3."""
    user = ["setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups"]
    host.run("install", "-d", "-o", "www-data", "/var/www-data/mnt")
    # on some hosts only root may use the device, and it is theirs: this one is not
    host.shell("mknod -m 666 /root/fuse c 10 229 && mount --bind /root/fuse /dev/fuse")
    try:
        fstab(f"secret/db /var/www-data/mnt fuse.secretfs {OPTIONS},noauto,user 0 0")
        host.run(*user, "mount", "/var/www-data/mnt")
        assert host.output(*user, "cat", "/var/www-data/mnt/password") == "dummy-1"
        host.run(*user, "umount", "/var/www-data/mnt")
        until(lambda: daemons(host) == [], "the end of all that has the device open")
    finally:
        host.shell("umount /dev/fuse; rm /root/fuse")


def test_automount_waits_for_content(host: Machine, fstab):
    """The first one who looks waits for the mount, and sees content."""
    fstab(f"secret/db /mnt/db fuse.secretfs {OPTIONS},noauto,x-systemd.automount 0 0")
    done = host.run("systemctl", "start", "mnt-db.automount", check=False)
    if "not supported" in done.stderr:
        pytest.skip("automounts do not work in this container: it has no /dev/autofs")
    assert done.returncode == 0, done.stderr
    assert daemons(host) == []
    assert host.read("/mnt/db/password") == "dummy-1"


def test_mount_unit(host: Machine):
    host.write(
        "/etc/systemd/system/mnt-db.mount",
        "[Mount]\nWhat=secret/db\nWhere=/mnt/db\nType=fuse.secretfs\n"
        f"Options={OPTIONS}\n[Install]\nWantedBy=multi-user.target\n",
    )
    try:
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "start", "mnt-db.mount")
        assert host.read("/mnt/db/password") == "dummy-1"
        host.run("systemctl", "stop", "mnt-db.mount")
        assert not host.is_active("mnt-db.mount")
        assert host.failed_units() == ""
    finally:
        host.run("systemctl", "stop", "mnt-db.mount", check=False)
        host.path("/etc/systemd/system/mnt-db.mount").unlink()
        host.run("systemctl", "daemon-reload")


# ---- secretfs@.service


@pytest.fixture
def service(host: Machine) -> Machine:
    put_secret(host, "service", "dummy-1")
    host.write("/etc/secretfs/app.env", ENVIRONMENT)
    host.write(f"/etc/systemd/system/{SERVICE}.d/test.conf", "[Service]\nWatchdogSec=2s\n")
    host.run("systemctl", "daemon-reload")
    yield host
    host.run("systemctl", "stop", SERVICE, check=False)
    host.run("systemctl", "reset-failed", SERVICE, check=False)
    host.run("rm", "-r", f"/etc/systemd/system/{SERVICE}.d", "/etc/secretfs/app.env")
    host.run("systemctl", "daemon-reload")


def main_pid(host: Machine, unit: str) -> int:
    return int(host.property(unit, "MainPID"))


def test_service_is_started_when_readable(service: Machine):
    service.run("systemctl", "start", SERVICE)
    assert service.read("/run/app/secrets/password") == "dummy-1"
    assert service.output("stat", "-L", "-c", "%a", "/run/app/secrets/password") == "400"
    assert service.property(SERVICE, "StatusText") == "secret/default/service"
    put_secret(service, "service", "dummy-2")
    service.wait_read("/run/app/secrets/password", "dummy-2")
    service.run("systemctl", "stop", SERVICE)
    assert service.mounts_at("/run/app/secrets") == []
    assert service.property(SERVICE, "Result") == "success"


def test_service_logs_to_the_journal(service: Machine):
    """With levels and fields that journalctl can look for, and without another time."""
    service.run("systemctl", "start", SERVICE)
    look = ["journalctl", "-o", "json", "-u", SERVICE, "SECRETFS_OBJECT=secret/default/service"]
    until(lambda: service.output(*look), "an entry in the journal")
    entry = json.loads(service.output(*look).splitlines()[-1])
    assert entry["PRIORITY"] == "6"
    assert entry["MESSAGE"].startswith("published object=")
    assert entry["SECRETFS_RESOURCE_VERSION"]


def test_service_with_other_owners(service: Machine):
    """The rights that are left are enough for files that are others', and for a group's."""
    options = "--manifests=/manifests --uid=33 --fs-group=4711"
    text = "".join(line for line in ENVIRONMENT.splitlines(True) if "OPTIONS" not in line)
    service.write("/etc/secretfs/app.env", f"{text}SECRETFS_OPTIONS={options}\n")
    service.run("systemctl", "start", SERVICE)
    for password in ("dummy-2", "dummy-3"):
        put_secret(service, "service", password)
        service.wait_read("/run/app/secrets/password", password)
    stat = service.output("stat", "-L", "-c", "%u:%g", "/run/app/secrets/password")
    assert stat == "33:4711"
    assert service.output("stat", "-c", "%g %a", "/run/app/secrets") == "4711 3777"


def test_service_and_a_file_mounted_alone(service: Machine):
    """Who has just the file sees updates, if these are in place."""
    options = "--manifests=/manifests --updates=in-place"
    text = "".join(line for line in ENVIRONMENT.splitlines(True) if "OPTIONS" not in line)
    service.write("/etc/secretfs/app.env", f"{text}SECRETFS_OPTIONS={options}\n")
    service.run("systemctl", "start", SERVICE)
    with file_alone(service, "/run/app/secrets/password") as alone:
        put_secret(service, "service", "dummy-2")
        service.wait_read(alone, "dummy-2")


def test_service_waits_for_its_object(service: Machine):
    """Not active before there is something to read."""
    service.path("/manifests/service.yaml").unlink()
    service.run("systemctl", "start", "--no-block", SERVICE)
    until(lambda: main_pid(service, SERVICE) != 0, "the start of the daemon")
    assert service.property(SERVICE, "ActiveState") == "activating"
    put_secret(service, "service", "dummy-3")
    until(lambda: service.is_active(SERVICE), "readiness")
    assert service.read("/run/app/secrets/password") == "dummy-3"


def served_by(host: Machine) -> int:
    """The process id of what serves the mount; 0 while no process does."""
    done = host.run("secretfs", "status", "-o", "json", "/run/app/secrets", check=False)
    return int(json.loads(done.stdout)["pid"]) if done.returncode == 0 else 0


def wait_for_another(host: Machine, pid: int) -> None:
    until(lambda: served_by(host) not in (0, pid), "another process to serve the mount")


@pytest.mark.parametrize("number", ["STOP", "KILL"])
def test_service_survives_its_process(service: Machine, number: str):
    """One that hangs or is killed is replaced by the keeper; the unit and the mount remain."""
    service.write(
        f"/etc/systemd/system/{SERVICE}.d/test.conf",
        "[Service]\nExecStart=\nExecStart=/usr/bin/secretfs-keeper --watchdog=2s -- /usr/bin/secretfs "
        "mount --foreground $SECRETFS_OPTIONS $SECRETFS_OBJECT ${SECRETFS_TARGET}\n",
    )
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "start", SERVICE)
    keeper, pid = main_pid(service, SERVICE), served_by(service)
    socket = service.output("ls", "-i", "/run/secretfs")
    service.run("kill", f"-{number}", str(pid))
    assert service.read("/run/app/secrets/password") == "dummy-1"
    put_secret(service, "service", "dummy-2")
    wait_for_another(service, pid)
    service.wait_read("/run/app/secrets/password", "dummy-2")
    assert service.output("ls", "-i", "/run/secretfs") == socket  # the status socket is the same one
    assert main_pid(service, SERVICE) == keeper
    assert service.property(SERVICE, "NRestarts") == "0"


def test_reload_of_the_service_hands_over(service: Machine):
    service.run("systemctl", "start", SERVICE)
    keeper, pid = main_pid(service, SERVICE), served_by(service)
    generation = service.output("readlink", "/run/app/secrets/..data")
    service.run("systemctl", "reload", SERVICE)
    wait_for_another(service, pid)
    assert main_pid(service, SERVICE) == keeper
    assert service.output("readlink", "/run/app/secrets/..data") == generation
    assert service.read("/run/app/secrets/password") == "dummy-1"


def test_an_upgrade_of_the_package_hands_over(service: Machine):
    service.run("systemctl", "start", SERVICE)
    keeper, pid = main_pid(service, SERVICE), served_by(service)
    service.run("dpkg", "-i", "/root/secretfs.deb")
    wait_for_another(service, pid)
    assert main_pid(service, SERVICE) == keeper
    assert service.read("/run/app/secrets/password") == "dummy-1"


def test_restart_and_stop_of_the_service_unmount(service: Machine):
    service.run("systemctl", "start", SERVICE)
    keeper = main_pid(service, SERVICE)
    service.run("systemctl", "restart", SERVICE)
    assert main_pid(service, SERVICE) != keeper
    assert service.mounts_at("/run/app/secrets") == ["fuse.secretfs"]
    assert service.read("/run/app/secrets/password") == "dummy-1"
    service.run("systemctl", "stop", SERVICE)
    assert service.mounts_at("/run/app/secrets") == []


def test_an_oom_kill_does_not_stop_the_service(service: Machine):
    """systemd would stop the keeper with the process that was killed for its memory."""
    assert service.property(SERVICE, "OOMPolicy") == "continue"


@pytest.mark.parametrize("number, result", [("STOP", "watchdog"), ("KILL", "signal")])
def test_service_is_restarted(service: Machine, number: str, result: str):
    """A keeper that hangs or is killed is replaced, and its dead mount with it."""
    service.run("systemctl", "start", SERVICE)
    first = main_pid(service, SERVICE)
    service.run("kill", f"-{number}", str(first))
    until(lambda: main_pid(service, SERVICE) not in (0, first), "another daemon")
    until(lambda: service.is_active(SERVICE), "readiness")
    service.wait_read("/run/app/secrets/password", "dummy-1")
    assert service.mounts_at("/run/app/secrets") == ["fuse.secretfs"]
    assert f"result '{result}'" in service.journal(SERVICE)


def test_service_gives_up_on_nonsense(service: Machine):
    """There is no sense in trying a wrong command line again and again."""
    service.write("/etc/secretfs/app.env", ENVIRONMENT.replace("secret/service", "service"))
    service.run("systemctl", "start", SERVICE, check=False)
    until(lambda: service.property(SERVICE, "ActiveState") == "failed", "failure")
    assert service.property(SERVICE, "NRestarts") == "0"
    assert 'invalid object "service"' in service.journal(SERVICE)


def test_fstab_and_enabled_service_are_mounted_at_boot(service: Machine, fstab):
    """What fstab says and what is enabled is there once the machine is up."""
    fstab(f"secret/db /mnt/db fuse.secretfs {OPTIONS},nofail 0 0")
    service.run("systemctl", "enable", SERVICE)
    service.reboot()
    until(lambda: service.is_active(SERVICE), "the service")
    until(lambda: service.is_active("mnt-db.mount"), "the mount")
    assert service.read("/run/app/secrets/password") == "dummy-1"
    assert service.read("/mnt/db/password") == "dummy-1"
    assert service.failed_units() == ""
    service.run("systemctl", "disable", SERVICE)
