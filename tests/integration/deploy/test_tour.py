"""The README's tour and the recording of the demo: each command is run, and its output compared."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from lib import program
from lib.deploy import TOP
from lib.devserver import DevServer
from lib.recording import Step, normal, steps
from lib.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")

README = (TOP / "README.md").read_text()
TOUR = README.partition("\n## A one-minute tour\n")[2].partition("\n## ")[0]
PATCH = """kubectl patch secret db -p '{"stringData":{"password":"dummy-3"}}'"""
SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: db}
stringData: {username: app, password: dummy-1}
"""


def expected(step: Step) -> list[str]:
    return normal("\n".join(step.output)).splitlines()


class Tourist:
    """Types the commands of a page, with directories of its own in place of /mnt and the current one."""

    def __init__(self, area: Path, kubeconfig: str) -> None:
        self._area = area
        self._env = program.environment(area / "home", KUBECONFIG=kubeconfig, PGPASSWORD="")
        links = area / "bin"
        links.mkdir()
        (links / "secretfs").symlink_to(program.binary())
        self._env["PATH"] = f"{links}:{self._env['PATH']}"
        (area / "mnt").mkdir()

    def _here(self, text: str) -> str:
        return text.replace("/mnt/", f"{self._area}/mnt/")

    def _shown(self, text: str) -> str:
        return normal(text.replace(f"{self._area}/mnt/", "/mnt/"))

    def start(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._here(command), shell=True, executable="/bin/bash", text=True, env=self._env,
            cwd=self._area, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def run(self, command: str) -> str:
        process = self.start(command)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, (command, output)
        return self._shown(output)

    def wait_settled(self, directory: Path) -> None:
        """The old generation is removed a moment after an update, which a watcher would see."""
        until(lambda: len(list(directory.glob("..2*"))) == 1, "the last update is done")

    def watch(self, step: Step) -> str:
        """A command that goes on: the Secret changes when it has shown the first content."""
        self.wait_settled(Path(self._here(step.command.split()[-1])))
        process = self.start(step.command)
        assert process.stdout is not None
        lines: list[str] = []
        while len(lines) < len(step.output):
            lines.append(process.stdout.readline())
            assert lines[-1] != "", lines
            if len(lines) == 3:
                self.run(PATCH)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()
        return self._shown("".join(lines))

    def look(self, step: Step) -> str:
        """A command that changes nothing: an update arrives a moment after it was made."""
        seen = [""]

        def is_shown() -> bool:
            seen[0] = self.run(step.command)
            return seen[0].splitlines() == expected(step)

        until(is_shown, f"what the page shows of {step.command}")
        return seen[0]

    def show(self, step: Step) -> str:
        words = step.command.split()
        if "observe" in words:
            return self.watch(step)
        return self.look(step) if words[0] in ("cat", "ls") or "status" in words else self.run(step.command)

    def unmount(self, command: str) -> None:
        """What a command has mounted goes, for the next one."""
        mountpoint = command.split()[-1]
        self.run(f"secretfs unmount {mountpoint}")


@pytest.fixture
def tourist(area: Path) -> Iterator[Tourist]:
    with DevServer(area / "server") as server:
        yield Tourist(area, server.kubeconfig())


def prepare(tourist: Tourist, area: Path) -> None:
    """What the later commands of the tour take as given."""
    (area / "mnt" / "web").mkdir()
    (area / "manifests").mkdir()
    (area / "manifests" / "db.yaml").write_text(SECRET)
    tourist.run("kubectl create secret generic web --from-literal=tls.key=dummy")
    tourist.run("kubectl create configmap app --from-literal=theme=dark")
    (area / "worker").write_text("#!/bin/sh\n")
    (area / "worker").chmod(0o755)
    (area / "env.yaml").write_text("envFrom:\n- configMapRef: {name: app}\n")


def test_tour_shows_what_was_seen(tourist: Tourist, area: Path) -> None:
    is_prepared = False
    for step in steps(TOUR):
        if "--manifests" in step.command:
            prepare(tourist, area)
            is_prepared = True
        assert tourist.show(step).splitlines() == expected(step), step.command
        if is_prepared and " mount " in step.command:
            tourist.unmount(step.command)
    assert is_prepared and len(steps(TOUR)) > 12


# ---- the demo


DEMO = (TOP / "docs" / "demo.md").read_text()


def test_demo_is_the_recording(area: Path) -> None:
    recorded = DEMO.partition("```text\n")[2].partition("```")[0]
    command = [sys.executable, TOP / "examples" / "demo" / "demo.py"]
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env=program.environment(area / "home", SECRETFS=str(program.binary())),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert normal(done.stdout).strip().splitlines() == normal(recorded).strip().splitlines()


@pytest.mark.parametrize(
    "binary, last",
    [
        ("/bin/false", r"demo: `/bin/false mount secret/db \S+` failed with exit status 1; its reason is above"),
        ("/nonexistent", r"demo: .*No such file or directory: '/nonexistent'"),
    ],
)
def test_failed_demo_ends_in_a_sentence(area: Path, binary: str, last: str) -> None:
    command = [sys.executable, TOP / "examples" / "demo" / "demo.py"]
    environment = program.environment(area / "home", SECRETFS=binary)
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment
    )
    assert done.returncode == 1
    assert re.fullmatch(f"{last}\n", done.stderr), done.stderr
