"""What each thread of the daemon can still do: capabilities, system calls, new privileges.

docs/security.md has the table that this checks.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from lib import program
from lib.cell import Cell
from lib.node_daemon import NODE, Node, NodeMaker
from lib.pods import put_adopted
from lib.sources import Api, Manifests
from lib.volume import VolumeMaker
from lib.waiting import until

CAPABILITIES = {
    "chown": 0,
    "dac_override": 1,
    "dac_read_search": 2,
    "fowner": 3,
    "fsetid": 4,
    "sys_admin": 21,
}
MOUNTING = sum(1 << number for number in CAPABILITIES.values())
KILL = 1 << 5
RUNNER = 1 << 7 | 1 << 6 | KILL  # setuid, setgid
IPC_LOCK = 1 << 14
FILTERED = 2  # SECCOMP_MODE_FILTER

# How many filters each thread has: of the process, of the thread that started it, and its own.
FILTERS = {
    "secretfs": 2,  # the event loop: it parses gRPC, HTTP, JSON and YAML
    "privileged": 2,  # it mounts for the loop and opens files for it
    "publisher": 3,  # it changes the tree and mounts volumes on targets
    "fuse-worker": 3,
    "notifier": 3,
    "mount-monitor": 3,
    "consumers": 3,
    "audit": 3,
    "key-maker": 3,
    "signaller": 3,
    "runner": 2,
}
# What each kind of thread has, if the process has it.
HELD = {"privileged": MOUNTING | KILL, "publisher": MOUNTING, "signaller": KILL, "runner": RUNNER}


def threads(pid: int) -> dict[str, list[dict[str, str]]]:
    """The fields of each thread's status, by name."""
    found: dict[str, list[dict[str, str]]] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text().splitlines()
        fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if fields["Name"] == "secretfs" and int(task.name) != pid and program.has_sanitizer():
            continue  # ThreadSanitizer's own, which it starts before main()
        found.setdefault(fields["Name"], []).append(fields)
    return found


def is_restricted(name: str, thread: dict[str, str]) -> bool:
    """The filter comes last."""
    if int(thread["Seccomp"]) != FILTERED:
        return False
    return int(thread["Seccomp_filters"]) - own_filters() == FILTERS[name]


def wait_threads(pid: int, *names: str) -> dict[str, list[dict[str, str]]]:
    """Once the named threads have restricted themselves."""

    def settled() -> bool:
        found = threads(pid)
        return all(
            name in found and all(is_restricted(name, thread) for thread in found[name])
            for name in names
        )

    until(settled, f"threads {names}, restricted")
    return threads(pid)


def sets(thread: dict[str, str]) -> tuple[int, ...]:
    return tuple(int(thread[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"))


def for_memory(pid: int) -> int:
    """Locking memory takes a capability where the limit is finite, which only root can raise."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    is_unlimited = re.search(r"^Max locked memory +unlimited", limits, re.MULTILINE)
    return 0 if is_unlimited else IPC_LOCK


def own_filters() -> int:
    """Those that the tests run with, as in a container."""
    found = re.search(r"^Seccomp_filters:\s+(\d+)", Path("/proc/self/status").read_text(), re.M)
    return int(found[1]) if found else 0


OTHER_USER = 65534


def own(directory: Path, user: int) -> None:
    """Only that user, without a capability, can enter it and read what is in it."""
    for path in (*directory.rglob("*"), directory):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.chown(path, user, user)


def check_node(node: Node, *workers: str) -> None:
    check_root(node.pid, "notifier", "mount-monitor", *workers, process=MOUNTING | KILL)


def check_root(pid: int, *workers: str, process: int = MOUNTING) -> None:
    """Each thread can still do what its name says, and no more. A set that is empty stays so."""
    found = wait_threads(pid, "secretfs", "privileged", "publisher", "fuse-worker", *workers)
    assert set(found) == {"secretfs", "privileged", "publisher", "fuse-worker", *workers}
    memory = for_memory(pid)
    for name, all_of_name in found.items():
        for thread in all_of_name:
            held = HELD.get(name, 0) & process | memory
            assert sets(thread) == (held, held, 0, 0), name
            assert int(thread["CapBnd"], 16) == process | memory, name
            assert thread["NoNewPrivs"] == "1", name


def test_threads_of_a_node_with_commands(
    start_node: NodeMaker, manifests: Manifests, area: Path
) -> None:
    """What runs the administrator's commands has the rights to become another user, and no other thread."""
    commands = {"commands": [{"name": "check", "command": ["/bin/true"]}]}
    (area / "node.yaml").write_text(json.dumps(commands))
    manifests.put_secret({"key": b"dummy-1"})
    node = start_node(f"--config={area / 'node.yaml'}", *manifests.arguments).wait_ready()
    node.publish(node.pod(attributes={"secretName": "app", "check": "command:check"}))
    workers = ("notifier", "mount-monitor", "runner")
    check_root(node.pid, *workers, process=MOUNTING | RUNNER)


def test_threads_of_a_node(node: Node) -> None:
    """After its start, after a publish, and after an unpublish."""
    check_node(node)
    pod = node.pod()
    node.publish(pod)
    check_node(node)
    node.unpublish(pod)
    check_node(node)


def test_thread_that_signals(node: Node, manifests: Manifests) -> None:
    volume = node.publish(node.pod(attributes={"secretName": "app", "onUpdate": "signal:HUP"}))
    manifests.put_secret({"a": b"dummy-2"})
    until(lambda: (volume.target / "a").exists(), "the update")
    check_node(node, "signaller")


def test_thread_that_makes_keys(daemon: Node, api: Api) -> None:
    api.server.put_service_account("default", "default")
    api.server.put_node(NODE, {})
    certificate = {"signerName": "example.com/a", "keyType": "ED25519", "keyPath": "key"}
    pod = daemon.pod(attributes={"sources": json.dumps([{"podCertificate": certificate}])})
    put_adopted(api, pod)
    daemon.publish(pod)
    check_node(daemon, "key-maker")


def test_threads_of_a_mount(mount: VolumeMaker, manifests: Manifests) -> None:
    manifests.put_secret({"a": b"dummy-1"})
    volume = mount(manifests)
    check_root(volume.pid, "notifier")
    manifests.put_secret({"a": b"dummy-2"})
    volume.wait_content({"a": b"dummy-2"})
    check_root(volume.pid, "notifier")


def test_manifests_of_another_user(start_mount: VolumeMaker, area: Path) -> None:
    """The loop cannot open them; the privileged thread does, and watches them."""
    source = Manifests(area / "manifests")
    source.put_secret({"a": b"dummy-1"})
    own(area / "manifests", OTHER_USER)
    (area / "volume").mkdir()
    volume = start_mount(*source.arguments, "secret/app", path=area / "volume").wait_ready()
    assert volume.read("a") == b"dummy-1"
    source.put_secret({"a": b"dummy-2"})
    own(area / "manifests", OTHER_USER)
    volume.wait_content({"a": b"dummy-2"})


def test_kubeconfig_of_another_user(start_mount: VolumeMaker, http1: Api, area: Path) -> None:
    """As with sudo: it is in a home that only its owner can enter."""
    http1.put_secret({"a": b"dummy-1"})
    home = area / "home-of-another"
    home.mkdir()
    kubeconfig = home / "config"
    kubeconfig.write_text(Path(http1.kubeconfig()).read_text())
    own(home, OTHER_USER)
    (area / "volume").mkdir()
    volume = start_mount("--kubeconfig", str(kubeconfig), "secret/app", path=area / "volume")
    assert volume.wait_ready().read("a") == b"dummy-1"


def test_threads_of_consumers(mount: VolumeMaker, manifests: Manifests, area: Path) -> None:
    manifests.put_secret({"a": b"dummy-1"})
    options = ("--consumers", f"--audit={area / 'audit.log'}")
    check_root(mount(manifests, *options).pid, "notifier", "consumers", "audit")


def test_threads_of_a_users_mount(cell: Cell, start_mount: VolumeMaker, area: Path) -> None:
    """fusermount3 is set-user-ID: one thread runs it and may gain privileges; no other one."""
    source = Manifests(area / "manifests")
    source.put_secret({"a": b"dummy-1"})
    volume = cell.start_mount(start_mount, *source.arguments).wait_ready()

    def settled() -> bool:
        found = threads(volume.pid)
        return all(
            thread["NoNewPrivs"] == "1" and int(thread["Seccomp"]) == FILTERED
            for name in confined
            for thread in found[name]
        )

    confined = {"secretfs", "publisher", "fuse-worker", "notifier"}
    until(settled, "the threads, restricted")
    assert set(threads(volume.pid)) == {*confined, "privileged"}
    for all_of_name in threads(volume.pid).values():
        assert all(sets(thread) == (0, 0, 0, 0) for thread in all_of_name)


def test_credential_plugin_of_a_root_mount(
    start_mount: VolumeMaker, http1: Api, area: Path
) -> None:
    """It runs, without capabilities, with the loop's filters, and no new privileges."""
    http1.put_secret({"a": b"dummy-1"})
    seen = area / "status"
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "kind": "ExecCredential",
        "status": {"token": http1.server.admin_token},
    }
    script = f"cat /proc/self/status > {seen}; echo '{json.dumps(credential)}'"
    (area / "volume").mkdir()
    kubeconfig = http1.kubeconfig(auth="exec", exec_command=("/bin/sh", "-c", script))
    volume = start_mount("--kubeconfig", kubeconfig, "secret/app", path=area / "volume")
    volume.wait_ready()
    assert volume.read("a") == b"dummy-1"
    fields = dict(line.split(":\t", 1) for line in seen.read_text().splitlines())
    memory = for_memory(volume.pid)
    assert sets(fields) == (memory, memory, 0, 0)
    assert fields["NoNewPrivs"] == "1"
    assert int(fields["Seccomp"]) == FILTERED
