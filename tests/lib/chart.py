"""The Helm chart: its values as a table, and what helm renders of it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping

import yaml

TOP = Path(__file__).resolve().parents[2]
CHART = TOP / "deploy" / "chart" / "secretfs"
SOURCE = Path(__file__).parent / "programs" / "helm"
BUILT = TOP / "build" / "helm"

# helm reads no file outside of the chart, so it has copies of these.
COPIES = {
    CHART / "files" / name: TOP / "deploy" / "monitoring" / name
    for name in ("dashboard.json", "prometheusrule.yaml")
}

_BEGIN = "<!-- values: written by tools/chart-values.py -->\n"
_END = "<!-- end of values -->\n"
_KEY = re.compile(r"( *)([A-Za-z]+):")


# ---- the table of values


@dataclass(frozen=True)
class Value:
    path: str
    default: Any
    description: str


def _descriptions(text: str) -> Iterator[tuple[str, str]]:
    """Each key that a comment `# -- TEXT` precedes, as a path with dots, and its text."""
    parents: list[str] = []
    description: list[str] | None = None
    for line in text.splitlines():
        comment = re.match(r" *# ?(-- )?(.*)", line)
        key = _KEY.match(line)
        if comment and comment[1]:
            description = [comment[2]]
        elif comment and description is not None:
            description.append(comment[2])
        elif key:
            parents[len(key[1]) // 2 :] = [key[2]]
            if description is not None:
                yield ".".join(parents), " ".join(description)
            description = None


def default_values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return loaded


def value_at(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for key in path.split("."):
        found = found[key]
    return found


def described_values() -> list[Value]:
    """In the order of values.yaml."""
    defaults = default_values()
    described = _descriptions((CHART / "values.yaml").read_text())
    return [Value(path, value_at(defaults, path), text) for path, text in described]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def table() -> str:
    lines = ["| value | default | meaning |", "|---|---|---|"]
    for value in described_values():
        default = _cell(json.dumps(value.default))
        lines.append(f"| `{value.path}` | `{default}` | {_cell(value.description)} |")
    return "\n".join(lines) + "\n"


def page_with_table(page: str) -> str:
    """README.md with the table between its two marks."""
    before, _, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    assert end, "README.md has no marks for the table of values"
    return before + _BEGIN + table() + _END + after


# ---- helm


class HelmMissing(Exception):
    """helm cannot be built here; the text says why."""


class HelmFailed(Exception):
    """helm ended with an error; the text is its own."""


def build_helm() -> Path:
    """helm, built of its Go module; once for all builds and runs of this tree."""
    # Debian's may be too old
    go = next(filter(os.path.exists, ("/usr/local/go/bin/go", shutil.which("go") or "")), None)
    if go is None:
        raise HelmMissing("go is not installed, which builds helm")
    BUILT.mkdir(parents=True, exist_ok=True)
    # minutes of all processors for the first time; other tests run beside it
    build = [go, "build", "-ldflags=-s -w", "-o", str(BUILT / "helm"), "helm.sh/helm/v4/cmd/helm"]
    command = ["nice", "-n", "19", *build]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    with open(BUILT / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            command, cwd=SOURCE, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        _raise_unbuilt(done.stderr)
    return BUILT / "helm"


# What go reports of an environment in which it cannot build helm; anything else is a fault of the tree.
_MISSING = {
    "Go modules are not reachable": r'Get "http|reading http|dial tcp|module lookup disabled',
    "this go is too old": r"requires go >=|errors parsing go.mod",
}


def _raise_unbuilt(output: str) -> None:
    for reason, pattern in _MISSING.items():
        if re.search(pattern, output):
            raise HelmMissing(f"helm is not built, {reason}: {output[-300:]}")
    raise AssertionError(f"helm does not build:\n{output[-3000:]}")


class Helm:
    """helm with a home of its own, and no cluster unless `kubeconfig` names one."""

    def __init__(self, program: Path, home: Path, kubeconfig: Path | None = None) -> None:
        self._program = program
        keep = {key: value for key, value in os.environ.items() if not key.startswith(("HELM", "KUBE"))}
        self._environment = {**keep, "HOME": str(home), "KUBECONFIG": str(kubeconfig or "/dev/null")}

    def run(self, *arguments: str | Path) -> str:
        """What it printed on its standard output."""
        done = subprocess.run(
            [str(self._program), *(str(argument) for argument in arguments)],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            words = " ".join(str(argument) for argument in arguments[:4])
            raise HelmFailed(f"helm {words}: {done.stderr.strip()}")
        return done.stdout

    def template(self, values: Mapping[str, Any], namespace: str = "secretfs") -> list[Any]:
        """The rendered objects."""
        said = self.run("template", "secretfs", CHART, "-n", namespace, *arguments_for(values))
        return [document for document in yaml.safe_load_all(said) if document is not None]


def arguments_for(values: Mapping[str, Any]) -> list[str]:
    """Values by their paths with dots, as options of helm."""
    return [part for path, value in values.items() for part in ("--set-json", f"{path}={json.dumps(value)}")]
