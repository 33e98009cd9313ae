"""Measures how long updates of a quiet pod take while a user makes attacks beside it, each alone and all at once.

The user's pod has a volume of the same Secret, in the same file system.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

import cpu_groups
import live
import nodes
import processes
import updates
from apiservers import Access, Client, ServerWithPods
from live import LiveNode
from processes import Failed
from results import SPREAD_COLUMNS, Reach, Spread, Table, milliseconds

from lib import attackers  # noqa: E402 (live has made the path known)

RATIO_REACH = 2.0
QUIET = "no attack"
ALL = "all at once"
ELSEWHERE = "all, elsewhere"
QUIET_FIRST = "no attack, real-time"
ALL_FIRST = "all, real-time"
GOALS = (ALL, ALL_FIRST)
REQUESTS = (10, 100, 250)  # thousandths of a processor
_REAL_TIME = 10  # the priority does not matter: no other process here has one


@dataclass(frozen=True)
class AttacksSize:
    rounds: int
    updates: int  # quiet and attacked, in each round
    warm_up: int


FULL = AttacksSize(rounds=3, updates=40, warm_up=3)
BESIDE = AttacksSize(rounds=2, updates=40, warm_up=3)  # of two programs
QUICK = AttacksSize(rounds=1, updates=10, warm_up=2)


def _port(directory: Path) -> int:
    log = (directory / nodes.LOG).read_text()
    found = re.search(r'metrics and health .*address="[^"]+:(\d+)"', log)  # of revisions before, too
    if found is None:
        raise Failed(f"the daemon serves no metrics:\n{log}")
    return int(found[1])


@contextmanager
def _attacked(directory: Path, volume: Path, names: Sequence[str]) -> Iterator[None]:
    port = _port(directory)
    with ExitStack() as stack:
        started = []
        for name in names:
            own = directory / "attacks" / name
            own.mkdir(parents=True, exist_ok=True)
            program = Path(attackers.__file__).resolve()
            command: list[object] = [sys.executable, program, name, own, volume, port]
            started.append(processes.Obedient(command, own.with_suffix(".log")))
            stack.callback(started[-1].end)
        for attacker in started:
            attacker.hear()
        yield
        for attacker in started:
            attacker.check()


def _volume_elsewhere(directory: Path) -> Path:
    """Files like a volume's on the machine's own file system: what the attacks cost without the daemon."""
    volume = directory / "elsewhere"
    volume.mkdir()
    volume.chmod(0o755)
    for name, value in live.KEYS.items():
        (volume / name).write_bytes(value)
    return volume


def _set_policy(pid: int, policy: int, priority: int) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended
            os.sched_setscheduler(int(thread.name), policy, os.sched_param(priority))


@contextmanager
def _first(pids: Sequence[int]) -> Iterator[None]:
    """These processes get a processor whenever they need one; so do their new threads and children."""
    try:
        for pid in pids:
            _set_policy(pid, os.SCHED_FIFO, _REAL_TIME)
        yield
    finally:
        for pid in pids:
            _set_policy(pid, os.SCHED_OTHER, 0)


@dataclass(frozen=True)
class _Row:
    attacks: Sequence[str]
    is_first: bool = False  # before the attackers, and before all else that the machine runs
    is_elsewhere: bool = False


def _rows() -> dict[str, _Row]:
    names = list(attackers.ATTACKS)
    return {
        QUIET: _Row([]),
        ELSEWHERE: _Row(attackers.ON_FILES, is_elsewhere=True),
        **{name: _Row([name]) for name in names},
        ALL: _Row(names),
        QUIET_FIRST: _Row([], is_first=True),
        ALL_FIRST: _Row(names, is_first=True),
    }


@dataclass(frozen=True)
class _Quiet:
    """A quiet pod's volume, whose updates are measured beside whatever else runs."""

    access: Access
    programs: Path
    size: AttacksSize
    volume: Path

    def seconds(self) -> list[float]:
        more = (self.size.updates, self.size.warm_up)
        found = updates.measure(self.programs, self.access, live.SECRET, self.volume, *more)
        return found.read.values

    def seconds_beside(self, row: _Row, node: LiveNode, attacked: Path) -> list[float]:
        first = [os.getpid(), node.pid] if row.is_first else []
        with _attacked(node.directory, attacked, row.attacks), _first(first):
            return self.seconds()


def _run(
    node: LiveNode, access: Access, programs: Path, size: AttacksSize
) -> dict[str, list[float]]:
    """Seconds of all updates, by the attacks that ran meanwhile."""
    quiet = _Quiet(access, programs, size, node.publish(1).target)
    attacked = node.publish(2).target
    elsewhere = _volume_elsewhere(node.directory)
    rows = _rows()
    seen: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(size.rounds):
        for name, row in rows.items():
            volume = elsewhere if row.is_elsewhere else attacked
            seen[name] += quiet.seconds_beside(row, node, volume)
    return seen


def _table(seen: dict[str, list[float]], size: AttacksSize) -> Table:
    title = (
        "Updates of a quiet pod's volume beside the attacks of a user, ms after the "
        "answer\nof the development server to the PATCH"
    )
    table = Table("attacks", title, [*SPREAD_COLUMNS, "ratio of p99"])
    for name, seconds in seen.items():
        spread = Spread(seconds)
        quiet = Spread(seen[QUIET_FIRST if name in (QUIET_FIRST, ALL_FIRST) else QUIET])
        ratio = spread.p99 / quiet.p99
        cells = [milliseconds(value) for value in (spread.p50, spread.p99, spread.max)]
        document = {"seconds": spread.document(), "ratio": round(ratio, 3)}
        reach = Reach(f"<= {RATIO_REACH:g}", round(ratio, 1) <= RATIO_REACH)
        table.add(name, [*cells, f"{ratio:.2f}"], document, *([reach] if name in GOALS else []))
    table.notes.append(
        f"{size.rounds} times {size.updates} updates each, in turn;\n   the attackers run at nice 19, as processor time is "
        "what the machine's scheduler divides"
    )
    table.notes.append(
        "real-time: the daemon, the server and the reader get a processor whenever they need one,\n"
        "   so that these rows have what the attacks cost besides processor time"
    )
    elsewhere = Spread(seen[ALL]).p99 / Spread(seen[ELSEWHERE]).p99
    table.notes.append(
        f"{ELSEWHERE}: the same processes on files of the machine's own file system; against these\n"
        f"   the p99 with all at once is {elsewhere:.2f} times as long"
    )
    return table


# ---- the daemon's share


def _run_shares(
    node: LiveNode, access: Access, programs: Path, size: AttacksSize, groups: list[cpu_groups.Group]
) -> dict[str, list[float]]:
    """As _run(), with the daemon in a pod of such a request; server and reader are not measured."""
    quiet = _Quiet(access, programs, size, node.publish(3).target)
    attacked = node.publish(4).target
    daemon, attackers_pod = groups
    requests = {QUIET: REQUESTS[0], **{f"{request}m": request for request in REQUESTS}}
    seen: dict[str, list[float]] = {name: [] for name in requests}
    for _ in range(size.rounds):
        for name, request in requests.items():
            daemon.set_request(request)
            attacks = [] if name == QUIET else list(attackers.ATTACKS)
            with ExitStack() as stack:
                stack.enter_context(daemon.holding(node.pid))
                with attackers_pod.holding(os.getpid()):
                    stack.enter_context(_attacked(node.directory, attacked, attacks))
                stack.enter_context(_first([os.getpid()]))
                seen[name] += quiet.seconds()
    return seen


def _spread_table(
    name: str, title: str, seen: dict[str, list[float]], size: AttacksSize
) -> Table:
    table = Table(name, title, SPREAD_COLUMNS)
    for row, seconds in seen.items():
        table.add_spread(row, Spread(seconds))
    table.notes.append(f"{size.rounds} times {size.updates} updates each, in turn")
    return table


def _shares_table(seen: dict[str, list[float]], size: AttacksSize) -> Table:
    title = (
        "Updates of a quiet pod's volume by the CPU that the daemon's pod requests, beside all "
        "attacks\nby a pod that requests 1000m; ms after the answer of the development server"
    )
    table = _spread_table("attacks-shares", title, seen, size)
    table.notes[0] += "; server and reader have real-time priority"
    return table


# ---- beside another program


def _run_beside(
    rounds: Iterator[tuple[str, LiveNode]], access: Access, programs: Path, size: AttacksSize
) -> dict[str, list[float]]:
    """As _run(), of each program's daemon in turn."""
    seen: dict[str, list[float]] = {}
    for program, node in rounds:
        with node.started(access, metrics="127.0.0.1:0"):
            quiet = _Quiet(access, programs, size, node.publish(1).target)
            attacked = node.publish(2).target
            for name in (QUIET, ALL, QUIET_FIRST, ALL_FIRST):
                seconds = quiet.seconds_beside(_rows()[name], node, attacked)
                seen.setdefault(f"{program}: {name}", []).extend(seconds)
    return seen


def _beside_table(seen: dict[str, list[float]], size: AttacksSize) -> Table:
    title = (
        "Updates of a quiet pod's volume beside all attacks, by two programs, ms after the answer"
        "\nof the development server to the PATCH"
    )
    return _spread_table("attacks-before", title, seen, size)


# ---- all of it


def _tables(
    node: LiveNode, access: Access, programs: Path, size: AttacksSize
) -> Iterator[Table]:
    yield _table(_run(node, access, programs, size), size)
    hierarchy = cpu_groups.find()
    if hierarchy is not None:
        with cpu_groups.made(hierarchy, "daemon", "attackers") as groups:
            yield _shares_table(_run_shares(node, access, programs, size, groups), size)


def measure(
    secretfs: Path, programs: Path, size: AttacksSize, before: Path | None = None
) -> Iterator[Table]:
    """before: measure this program beside secretfs, and nothing else."""
    # not in /tmp, as for nodes.measure()
    directory = Path(tempfile.mkdtemp(prefix="secretfs-bench-", dir="/var/tmp"))
    directory.chmod(0o755)  # the attackers' user reaches its volume
    try:
        server = ServerWithPods(directory / "devserver")
        with server as access:
            Client(access).create_secret(updates.NAMESPACE, live.SECRET, live.KEYS)
            if before is not None:
                rounds = (
                    (name, LiveNode(program, directory / f"{name}-{number}", server))
                    for number in range(size.rounds)
                    for name, program in (("before", before), ("now", secretfs))
                )
                yield _beside_table(_run_beside(rounds, access, programs, size), size)
                return
            node = LiveNode(secretfs, directory, server)
            with node.started(access, metrics="127.0.0.1:0"):
                yield from _tables(node, access, programs, size)
    finally:
        shutil.rmtree(directory)
