#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the demo, and records it: its output in docs/demo.md, and docs/demo.svg, which plays it.

    tools/record-demo.py [PAGE DRAWING]

The drawing shows a terminal. Each line appears SLOWER times later than it did in the run; the last ones
stay for a while, and it begins again. It is text, and needs no script and no other file. A browser that
is asked for reduced motion shows the end alone.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Iterator
from xml.sax.saxutils import escape

TOP = pathlib.Path(__file__).resolve().parents[1]
DEMO = TOP / "examples" / "demo" / "demo.py"
PAGE, DRAWING = TOP / "docs" / "demo.md", TOP / "docs" / "demo.svg"

SLOWER = 20  # the demo takes one second or two
END_SECONDS = 8.0
COLUMNS, ROWS = 100, 30
CHARACTER, LINE, MARGIN, TITLE = 7.25, 17, 14, 34  # pixels
FENCE = "```text\n"

STYLE = """
  text { font: 12px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1f2328; white-space: pre }
  .window, .cover { fill: #f6f8fa } .window { stroke: #d1d9e0 }
  .command { font-weight: bold } .note { fill: #0969da } .title { fill: #59636e }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .window, .cover { fill: #151b23 } .window { stroke: #3d444d }
    .note { fill: #4493f8 } .title { fill: #9198a1 }
  }
"""


@dataclass(frozen=True)
class Line:
    seconds: float  # after the beginning
    text: str
    kind: str = ""  # a class of the style


# ---- the run


def record(command: list[str]) -> list[Line]:
    """What a command prints, and when, with one name for the directory that it works in. Its output is a
    pipe: no colours."""
    begin = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines = [Line(time.monotonic() - begin, without_random(line.rstrip("\n"))) for line in process.stdout]
    if process.returncode != 0:
        raise SystemExit("".join(f"{line.text}\n" for line in lines) + f"{command[0]} failed")
    return without_empty_ends(lines)


def without_random(text: str) -> str:
    return re.sub(r"/tmp/secretfs-demo-\w+", "/tmp/secretfs-demo", text)


def without_empty_ends(lines: list[Line]) -> list[Line]:
    filled = [index for index, line in enumerate(lines) if line.text]
    return lines[filled[0] : filled[-1] + 1]


def page_with(page: str, lines: list[Line]) -> str:
    """The page with these lines as its recording."""
    before, fence, rest = page.partition(FENCE)
    _, end, after = rest.partition("```")
    if not fence or not end:
        raise SystemExit("the page has no block of text")
    return before + fence + "".join(f"{line.text}\n" for line in lines) + end + after


# ---- the drawing


def folded(lines: list[Line]) -> list[Line]:
    """As a terminal of COLUMNS shows them."""
    return [
        Line(line.seconds, line.text[start : start + COLUMNS], kind_of(line.text))
        for line in lines
        for start in range(0, max(1, len(line.text)), COLUMNS)
    ]


def kind_of(text: str) -> str:
    if text.startswith("$ "):
        return "command"
    return "note" if text.startswith("# ") else ""


def keyframes(name: str, steps: list[tuple[float, int]]) -> str:
    """An animation that jumps: from each share of the whole time on (0 to 1), so many lines downwards."""
    jumps = " ".join(f"{100 * share:.2f}%{{transform:translateY({LINE * lines}px)}}" for share, lines in steps)
    return f"@keyframes {name}{{{jumps}}}"


def scrolled(shown: int) -> int:
    """By how many lines the text is moved when this many are shown."""
    return -max(0, shown - ROWS)


def style_of(lines: list[Line]) -> str:
    """A cover hides what has not been printed yet, and moves down; the text moves up when the window is full."""
    total = SLOWER * lines[-1].seconds + END_SECONDS
    shown_at: dict[float, int] = {0.0: 0}
    for count, line in enumerate(lines, 1):
        shown_at[round(SLOWER * line.seconds / total, 4)] = count
    steps = sorted(shown_at.items())
    moves = [(share, scrolled(shown)) for share, shown in steps]
    firsts = [move for before, move in zip([(0.0, 1), *moves], moves) if before[1] != move[1]]
    end = f"translateY({LINE * scrolled(len(lines))}px)"
    return "\n".join(
        [
            STYLE.strip("\n"),
            f"  .cover {{ animation: cover {total:.1f}s step-end infinite }}",
            f"  .screen {{ animation: screen {total:.1f}s step-end infinite }}",
            f"  {keyframes('cover', steps)}",
            f"  {keyframes('screen', firsts)}",
            "  @media (prefers-reduced-motion: reduce) {",
            f"    .cover {{ display: none }} .screen {{ animation: none; transform: {end} }}",
            "  }",
        ]
    )


def drawn(lines: list[Line]) -> Iterator[str]:
    shown = folded(lines)
    width, height = round(COLUMNS * CHARACTER) + 2 * MARGIN, ROWS * LINE
    title = f"make demo, which took {lines[-1].seconds:.1f} s, played {SLOWER} times slower"
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {TITLE + height + MARGIN}" role="img">'
    yield f"<title>{escape(title)}</title>"
    yield f"<style>\n{style_of(shown)}\n</style>"
    yield f'<rect class="window" x="0.5" y="0.5" width="{width - 1}" height="{TITLE + height + MARGIN - 1}" rx="6"/>'
    yield f'<text class="title" x="{MARGIN}" y="22">{escape(title)}</text>'
    yield f'<svg x="{MARGIN}" y="{TITLE}" width="{width - MARGIN - 1}" height="{height}"><g class="screen">'
    for row, line in enumerate(shown):
        kind = f' class="{line.kind}"' if line.kind else ""
        yield f'<text{kind} y="{row * LINE + 12}">{escape(line.text)}</text>'
    yield f'<rect class="cover" width="100%" height="{(len(shown) + ROWS) * LINE}"/>'
    yield "</g></svg>\n</svg>"


def main() -> None:
    if len(sys.argv) not in (1, 3):
        raise SystemExit(__doc__)
    page, drawing = (pathlib.Path(name) for name in sys.argv[1:]) if len(sys.argv) == 3 else (PAGE, DRAWING)
    lines = record([sys.executable, "-u", str(DEMO)])
    page.write_text(page_with(page.read_text(), lines))
    drawing.write_text("\n".join(drawn(lines)) + "\n")
    print(f"{drawing}: {len(lines)} lines, {lines[-1].seconds:.1f} s, {drawing.stat().st_size} bytes")


if __name__ == "__main__":
    main()
