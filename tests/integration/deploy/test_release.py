"""`make release` refuses a commit that does not say what it is. The release itself takes minutes, and
is tried before each one (docs/releases.md)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lib.deploy import TOP, VERSION

RELEASE = TOP / "deploy" / "release" / "release.sh"


def git(repository: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@secretfs.invalid")
    subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def refusal(repository: Path) -> str:
    """What it says; it ends before it makes anything."""
    done = subprocess.run([RELEASE, VERSION], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 1, done
    assert not (repository / "build").exists()
    return done.stderr


def test_changes_without_a_commit(repository: Path) -> None:
    (repository / "CHANGELOG.md").write_text("# Changelog\n")
    assert refusal(repository) == "release: there are changes without a commit: commit them, or remove them\n"


def test_a_tag_without_a_section_in_the_changelog(repository: Path) -> None:
    git(repository, "tag", f"v{VERSION}")
    expected = f"release: CHANGELOG.md has no section [{VERSION}]: write it, and move the tag\n"
    assert refusal(repository) == expected
