"""One `secretfs node`: started, spoken to as a kubelet does, ended without leaving anything."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any, Callable, Sequence

from lib import program
from lib.daemon_process import DaemonProcess
from lib.grpc_client import Connection, call
from lib.kubelet import OK, PROBE, PodVolume
from lib.mountinfo import all_mounts, mounts_at
from lib.volume import unmount
from lib.waiting import until

DRIVER = "csi.secretfs.io"
NODE = "node-0"


class Node(DaemonProcess):
    """A daemon with a kubelet root and a run directory below `area`.

    prefix: a command that runs another one, to start the program in another environment.

    Two of them may share both, one after the other, as a daemon and the one that comes after it do.
    """

    def __init__(
        self,
        area: Path,
        arguments: Sequence[str],
        *,
        driver: str = DRIVER,
        run: str = "run",
        log: Path,
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.root = area / "kubelet"
        self.run_dir = area / run
        self.endpoint = self.root / "plugins" / driver / "csi.sock"
        command = [
            *prefix,
            str(program.binary()),
            "node",
            f"--kubelet-root={self.root}",
            f"--run-dir={self.run_dir}",
            f"--volumes-dir={area / 'volumes.d'}",
            f"--driver-name={driver}",
            f"--node-id={NODE}",
            "--metrics-bind-address=0",
            *arguments,
        ]
        (self.root / "pods").mkdir(parents=True, exist_ok=True)
        self._earlier = {(mount.mount_id, mount.path) for mount in self.mounts()}
        super().__init__(command, home=area / "home", log=log, env=env)

    # ---- life

    def wait_ready(self) -> Node:
        return self.wait_until(" INFO serving ", "the node")

    def kill(self) -> None:
        """SIGKILL: leaves dead mounts behind."""
        self.expected_exit = -signal.SIGKILL
        self.signal(signal.SIGKILL)
        self.wait_end()

    def kill_and_follow(self, start: Callable[[], Node]) -> Node:
        """SIGKILL, and the next daemon: a killed one may wait for an answer that only that one gives."""
        self.expected_exit = -signal.SIGKILL
        self.signal(signal.SIGKILL)
        follower = start()
        self.wait_end()
        return follower

    def finish(self) -> None:
        """Ends it if it still runs, and checks its leftovers and its log."""
        try:
            self.end()
            if self.exit_status == 0:
                left = [m for m in self.mounts() if (m.mount_id, m.path) not in self._earlier]
                assert left == [], f"still mounted:\n{self.log()}"
            self.check_log()
        finally:
            self._end()

    def _end(self) -> None:
        if self.exit_status is None:
            self._process.kill()
            self._process.wait()

    def unmount_all(self) -> None:
        """What a killed one left: of all daemons of the area, so they have to have ended."""
        for mount in reversed(self.mounts()):
            unmount(Path(mount.path), lazily=True)

    # ---- what is visible of it

    def mounts(self) -> list[Any]:
        """Its file system and its mounts."""
        area = f"{self.root.parent}/"
        return [m for m in all_mounts() if m.path.startswith(area) and m.kind == "fuse.secretfs"]

    def directories(self) -> set[str]:
        """Of the volumes that it has, shown or not."""
        return set(os.listdir(self.run_dir / "fs"))

    def is_ready(self) -> bool:
        answer = call(self.endpoint, PROBE)
        return answer.code == OK and answer.message == b"\x0a\x02\x08\x01"

    def status(self) -> dict[str, Any]:
        """What it tells of itself; its volumes are under "volumes", by their targets."""
        command = [program.binary(), "status", "-o", "json"]
        answer = json.loads(program.run(command, home=self.home).stdout)
        (process,) = [p for p in answer["processes"] if p["pid"] == self.pid]
        volumes = {i["mountpoint"]: i for i in answer["items"] if i.get("pid") == self.pid}
        return {**process, "volumes": volumes}

    # ---- the kubelet's side

    def pod(self, number: int = 0, secret: str = "app", **fields: Any) -> PodVolume:
        """A pod's volume that shows a secret, unless its attributes say something else."""
        fields.setdefault("attributes", {"secretName": secret})
        fields.setdefault("namespace", "default")
        uid = f"11111111-2222-3333-4444-{number:012d}"
        return PodVolume(root=self.root, pod=f"web-{number}", uid=uid, **fields)

    def publish(self, volume: PodVolume) -> PodVolume:
        """A publish that has to be answered with OK."""
        answer = volume.publish(self.endpoint)
        assert answer.code == OK, f"{answer.code}: {answer.text}\n{self.log()}"
        return volume

    def start_publish(self, volume: PodVolume, **headers: str) -> tuple[Connection, int]:
        """A publish that is not waited for."""
        volume.target.parent.mkdir(parents=True, exist_ok=True)
        return volume.start_publish(self.endpoint, **headers)

    def unpublish(self, volume: PodVolume) -> None:
        answer = volume.unpublish(self.endpoint)
        assert answer.code == OK, f"{answer.code}: {answer.text}\n{self.log()}"


class ContainerNode(Node):
    """One in a PID namespace of its own, as in a DaemonSet's pod without hostPID.

    prefix: has to run the daemon as its only child, which unshare(1) does with --pid --fork.
    """

    @property
    def pid(self) -> int:
        return 1

    def signal(self, number: int) -> None:
        """To the daemon, as unshare(1) passes none on."""
        outer = self._process.pid
        (child,) = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        os.kill(int(child), number)


class KeptNode(Node):
    """One under `secretfs-keeper`, which starts the next daemon when one is killed."""

    keeper_options = ("--backoff-max", "100ms")

    def __init__(self, area: Path, arguments: Sequence[str], **options: Any) -> None:
        keeper = program.binary().with_name("secretfs-keeper")
        super().__init__(area, arguments, prefix=[str(keeper), *self.keeper_options, "--"], **options)

    @property
    def pid(self) -> int:
        """Of the daemon."""
        return int(re.findall(r"started .* as process (\d+) with", self.log())[-1])

    def kill_daemon(self) -> None:
        """SIGKILL; returns when the next one serves."""
        n_serving = self.n_serving()
        os.kill(self.pid, signal.SIGKILL)
        until(lambda: self.n_serving() > n_serving, "the next daemon")

    def hand_over(self) -> None:
        """The daemon ends in order, and the next one follows."""
        n_serving = self.n_serving()
        self.signal(signal.SIGUSR2)
        until(lambda: self.n_serving() > n_serving, "the next daemon")

    def n_serving(self) -> int:
        """How many daemons have served so far."""
        return self.log().count(" INFO serving ")


class CheckedNode(KeptNode):
    """One whose next process proves itself before a hand-over."""

    keeper_options = (*KeptNode.keeper_options, "--check")

    def request_hand_over(self) -> None:
        """Which the next process may refuse."""
        self.signal(signal.SIGHUP)


def is_shown(volume: PodVolume) -> bool:
    return len(mounts_at(volume.target)) == 1


def read(volume: PodVolume, key: str) -> bytes:
    return (volume.target / key).read_bytes()


def keys(volume: PodVolume) -> set[str]:
    """As a consumer enumerates them (A9)."""
    return {name for name in os.listdir(volume.target) if not name.startswith("..")}

NodeMaker = Callable[..., Node]
