"""What docs/ say about messages, options and files is so."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
from pathlib import Path

import pytest

from lib.deploy import TOP
from lib.pages import dangling_links

FOLDERS = ("docs", "deploy", "examples")
DOCS = sorted([*TOP.glob("*.md"), *(page for folder in FOLDERS for page in (TOP / folder).glob("**/*.md"))])
DESIGN = (TOP / "docs" / "design.md").read_text()
LINT: dict[str, dict[str, set[str]]] = runpy.run_path(str(TOP / "tests/lint/layers.py"))
ROOMS = LINT["MAY_INCLUDE"]
# They are the kubelet's, the kernel's or the API server's own words.
OF_OTHERS = (
    "driver name csi.secretfs.io not found in the list of registered CSI drivers",
    "driver name",
    "not found",
    'volume mode "Ephemeral" not supported by driver',
    "Transport endpoint is not connected",
    "Unable to attach or mount volumes:",
    "orphaned pod",
    "volume paths are still present",
    "timed out",
    "Permission denied",
    "Read-only file system",
    "system:serviceaccount:",
    'secret "NAME" not found',
)

INTERNALS = sorted((TOP / "docs" / "internals").glob("*.md"))
CALLED = {
    name
    for room in [*ROOMS, "tests/lib"]
    for path in (TOP / room).glob("*.[chp]*")
    for name in re.findall(r"\b(\w+)\(", path.read_text())
}
FUNCTIONS_OF_OTHERS = {"fuse_do_ioctl"}  # the kernel's


def said_by_the_program() -> str:
    """All string literals of the sources, those that stand one after another joined."""
    text = ""
    for room in ROOMS:
        for path in sorted((TOP / room).glob("*.c")):
            joined = re.sub(r'"\s*\n\s*"', "", path.read_text())
            text += "\n".join(re.findall(r'"((?:[^"\\]|\\.)*)"', joined)) + "\n"
    return text.replace('\\"', '"')


def messages() -> list[str]:
    """The fragments of messages that docs/troubleshooting.md begins its rows with."""
    found = []
    for line in (TOP / "docs" / "troubleshooting.md").read_text().splitlines():
        cell = line.split("|")[1] if line.startswith("| ") else ""
        for quoted in re.findall(r"`([^`]+)`", cell):
            found += [part.strip(" :") for part in quoted.split("...") if len(part.strip(" :")) > 3]
    return found


GRPC_CODES = r"^(FailedPrecondition|InvalidArgument|NotFound|PermissionDenied|Unavailable|403):?\s*"


def test_messages_are_the_programs() -> None:
    """A reader searches for the message that they have seen, and has to find it."""
    said = said_by_the_program()
    others = {text.strip(" :") for text in OF_OTHERS}
    unknown = []
    for message in messages():
        if message in others:
            continue
        # a gRPC code comes before, and what is printed into a message is not in the source
        words = re.sub(GRPC_CODES, "", message)
        words = words.replace("volumeAttributes.NAME", "volumeAttributes")
        words = words.removeprefix("the kubelet ")
        if words and words not in said and not words.startswith(("/", "Terminating")):
            unknown.append(message)
    assert not unknown


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(TOP)))
def test_links_have_targets(path: Path) -> None:
    assert not dangling_links(path)


def test_links_of_installed_pages_have_targets(area: Path) -> None:
    """`make install` puts the pages beside what they link to."""
    build = Path(os.environ.get("SECRETFS", TOP / "build" / "debug" / "secretfs")).resolve().parent
    make = ["make", "-s", "-o", build.relative_to(TOP) / "secretfs", f"BUILD={build.name}"]
    subprocess.run([*make, "PREFIX=/usr", f"DESTDIR={area}", "install"], cwd=TOP, check=True)
    installed = area / "usr/share/doc/secretfs"
    pages = {path.relative_to(installed) for path in installed.rglob("*.md")}
    assert {path.relative_to(TOP) for path in DOCS} <= pages
    assert {page: links for page in pages if (links := dangling_links(installed / page))} == {}


def rows_of(page: str, n_cells: int) -> list[list[str]]:
    """The rows of all tables with so many columns."""
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [row for row in rows if len(row) == n_cells]


def test_the_way_of_a_value_is_the_code_s() -> None:
    """docs/design.md: each function that it names stands in the file that it names."""
    steps = [row for row in rows_of(DESIGN, 4) if row[0].isdecimal()]
    assert [int(row[0]) for row in steps] == list(range(1, len(steps) + 1)) and len(steps) > 20
    for _, file, functions, _ in steps:
        code = (TOP / file.strip("`")).read_text()
        named = re.findall(r"`(\w+)\(\)`", functions)
        assert named
        for name in named:
            assert re.search(rf"^[a-z][^;{{}}]*\b{name}\([^;{{}}]*\)\n{{", code, re.M), (file, name)


def test_rooms_are_those_of_lint() -> None:
    """docs/design.md and tests/lint/layers.py say the same of who may include whom."""
    told = {
        row[0].strip("`"): set(row[2].split(", ")) - {"nothing of the project"}
        for row in rows_of(DESIGN, 3)
        if row[0].strip("`") in ROOMS
    }
    assert told == ROOMS


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(TOP)))
def test_files_that_are_named_are_there(path: Path) -> None:
    """Those of the tree's own folders, with `[ch]`, `*` and the like as the shell has them."""
    folders = "|".join([*ROOMS, "tests", "bench", "docs", "systemd", "deploy", "examples"])
    pattern = rf"`((?:{folders})/[\w.*\[\]/@-]+)`"
    for name in re.findall(pattern, path.read_text()):
        assert list(TOP.glob(name)), name


@pytest.mark.parametrize("path", INTERNALS, ids=lambda path: path.name)
def test_functions_that_are_named_are_there(path: Path) -> None:
    """Each `name()` is a function or a macro of the tree, or one of others that the tree calls."""
    named = set(re.findall(r"`(\w+)\(\)`", path.read_text()))
    assert named <= CALLED | FUNCTIONS_OF_OTHERS, named - CALLED - FUNCTIONS_OF_OTHERS


def test_threat_model_names_its_tests() -> None:
    """SECURITY.md: each row of the threat model ends with the files of tests that show it."""
    rows = rows_of((TOP / "SECURITY.md").read_text(), 4)[1:]
    rows = [row for row in rows if not row[0].startswith("---")]
    assert len(rows) > 10
    for actor, action, _, shown_by in rows:
        named = re.findall(r"`(tests/[\w/.]+)`", shown_by)
        assert named, (actor, action)
        for name in named:
            assert (TOP / name).is_file(), name


NEIGHBOURS = (TOP / "docs" / "neighbours.md").read_text()
# "not found" says where; a measurement is the run of the note `m`; the rest are public addresses.
OF_OTHERS_EVIDENCE = r"https://\S|[Nn]ot found.* \(looked at|Measured on|[Tt]he run above"


def notes() -> dict[str, str]:
    """The texts of the footnotes, each on one line."""
    found = re.findall(r"^\[\^([\w-]+)\]: (.+(?:\n {4}.+)*)", NEIGHBOURS, re.M)
    assert len(found) == len(dict(found))
    return {name: re.sub(r"\s+", " ", text) for name, text in found}


def test_each_cell_about_neighbours_has_evidence() -> None:
    """docs/neighbours.md: each cell refers to a note, each note is used, and says where it is from."""
    known, used = notes(), set(re.findall(r"\[\^([\w-]+)\](?!:)", NEIGHBOURS))
    rows = [line for line in NEIGHBOURS.splitlines() if line.startswith("| ") and "[^" in line]
    assert len(rows) > 20
    for row in rows:
        for cell in row.strip("| ").split(" | ")[1:]:
            assert re.search(r"\w.*\[\^[\w-]+\]$", cell), (row, cell)
    assert used == set(known)
    for name, text in known.items():
        if not name.startswith("o-"):
            assert re.search(OF_OTHERS_EVIDENCE, text), name
            continue
        shown_by = re.findall(r"`((?:tests|bench)/[\w/.]+)`|\]\(([^)#:]+)", text)
        assert shown_by, name
        for path, page in shown_by:
            assert (TOP / path if path else TOP / "docs" / page).exists(), (name, path, page)


def constant(name: str) -> int:
    """The value of a #define: a number, or one shifted."""
    sources = [path for room in ROOMS for path in (TOP / room).glob("*.h")]
    found = {match for path in sources for match in re.findall(rf"^#define {name}\s+(.+)$", path.read_text(), re.M)}
    assert len(found) == 1, (name, found)
    number = re.fullmatch(r"\(?(\d+)u?(?: << (\d+)\))?(?:\s+/\*.*)?", found.pop())
    assert number is not None, name
    return int(number[1]) << int(number[2] or 0)


def test_limits_are_the_code_s() -> None:
    rows = re.findall(r"^\|[^|]+\| (\d+)[^|]*\|[^|]+\| `(\w+)` \|$", (TOP / "docs" / "limits.md").read_text(), re.M)
    assert len(rows) > 10
    assert {name: int(value) for value, name in rows} == {name: constant(name) for _, name in rows}
