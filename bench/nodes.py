"""Measures `secretfs node` with many volumes.

The kubelet is a program that calls the CSI socket as a kubelet does and watches the volumes as pods
would; the API server is one that changes all its Secrets at once. So what is measured is secretfs,
and neither a kubelet nor an etcd. Each volume has a Secret of its own, of ten keys.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import processes
from processes import Failed, Obedient, run
from results import Reach, Spread, Table, mebibytes, milliseconds

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.append(str(TESTS))

from apiservers import write_kubeconfig  # noqa: E402
from lib.devserver.pki import Authority  # noqa: E402

DRIVER = "csi.secretfs.io"
NODE = "bench"
LOG = "secretfs.log"
VALUE_BYTES = 100
PARALLEL_CALLS = 32  # how many pods a kubelet starts at a time, more or less
SAMPLE = 200  # volumes of a second pod each, to see what one costs without the API
STORMS = 5
START_SECONDS = 60.0
SETTLE_SECONDS = 2.0  # what was replaced is removed a moment later
VOLUMES_PER_POD = 20  # a node has some hundred pods, and the daemon knows 2,048

# The goals for 1,000 volumes.
REACH_VOLUMES = 1000
MEMORY_REACH_KIB = 48 * 1024
CONNECTIONS_REACH = 10
STORM_REACH_SECONDS = 1.0
PUBLISH_REACH_SECONDS = 5e-3


@dataclass(frozen=True)
class NodeSize:
    volumes: tuple[int, ...]
    idle_seconds: float


FULL = NodeSize(volumes=(10, 100, 1000, 5000), idle_seconds=60.0)
QUICK = NodeSize(volumes=(10, 50), idle_seconds=2.0)


@dataclass
class Measured:
    """What there was to see with so many volumes; times in seconds."""

    volumes: int
    all_published: float
    publishes: Spread
    publishes_without_api: Spread
    resident_kib: int
    anonymous_kib: int
    connections: int
    storms: list[Spread]  # of each storm, until each volume was read again
    storm_cpu: Spread  # of the daemon, with the removal of old generations
    storm_behind: Spread  # of one that comes when the one before it is just visible
    idle_seconds: float
    idle_cpu: float
    unpublishes: Spread

    @property
    def storm(self) -> Spread:
        """When all volumes of a storm were visible, storm by storm."""
        return Spread([storm.max for storm in self.storms])

    @property
    def propagation(self) -> Spread:
        return Spread([value for storm in self.storms for value in storm.values])


class NodeRun:
    """One daemon with so many volumes, from its start to its end."""

    def __init__(self, secretfs: Path, programs: Path, directory: Path, volumes: int) -> None:
        self._secretfs = secretfs
        self._programs = programs
        self._directory = directory
        self._volumes = volumes
        self._root = directory / "kubelet"
        self._log = directory / LOG
        directory.mkdir()
        (self._root / "pods").mkdir(parents=True)

    def measure(self, idle_seconds: float) -> Measured:
        server = self._start_server()
        daemon = self._start_daemon(server)
        command: list[object] = [self._programs / "kubelet", "--socket", socket_of(self._root)]
        command += ["--root", self._root, "--volumes-per-pod", VOLUMES_PER_POD]
        kubelet = Obedient(command, self._directory / "kubelet.log")
        try:
            return self._measure(server, kubelet, daemon, idle_seconds)
        except BaseException:
            if self._log.exists():
                print(processes.tail(self._log)[-3000:], file=sys.stderr)
            raise
        finally:
            kubelet.end()
            processes.stop(daemon)
            server.end()
            processes.unmount_below(self._directory)

    def _measure(
        self,
        server: Obedient,
        kubelet: Obedient,
        daemon: subprocess.Popen[bytes],
        idle_seconds: float,
    ) -> Measured:
        n, sample = self._volumes, min(self._volumes, SAMPLE)
        self._await_pods(daemon.pid)
        begin = time.monotonic()
        publishes = seconds_of(kubelet, f"publish a {n} {PARALLEL_CALLS}")
        all_published = time.monotonic() - begin
        without_api = seconds_of(kubelet, f"publish b {sample} 1")
        seconds_of(kubelet, f"unpublish b {sample} 1")
        self._await_watches(server)
        storms, storm_cpu = [], []
        for _ in range(STORMS):
            time.sleep(SETTLE_SECONDS)
            cpu = _cpu_seconds(daemon.pid)
            storms.append(self._storm(server, kubelet))
            time.sleep(SETTLE_SECONDS)
            storm_cpu.append(_cpu_seconds(daemon.pid) - cpu)
        storm_behind = self._storm(server, kubelet)
        stats = _stats(server)
        if stats["watches"] != n or stats["pods"] != 1:
            raise Failed(f"{stats} for {n} volumes")
        time.sleep(SETTLE_SECONDS)
        resident, anonymous = _memory(daemon.pid)
        cpu = _cpu_seconds(daemon.pid)
        time.sleep(idle_seconds)
        cpu = _cpu_seconds(daemon.pid) - cpu
        unpublishes = seconds_of(kubelet, f"unpublish a {n} {PARALLEL_CALLS}")
        if daemon.poll() is not None:
            raise Failed(f"secretfs node ended:\n{processes.tail(self._log)}")
        return Measured(
            volumes=n,
            all_published=all_published,
            publishes=publishes,
            publishes_without_api=without_api,
            resident_kib=resident,
            anonymous_kib=anonymous,
            connections=stats["connections"],
            storms=storms,
            storm_cpu=Spread(storm_cpu),
            storm_behind=storm_behind,
            idle_seconds=idle_seconds,
            idle_cpu=cpu,
            unpublishes=unpublishes,
        )

    def _await_pods(self, pid: int) -> None:
        """Until the daemon knows all pods, so that it asks for none: two sets of the kubelet's."""
        pods = 2 * math.ceil(self._volumes / VOLUMES_PER_POD)
        deadline = time.monotonic() + START_SECONDS
        while status(self._secretfs, pid)["pods"]["known"] < pods:
            if time.monotonic() > deadline:
                raise Failed(f"{pods} pods do not become known")
            time.sleep(0.01)

    def _await_watches(self, server: Obedient) -> None:
        """Watches come after lists in the daemon's rate limit: some thousand take a while."""
        deadline = time.monotonic() + START_SECONDS
        while _stats(server)["watches"] < self._volumes:
            if time.monotonic() > deadline:
                raise Failed(f"{_stats(server)} for {self._volumes} volumes")
            time.sleep(0.1)

    def _storm(self, server: Obedient, kubelet: Obedient) -> Spread:
        """Every Secret changes at once. The kubelet's program waits before that happens."""
        version = int(server.ask("version").split()[1]) + 1
        kubelet.tell(f"await {version}")
        begin_ns = int(server.ask("storm").split()[2])
        return Spread([(int(line) - begin_ns) / 1e9 for line in kubelet.hear_all()])

    def _start_server(self) -> Obedient:
        pair = Authority(self._directory / "pki", name="bench-ca").server_pair()
        command: list[object] = [self._programs / "apiserver", "--certificate", pair.certificate]
        command += ["--key", pair.key, "--secrets", self._volumes, "--value-bytes", VALUE_BYTES]
        command += ["--volumes-per-pod", VOLUMES_PER_POD]
        return Obedient(command, self._directory / "apiserver.log")

    def _start_daemon(self, server: Obedient, *, kept: bool = False) -> subprocess.Popen[bytes]:
        port = int(server.hear().split()[1])
        ca = self._directory / "pki" / "ca.crt"
        url, path = f"https://127.0.0.1:{port}", self._directory / "kubeconfig"
        kubeconfig = write_kubeconfig(path, url, ca, "dummy")
        return start_daemon(self._secretfs, self._directory, self._root, kubeconfig, kept=kept)


def start_daemon(
    secretfs: Path,
    directory: Path,
    root: Path,
    kubeconfig: Path,
    metrics: str = "0",
    *,
    kept: bool = False,
) -> subprocess.Popen[bytes]:
    """A ready `secretfs node` that keeps its files in a directory.

    root: the kubelet's.
    kept: under the keeper, which is the process that is returned; it starts the next one at once, as
        after a single crash.
    """
    log, socket = directory / LOG, socket_of(root)
    keeper = [secretfs.with_name("secretfs-keeper"), "--backoff-max=1ms", "--"]
    command: list[object] = [*keeper] if kept else []
    command += [secretfs, "node", "--rights=daemon", f"--node-id={NODE}"]
    command += [f"--kubeconfig={kubeconfig}", f"--kubelet-root={root}"]
    command += [f"--driver-name={DRIVER}", f"--run-dir={directory / 'run'}"]
    command += [f"--volumes-dir={directory / 'none'}", f"--metrics-bind-address={metrics}"]
    daemon = processes.start(command, log)
    deadline = time.monotonic() + START_SECONDS
    while not socket.is_socket():
        if daemon.poll() is not None or time.monotonic() > deadline:
            processes.stop(daemon)
            raise Failed(f"secretfs node does not start:\n{processes.tail(log)}")
        time.sleep(0.01)
    return daemon


def socket_of(root: Path) -> Path:
    return root / "plugins" / DRIVER / "csi.sock"


def status(secretfs: Path, pid: int) -> Any:
    """What a daemon tells of itself, with its volumes as "items"."""
    answer = json.loads(run([secretfs, "status", "-o", "json"]))
    (process,) = [process for process in answer["processes"] if process["pid"] == pid]
    return {**process, "items": [item for item in answer["items"] if item.get("pid") == pid]}


def _stats(server: Obedient) -> dict[str, int]:
    pairs = (word.split("=") for word in server.ask("stats").split()[1:])
    return {name: int(value) for name, value in pairs}


def seconds_of(kubelet: Obedient, command: str) -> Spread:
    kubelet.tell(command)
    return Spread([int(line) / 1e9 for line in kubelet.hear_all()])


def _memory(pid: int) -> tuple[int, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return int(status["VmRSS"].split()[0]), int(status["RssAnon"].split()[0])


def _cpu_seconds(pid: int) -> float:
    """Of all threads, also of those that have ended, to the nanosecond; see clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


def measure(secretfs: Path, programs: Path, size: NodeSize) -> Table:
    """The rows of all sizes."""
    # not in /tmp: the daemon watches the directories on the way to its kubeconfig, and would be
    # woken up by each process that makes files there
    directory = Path(tempfile.mkdtemp(prefix="secretfs-bench-", dir="/var/tmp"))
    try:
        return _measure(secretfs, programs, directory, size)
    finally:
        shutil.rmtree(directory)


def _measure(secretfs: Path, programs: Path, directory: Path, size: NodeSize) -> Table:
    columns = [f"{n:,}" for n in size.volumes]
    title = "A node's volumes, one Secret of ten keys each, by their number"
    table = Table("node", title, columns)
    runs = [
        NodeRun(secretfs, programs, directory / f"node-{n}", n).measure(
            size.idle_seconds if n in (REACH_VOLUMES, size.volumes[0]) else 0.0
        )
        for n in size.volumes
    ]
    _add_rows(table, runs)
    table.notes.append(
        f"{PARALLEL_CALLS} calls at a time, each on a connection of its own; values have "
        f"{VALUE_BYTES} bytes;\n   a storm changes every Secret at once, {STORMS} times, and a "
        "volume is visible when its new bytes\n   were read after inotify; publishing without the "
        f"API is for {SAMPLE} more volumes of known\n   Secrets, one call after another"
    )
    return table


def _add_rows(table: Table, runs: list[Measured]) -> None:
    at_reach = [run for run in runs if run.volumes == REACH_VOLUMES]

    def add(name: str, cells: list[str], values: list[float | None], *reaches: Reach) -> None:
        by_volumes = {str(run.volumes): value for run, value in zip(runs, values)}
        table.add(name, cells, {"byVolumes": by_volumes}, *reaches)

    def seconds(name: str, values: list[float], limit: float | None = None) -> None:
        reaches = []
        if limit is not None and at_reach:
            value = values[runs.index(at_reach[0])]
            text = f"< {limit * 1e3:.0f} with {REACH_VOLUMES:,}"
            reaches = [Reach(text, value < limit)]
        add(f"{name}, ms", [milliseconds(value) for value in values], list(values), *reaches)

    def number(name: str, values: list[int], limit: int | None = None) -> None:
        reaches = []
        if limit is not None and at_reach:
            value = values[runs.index(at_reach[0])]
            reaches = [Reach(f"<= {limit} with {REACH_VOLUMES:,}", value <= limit)]
        add(name, [str(value) for value in values], list(values), *reaches)

    seconds("all published", [run.all_published for run in runs])
    seconds("one publish, p50", [run.publishes.p50 for run in runs])
    seconds("one publish, p99", [run.publishes.p99 for run in runs])
    seconds("without the API, p50", [run.publishes_without_api.p50 for run in runs])
    without_api = [run.publishes_without_api.p99 for run in runs]
    seconds("without the API, p99", without_api, PUBLISH_REACH_SECONDS)
    seconds("storm until all visible, p50", [run.storm.p50 for run in runs])
    each = [run.storm.p50 / run.volumes for run in runs]
    seconds("the same for each volume, p50", each)
    each = [run.storm_cpu.p50 / run.volumes for run in runs]
    seconds("processor time for each volume, p50", each)
    seconds("storm until all visible, max", [run.storm.max for run in runs], STORM_REACH_SECONDS)
    seconds("another right behind it, max", [run.storm_behind.max for run in runs])
    seconds("one volume in a storm, p50", [run.propagation.p50 for run in runs])
    seconds("one volume in a storm, p99", [run.propagation.p99 for run in runs])
    seconds("one unpublish, p99", [run.unpublishes.p99 for run in runs])
    resident = [run.resident_kib for run in runs]
    reaches = [Reach(f"< 48 with {REACH_VOLUMES:,}", run.resident_kib < MEMORY_REACH_KIB)
               for run in at_reach]
    add("resident memory, MiB", [mebibytes(kib) for kib in resident], list(resident), *reaches)
    anonymous = [run.anonymous_kib for run in runs]
    add("of it heap and stacks, MiB", [mebibytes(kib) for kib in anonymous], list(anonymous))
    number("connections to the API", [run.connections for run in runs], CONNECTIONS_REACH)
    idle = [run.idle_cpu / run.idle_seconds if run.idle_seconds else None for run in runs]
    cells = ["" if value is None else f"{value * 1e6:.0f}" for value in idle]
    add("processor time while idle, us per s", cells, idle, *_idle_reach(runs))


def _idle_reach(runs: list[Measured]) -> list[Reach]:
    """None measurable: less than a clock tick of 10 ms, of all that was waited."""
    return [
        Reach(f"none in {run.idle_seconds:.0f} s", run.idle_cpu < 0.010)
        for run in runs
        if run.volumes == REACH_VOLUMES
    ]
