"""tests/lint/citations.py reports citations of statements that do not exist, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lib.deploy import TOP

LINT = TOP / "tests" / "lint" / "citations.py"
SPECIFICATION = """# Statements

- **A1.** [S] The first. [V37] It still holds.
- **A2.** [X] The second; see A1.
- **A3.** [X] The third.
- **A3a.** [X] And its sequel.
"""


def lint(top: Path, name: str, text: str) -> list[str]:
    """What it says about one file in a tree of its own."""
    (top / "docs").mkdir()
    (top / "docs" / "kubelet-semantics.md").write_text(SPECIFICATION)
    (top / name).write_text(text)
    run = subprocess.run(
        [sys.executable, LINT, "docs/kubelet-semantics.md", name],
        cwd=top,
        capture_output=True,
        text=True,
        check=False,
    )
    said = run.stderr.splitlines()
    assert run.returncode == (1 if said else 0), run
    return said


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.c", "/* A1 */\n\n/* The third\n * (A2,\n * A9). */\n", ["a.c:5: A9"]),
        ("a.c", "int a; /* Source: A1 to A3. */\n/* Source: Z4. */\n", ["a.c:2: Z4"]),
        ("a.h", '{"A1: good; B7: bad", 1},\n{"A1, A4", 2},\n', ["a.h:1: B7", "a.h:2: A4"]),
        ("a.py", '# A1\ndef f():\n    """A2.\n\n    A2-A5 hold."""\n', ["a.py:5: A5", "a.py:5: A4"]),
        ("a.py", 'assert x, f"{code} is final (A8)"\n', ["a.py:1: A8"]),
        ("a.md", "As the kubelet (A1/A3a), and (A3b).\n", ["a.md:1: A3b"]),
        ("a.md", "| A1 | one |\n| B2 | two |\n", ["a.md:2: B2"]),
        ("a.md", "A3 to A1.\n", ["a.md:1: A3 to A1"]),
        ("a.yaml", "a: 1 # A7\n", ["a.yaml:1: A7"]),
        ("Makefile", "# A6: why\n", ["Makefile:1: A6"]),
    ],
)
def test_a_citation_of_nothing_is_found(
    tmp_path: Path, name: str, text: str, expected: list[str]
) -> None:
    said = lint(tmp_path, name, text)
    assert len(said) == len(expected)
    for line, begin in zip(said, expected, strict=True):
        assert line.startswith(begin), line


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.c", "/* PCI, K8s, SHA1, X509, RSA4096, HTTP2, C17, V8, 0xB4, -O2, P256, D05 */\n"),
        ("a.c", 'int B7 = C9; const char *s = "env: [{name: V9, value: D4}";\n'),
        ("a.c", "/* x86_B4, a.B4, B4.c, B4(), B4=1, [B4], \"B4\", $B4, %B4, B4-x */\n"),
        ("a.py", 'D4 = re.compile(r"[-._a-zA-Z0-9]+ B4 ")  # no E2E here\n'),
        ("a.md", "`B4` and\n\n    B5 in code\n\nare none, nor is [V37].\n"),
        ("Makefile", "CFLAGS := -O2 B4\n"),
    ],
)
def test_other_words_are_no_citations(tmp_path: Path, name: str, text: str) -> None:
    assert not lint(tmp_path, name, text)


def test_the_tree_cites_what_exists() -> None:
    run = subprocess.run([sys.executable, LINT], cwd=TOP, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
