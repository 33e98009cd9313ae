"""What the program `updates` measures: how long it takes until a change can be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from apiservers import Access
from processes import run
from results import Spread, Table

NAMESPACE = "default"
CHANGING_KEY = "changing"


@dataclass
class Updates:
    """What the program has seen, in seconds since the answers to the PATCHes."""

    patch: Spread
    watched: Spread
    notified: Spread
    read: Spread
    beyond_watch: Spread  # from the bare client's event to the new bytes, of each update
    alone: Spread | None  # by the last of the files that are mounted alone
    opens: int
    failed_opens: int


def measure(
    programs: Path,
    access: Access,
    secret: str,
    volume: Path,
    updates: int,
    warm_up: int,
    *more: object,
) -> Updates:
    """Changes a key of a Secret again and again, which the volume shows."""
    command: list[object] = [programs / "updates", "--server", access.url, "--ca", access.ca]
    command += ["--token-file", access.token_file, "--namespace", NAMESPACE]
    command += ["--secret", secret, "--key", CHANGING_KEY, "--root", volume]
    command += ["--updates", updates, "--warm-up", warm_up, *more]
    *rows, (opens, failed) = [line.split() for line in run(command).splitlines()]
    columns = [[int(cell) / 1e9 for cell in column if cell != "-"] for column in zip(*rows)]
    sent, watched, notified, read, alone = columns
    patch = Spread([-seconds for seconds in sent])
    beyond = Spread([ours - theirs for ours, theirs in zip(read, watched)])
    spreads = (patch, Spread(watched), Spread(notified), Spread(read), beyond)
    return Updates(*spreads, Spread(alone) if alone else None, int(opens), int(failed))


def lone_mounts(directory: Path, count: int) -> list[object]:
    """The options for files 0 to COUNT-1 in a directory, each the key mounted alone."""
    return ["--lone-mounts", directory, "--lone-mount-count", count]


def add_lone_mounts(table: Table, count: int, seen: Updates) -> None:
    assert seen.alone is not None
    table.add_spread(f"{count}: a consumer of the volume has read the new bytes", seen.read)
    table.add_spread(f"{count}: the last lone mount was read, after inotify", seen.alone)
