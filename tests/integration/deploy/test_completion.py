"""Completion in real shells, help of each command, and man pages that `man -k` finds."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Iterator

import pytest

from lib import program
from lib.deploy import TOP
from lib.sources import Api, Manifests, Source
from lib.waiting import PATIENCE_SECONDS

COMPLETIONS = TOP / "completions"


def complete(area: Path, *words: str) -> list[str]:
    """Candidates and, last, the directive."""
    done = program.run([program.binary(), "__complete", *words], home=area)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def commands(area: Path) -> list[str]:
    told = program.run([program.binary(), "--help"], home=area).stdout
    return re.findall(r"^  ([a-z]+) ", told, re.MULTILINE)


def test_each_command_is_a_candidate(area: Path) -> None:
    assert complete(area, "") == [*commands(area), ":4"]


def test_each_option_of_a_commands_help_is_a_candidate(area: Path) -> None:
    """And the other way round: the options come from the table that the command parses with."""
    seen = 0
    for command in set(commands(area)) - {"help", "version", "keeper", "doctor"}:
        told = program.run([program.binary(), "help", command], home=area).stdout
        told = set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", told, re.MULTILINE))
        offered = {line[2:].rstrip("=") for line in complete(area, command, "--")[:-1]}
        assert told <= offered, command
        seen += len(told)
    assert seen > 60


VALUES = [("mount", option) for option in ("--tls", "--on-revoked", "--updates", "--log-level")]
VALUES += [("exec", "--log-format"), ("exec", "--env-names"), ("exec", "--on-change")]


@pytest.mark.parametrize("command, option", VALUES)
def test_each_value_that_is_offered_is_accepted(area: Path, command: str, option: str) -> None:
    """And another one is not; the commands end as they lack an object."""
    offered = complete(area, command, option, "")[:-1]
    assert len(offered) >= 2

    def is_refused(word: str) -> bool:
        done = program.run([program.binary(), command, option, word], home=area)
        assert done.returncode != 0
        return f'"{word}"' in done.stderr

    assert [word for word in offered if is_refused(word)] == []
    assert is_refused("other")


# ---- objects of the source that the line names


@pytest.fixture
def filled(source: Source) -> Source:
    for name in ("db", "web", "web-tls"):
        source.put_secret({"key": b"dummy"}, name=name)
    source.put_configmap({"key": "dummy"}, {}, name="app")
    return source


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["mount", ""], ["secret/", "configmap/", ":6"]),
        (["mount", "sec"], ["secret/", ":6"]),
        (["mount", "secret/w"], ["secret/web", "secret/web-tls", ":4"]),
        (["mount", "cm/"], ["cm/app", ":4"]),
        (["mount", "secret/x"], [":4"]),
        (["exec", "--env-from", "configmap/"], ["configmap/app", ":4"]),
        (["exec", "--env", "PASS"], [":6"]),
        (["exec", "--env", "PASS=secret/d"], ["PASS=secret/db", ":6"]),
        (["exec", "--env=PASS=secret/d"], ["--env=PASS=secret/db", ":6"]),
    ],
)
def test_objects_of_the_source(
    filled: Source, area: Path, words: list[str], offered: list[str]
) -> None:
    line = [words[0], *filled.arguments, *words[1:]]
    *names, directive = complete(area, *line)
    assert [*sorted(names, reverse=words[1:] == [""]), directive] == offered


def test_namespace_of_the_line_counts(http1: Api, area: Path) -> None:
    http1.server.apply_secret("prod", "db", {"key": b"dummy"})
    assert complete(area, "mount", *http1.arguments, "secret/") == [":4"]
    (prefix, kubeconfig) = http1.arguments
    for options in (["-n", "prod"], ["--namespace=prod"]):
        line = [*options, f"{prefix}={kubeconfig}"]
        assert complete(area, "mount", *line, "secret/") == ["secret/db", ":4"]


def test_no_names_without_the_right_to_list_or_a_source(http1: Api, area: Path) -> None:
    """And no message in the middle of the line: complete() sees an empty standard error."""
    http1.put_secret({"key": b"dummy"}, name="db")
    alice = http1.kubeconfig("alice")
    assert complete(area, "mount", "--kubeconfig", alice, "secret/") == [":4"]
    assert complete(area, "mount", "--kubeconfig", "/nowhere", "secret/") == [":4"]
    assert complete(area, "mount", "--manifests", "/nowhere", "secret/") == [":4"]
    assert complete(area, "mount", "secret/") == [":4"]
    http1.server.stop_listening()
    assert complete(area, "mount", *http1.arguments, "secret/") == [":4"]


# ---- shells


class Shell:
    """An interactive shell on a terminal, with the completion as a package installs it."""

    def __init__(self, area: Path, command: list[str], setup: str) -> None:
        self.screen = ""
        links = area / "bin"
        links.mkdir()
        (links / "secretfs").symlink_to(program.binary())
        env = program.environment(area, TERM="dumb", PS1="ready> ", HISTFILE="", COLUMNS="200")
        env["PATH"] = f"{links}:{env['PATH']}"
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, env)
        self.type(f"{setup}; echo set''up\r")
        self.expect("setup\r")

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def expect(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.screen:
            assert time.monotonic() < deadline, f"waited in vain for {text!r} on:\n{self.screen}"
            if select.select([self._fd], [], [], 0.1)[0]:
                self.screen += os.read(self._fd, 65536).decode(errors="replace")
        self.screen = self.screen.partition(text)[2]

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)


SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f"source {COMPLETIONS}/secretfs.bash"),
    "zsh": (
        ["zsh", "-f", "-i"],
        f"PS1='ready> '; fpath=({COMPLETIONS} $fpath); autoload -Uz compinit; compinit -D -u",
    ),
}


@pytest.fixture(params=sorted(SHELLS))
def shell(request: pytest.FixtureRequest, area: Path) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed (make packages-extra)")
    made = Shell(area, *SHELLS[request.param])
    yield made
    made.close()


def test_shells_complete_commands_options_and_values(shell: Shell, manifests: Manifests) -> None:
    """The line that the shell shows after TAB; then it is erased."""
    manifests.put_secret({"key": b"dummy"}, name="db")
    mount = f"secretfs mount {' '.join(manifests.arguments)}"
    for typed, whole in (
        ("secretfs statu\t", "secretfs status "),
        ("secretfs status --outp\t", "secretfs status --output="),
        ("secretfs status --output=w\t", "secretfs status --output=wide "),
        ("secretfs doctor --rights d\t", "secretfs doctor --rights daemon "),
        ("secretfs mount sec\t", "secretfs mount secret/"),
        (f"{mount} secret/d\t", "secret/db "),
        (f"{mount.replace('mount', 'exec')} --env A=secret/d\t", "A=secret/db"),
    ):
        shell.type(typed)
        shell.expect(whole)
        shell.type("\x15")


def test_fish_completes(area: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed (make packages-extra)")
    links = area / "bin"
    links.mkdir()
    (links / "secretfs").symlink_to(program.binary())
    env = program.environment(area)
    env["PATH"] = f"{links}:{env['PATH']}"
    for line, found in (
        ("secretfs statu", ["status"]),
        ("secretfs status --outp", ["--output="]),
        ("secretfs status --output=w", ["--output=wide"]),
        ("secretfs doctor --rights d", ["daemon"]),
    ):
        script = f"source {COMPLETIONS}/secretfs.fish; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", script], env=env, capture_output=True, text=True
        )
        assert done.stdout.splitlines() == found, done.stderr


def test_kubectl_finds_the_completion(area: Path) -> None:
    """kubectl runs `kubectl_complete-secretfs`, which is on PATH beside the plug-in."""
    links = area / "bin"
    links.mkdir()
    for name in ("secretfs", "kubectl-secretfs"):
        (links / name).symlink_to(program.binary())
    shutil.copy(COMPLETIONS / "kubectl_complete-secretfs", links)
    env = program.environment(area)
    env["PATH"] = f"{links}:{env['PATH']}"
    command = [links / "kubectl_complete-secretfs", "status", "-o", "w"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["wide", ":4"]


# ---- man pages and installing


def test_man_k_finds_the_pages(area: Path) -> None:
    if shutil.which("mandb") is None:
        pytest.skip("man-db is not installed (make packages-extra)")
    pages = sorted((TOP / "docs" / "man").glob("*.[18]"))
    for page in pages:
        directory = area / "man" / f"man{page.suffix[1:]}"
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, directory)
    subprocess.run(["mandb", "--quiet", "--create", area / "man"], check=True, capture_output=True)
    done = subprocess.run(
        ["apropos", "-M", str(area / "man"), "secretfs"], capture_output=True, text=True, check=True
    )
    for page in pages:
        assert re.search(rf"^{re.escape(page.stem)} \({page.suffix[1:]}\)", done.stdout, re.M), page


def test_completions_are_installed() -> None:
    makes = ["make", "-s", "-n", "BUILD=debug", "PREFIX=/usr", "install"]
    done = subprocess.run(makes, cwd=TOP, capture_output=True, text=True, check=True)
    for path in (
        "/usr/share/bash-completion/completions/secretfs",
        "/usr/share/zsh/site-functions/_secretfs",
        "/usr/share/fish/vendor_completions.d/secretfs.fish",
        "/usr/bin/kubectl_complete-secretfs",
    ):
        assert path in done.stdout
