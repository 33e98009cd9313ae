"""The manifests of this repository."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator

import yaml

TOP = Path(__file__).resolve().parents[2]
DEPLOY = TOP / "deploy"
VERSION = (TOP / "VERSION").read_text().strip()
# What kubectl reads; the chart's files are for helm.
MANIFESTS = sorted(path for path in DEPLOY.rglob("*.yaml") if DEPLOY / "chart" not in path.parents)
EXAMPLES = sorted((TOP / "examples" / "pods").glob("*.yaml"))
# What a user may apply; the base is for the others to build on.
KUSTOMIZATIONS = sorted(
    path.parent for path in DEPLOY.rglob("kustomization.yaml") if path.parent.name != "base"
)


def load_tool(name: str) -> ModuleType:
    """A program of tools/, as a module."""
    spec = importlib.util.spec_from_file_location(name, TOP / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for their names
    spec.loader.exec_module(module)
    return module


def documents(path: Path) -> list[Any]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def of_kind(loaded: list[Any], kind: str) -> list[Any]:
    return [document for document in loaded if document["kind"] == kind]


def csi_volumes(loaded: list[Any]) -> Iterator[Any]:
    for pod in of_kind(loaded, "Pod"):
        yield from (volume["csi"] for volume in pod["spec"]["volumes"] if "csi" in volume)


def name_of(path: Path) -> str:
    """For the ids of tests."""
    return str(path.relative_to(TOP))


def build_image(directory: Path, program: Path, name: str) -> Path:
    """The archive of an image as `make image` makes it, of this program; the files are in ROOT below
    `directory`."""
    root, archive = directory / "ROOT", directory / "image.tar"
    tools = DEPLOY / "image"
    programs = [program, program.with_name("secretfs-keeper")]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    for command in ([tools / "root.py", root, *programs], [tools / "archive.py", root, archive, name]):
        subprocess.run([sys.executable, *command], env=environment, check=True)
    return archive
