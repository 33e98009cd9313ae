"""Measures what readers notice of a daemon that is killed, or restarted, under the keeper.

The kubelet is a program that calls the CSI socket as a kubelet does; each volume has a Secret of its
own, of ten keys. One reader makes a request in a loop that only the daemon can answer, another one
reads a file that was read before. What each of them waits for at most is measured.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

import nodes
import processes
import updates
from apiservers import Access, Client, DevelopmentServer
from processes import Failed, Obedient
from results import SPREAD_COLUMNS, Reach, Spread, Table, median, milliseconds

REACH_VOLUMES = 1000
GAP_REACH_SECONDS = 0.1
COST_REACH = 1.1
SETTLE_SECONDS = 0.5
SECRET = "bench-stored"


@dataclass(frozen=True)
class GapSize:
    """How much is measured."""

    volumes: tuple[int, ...]
    rounds: int  # of each kind of end
    update_rounds: int
    updates: int  # in each of these rounds
    warm_up: int


FULL = GapSize(volumes=(1, 100, 1000), rounds=15, update_rounds=10, updates=100, warm_up=10)
QUICK = GapSize(volumes=(1, 10), rounds=2, update_rounds=2, updates=5, warm_up=3)


@dataclass
class Gap:
    """The longest waits, round by round, in seconds."""

    request: Spread
    read: Spread


class Readers:
    """Of one volume."""

    def __init__(self, programs: Path, target: Path, log: Path) -> None:
        command = [programs / "waits"]
        self._request = Obedient([*command, "request", target], log)
        self._read = Obedient([*command, "read", target / "key-0"], log)

    def longest(self) -> tuple[float, float]:
        """Of the request and of the read, since it was asked the last time."""
        request, read = (int(each.ask("").split()[1]) for each in (self._request, self._read))
        return request / 1e9, read / 1e9

    def end(self) -> None:
        self._request.end()
        self._read.end()


class KeptNodeRun(nodes.NodeRun):
    """One daemon under the keeper, with so many volumes."""

    def measure_gaps(self, rounds: int) -> dict[str, Gap]:
        """By what ends the daemon."""
        server = self._start_server()
        keeper = self._start_daemon(server, kept=True)
        command: list[object] = [self._programs / "kubelet", "--socket", nodes.socket_of(self._root)]
        command += ["--root", self._root, "--volumes-per-pod", nodes.VOLUMES_PER_POD]
        kubelet = Obedient(command, self._directory / "kubelet.log")
        readers = None
        try:
            nodes.seconds_of(kubelet, f"publish a {self._volumes} {nodes.PARALLEL_CALLS}")
            readers = Readers(self._programs, self._a_target(), self._directory / "waits.log")
            return {
                "crash": self._measure_rounds(readers, rounds, self._kill_daemon),
                "restart": self._measure_rounds(readers, rounds, lambda: keeper.send_signal(signal.SIGHUP)),
                "nothing ends": self._measure_rounds(readers, rounds, None),
            }
        except BaseException:
            print(processes.tail(self._log)[-3000:], file=sys.stderr)
            raise
        finally:
            if readers is not None:
                readers.end()
            kubelet.end()
            processes.stop(keeper)
            server.end()
            processes.unmount_below(self._directory)

    def _a_target(self) -> Path:
        return next((self._root / "pods").glob("*/volumes/*/*/mount"))

    def _kill_daemon(self) -> None:
        pids = re.findall(r"started .* as process (\d+) with", self._log.read_text())
        os.kill(int(pids[-1]), signal.SIGKILL)

    def _measure_rounds(self, readers: Readers, rounds: int, end: Callable[[], None] | None) -> Gap:
        """end: ends the daemon, another one follows; None: nothing does."""
        waits = [self._measure_round(readers, end) for _ in range(rounds)]
        return Gap(request=Spread([w[0] for w in waits]), read=Spread([w[1] for w in waits]))

    def _measure_round(self, readers: Readers, end: Callable[[], None] | None) -> tuple[float, float]:
        n_serving = self._n_serving()
        time.sleep(SETTLE_SECONDS)
        readers.longest()
        if end is not None:
            end()
            self._wait_serving(n_serving + 1)
        time.sleep(SETTLE_SECONDS)
        return readers.longest()

    def _n_serving(self) -> int:
        """How many daemons have served so far; each has taken the volumes over before."""
        return self._log.read_text().count(" INFO serving ")

    def _wait_serving(self, n: int) -> None:
        deadline = time.monotonic() + nodes.START_SECONDS
        while self._n_serving() < n:
            if time.monotonic() > deadline:
                raise Failed("the next daemon does not serve")
            time.sleep(0.01)


# ---- what storing costs


class StoredMount:
    """The same Secret, mounted by a process that stores what it serves and by one that does not."""

    def __init__(self, secretfs: Path, programs: Path, directory: Path, access: Access) -> None:
        self._secretfs = secretfs
        self._programs = programs
        self._directory = directory
        self._access = access

    def measure(self, size: GapSize) -> tuple[Spread, Spread, float]:
        """Until a consumer has read the new bytes, after the watch client: without and with storing,
        and the median of the rounds' ratios."""
        bare: list[Spread] = []
        stored: list[Spread] = []
        for _ in range(size.update_rounds):
            bare.append(self._run([], size))
            stored.append(self._run([self._secretfs.with_name("secretfs-keeper"), "--"], size))
        ratio = median(ours.p50 / theirs.p50 for ours, theirs in zip(stored, bare))
        return _joined(bare), _joined(stored), ratio

    def _run(self, prefix: list[object], size: GapSize) -> Spread:
        with self._mounted(prefix) as mountpoint:
            seen = updates.measure(
                self._programs, self._access, SECRET, mountpoint, size.updates, size.warm_up
            )
        return seen.beyond_watch

    @contextmanager
    def _mounted(self, prefix: list[object]) -> Iterator[Path]:
        mountpoint = self._directory / "stored"
        mountpoint.mkdir(exist_ok=True)
        log = self._directory / "stored.log"
        command = [*prefix, self._secretfs, "mount", "--foreground", "-n", updates.NAMESPACE]
        command += ["--kubeconfig", self._access.kubeconfig, f"secret/{SECRET}", mountpoint]
        process = processes.start(command, log)
        try:
            _wait_file(process, mountpoint / updates.CHANGING_KEY, log)
            yield mountpoint
        finally:
            processes.stop(process)


def _joined(rounds: list[Spread]) -> Spread:
    return Spread([value for spread in rounds for value in spread.values])


def _wait_file(process: subprocess.Popen[bytes], path: Path, log: Path) -> None:
    deadline = time.monotonic() + nodes.START_SECONDS
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"secretfs does not mount:\n{processes.tail(log)}")
        time.sleep(0.01)


# ---- the tables


def measure(secretfs: Path, programs: Path, size: GapSize) -> Iterator[Table]:
    # not in /tmp, as for nodes.measure()
    directory = Path(tempfile.mkdtemp(prefix="secretfs-bench-", dir="/var/tmp"))
    try:
        yield _measure_gaps(secretfs, programs, directory, size)
        with DevelopmentServer(directory / "devserver") as access:
            keys = {f"key-{i}": b"s" * 1024 for i in range(7)} | {updates.CHANGING_KEY: b"dummy"}
            Client(access).create_secret(updates.NAMESPACE, SECRET, keys)
            yield _measure_cost(StoredMount(secretfs, programs, directory, access), size)
    finally:
        shutil.rmtree(directory)


def _measure_gaps(secretfs: Path, programs: Path, directory: Path, size: GapSize) -> Table:
    title = "The longest wait of a reader while a node's daemon is replaced, ms, by its volumes"
    table = Table("gaps", title, [f"{n:,}" for n in size.volumes])
    runs = {
        n: KeptNodeRun(secretfs, programs, directory / f"node-{n}", n).measure_gaps(size.rounds)
        for n in size.volumes
    }
    for end in ("crash", "restart", "nothing ends"):
        gaps = {n: runs[n][end] for n in size.volumes}
        _add_row(table, f"{end}: request, p50", {n: gap.request.p50 for n, gap in gaps.items()}, end)
        _add_row(table, f"{end}: request, max", {n: gap.request.max for n, gap in gaps.items()})
        _add_row(table, f"{end}: warm read, p50", {n: gap.read.p50 for n, gap in gaps.items()})
        _add_row(table, f"{end}: warm read, max", {n: gap.read.max for n, gap in gaps.items()})
    table.notes.append(
        f"the longest of a round, of {size.rounds} rounds; a warm read asks the daemon nothing, and "
        'waits\n   for a processor at most: compare it with "nothing ends"'
    )
    return table


def _add_row(table: Table, name: str, values: dict[int, float], end: str = "") -> None:
    reaches = []
    if end in ("crash", "restart") and REACH_VOLUMES in values:
        text = f"< {GAP_REACH_SECONDS * 1e3:.0f} with {REACH_VOLUMES:,}"
        reaches = [Reach(text, values[REACH_VOLUMES] < GAP_REACH_SECONDS)]
    cells = [milliseconds(value) for value in values.values()]
    document = {"byVolumes": {str(n): value for n, value in values.items()}}
    table.add(name, cells, document, *reaches)


def _measure_cost(mount: StoredMount, size: GapSize) -> Table:
    title = "What storing costs an update, ms until a consumer has read the new bytes"
    table = Table("stored-updates", title, SPREAD_COLUMNS)
    bare, stored, ratio = mount.measure(size)
    table.add_spread("without a keeper", bare)
    table.add_spread("under the keeper", stored)
    reach = Reach(f"<= {COST_REACH}", ratio <= COST_REACH)
    table.add("ratio", [f"{ratio:.2f}", "", ""], {"ratio": round(ratio, 3)}, reach)
    table.notes.append(
        "beyond a bare watch client of the development API server; the ratio is the median of the\n"
        f"   ratios of {size.update_rounds} rounds, of {size.updates} updates each, in turn"
    )
    return table
