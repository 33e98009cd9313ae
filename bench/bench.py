#!/usr/bin/python3
"""Measures secretfs beside what it is compared with, in one run.

Prints a table and, with --json, writes the same numbers to a file. A number that misses its reach
says so and nothing more comes of it, as machines differ; the exit status is 1 when something did
not run, or when reads that should be warm made the program behind the mount work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Iterator

import attacks
import consumers
import gaps
import live
import nodes
import processes
import reads
import scale
import updates
import watches
from apiservers import Access, Client, DevelopmentServer, RealServer
from processes import Failed, run
from reads import Comparison
from results import SPREAD_COLUMNS, Reach, Spread, Table, machine, mebibytes
from updates import CHANGING_KEY, NAMESPACE

SECRET = "bench"
LARGE_SECRET = "bench-large"
N_LARGE_KEYS = 1000
LARGE_PAUSE_MS = 200
MIB = 1 << 20
LONE_MOUNT_COUNTS = (1, 10, 100)
KEYS = {f"key-{i}": b"s" * 1024 for i in range(7)} | {CHANGING_KEY: b"nothing yet"}
LARGE_KEYS = {f"key-{i:04}": b"s" * 512 for i in range(N_LARGE_KEYS - 1)}
LARGE_KEYS[CHANGING_KEY] = b"nothing yet"

READ_REACHES = {"open+read+close": 1.8, "stat": 1.6, "pread": 1.0}
LATENCY_REACH_SECONDS = {"p50": 1e-3, "p99": 4e-3}
MEMORY_REACH_KIB = 12 * 1024


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    reads: int
    updates: int
    polled_updates: int
    large_updates: int  # of a large volume or value, or with lone mounts
    warm_up: int
    mounts: int


FULL = Size(
    rounds=100,
    reads=1_000_000,
    updates=1000,
    polled_updates=200,
    large_updates=100,
    warm_up=20,
    mounts=20,
)
QUICK = Size(
    rounds=5, reads=20_000, updates=20, polled_updates=10, large_updates=5, warm_up=3, mounts=3
)


class Bench:
    """One run: the programs under measurement, a directory, and the tables that come of it."""

    def __init__(self, secretfs: Path, programs: Path, directory: Path, size: Size) -> None:
        self.secretfs = secretfs
        self.size = size
        self.tables: list[Table] = []
        self.failures: list[str] = []
        self.versions = {"secretfs": run([secretfs, "version"]).strip()}
        self._programs = programs
        self._directory = directory
        self._mount_times: dict[str, Spread] = {}

    def measure(self) -> None:
        manifests = self._write_manifests()
        title = "Warm reads, ns per operation (median)"
        self._show(self._measure_reads("reads", title, manifests))
        title = f"The same in a volume of {N_LARGE_KEYS:,} keys"
        self._show(self._measure_reads("reads-large", title, manifests, LARGE_SECRET))
        self._show(self._measure_consumers(manifests))
        self._time_mounts("manifests", ["--manifests", manifests])
        with DevelopmentServer(self._directory / "devserver") as access:
            self._measure_server(DevelopmentServer.name, access, is_real=False)
        assets = RealServer.assets()
        if assets is not None:
            real = RealServer(self._directory / "kube", assets)
            self.versions["kube-apiserver"] = real.version()
            with real as access:
                self._measure_server(RealServer.name, access, is_real=True)
        else:
            note = "skipped: KUBEBUILDER_ASSETS does not name a directory with etcd and it"
            self._show(Table("updates", "Updates from a kube-apiserver", [], notes=[note]))
        table = Table(
            "mount-time", "From the start of `secretfs mount` to its return, ms", SPREAD_COLUMNS
        )
        for source, spread in self._mount_times.items():
            table.add_spread(f"from {source}", spread)
        self._show(table)

    def measure_live(self, size: live.LiveSize) -> None:
        for table in live.measure(self.secretfs, self._programs, size):
            self._show(table)

    def measure_attacks(self, size: attacks.AttacksSize, before: Path | None) -> None:
        for table in attacks.measure(self.secretfs, self._programs, size, before):
            self._show(table)

    def measure_gaps(self, size: gaps.GapSize) -> None:
        for table in gaps.measure(self.secretfs, self._programs, size):
            self._show(table)

    def measure_node(self, size: nodes.NodeSize) -> None:
        self._show(nodes.measure(self.secretfs, self._programs, size))

    def measure_watches(self, size: watches.WatchesSize) -> None:
        self._show(watches.measure(self._programs, size))

    def measure_scale(self, size: scale.ScaleSize) -> None:
        for table in scale.measure(self.secretfs, size):
            self._show(table)

    def _show(self, table: Table) -> None:
        self.tables.append(table)
        print(f"\n{table.text()}", flush=True)

    # ---- mounts

    @contextmanager
    def _mounted(self, source: list[object], secret: str = SECRET) -> Iterator[Path]:
        """A mount in the background; on a directory of the same depth as the tmpfs."""
        mountpoint = self._directory / "mount"
        mountpoint.mkdir(exist_ok=True)
        self._mount(source, mountpoint, secret)
        try:
            yield mountpoint
        finally:
            processes.unmount(mountpoint)
            processes.reap()

    def _mount(self, source: list[object], mountpoint: Path, secret: str = SECRET) -> float:
        command = [self.secretfs, "mount", "-n", NAMESPACE, *source, f"secret/{secret}", mountpoint]
        return processes.time_command(command, self._directory / "mount.log")

    def _status(self, mountpoint: Path) -> dict[str, Any]:
        status = json.loads(run([self.secretfs, "status", "-o", "json", mountpoint]))
        assert isinstance(status, dict)
        return status

    def _time_mounts(self, name: str, source: list[object]) -> None:
        mountpoint = self._directory / "timed"
        mountpoint.mkdir(exist_ok=True)
        times = []
        for _ in range(self.size.mounts):
            times.append(self._mount(source, mountpoint))
            run([self.secretfs, "unmount", mountpoint])
            processes.reap()
        self._mount_times[name] = Spread(times)

    # ---- reads

    def _write_manifests(self) -> Path:
        manifests = self._directory / "manifests"
        manifests.mkdir()
        for name, keys in ((SECRET, KEYS), (LARGE_SECRET, LARGE_KEYS)):
            data = {key: value.decode() for key, value in keys.items()}
            metadata = {"name": name, "namespace": NAMESPACE}
            kind = {"apiVersion": "v1", "kind": "Secret"}
            secret = {**kind, "metadata": metadata, "stringData": data}
            (manifests / f"{name}.json").write_text(json.dumps(secret))
        return manifests

    def _measure_reads(
        self, key: str, title: str, manifests: Path, secret: str = SECRET
    ) -> Table:
        table = Table(key, title, ["secretfs", "tmpfs", "ratio"])
        with self._mounted(["--manifests", manifests], secret) as mountpoint:
            tmpfs = self._directory / "tmpfs"
            tmpfs.mkdir(exist_ok=True)
            processes.mount_tmpfs(tmpfs)
            try:
                reads.copy_volume(mountpoint, tmpfs)
                results = reads.compare(self._programs, mountpoint, tmpfs, self.size.rounds)
            finally:
                processes.unmount(tmpfs)
            for operation, compared in results.items():
                _add_read(table, operation, compared, has_reach=secret == SECRET)
            self._count_requests(table, mountpoint)
        if secret == SECRET:
            table.notes.append(
                "the ratio is the median of the rounds' ratios; the kernel's own floor, for a FUSE "
                "file\n   that sends no request, was 1.65 for open+read+close and 1.45 for stat"
            )
        return table

    def _measure_consumers(self, manifests: Path) -> Table:
        place = (self._directory, manifests, SECRET)
        return consumers.measure(self.secretfs, self._programs, *place, self.size.rounds)

    def _count_requests(self, table: Table, mountpoint: Path) -> None:
        before = self._status(mountpoint)["requests"]
        run([self._programs / "reads", "repeat", mountpoint, self.size.reads])
        after = self._status(mountpoint)["requests"]
        made = after["total"] - before["total"]
        name = f"FUSE requests in {self.size.reads:,} reads"
        document = {"reads": self.size.reads, "requests": made}
        if made != 0:
            document["before"], document["after"] = before["byKind"], after["byKind"]
            self.failures.append(f"{made} requests during warm reads: {before} -> {after}")
        table.add(name, [f"{made:.0f}", "", ""], document, Reach("0", made == 0))

    # ---- updates

    def _measure_server(self, name: str, access: Access, is_real: bool) -> None:
        Client(access).create_secret(NAMESPACE, SECRET, KEYS)
        source: list[object] = ["--kubeconfig", access.kubeconfig]
        with self._mounted(source) as mountpoint:
            self._show(self._measure_updates(name, access, mountpoint, is_real))
            self._show(self._measure_memory(name, mountpoint))
        self._show(self._measure_large_updates(name, access))
        self._show(self._measure_lone_mounts(name, access))
        self._time_mounts(name, source)

    def _measure_updates(
        self, name: str, access: Access, mountpoint: Path, is_real: bool
    ) -> Table:
        title = f"{self.size.updates} updates from the {name}, ms after the answer to the PATCH"
        table = Table("updates", title, SPREAD_COLUMNS)
        by_inotify = self._run_updates(access, mountpoint, self.size.updates)
        by_polling = self._run_updates(
            access, mountpoint, self.size.polled_updates, "--reader", "poll"
        )
        read = by_inotify.read
        reaches = []
        if is_real:
            for which, limit in LATENCY_REACH_SECONDS.items():
                met = getattr(read, which) <= limit
                reaches.append(Reach(f"{which} <= {limit * 1e3:.0f}", met))
        table.add_spread("bare watch client has the event", by_inotify.watched)
        table.add_spread("inotify tells of ..data", by_inotify.notified)
        table.add_spread("consumer has read the new bytes", read, *reaches)
        table.add_spread("that, beyond the watch client", by_inotify.beyond_watch)
        table.add_spread("the PATCH itself, sent to answered", by_inotify.patch)
        table.add_spread("a consumer that polls instead", by_polling.read)
        failed = by_polling.failed_opens
        table.add(
            f"failures in its {by_polling.opens:,} opens",
            [str(failed), "", ""],
            {"opens": by_polling.opens, "failed": failed},
            Reach("0", failed == 0),
        )
        protocol = self._status(mountpoint)["source"].get("protocol")
        table.notes.append(
            f"{protocol}; an event may overtake the answer, and is below 0 then; the polling "
            f"consumer,\n   of {self.size.polled_updates} updates, takes processor time from all"
        )
        return table

    def _run_updates(
        self,
        access: Access,
        mountpoint: Path,
        count: int,
        *more: object,
        secret: str = SECRET,
    ) -> updates.Updates:
        warm_up = self.size.warm_up
        return updates.measure(
            self._programs, access, secret, mountpoint, count, warm_up, *more
        )

    # ---- what is large

    def _measure_large_updates(self, name: str, access: Access) -> Table:
        n = self.size.large_updates
        title = f"{n} updates of something large from the {name}, ms after the answer to the PATCH"
        table = Table("updates-large", title, SPREAD_COLUMNS)
        source: list[object] = ["--kubeconfig", access.kubeconfig]
        Client(access).create_secret(NAMESPACE, LARGE_SECRET, LARGE_KEYS)
        with self._mounted(source, LARGE_SECRET) as mountpoint:
            options = ["--pause-ms", LARGE_PAUSE_MS]
            seen = self._run_updates(access, mountpoint, n, *options, secret=LARGE_SECRET)
        _add_large(table, f"one of {N_LARGE_KEYS:,} keys", seen)
        Client(access).create_secret(NAMESPACE, "bench-mib", {CHANGING_KEY: b"nothing yet"})
        with self._mounted(source, "bench-mib") as mountpoint:
            options = ["--value-bytes", MIB, "--pause-ms", LARGE_PAUSE_MS]
            seen = self._run_updates(access, mountpoint, n, *options, secret="bench-mib")
        _add_large(table, "a value of 1 MiB", seen)
        table.notes.append(
            f"with {LARGE_PAUSE_MS} ms in between, in which the old files are removed: an update "
            "that comes earlier\n   waits for that"
        )
        return table

    # ---- lone mounts

    def _measure_lone_mounts(self, name: str, access: Access) -> Table:
        n = self.size.large_updates
        title = (
            f"{n} updates of a volume with `updates: in-place` from the {name}, whose key is "
            "mounted alone\nin so many places, ms after the answer to the PATCH"
        )
        table = Table("lone-mounts", title, SPREAD_COLUMNS)
        source: list[object] = ["--kubeconfig", access.kubeconfig, "--updates", "in-place"]
        with self._mounted(source) as mountpoint:
            for count in LONE_MOUNT_COUNTS:
                with self._lone_mounts(mountpoint, count) as directory:
                    more = updates.lone_mounts(directory, count)
                    seen = self._run_updates(access, mountpoint, n, *more)
                updates.add_lone_mounts(table, count, seen)
        return table

    @contextmanager
    def _lone_mounts(self, mountpoint: Path, count: int) -> Iterator[Path]:
        """A directory of files 0, 1, 2, ...: each is the changing key, mounted on its own."""
        directory = self._directory / "alone"
        directory.mkdir()
        try:
            for i in range(count):
                processes.bind_file(mountpoint / CHANGING_KEY, directory / str(i))
            yield directory
        finally:
            processes.unmount_below(directory)
            shutil.rmtree(directory)

    def _measure_memory(self, name: str, mountpoint: Path) -> Table:
        pid = self._status(mountpoint)["pid"]
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        table = Table("memory", f"Memory with one volume from the {name}, MiB", ["now"])
        for field, meaning in MEMORY_FIELDS.items():
            kib = int(status[field].split()[0])
            reaches = []
            if field == "VmRSS":
                reaches.append(Reach("< 12", kib < MEMORY_REACH_KIB))
            table.add(f"{field}: {meaning}", [mebibytes(kib)], {"kibibytes": kib}, *reaches)
        return table


MEMORY_FIELDS = {
    "VmRSS": "resident",
    "RssAnon": "of it heap, stacks and data",
    "RssFile": "of it programs and libraries",
    "VmHWM": "resident at most",
}


PARTS = ("volume", "live", "attacks", "watches", "gaps", "node")
SCALE = "scale"  # not one of all: it takes minutes, and needs Kubernetes' programs


def _add_large(table: Table, what: str, seen: updates.Updates) -> None:
    table.add_spread(f"{what}: bare watch client has the event", seen.watched)
    table.add_spread(f"{what}: consumer has read the new bytes", seen.read)
    table.add_spread(f"{what}: that, beyond the watch client", seen.beyond_watch)


def _add_read(table: Table, operation: str, compared: Comparison, has_reach: bool) -> None:
    reaches = []
    if has_reach and operation in READ_REACHES:
        limit = READ_REACHES[operation]
        reaches.append(Reach(f"<= {limit}", round(compared.ratio, 1) <= limit))
    table.add(operation, compared.cells, compared.document(), *reaches)


def _parts(text: str) -> tuple[str, ...]:
    words = tuple(text.split(","))
    for word in set(words) - {*PARTS, SCALE}:
        raise argparse.ArgumentTypeError(f'unknown part "{word}"')
    return words


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _parse() -> argparse.Namespace:
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--secretfs", type=Path, default=here / "build/release/secretfs", help="default: the release build"
    )
    parser.add_argument(
        "--programs", type=Path, help="default: bench/ beside the program of --secretfs"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    parser.add_argument("--only", type=_parts, metavar="PART,PART", help="leave out the rest: " + ", ".join((*PARTS, SCALE)))
    parser.add_argument(
        "--volumes",
        type=_counts,
        metavar="N,N",
        help="of a node; default: " + ",".join(map(str, nodes.FULL.volumes)),
    )
    parser.add_argument(
        "--before",
        type=Path,
        metavar="PROGRAM",
        help="with --only attacks: measure this program beside that of --secretfs, in turn",
    )
    parser.add_argument("--quick", action="store_true", help="see that it works, in seconds")
    arguments = parser.parse_args()
    if arguments.before is not None and arguments.only != ("attacks",):
        parser.error("--before is for --only attacks")
    return arguments


def _end_on_signal(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _run_bench(arguments: argparse.Namespace) -> Bench:
    secretfs = arguments.secretfs.resolve()
    programs = (arguments.programs or secretfs.parent / "bench").resolve()
    if not os.access(secretfs, os.X_OK) or not os.access(programs / "updates", os.X_OK):
        raise Failed(f"{secretfs} or the programs in {programs} are missing: run `make bench`")
    processes.isolate()
    directory = Path(tempfile.mkdtemp(prefix="secretfs-bench-"))
    bench = Bench(secretfs, programs, directory, QUICK if arguments.quick else FULL)
    parts = arguments.only or PARTS
    try:
        if "volume" in parts:
            bench.measure()
        if "live" in parts:
            bench.measure_live(live.QUICK if arguments.quick else live.FULL)
        if "attacks" in parts:
            full = attacks.FULL if arguments.before is None else attacks.BESIDE
            attacks_size = attacks.QUICK if arguments.quick else full
            bench.measure_attacks(attacks_size, arguments.before)
        if "watches" in parts:
            bench.measure_watches(watches.QUICK if arguments.quick else watches.FULL)
        if "gaps" in parts:
            bench.measure_gaps(gaps.QUICK if arguments.quick else gaps.FULL)
        if "node" in parts:
            size = nodes.QUICK if arguments.quick else nodes.FULL
            bench.measure_node(replace(size, volumes=arguments.volumes or size.volumes))
        if SCALE in parts:
            bench.measure_scale(scale.QUICK if arguments.quick else scale.FULL)
    finally:
        # a second signal must not keep the rest from being done
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for name in ("mount", "timed", "tmpfs", "noted", "plain"):
            processes.unmount(directory / name)
        processes.end_children()
        shutil.rmtree(directory)
    return bench


def _write_json(path: Path, document: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(json.dumps(document, indent=2) + "\n")
    partial.replace(path)


def main() -> int:
    arguments = _parse()
    if os.geteuid() != 0:
        print("bench: needs root, to mount a tmpfs to compare with", file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end_on_signal)
    command = " ".join(sys.argv)
    here = machine(run)
    print(f"{here['cpu']}, {here['cores']} cores, {here['memoryBytes'] / 2**30:.0f} GiB")
    print(f"{here['system']}, Linux {here['kernel']}, libfuse {here['libfuse']}")
    print(f"{command}", flush=True)
    try:
        bench = _run_bench(arguments)
    except Failed as failed:
        print(f"bench: {failed}", file=sys.stderr)
        return 1
    print(f"\n{bench.versions['secretfs']}")
    if arguments.json is not None:
        document = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "command": command,
            "quick": arguments.quick,
            "machine": here,
            "versions": {**bench.versions, "python": platform.python_version()},
            "measurements": [table.document() for table in bench.tables],
        }
        _write_json(arguments.json, document)
    for failure in bench.failures:
        print(f"bench: {failure}", file=sys.stderr)
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
