"""Measures how long updates of a quiet pod take while a user makes attacks beside it, each alone and all at once.

The user's pod has a volume of the same Secret, in the same file system.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

import attackers
import live
import nodes
import processes
import updates
from apiservers import Access, Client, ServerWithPods
from live import LiveNode
from processes import Failed
from results import SPREAD_COLUMNS, Reach, Spread, Table, milliseconds

RATIO_REACH = 2.0
QUIET = "no attack"
ALL = "all at once"
ELSEWHERE = "all, elsewhere"


@dataclass(frozen=True)
class AttacksSize:
    rounds: int
    updates: int  # quiet and attacked, in each round
    warm_up: int


FULL = AttacksSize(rounds=3, updates=40, warm_up=3)
QUICK = AttacksSize(rounds=1, updates=10, warm_up=2)


def _port(directory: Path) -> int:
    log = (directory / nodes.LOG).read_text()
    found = re.search(r'serving metrics and health address="[^"]+:(\d+)"', log)
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


def _run(
    node: LiveNode, access: Access, programs: Path, size: AttacksSize
) -> dict[str, list[float]]:
    """Seconds of all updates, by the attacks that ran meanwhile."""
    quiet, attacked = node.publish(1).target, node.publish(2).target
    each = {name: [name] for name in attackers.ATTACKS}
    elsewhere = _volume_elsewhere(node.directory)
    runs: dict[str, list[str]] = {QUIET: [], ELSEWHERE: list(attackers.ON_FILES), **each}
    runs[ALL] = list(attackers.ATTACKS)
    seen: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(size.rounds):
        for name, attacks in runs.items():
            volume = elsewhere if name == ELSEWHERE else attacked
            with _attacked(node.directory, volume, attacks):
                more = (size.updates, size.warm_up)
                found = updates.measure(programs, access, live.SECRET, quiet, *more)
            seen[name] += found.read.values
    return seen


def _table(seen: dict[str, list[float]], size: AttacksSize) -> Table:
    title = (
        "Updates of a quiet pod's volume beside the attacks of a user, ms after the "
        "answer\nof the development server to the PATCH"
    )
    table = Table("attacks", title, [*SPREAD_COLUMNS, "ratio of p99"])
    quiet = Spread(seen[QUIET])
    for name, seconds in seen.items():
        spread = Spread(seconds)
        ratio = spread.p99 / quiet.p99
        cells = [milliseconds(value) for value in (spread.p50, spread.p99, spread.max)]
        document = {"seconds": spread.document(), "ratio": round(ratio, 3)}
        reach = Reach(f"<= {RATIO_REACH:g}", round(ratio, 1) <= RATIO_REACH)
        table.add(name, [*cells, f"{ratio:.2f}"], document, *([reach] if name == ALL else []))
    table.notes.append(
        f"{size.rounds} times {size.updates} updates each, in turn;\n   the attackers run at nice 19, as processor time is "
        "what the machine's scheduler divides"
    )
    elsewhere = Spread(seen[ALL]).p99 / Spread(seen[ELSEWHERE]).p99
    table.notes.append(
        f"{ELSEWHERE}: the same processes on files of the machine's own file system; against these\n"
        f"   the p99 with all at once is {elsewhere:.2f} times as long"
    )
    return table


def measure(secretfs: Path, programs: Path, size: AttacksSize) -> Table:
    # not in /tmp, as for nodes.measure()
    directory = Path(tempfile.mkdtemp(prefix="secretfs-bench-", dir="/var/tmp"))
    directory.chmod(0o755)  # the attackers' user reaches its volume
    try:
        server = ServerWithPods(directory / "devserver")
        with server as access:
            Client(access).create_secret(updates.NAMESPACE, live.SECRET, live.KEYS)
            node = LiveNode(secretfs, directory, server)
            with node.started(access, metrics="127.0.0.1:0"):
                return _table(_run(node, access, programs, size), size)
    finally:
        shutil.rmtree(directory)
