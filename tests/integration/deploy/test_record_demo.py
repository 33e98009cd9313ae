"""tools/record-demo.py: what it draws of a run, and that docs/demo.svg plays what docs/demo.md says."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from lib.deploy import TOP, load_tool

SVG = "{http://www.w3.org/2000/svg}"
MAX_BYTES = 60_000
recorder = load_tool("record-demo")


def drawing(*lines: tuple[float, str]) -> ElementTree.Element:
    return ElementTree.fromstring("\n".join(recorder.drawn([recorder.Line(*line) for line in lines])))


def text_of(svg: ElementTree.Element) -> list[str]:
    """The lines of the terminal."""
    return [element.text or "" for element in svg.iterfind(f".//{SVG}g/{SVG}text")]


def steps_of(svg: ElementTree.Element, name: str) -> list[tuple[float, int]]:
    """Shares of the whole time, in percent, and pixels."""
    style = svg.find(f"{SVG}style")
    assert style is not None and style.text is not None
    found = re.search(rf"@keyframes {name}\{{(.*)\}}\n", style.text)
    assert found is not None
    pattern = r"([\d.]+)%\{transform:translateY\((-?\d+)px\)\}"
    return [(float(share), int(pixels)) for share, pixels in re.findall(pattern, found[1])]


def test_lines_appear_at_their_time() -> None:
    svg = drawing((0.1, "$ one & <two>"), (0.1, "a"), (0.4, "b"))
    assert text_of(svg) == ["$ one & <two>", "a", "b"]
    total = 0.4 * recorder.SLOWER + recorder.END_SECONDS
    first, last = (pytest.approx(100 * t * recorder.SLOWER / total, abs=0.02) for t in (0.1, 0.4))
    assert steps_of(svg, "cover") == [(0, 0), (first, 2 * recorder.LINE), (last, 3 * recorder.LINE)]
    assert steps_of(svg, "screen") == [(0, 0)]


def test_full_window_scrolls_and_long_lines_are_folded() -> None:
    long = "x" * (2 * recorder.COLUMNS + 1)
    lines = [(0.1, str(number)) for number in range(recorder.ROWS - 1)]
    svg = drawing(*lines, (0.2, long), (0.3, ""))
    assert len(text_of(svg)) == recorder.ROWS - 1 + 3 + 1
    assert [pixels for _, pixels in steps_of(svg, "screen")] == [0, -2 * recorder.LINE, -3 * recorder.LINE]


def test_failed_command_records_nothing() -> None:
    with pytest.raises(SystemExit, match="(?s)half\n.*failed"):
        recorder.record(["sh", "-c", "echo half; exit 1"])


def test_random_directory_has_one_name() -> None:
    (line,) = recorder.record(["sh", "-c", "echo; echo ls /tmp/secretfs-demo-ab_12/mnt; echo"])
    assert line.text == "ls /tmp/secretfs-demo/mnt"


def test_page_without_a_block_is_refused() -> None:
    with pytest.raises(SystemExit):
        recorder.page_with("# A page\n", [])


def test_drawing_plays_the_page() -> None:
    """It is small, needs no script and no other file, and says the same as the page."""
    text = (TOP / "docs" / "demo.svg").read_text()
    assert len(text.encode()) < MAX_BYTES
    assert re.search(r"<script|<image|<foreignObject|href|url\(|@import", text) is None
    page = (TOP / "docs" / "demo.md").read_text()
    recorded = page.partition(recorder.FENCE)[2].partition("```")[0].splitlines()
    lines = [recorder.Line(0, line) for line in recorded]
    assert text_of(ElementTree.fromstring(text)) == [line.text for line in recorder.folded(lines)]
