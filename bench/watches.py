"""What a watch costs, by their number: asked of the program `watches`, which is nothing but these."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from processes import run
from results import Table, mebibytes


@dataclass(frozen=True)
class WatchesSize:
    watches: tuple[int, ...]
    idle_seconds: int


FULL = WatchesSize(watches=(10, 100, 1000, 5000), idle_seconds=60)
QUICK = WatchesSize(watches=(10, 50), idle_seconds=1)

Row = tuple[str, str, Callable[[dict[str, Any]], str]]

ROWS: list[Row] = [
    ("all objects there, s", "presentSeconds", lambda m: f"{m['presentSeconds']:.2f}"),
    ("all watched, s", "liveSeconds", lambda m: f"{m['liveSeconds']:.2f}"),
    (
        "processor time until then, s",
        "startProcessorSeconds",
        lambda m: f"{m['startProcessorSeconds']:.2f}",
    ),
    ("resident memory, MiB", "residentKiB", lambda m: mebibytes(m["residentKiB"])),
    ("for each watch, KiB", "bytesPerWatch", lambda m: f"{m['bytesPerWatch'] / 1024:.1f}"),
    ("connections", "connections", lambda m: str(m["connections"])),
    (
        "processor time while idle, ms",
        "idleProcessorSeconds",
        lambda m: f"{m['idleProcessorSeconds'] * 1e3:.1f}",
    ),
]


def measure(programs: Path, size: WatchesSize) -> Table:
    output = run([programs / "watches", "-i", size.idle_seconds, *size.watches])
    measured = [json.loads(line) for line in output.splitlines()]
    table = Table(
        "watches",
        "Watches of Secrets of ten keys and nothing else, by their number",
        [f"{m['watches']:,}" for m in measured],
        notes=[f"idle for {size.idle_seconds} s; over nghttpx, which allows 100 streams"],
    )
    for name, key, text in ROWS:
        table.add(name, [text(m) for m in measured], {key: [m[key] for m in measured]})
    return table
