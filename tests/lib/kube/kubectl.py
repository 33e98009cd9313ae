"""kubectl with a home and a cache of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Mapping


class KubectlFailed(Exception):
    """kubectl ended with an error; the text is its own."""


class Kubectl:
    def __init__(self, program: Path, home: Path, kubeconfig: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.program = program
        self._home = home
        self._kubeconfig = kubeconfig

    def environment(self, **more: str) -> dict[str, str]:
        # what it writes to files meant for others must not depend on who runs the tests
        env = {key: value for key, value in os.environ.items() if not key.startswith("KUBE")}
        return {**env, "HOME": str(self._home), "KUBECONFIG": str(self._kubeconfig), **more}

    def run(
        self, *arguments: str | Path, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> str:
        """What it printed on its standard output."""
        done = subprocess.run(
            [str(self.program), *(str(argument) for argument in arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment(**(env or {})),
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            words = " ".join(str(argument) for argument in arguments[:4])
            raise KubectlFailed(f"kubectl {words}: {done.stderr.strip()}")
        return done.stdout
