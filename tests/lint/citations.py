#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that each statement of docs/kubelet-semantics.md that the tree cites is there.

A number is a capital letter, one or two digits without a zero in front, and at most one small
letter (a to d): A5, R11a. It is a citation where it stands as a word of its own in

- a comment, a docstring, or a Markdown text outside of code
- a string, at its beginning, after a semicolon or in parentheses, as in the tables of tests:
  "G8: deleted"

Parts of other words are none: -O2, 0xA5, K8s, V1.Pod, [V37], utf-8, SHA1. Words with a meaning of
their own are listed below. "A5, A6", "A5 and A6", "A5 to A8", "A5-A8" and "A5/A6" are one
citation; a range cites all between its ends.
"""

from __future__ import annotations

import argparse
import bisect
import io
import pathlib
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator

SPECIFICATION = pathlib.PurePath("docs/kubelet-semantics.md")
STATEMENT = re.compile(r"- \*\*([A-Z][1-9][0-9]?[a-d]?)\.\*\* \S")

# Versions of C, a window system, a JavaScript engine; where a statement has the number, it counts.
OTHER_WORDS = {"C17", "C23", "X11", "V8"}

NUMBER = r"[A-Z][1-9][0-9]?[a-d]?"
END = r"""(?![\w\]}=("'`@\\]|[.-]\w)"""
RANGE = r"(?:\s+to\s+(?:\*\s+|#\s+)?|-|\.\.)"
JOINT = rf"(?:,?\s+(?:and|or)\s+|,\s+|/|{RANGE})"
GROUP = rf"{NUMBER}(?:{JOINT}{NUMBER})*{END}"
IN_TEXT = re.compile(rf"""(?<![\w.%$#/@+=<>\[{{"'`\\-])(?P<citation>{GROUP})""")
IN_STRING = re.compile(rf"(?:\A|;\s|\()(?P<citation>{GROUP})(?=[:,;.)]|\Z)")

C_PARTS = re.compile(
    r"""(?P<text>//[^\n]*|/\*.*?\*/)|"(?P<string>(?:[^"\\\n]|\\.)*)"|'(?:[^'\\\n]|\\.)*'""",
    re.DOTALL,
)
HASH_COMMENT = re.compile(r"(?:^|(?<=[\s;]))#[^\n]*", re.MULTILINE)
MARKDOWN_CODE = re.compile(r"^(?:    |\t).*$|`[^`\n]*`", re.MULTILINE)
SUFFIXES = {".c", ".h", ".in", ".md", ".mk", ".proto", ".py", ".sh", ".supp", ".yaml"}
FILES = {".ci/run", "Makefile", "deploy/image/Containerfile"}
OWN_TEST = "tests/integration/deploy/test_citations.py"  # cites what does not exist, on purpose


def statements(specification: str) -> set[str]:
    lines = specification.splitlines()
    return {found.group(1) for line in lines if (found := STATEMENT.match(line))}


# ---- what may cite: the offset in the file, the text, whether it is a string


def c_parts(text: str) -> Iterator[tuple[int, str, bool]]:
    for found in C_PARTS.finditer(text):
        if found["text"] is not None:
            yield found.start() + 2, found["text"][2:].removesuffix("*/"), False
        elif found["string"] is not None:
            yield found.start("string"), found["string"], True


def python_parts(text: str) -> Iterator[tuple[int, str, bool]]:
    line_at = [0] + [found.end() for found in re.finditer("\n", text)]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        at = line_at[token.start[0] - 1] + token.start[1]
        if token.type == tokenize.COMMENT:
            yield at + 1, token.string[1:], False
        elif token.type == tokenize.STRING:
            quote = re.match(r"""[a-zA-Z]*("{3}|'{3}|"|')""", token.string)
            assert quote is not None
            body = token.string[quote.end() : -len(quote[1])]
            yield at + quote.end(), body, len(quote[1]) == 1


def markdown_parts(text: str) -> Iterator[tuple[int, str, bool]]:
    yield 0, MARKDOWN_CODE.sub(lambda found: "`" * len(found[0]), text), False


def hash_parts(text: str) -> Iterator[tuple[int, str, bool]]:
    for found in HASH_COMMENT.finditer(text):
        yield found.start() + 1, found[0][1:], False


PARTS = {
    ".c": c_parts,
    ".h": c_parts,
    ".proto": c_parts,
    ".py": python_parts,
    ".md": markdown_parts,
}


def citations(name: str, text: str) -> Iterator[tuple[int, str]]:
    """The line and the text of each citation in a file, such as (12, "A5 to A8")."""
    line_ends = [found.start() for found in re.finditer("\n", text)]
    for offset, part, is_string in PARTS.get(pathlib.PurePath(name).suffix, hash_parts)(text):
        for found in (IN_STRING if is_string else IN_TEXT).finditer(part):
            at = offset + found.start("citation")
            yield bisect.bisect_left(line_ends, at) + 1, found["citation"]


# ---- what is wrong


def missing_in_range(first: str, last: str, known: set[str]) -> Iterator[str]:
    begin, end = (int(re.sub(r"\D", "", number)) for number in (first, last))
    if first[0] != last[0] or begin >= end:
        yield f"{first} to {last} is not a range"
    for n in range(begin + 1, end):
        if f"{first[0]}{n}" not in known:
            yield f"{first[0]}{n} (of {first} to {last}) is not in {SPECIFICATION}"


def faults_of(citation: str, known: set[str]) -> Iterator[str]:
    for number in re.findall(NUMBER, citation):
        if number not in known and number not in OTHER_WORDS:
            yield f"{number} is not in {SPECIFICATION}"
    for ends in re.finditer(rf"({NUMBER}){RANGE}({NUMBER})", citation):
        yield from missing_in_range(ends[1], ends[2], known)


def check(top: pathlib.Path, names: list[str]) -> tuple[list[str], int]:
    """Return: what is wrong, each as FILE:LINE: TEXT; how many citations there are."""
    known = statements((top / SPECIFICATION).read_text())
    faults = []
    n_citations = 0
    for name in names:
        for line, citation in citations(name, (top / name).read_text()):
            n_citations += 1
            faults += [f"{name}:{line}: {fault}" for fault in faults_of(citation, known)]
    return faults, n_citations


def files_of(top: pathlib.Path) -> list[str]:
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=top, check=True, capture_output=True, text=True).stdout
    return [
        name
        for name in sorted(filter(None, listed.split("\0")))
        if (pathlib.PurePath(name).suffix in SUFFIXES or name in FILES)
        and "/corpus/" not in name
        and name != OWN_TEST
        and (top / name).is_file()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="check citations of " + str(SPECIFICATION))
    parser.add_argument("--list", action="store_true", help="print them, and check nothing")
    parser.add_argument("files", nargs="*", help="in place of all that git knows of")
    arguments = parser.parse_args()
    top = pathlib.Path.cwd()
    if not (top / SPECIFICATION).is_file():
        print(f"{SPECIFICATION} not found: run this at the top of the tree", file=sys.stderr)
        return 1
    names = arguments.files or files_of(top)
    if arguments.list:
        for name in names:
            for line, citation in citations(name, (top / name).read_text()):
                print(f"{name}:{line}: {citation}")
        return 0
    faults, n_citations = check(top, names)
    for fault in faults:
        print(fault, file=sys.stderr)
    if n_citations == 0:
        print("no citations found", file=sys.stderr)
    return 1 if faults or n_citations == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
