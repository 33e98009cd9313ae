"""Output that a page shows, and output that a test has seen, in a form in which both are equal."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# What differs each time, and what stands for it.
_CHANGING = (
    (r"\.\.\d{4}(?:_\d\d){2}(?:_\d\d){3}\.\d+", "..GENERATION"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d", "DATE"),
    (r"https://[\w.]+:\d+", "SERVER"),
    (r"(?<![-\d.])\d+\.\d+ ?ms", "N ms"),
    (r"/tmp/secretfs-[\w.-]+", "DIRECTORY"),
    (r"FUSE requests:( +)\d+ \(.*\)", r"FUSE requests:\1N"),
    (r"(Process: +|process )\d+", r"\1N"),
    (r"\$ [\w./]*/?secretfs ", "$ secretfs "),
    # of ls -l: the size of ..data, whose target ends in a random number; the directory above, which is
    # not the program's; the width of columns, which is its size's
    (r"^([dl][rwxt-]{9}) +(\d+) root root +", r"\1 \2 root root "),
    (r"\d+ (DATE \.\.data ->)", r"N \1"),
    (r"(d[rwxt-]{9}) \d+ root root \d+ (DATE \.\.)$", r"\1 N root root N \2"),
    (r"^total \d+$", "total N"),
)


def normal(text: str) -> str:
    for pattern, stands_for in _CHANGING:
        text = re.sub(pattern, stands_for, text, flags=re.MULTILINE)
    return text


@dataclass
class Step:
    """A command of a page, and the output below it."""

    command: str
    output: list[str] = field(default_factory=list)
    by_root: bool = False


def steps(page: str) -> list[Step]:
    """Of the indented lines: those with a prompt, an ordinary user's or root's, are commands."""
    found: list[Step] = []
    for line in page.splitlines():
        text = line.removeprefix("    ")
        if line.startswith(("    $ ", "    # ")):
            found.append(Step(text[2:], by_root=text[0] == "#"))
        elif line.startswith("    ") and found:
            step = found[-1]
            if step.command.endswith("\\") and not step.output:
                step.command += "\n" + text
            else:
                step.output.append(text)
    return found
