"""Measures what `secretfs node` does for pods that mount a volume by subPath.

Their volumes are in the file system that answers OPEN, and the files that are mounted alone are
live there. The kubelet is this process: it publishes the volumes by CSI and makes the bind mounts.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import foreign_mounts
import nodes
import processes
import reads
import updates
from apiservers import Access, Client, ServerWithPods
from processes import Failed, run
from reads import Comparison
from results import SPREAD_COLUMNS, Reach, Spread, Table, median, milliseconds
from updates import CHANGING_KEY, NAMESPACE

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.append(str(TESTS))

from lib.kubelet import OK, PodVolume  # noqa: E402 (found through the path above)

SECRET = "bench"
KEYS = {f"key-{i}": b"s" * 1024 for i in range(7)} | {CHANGING_KEY: b"nothing yet"}
OPERATIONS = ("open+read+close", "stat", "pread")
SEEN_SECONDS = 10.0  # until the daemon has seen a mount; it takes a moment

# The goal for the ratio to a tmpfs, by the kind of file.
READ_REACHES = {
    "immutable": {"open+read+close": 30.0, "stat": 1.5},
    "live": {"open+read+close": 65.0, "stat": 1.5},
}


@dataclass(frozen=True)
class LiveSize:
    """How much is measured."""

    rounds: int
    requests: int  # operations whose requests are counted
    updates: int
    warm_up: int
    lone_mounts: tuple[int, ...]
    foreign_mounts: tuple[int, ...]
    foreign_rounds: int
    foreign_updates: int  # with each number of mounts, in each round


FULL = LiveSize(
    rounds=100,
    requests=10_000,
    updates=100,
    warm_up=10,
    lone_mounts=(1, 10, 100),
    foreign_mounts=(0, 10_000, 100_000),
    foreign_rounds=10,
    foreign_updates=30,
)
QUICK = LiveSize(
    rounds=5,
    requests=100,
    updates=5,
    warm_up=3,
    lone_mounts=(1, 10),
    foreign_mounts=(0, 1000),
    foreign_rounds=2,
    foreign_updates=5,
)


class LiveNode:
    """A daemon, its API server, and a directory for what is mounted."""

    def __init__(self, secretfs: Path, directory: Path, server: ServerWithPods) -> None:
        self._secretfs = secretfs
        self._server = server
        self._root = directory / "kubelet"
        self._daemon: subprocess.Popen[bytes] | None = None
        self.directory = directory
        self._n_alone = 0
        (self._root / "pods").mkdir(parents=True)

    @contextmanager
    def started(self, access: Access, metrics: str = "0") -> Iterator[None]:
        """metrics: the address of the daemon's pages; 0: none."""
        more = (self._root, access.kubeconfig, metrics)
        daemon = nodes.start_daemon(self._secretfs, self.directory, *more)
        self._daemon = daemon
        try:
            yield
        except BaseException:
            print(processes.tail(self.directory / nodes.LOG)[-3000:], file=sys.stderr)
            raise
        finally:
            processes.stop(daemon)
            processes.unmount_below(self.directory)

    @property
    def pid(self) -> int:
        assert self._daemon is not None, "not started"
        return self._daemon.pid

    def publish(self, number: int) -> PodVolume:
        """The volume of a pod that mounts the changing key by subPath."""
        volume = PodVolume(
            root=self._root,
            pod=f"pod-{number}",
            namespace=NAMESPACE,
            uid=f"11111111-2222-3333-4444-{number:012d}",
            attributes={"secretName": SECRET},
        )
        self._put_pod(volume)
        volume.target.parent.mkdir(parents=True)
        answer = volume.publish(nodes.socket_of(self._root))
        if answer.code != OK:
            raise Failed(f"a volume is not published ({answer.code}): {answer.text}")
        return volume

    def _put_pod(self, volume: PodVolume) -> None:
        csi = {"name": volume.volume, "csi": {"driver": nodes.DRIVER, "readOnly": True}}
        mount = {"name": volume.volume, "mountPath": "/creds", "subPath": CHANGING_KEY}
        container = {"name": "main", "image": "none", "volumeMounts": [mount]}
        spec = {"nodeName": nodes.NODE, "volumes": [csi], "containers": [container]}
        self._server.put_pod(volume.namespace, volume.pod, volume.uid, spec)

    def mount_alone(self, volume: PodVolume, key: str, target: Path) -> None:
        """A key of a volume, on a file that is made."""
        processes.bind_file(volume.target / key, target)
        self._n_alone += 1

    def wait_alone(self) -> None:
        """Until the daemon has seen all that is mounted alone, which is live then."""
        deadline = time.monotonic() + SEEN_SECONDS
        while self._count_alone() < self._n_alone:
            if time.monotonic() > deadline:
                raise Failed("the daemon does not see all that is mounted alone")
            time.sleep(0.01)

    def _count_alone(self) -> int:
        items = self._status()["items"]
        if any(item["fileSystem"] != "live" for item in items):
            raise Failed("a volume that is mounted by subPath is not in the live file system")
        return sum(item["volume"]["mountedAlone"]["count"] for item in items)

    def requests(self) -> dict[str, int]:
        """All that the kernel has sent, by kind."""
        by_kind: dict[str, int] = self._status()["requests"]["byKind"]
        return by_kind

    def _status(self) -> Any:
        return nodes.status(self._secretfs, self.pid)


class LiveRun:
    """All tables of one daemon."""

    def __init__(self, node: LiveNode, access: Access, programs: Path, size: LiveSize) -> None:
        self._node = node
        self._access = access
        self._programs = programs
        self._size = size
        self._n_volumes = 0

    def measure(self) -> Iterator[Table]:
        yield self._measure_reads()
        yield self._measure_foreign_mounts()  # while few volumes are updated
        yield self._measure_lone_mounts()

    def _publish(self) -> PodVolume:
        self._n_volumes += 1
        return self._node.publish(self._n_volumes)

    def _directory(self, name: str) -> Path:
        directory = self._node.directory / name
        directory.mkdir()
        return directory

    # ---- reads

    def _measure_reads(self) -> Table:
        title = "Reads of a volume that a pod mounts by subPath, ns per operation (median)"
        table = Table("reads-live", title, ["secretfs", "tmpfs", "ratio", "requests"])
        # all at the same depth, as a container has them
        volume, tmpfs = self._directory("volume"), self._directory("tmpfs")
        alone, tmpfs_alone = self._directory("alone"), self._directory("tmpfs-alone")
        published = self._publish()
        processes.bind(published.target, volume)
        processes.mount_tmpfs(tmpfs)
        reads.copy_volume(volume, tmpfs)
        self._add_reads(table, "immutable", volume, tmpfs)
        # another volume: none of its files was opened before it became live
        published = self._publish()
        for key in KEYS:
            self._node.mount_alone(published, key, alone / key)
            processes.bind_file(tmpfs / key, tmpfs_alone / key)
        self._node.wait_alone()
        self._add_reads(table, "live", alone, tmpfs_alone)
        table.notes.append(
            "immutable: through the volume; live: each key mounted alone, and so are the files of "
            "the\n   tmpfs; requests are those of the kernel, for each operation"
        )
        return table

    def _add_reads(self, table: Table, kind: str, ours: Path, theirs: Path) -> None:
        rounds = self._size.rounds
        compared = reads.compare(self._programs, ours, theirs, rounds, *OPERATIONS)
        for operation in OPERATIONS:
            self._add_read(table, kind, operation, compared[operation], ours)

    def _add_read(
        self, table: Table, kind: str, operation: str, compared: Comparison, ours: Path
    ) -> None:
        requests = self._count_requests(ours, operation)
        reaches = []
        if operation in READ_REACHES[kind]:
            limit = READ_REACHES[kind][operation]
            reaches.append(Reach(f"<= {limit:g}", round(compared.ratio, 1) <= limit))
        text = "+".join(name if n == 1 else f"{n:g} {name}" for name, n in requests.items())
        document = {**compared.document(), "requestsByKind": requests}
        table.add(f"{kind}: {operation}", [*compared.cells, text or "0"], document, *reaches)

    def _count_requests(self, directory: Path, operation: str) -> dict[str, float]:
        """For each operation, by kind: of n more operations, as all runs begin in the same way."""
        n, totals = self._size.requests, []
        for count in (n, n, 2 * n):  # the first asks for attributes, which are kept
            before = self._node.requests()
            run([self._programs / "reads", "repeat", directory, count, operation])
            after = self._node.requests()
            totals.append({kind: made - before.get(kind, 0) for kind, made in after.items()})
        _, fewer, more = totals
        each = {kind: round((more[kind] - fewer.get(kind, 0)) / n, 2) for kind in more}
        return {kind: value for kind, value in each.items() if value != 0}

    # ---- updates

    def _measure_lone_mounts(self) -> Table:
        n = self._size.updates
        title = (
            f"{n} updates of so many pods' volumes on a node, whose key each pod mounts by subPath,"
            "\nms after the answer of the development server to the PATCH"
        )
        table = Table("lone-mounts-node", title, SPREAD_COLUMNS)
        directory, volumes = self._directory("lone-mounts"), []
        for count in self._size.lone_mounts:
            while len(volumes) < count:
                volumes.append(self._publish())
                target = directory / str(len(volumes) - 1)
                self._node.mount_alone(volumes[-1], CHANGING_KEY, target)
            self._node.wait_alone()
            more = updates.lone_mounts(directory, count)
            updates.add_lone_mounts(table, count, self._run_updates(volumes[0], n, more))
        return table

    def _measure_foreign_mounts(self) -> Table:
        title = (
            "Updates with so many mounts in mount namespaces of other processes, ms after the "
            "answer\nof the development server to the PATCH"
        )
        table = Table("foreign-mounts", title, [*SPREAD_COLUMNS, "ratio of p50"])
        volume, directory = self._publish(), self._directory("one-mount")
        self._node.mount_alone(volume, CHANGING_KEY, directory / "0")
        self._node.wait_alone()
        more = updates.lone_mounts(directory, 1)
        foreign = self._directory("foreign")
        read, alone = Rounds(), Rounds()
        for _ in range(self._size.foreign_rounds):
            for count in self._size.foreign_mounts:
                with foreign_mounts.made(foreign, count):
                    seen = self._run_updates(volume, self._size.foreign_updates, more)
                assert seen.alone is not None
                read.add(count, seen.read)
                alone.add(count, seen.alone)
        read.add_to(table, "a consumer of the volume has read the new bytes")
        alone.add_to(table, "the lone mount was read, after inotify")
        table.notes.append(
            f"the numbers of mounts in turn, {self._size.foreign_rounds} times "
            f"{self._size.foreign_updates} updates each; the ratio is the median of the\n"
            "   rounds' ratios"
        )
        return table

    def _run_updates(self, volume: PodVolume, n: int, more: list[object]) -> updates.Updates:
        access, target, warm_up = self._access, volume.target, self._size.warm_up
        return updates.measure(self._programs, access, SECRET, target, n, warm_up, *more)


class Rounds:
    """Updates with so many foreign mounts, round by round."""

    def __init__(self) -> None:
        self._by_count: dict[int, list[Spread]] = {}

    def add(self, count: int, spread: Spread) -> None:
        self._by_count.setdefault(count, []).append(spread)

    def add_to(self, table: Table, what: str) -> None:
        without = self._by_count[0]
        for count, rounds in self._by_count.items():
            spread = Spread([value for one in rounds for value in one.values])
            ratio = median(one.p50 / zero.p50 for one, zero in zip(rounds, without))
            cells = [milliseconds(value) for value in (spread.p50, spread.p99, spread.max)]
            document = {"seconds": spread.document(), "ratio": round(ratio, 3)}
            table.add(f"{count:,}: {what}", [*cells, f"{ratio:.2f}"], document)


def measure(secretfs: Path, programs: Path, size: LiveSize) -> Iterator[Table]:
    # not in /tmp, as for nodes.measure()
    directory = Path(tempfile.mkdtemp(prefix="secretfs-bench-", dir="/var/tmp"))
    try:
        server = ServerWithPods(directory / "devserver")
        with server as access:
            Client(access).create_secret(NAMESPACE, SECRET, KEYS)
            node = LiveNode(secretfs, directory, server)
            with node.started(access):
                yield from LiveRun(node, access, programs, size).measure()
    finally:
        shutil.rmtree(directory)
