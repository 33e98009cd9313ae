"""tools/pre-commit refuses a commit whose staged files are not in order, and looks at those only."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lib.deploy import TOP

pytestmark = pytest.mark.skipif(shutil.which("clang-format") is None, reason="no clang-format")

GOOD = '/* SPDX-License-Identifier: Apache-2.0 */\n#include "base/buf.h"\n\nint buf_dummy;\n'


def git(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environ["GIT_CONFIG_GLOBAL"] = environ["GIT_CONFIG_SYSTEM"] = os.devnull
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    return subprocess.run(
        ["git", *identity, *arguments],
        cwd=tree,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with this tree's files as its first commit and with the hook."""
    top = tmp_path / "tree"
    top.mkdir()
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=TOP, text=True)
    for name in filter(None, listed.split("\0")):
        if (TOP / name).is_file():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, top / name)
    assert git(top, "init", "-q").returncode == 0
    assert git(top, "add", "-A").returncode == 0
    assert git(top, "commit", "-q", "-m", "first").returncode == 0
    run = subprocess.run(
        [top / "tools" / "pre-commit", "--install"], cwd=top, check=True, capture_output=True
    )
    assert run.stdout.startswith(b"installed ")
    return top


def test_good_change_is_committed(tree: Path) -> None:
    (tree / "base" / "buf.c").write_text(GOOD)
    run = git(tree, "commit", "-q", "-a", "-m", "change")
    assert run.returncode == 0, run.stderr


def test_wrong_format_is_refused(tree: Path) -> None:
    (tree / "base" / "buf.c").write_text(GOOD.replace("int buf", "int    buf"))
    run = git(tree, "commit", "-q", "-a", "-m", "change")
    assert run.returncode != 0
    assert "base/buf.c:4:" in run.stderr
    assert "make format" in run.stderr


def test_include_of_a_higher_room_is_refused(tree: Path) -> None:
    text = GOOD.replace('buf.h"\n', 'buf.h"\n\n#include "cache/store.h"\n')
    (tree / "base" / "buf.c").write_text(text)
    run = git(tree, "commit", "-q", "-a", "-m", "change")
    assert run.returncode != 0
    assert "base/ must not include cache/" in run.stderr


def test_what_is_not_staged_is_not_checked(tree: Path) -> None:
    (tree / "base" / "buf.c").write_text(GOOD)
    assert git(tree, "add", "base/buf.c").returncode == 0
    (tree / "base" / "buf.c").write_text("not even C")
    run = git(tree, "commit", "-q", "-m", "change")
    assert run.returncode == 0, run.stderr


def test_staged_content_is_checked_and_not_the_file(tree: Path) -> None:
    (tree / "base" / "buf.c").write_text("int  x ;\n")
    assert git(tree, "add", "base/buf.c").returncode == 0
    (tree / "base" / "buf.c").write_text(GOOD)
    assert git(tree, "commit", "-q", "-m", "change").returncode != 0


def test_other_hook_is_not_replaced(tree: Path) -> None:
    hook = tree / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\n")
    run = subprocess.run(
        [tree / "tools" / "pre-commit", "--install"], cwd=tree, check=False, capture_output=True
    )
    assert run.returncode != 0
    assert hook.read_text() == "#!/bin/sh\n"
