"""What was measured, what it was to reach, and the table of both."""

from __future__ import annotations

import math
import os
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable


SPREAD_COLUMNS = ["p50", "p99", "max"]


def quantile(values: Iterable[float], q: float) -> float:
    """Nearest rank: a value that was measured."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def median(values: Iterable[float]) -> float:
    return quantile(values, 0.5)


@dataclass
class Spread:
    """Many values of one kind, in seconds."""

    values: list[float]

    @property
    def p50(self) -> float:
        return quantile(self.values, 0.5)

    @property
    def p99(self) -> float:
        return quantile(self.values, 0.99)

    @property
    def max(self) -> float:
        return max(self.values)

    def document(self) -> dict[str, float]:
        numbers = {"p50": self.p50, "p99": self.p99, "max": self.max, "min": min(self.values)}
        return {"count": len(self.values), **{k: round(v, 9) for k, v in numbers.items()}}


@dataclass
class Reach:
    """What a number is to reach, in words, and whether it does."""

    text: str
    met: bool

    @property
    def words(self) -> str:
        return f"{self.text}: {'met' if self.met else 'MISSED'}"


@dataclass
class Row:
    name: str
    cells: list[str]
    document: dict[str, Any]
    reaches: list[Reach] = field(default_factory=list)


@dataclass
class Table:
    """One measurement: rows of like numbers under a title."""

    key: str
    title: str
    columns: list[str]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self, name: str, cells: list[str], document: dict[str, Any], *reaches: Reach
    ) -> None:
        self.rows.append(Row(name, cells, document, list(reaches)))

    def add_spread(self, name: str, spread: Spread, *reaches: Reach) -> None:
        cells = [milliseconds(value) for value in (spread.p50, spread.p99, spread.max)]
        self.add(name, cells, {"seconds": spread.document()}, *reaches)

    def text(self) -> str:
        heads = ["", *self.columns, "reach"]
        lines = [
            [row.name, *row.cells, "; ".join(reach.words for reach in row.reaches)]
            for row in self.rows
        ]
        widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]
        out = [self.title]
        for line in [heads, *lines] if self.rows else []:
            cells = [line[0].ljust(widths[0])]
            cells += [cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:])]
            out.append(f"  {'  '.join([*cells, line[-1]])}".rstrip())
        return "\n".join(out + [f"  ({note})" for note in self.notes])

    def document(self) -> dict[str, Any]:
        rows = [
            {
                "name": row.name,
                **row.document,
                "reach": [{"text": reach.text, "met": reach.met} for reach in row.reaches],
            }
            for row in self.rows
        ]
        return {"key": self.key, "title": self.title, "notes": self.notes, "rows": rows}


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}"


def mebibytes(kibibytes: int) -> str:
    return f"{kibibytes / 1024:.1f}"


def machine(ask: Callable[[list[str]], str]) -> dict[str, Any]:
    """What the numbers depend on; `ask` runs a command for its output."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    libfuse = re.search(r"[\d.]+$", ask(["fusermount3", "--version"]).strip())
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memoryBytes": memory,
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "libfuse": libfuse[0] if libfuse else "unknown",
    }
