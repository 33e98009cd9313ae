"""What docs/ say about messages, options and files is so."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from .manifests import TOP

DOCS = sorted((TOP / "docs").glob("*.md"))
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


def said_by_the_program() -> str:
    """All string literals of the sources, those that stand one after another joined."""
    text = ""
    for room in ("base", "cache", "csi", "daemon", "fetcher", "fuse", "volume"):
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


def test_messages_are_the_programs() -> None:
    """Somebody looks for what they have read, and has to find it."""
    said = said_by_the_program()
    others = {text.strip(" :") for text in OF_OTHERS}
    unknown = []
    for message in messages():
        if message in others:
            continue
        # a gRPC code comes before, and what is printed into a message is not in the source
        words = re.sub(r"^(InvalidArgument|NotFound|PermissionDenied|Unavailable|403):?\s*", "", message)
        words = words.replace("volumeAttributes.NAME", "volumeAttributes")
        words = words.removeprefix("the kubelet ")
        if words and words not in said and not words.startswith(("/", "Terminating")):
            unknown.append(message)
    assert not unknown


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_options_are_known() -> None:
    """Those of `secretfs node` that installing is about."""
    program = os.environ.get("SECRETFS", TOP / "build" / "debug" / "secretfs")
    told = subprocess.run([program, "node", "--help"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"--[a-z-]+", told.stdout))
    daemonset = (TOP / "deploy" / "daemonset" / "base" / "daemonset.yaml").read_text()
    used = set(re.findall(r"- (--[a-z-]+)=", daemonset))
    for name in ("install.md", "troubleshooting.md"):
        text = (TOP / "docs" / name).read_text()
        used |= {word for word in re.findall(r"`(--[a-z-]+)[` ]", text) if word != "--root-dir"}
    assert len(used) > 5 and used <= known, used - known
