"""Programs in Go that tests build: what only Kubernetes' own code, or Go's, can show."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def build(source: Path, program: Path) -> Path:
    """Builds the module in `source`; nothing is downloaded. Skips the test where that cannot be."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not Path(go).exists():
        pytest.skip("go is not installed")
    environment = {**os.environ, "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    command = [go, "build", "-o", program, "."]
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("Go cannot build it, or lacks modules in its cache: " + done.stderr[-200:])
    return program
