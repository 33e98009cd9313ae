"""tools/plots.py: what it takes from the benchmark's numbers, and that it draws valid SVG."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from lib.deploy import TOP, load_tool

PROGRAM = TOP / "tools" / "plots.py"
SVG = "{http://www.w3.org/2000/svg}"
plots = load_tool("plots")


def table(key: str, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"key": key, "title": key, "notes": [], "rows": list(rows)}


def updates(p50: float) -> dict[str, Any]:
    seconds = {"count": 20, "p50": p50, "p99": 2 * p50, "max": 3 * p50, "min": p50 / 2}
    return table("updates", {"name": "consumer has read the new bytes", "seconds": seconds})


def node(**volumes: float) -> dict[str, Any]:
    by_volumes = {name[1:]: value for name, value in volumes.items()}
    return table("node", *({"name": name, "byVolumes": by_volumes} for name in plots.GROWTH))


def outage(key: str, *rates: float) -> dict[str, Any]:
    names = {name: list(rates) for _, name, _ in plots.OUTAGES.values()}
    return table(key, {"name": "first request", "series": {"nodes": 200, "volumes": 5, **names}})


def document(*measurements: dict[str, Any], quick: bool = False) -> dict[str, Any]:
    return {
        "time": "2026-11-28T10:00:00Z",
        "quick": quick,
        "machine": {"cpu": "A & B <processor>", "cores": 2, "kernel": "6.18"},
        "versions": {"secretfs": "secretfs 0.1.0 (libcurl/8)"},
        "measurements": list(measurements),
    }


READS = table(
    "reads",
    {"name": "stat", "secretfs_ns": 800, "tmpfs_ns": 500, "ratio": 1.6},
    {"name": "FUSE requests in 20 reads", "reads": 20, "requests": 0},
)
SCALE = (outage("scale-restart", 0, 970, 312, 1), outage("scale-broken", 60, 590))
FULL = document(updates(0.001), updates(0.004), READS, node(n10=0.1, n100=0.8), *SCALE)
PAGE = plots.NEIGHBOURS.read_text()


# ---- numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [(34, "34 s"), (1, "1 s"), (0.0114, "11.4 ms"), (2.5e-6, "2.5 µs"), (8e-10, "0.8 ns")],
)
def test_seconds_have_the_unit_that_suits(value: float, text: str) -> None:
    assert plots.seconds(value) == text


def test_scale_is_logarithmic() -> None:
    scale = plots.Scale.around([0.002, 30], 100, 600)
    assert (scale.low, scale.high) == (0.001, 100)
    assert [scale.at(tick) for tick in scale.ticks()] == [100, 200, 300, 400, 500, 600]


def test_scale_of_one_value_has_two_ends() -> None:
    scale = plots.Scale.around([10], 0, 100)
    assert (scale.low, scale.high, scale.at(10)) == (10, 100, 0)


def test_what_is_not_above_zero_is_where_the_scale_begins() -> None:
    """An event may overtake the answer to the PATCH."""
    scale = plots.Scale.around([-0.0003, 0, 0.002, 0.03], 0, 100)
    assert (scale.low, scale.at(-0.0003), scale.at(0)) == (0.001, 0, 0)


# ---- what is plotted


def test_latency_is_that_of_the_real_api_server() -> None:
    """Its table follows the development server's; without one, that stands for it."""
    here, *others = plots.latencies(FULL, PAGE)
    assert (here.low, here.middle, here.high) == (0.002, 0.004, 0.012)
    assert plots.latencies(document(updates(0.001), table("updates")), PAGE)[0].middle == 0.001
    assert [found.is_ours for found in others] == [True, False, False]


def test_neighbours_are_those_of_the_page() -> None:
    kubelet = plots.neighbours(PAGE)[1]
    assert kubelet.label.startswith("the kubelet's volume")
    assert f"median {kubelet.middle:g} s ({kubelet.low:g} to {kubelet.high:g})" in PAGE


def test_reads_leave_out_what_is_no_comparison() -> None:
    assert plots.warm_reads(FULL) == [plots.Pair("stat", 800, 500)]


def test_growth_is_in_the_order_of_volumes() -> None:
    curves = plots.growth(document(node(n1000=2048.0, n10=1024.0)))
    assert [curve.points[0][0] for curve in curves] == [10, 10, 10]
    assert curves[-1].points == [(10, 1), (1000, 2)]  # MiB of KiB


def test_growth_takes_two_points() -> None:
    with pytest.raises(plots.Missing, match="--volumes"):
        plots.growth(document(node(n10=1.0)))


def test_outages_are_both_of_the_scale_run() -> None:
    restart, broken = plots.outages(FULL)
    assert (restart.nodes, restart.rates, restart.bar_seconds) == (200, [0, 970, 312, 1], 1.0)
    assert (broken.rates, broken.bar_seconds) == ([60, 590], 0.1)
    with pytest.raises(plots.Missing, match="scale-broken"):
        plots.outages(document(SCALE[0]))


@pytest.mark.parametrize(("most", "step"), [(970, 200), (2900, 1000), (1, 0.2), (13, 5)])
def test_steps_of_a_linear_scale(most: float, step: float) -> None:
    assert plots.step_of(most, 5) == pytest.approx(step)


# ---- the program


def run(area: Path, content: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    (area / "bench.json").write_text(json.dumps(content))
    return subprocess.run(
        [sys.executable, PROGRAM, area / "bench.json", area / "plots"], capture_output=True, text=True
    )


def test_plots_are_svg_within_their_frame(area: Path) -> None:
    done = run(area, {**FULL, "quick": True})
    assert (done.returncode, done.stderr) == (0, "")
    written = sorted((area / "plots").iterdir())
    assert [path.name for path in written] == ["growth.svg", "latency.svg", "reads.svg", "scale.svg"]
    for path in written:
        root = ElementTree.parse(path).getroot()
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for part in root.iter():
            for name, most in (("x", width), ("x2", width), ("cx", width), ("y", height), ("cy", height)):
                assert 0 <= float(part.get(name, 0)) <= most, (path, part.attrib)
        words = [text.text or "" for text in root.iter(f"{SVG}text")]
        assert any("A & B <processor>" in text and text.startswith("secretfs 0.1.0, 2026") for text in words)
        assert any("; a quick run" in text for text in words)
        assert "prefers-color-scheme: dark" in path.read_text()


def test_what_was_not_measured_is_left_out_and_named(area: Path) -> None:
    done = run(area, document(READS))
    assert done.returncode == 0
    assert [path.name for path in (area / "plots").iterdir()] == ["reads.svg"]
    assert 'latency.svg is left out: the file has no measurement "updates"' in done.stderr


def test_usage(area: Path) -> None:
    assert subprocess.run([sys.executable, PROGRAM], capture_output=True).returncode == 2
