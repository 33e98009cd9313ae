"""docs/compatibility.md says what tests see."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

from lib import compatibility
from lib.deploy import TOP


def test_page_is_what_the_tool_prints() -> None:
    command = [sys.executable, TOP / "tools" / "compatibility.py"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (TOP / "docs" / "compatibility.md").read_text() == printed


def test_tests_exist() -> None:
    """Each that the page names: the function, and its case among the rows."""
    tree = ast.parse((TOP / compatibility.TEST).read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert compatibility.FUNCTION in functions
    named = re.findall(rf"`{compatibility.FUNCTION}\[(.*?)\]`", compatibility.page())
    assert named == [row.name for row in compatibility.ROWS]
    assert len(set(named)) == len(named)
