"""What it costs readers that opens are noted: two mounts of one object, with and without.

The kernel reports opens of immutable files, the daemon's workers those of files that change in place.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator

import processes
import reads
from results import Reach, Table
from updates import NAMESPACE

OPERATION = "open+read+close"
REACH_RATIO = 1.03  # up to which a node could note opens by default


@contextmanager
def _mounted(
    secretfs: Path, manifests: Path, secret: str, target: Path, *more: str
) -> Iterator[Path]:
    target.mkdir(exist_ok=True)
    command = [secretfs, "mount", "-n", NAMESPACE, "--manifests", manifests, *more]
    processes.time_command([*command, f"secret/{secret}", target], target.with_suffix(".log"))
    try:
        yield target
    finally:
        processes.unmount(target)
        processes.reap()


def _compare(
    secretfs: Path, programs: Path, directory: Path, manifests: Path, secret: str, rounds: int,
    updates: str,
) -> reads.Comparison:
    place = (secretfs, manifests, secret)
    option = f"--updates={updates}"
    with ExitStack() as stack:
        noted = stack.enter_context(_mounted(*place, directory / "noted", option, "--consumers"))
        plain = stack.enter_context(_mounted(*place, directory / "plain", option))
        return reads.compare(programs, noted, plain, rounds, OPERATION)[OPERATION]


def measure(
    secretfs: Path, programs: Path, directory: Path, manifests: Path, secret: str, rounds: int
) -> Table:
    title = "Warm reads with `--consumers` beside off, ns per operation (median)"
    table = Table("consumers", title, ["on", "off", "ratio"])
    for updates, name in (("generations", OPERATION), ("in-place", f"{OPERATION}, in place")):
        compared = _compare(secretfs, programs, directory, manifests, secret, rounds, updates)
        ratio = round(compared.ratio, 3)
        document = {"on_ns": compared.ours, "off_ns": compared.theirs, "ratio": ratio}
        table.add(name, compared.cells, document, Reach(f"<= {REACH_RATIO}", ratio <= REACH_RATIO))
    return table
