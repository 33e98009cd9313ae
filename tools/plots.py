#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what `make bench` measured: latency.svg, reads.svg, growth.svg, and scale.svg of `--only scale`.

    tools/plots.py build/bench.json DIRECTORY

A plot whose measurement is not in the file is left out, with a line that says so. The other drivers'
latencies are those of the table in docs/neighbours.md, as `make bench` cannot measure them.
"""

from __future__ import annotations

import json
import math
import pathlib
import re
import sys
from dataclasses import dataclass, field
from typing import Any, Iterator
from xml.sax.saxutils import escape

TOP = pathlib.Path(__file__).resolve().parents[1]
NEIGHBOURS = TOP / "docs" / "neighbours.md"

WIDTH, MARGIN, ROW, LABELS = 720, 16, 26, 250
STYLE = """
  text { font: 13px sans-serif; fill: #1f2328 }
  .title { font-weight: bold; font-size: 15px }
  .small, .tick { fill: #59636e; font-size: 11px }
  .grid { stroke: #d1d9e0 }
  .a { fill: #0969da; stroke: #0969da } .b { fill: #8c959f; stroke: #8c959f }
  .line { fill: none; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small, .tick { fill: #9198a1 } .grid { stroke: #3d444d }
    .a { fill: #4493f8; stroke: #4493f8 } .b { fill: #6e7681; stroke: #6e7681 }
    .line { fill: none }
  }
"""


class Missing(Exception):
    """The file has no such measurement."""


# ---- numbers


@dataclass(frozen=True)
class Scale:
    """Logarithmic, from decade to decade, onto pixels. What is not above 0 is where the scale begins."""

    low: float
    high: float
    start: float
    end: float

    @staticmethod
    def around(values: list[float], start: float, end: float) -> Scale:
        low = 10.0 ** math.floor(math.log10(min(value for value in values if value > 0)))
        high = 10.0 ** math.ceil(math.log10(max(values)))
        return Scale(low, high if high > low else low * 10, start, end)

    def at(self, value: float) -> float:
        part = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return round(self.start + part * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        first, last = round(math.log10(self.low)), round(math.log10(self.high))
        return [10.0**decade for decade in range(first, last + 1)]


def seconds(value: float) -> str:
    """With three digits, in the unit that suits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


# ---- what was measured


def rows(document: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """By their names, of the last table of this key that has any: that of the real API server."""
    tables = [table for table in document["measurements"] if table["key"] == key and table["rows"]]
    if not tables:
        raise Missing(f'the file has no measurement "{key}"')
    return {row["name"]: row for row in tables[-1]["rows"]}


@dataclass(frozen=True)
class Range:
    label: str
    low: float
    middle: float
    high: float
    is_ours: bool


UNITS = {"ms": 1e-3, "s": 1.0}
MEASURED = re.compile(r"median ([\d.]+) (ms|s) \(([\d.]+) to ([\d.]+)\)")
UPDATE_ROW = "update, from sending it until the new bytes are read"


def neighbours(page: str) -> list[Range]:
    """The row about updates in the table of docs/neighbours.md, from its last column on."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    heads = lines[0]  # the first column has none
    cells = next(line for line in lines if line[0] == UPDATE_ROW)
    found = []
    for head, cell in zip(heads, cells[1:4]):
        measured = MEASURED.search(cell)
        if measured is None:
            raise Missing(f"docs/neighbours.md has no median for {head}")
        size = UNITS[measured[2]]
        middle, low, high = (float(measured[i]) * size for i in (1, 3, 4))
        is_ours = head == "secretfs"
        label = "secretfs, measured with these" if is_ours else head
        found.insert(0, Range(label, low, middle, high, is_ours))
    return found


def latencies(document: dict[str, Any], page: str) -> list[Range]:
    measured = rows(document, "updates")["consumer has read the new bytes"]["seconds"]
    here = Range("secretfs, this run", measured["min"], measured["p50"], measured["max"], True)
    return [here, *neighbours(page)]


@dataclass(frozen=True)
class Pair:
    label: str
    ours: float
    theirs: float


def warm_reads(document: dict[str, Any]) -> list[Pair]:
    """Nanoseconds."""
    return [
        Pair(name, row["secretfs_ns"], row["tmpfs_ns"])
        for name, row in rows(document, "reads").items()
        if "secretfs_ns" in row
    ]


@dataclass
class Curve:
    title: str
    points: list[tuple[float, float]]
    is_seconds: bool


GROWTH = {
    "all published, ms": ("all volumes published", 1.0, True),
    "storm until all visible, p50, ms": ("all updates visible, p50", 1.0, True),
    "resident memory, MiB": ("resident memory, MiB", 1 / 1024, False),
}


def growth(document: dict[str, Any]) -> list[Curve]:
    table = rows(document, "node")
    curves = []
    for name, (title, factor, is_seconds) in GROWTH.items():
        points = [(float(n), value * factor) for n, value in table[name]["byVolumes"].items()]
        curves.append(Curve(title, sorted(points), is_seconds))
    if len(curves[0].points) < 2:
        raise Missing("growth takes two numbers of volumes: --volumes 100,1000")
    return curves


@dataclass(frozen=True)
class Outage:
    """Requests that an API server got, a second, over time."""

    title: str
    nodes: int
    rates: list[float]
    bar_seconds: float


OUTAGES = {
    "scale-restart": ("API server killed and started", "requestsPerSecond", 1.0),
    "scale-broken": ("All connections broken", "requestsPerSecondInTenths", 0.1),
}


def outages(document: dict[str, Any]) -> list[Outage]:
    found = []
    for key, (title, name, bar_seconds) in OUTAGES.items():
        series = next(iter(rows(document, key).values()))["series"]
        found.append(Outage(title, series["nodes"], series[name], bar_seconds))
    return found


# ---- drawing


@dataclass
class Drawing:
    title: str
    height: float
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, style: str = "", anchor: str = "start") -> None:
        style = f' class="{style}"' if style else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{style}>{escape(words)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str, width: float = 1) -> None:
        self.parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{style}" stroke-width="{width:g}"/>'
        )

    def dot(self, x: float, y: float, style: str) -> None:
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="4" class="{style}"/>')

    def bar(self, x: float, y: float, width: float, style: str, height: float = 9) -> None:
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" class="{style}"/>'
        )

    def path(self, points: list[tuple[float, float]], style: str) -> None:
        at = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.parts.append(f'<polyline points="{at}" class="line {style}"/>')

    def svg(self) -> str:
        body = "\n".join(f"  {part}" for part in self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height:g}" role="img">\n'
            f"  <title>{escape(self.title)}</title>\n  <style>{STYLE}</style>\n{body}\n</svg>\n"
        )


def begin(title: str, note: str, height: float) -> Drawing:
    drawing = Drawing(title, height)
    drawing.text(MARGIN, 26, title, "title")
    drawing.text(MARGIN, height - 10, note, "small")
    return drawing


def draw_axis(drawing: Drawing, scale: Scale, top: float, bottom: float, unit: Any) -> None:
    """Of a plot whose values go to the right."""
    for tick in scale.ticks():
        x = scale.at(tick)
        drawing.line(x, top, x, bottom, "grid")
        drawing.text(x, bottom + 14, unit(tick), "tick", "middle")


def draw_latencies(ranges: list[Range], note: str) -> Drawing:
    top, bottom = 40, 40 + ROW * len(ranges)
    drawing = begin("Until a program has read an update: least, median, most", note, bottom + 44)
    scale = Scale.around([v for r in ranges for v in (r.low, r.high)], LABELS, WIDTH - 90)
    draw_axis(drawing, scale, top, bottom, seconds)
    for i, found in enumerate(ranges):
        y, style = top + ROW * (i + 0.5), "a" if found.is_ours else "b"
        drawing.text(MARGIN, y + 4, found.label)
        drawing.line(scale.at(found.low), y, scale.at(found.high), y, style, 5)
        drawing.dot(scale.at(found.middle), y, style)
        drawing.text(WIDTH - MARGIN, y + 4, seconds(found.middle), anchor="end")
    return drawing


def draw_reads(pairs: list[Pair], note: str) -> Drawing:
    top, bottom = 40, 40 + ROW * len(pairs)
    drawing = begin("Warm reads beside a tmpfs, ns: secretfs in colour", note, bottom + 30)
    most = max(value for pair in pairs for value in (pair.ours, pair.theirs))
    per_pixel = most / (WIDTH - LABELS - 130)
    for i, pair in enumerate(pairs):
        y = top + ROW * i
        drawing.text(MARGIN, y + 15, pair.label)
        drawing.bar(LABELS, y + 2, round(pair.ours / per_pixel, 1), "a")
        drawing.bar(LABELS, y + 13, round(pair.theirs / per_pixel, 1), "b")
        words = f"{plain(pair.ours)} : {plain(pair.theirs)}"
        drawing.text(WIDTH - MARGIN, y + 15, words, anchor="end")
    return drawing


PANEL, PANEL_HEIGHT = (WIDTH - 2 * MARGIN) / 3, 170


def draw_curve(drawing: Drawing, curve: Curve, left: float) -> None:
    top, bottom = 64, 64 + PANEL_HEIGHT
    across = Scale.around([x for x, _ in curve.points], left + 50, left + PANEL - 18)
    up = Scale.around([y for _, y in curve.points], bottom, top)
    drawing.text(left, 52, curve.title)
    for tick in up.ticks():
        drawing.line(across.start, up.at(tick), across.end, up.at(tick), "grid")
        words = seconds(tick) if curve.is_seconds else plain(tick)
        drawing.text(across.start - 6, up.at(tick) + 4, words, "tick", "end")
    for tick in across.ticks():
        drawing.text(across.at(tick), bottom + 16, plain(tick), "tick", "middle")
    at = [(across.at(x), up.at(y)) for x, y in curve.points]
    drawing.path(at, "a")
    for x, y in at:
        drawing.dot(x, y, "a")


def draw_growth(curves: list[Curve], note: str) -> Drawing:
    drawing = begin("A node, by the number of its volumes", note, 64 + PANEL_HEIGHT + 48)
    for i, curve in enumerate(curves):
        draw_curve(drawing, curve, MARGIN + i * PANEL)
    return drawing


HALF = (WIDTH - 2 * MARGIN) / 2


def step_of(most: float, parts: int) -> float:
    """Between the lines of a linear scale: 1, 2 or 5 times a power of ten, at most so many."""
    power = 10.0 ** math.floor(math.log10(most / parts))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit * parts >= most)


def draw_outage(drawing: Drawing, outage: Outage, left: float) -> None:
    bottom, start = 64 + PANEL_HEIGHT, left + 50
    most, duration = max(outage.rates), len(outage.rates) * outage.bar_seconds
    step, across = step_of(most, 5), (left + HALF - 18 - start) / duration
    per_pixel = step * math.ceil(most / step) / PANEL_HEIGHT
    drawing.text(left, 52, outage.title)
    for i in range(math.ceil(most / step) + 1):
        y = round(bottom - i * step / per_pixel, 1)
        drawing.line(start, y, left + HALF - 18, y, "grid")
        drawing.text(start - 6, y + 4, f"{i * step:,.0f}", "tick", "end")
    for i in range(int(duration / step_of(duration, 8)) + 1):
        at = i * step_of(duration, 8)
        drawing.text(round(start + at * across, 1), bottom + 16, f"{at:g} s", "tick", "middle")
    for i, rate in enumerate(outage.rates):
        height = round(rate / per_pixel, 1)
        x, width = start + i * outage.bar_seconds * across, outage.bar_seconds * across - 1
        if rate > 0:
            drawing.bar(round(x, 1), bottom - height, round(width, 1), "a", height)


def draw_outages(found: list[Outage], note: str) -> Drawing:
    title = f"Requests a second to the API server of {found[0].nodes} nodes"
    drawing = begin(title, note, 64 + PANEL_HEIGHT + 48)
    for i, outage in enumerate(found):
        draw_outage(drawing, outage, MARGIN + i * HALF)
    return drawing


# ---- the program


def note_of(document: dict[str, Any]) -> str:
    machine = document["machine"]
    quick = "; a quick run, of few rounds" if document["quick"] else ""
    return (
        f"{document['versions']['secretfs'].partition(' (')[0]}, {document['time'][:10]}: {machine['cpu']},"
        f" {machine['cores']} processors, Linux {machine['kernel'].split('-')[0]}{quick}"
    )


def drawings(document: dict[str, Any], page: str) -> Iterator[tuple[str, Drawing | Missing]]:
    note = note_of(document)
    makers = {
        "latency": lambda: draw_latencies(latencies(document, page), note),
        "reads": lambda: draw_reads(warm_reads(document), note),
        "growth": lambda: draw_growth(growth(document), note),
        "scale": lambda: draw_outages(outages(document), note),
    }
    for name, make in makers.items():
        try:
            yield name, make()
        except Missing as missing:
            yield name, missing


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    document = json.loads(pathlib.Path(arguments[0]).read_text())
    directory = pathlib.Path(arguments[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, drawing in drawings(document, NEIGHBOURS.read_text()):
        if isinstance(drawing, Missing):
            print(f"{name}.svg is left out: {drawing}", file=sys.stderr)
            continue
        (directory / f"{name}.svg").write_text(drawing.svg())
        print(directory / f"{name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
