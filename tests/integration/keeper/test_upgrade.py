"""A hand-over to another version of the program, which proves itself first, under readers in loops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest

from lib import program
from lib.deploy import TOP
from lib.mountinfo import mounts_at
from lib.process import Process
from lib.sources import Manifests
from lib.storm import READERS, check, number_of, read, readers_of, value
from lib.volume import VolumeMaker, unmount
from lib.waiting import until

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="these tests mount as root"
)

UPGRADES = int(os.environ.get("SECRETFS_TEST_UPGRADES", "6"))
VERSION = (TOP / "VERSION").read_text().strip()
# as long, so that it can stand in its place in the program
OTHER_VERSION = VERSION[:-1] + ("1" if VERSION[-1] != "1" else "2")


def _put_program(path: Path, content: bytes) -> None:
    """By renaming, as a package manager does."""
    aside = path.with_suffix(".new")
    aside.write_bytes(content)
    aside.chmod(0o755)
    os.rename(aside, path)


class Upgradable:
    """A mount under `secretfs keeper --check`, of a program that the test replaces."""

    def __init__(self, area: Path, manifests: Manifests, *what: str | Path) -> None:
        self.path = area / "volume"
        self.path.mkdir()
        self._log = area / "keeper.log"
        self._program = area / "secretfs"
        content = program.binary().read_bytes()
        self._programs = {
            VERSION: content,
            OTHER_VERSION: content.replace(VERSION.encode() + b"\0", OTHER_VERSION.encode() + b"\0"),
        }
        self.install(VERSION)
        command = [program.binary(), "keeper", "--check", "--", self._program, "mount", "-f"]
        self.process = Process(
            "secretfs keeper",
            [*command, *manifests.arguments, *what, self.path],
            self._log,
            program.environment(area),
        )
        self.wait_log(' INFO mounted mountpoint="')

    def install(self, version: str) -> None:
        _put_program(self._program, self._programs[version])

    def install_broken(self, text: str) -> None:
        _put_program(self._program, text.encode())

    def hand_over(self) -> None:
        self.process.send(signal.SIGHUP)

    def upgrade(self) -> subprocess.CompletedProcess[str]:
        return program.run([program.binary(), "upgrade", self.path], home=self.path.parent)

    def status(self) -> dict[str, str | int]:
        command = [program.binary(), "status", "-o", "json", self.path]
        done = program.run(command, home=self.path.parent)
        return json.loads(done.stdout) if done.returncode == 0 else {"version": "", "pid": 0}

    def wait_version(self, version: str) -> None:
        until(lambda: self.status()["version"] == version, f"version {version} to serve")

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_log(self, text: str) -> None:
        until(lambda: text in self.log(), f"{text} in the log")

    def close(self) -> None:
        if self.process.exit_code() is None:
            self.process.stop(signal.SIGTERM)
        while mounts_at(self.path):
            unmount(self.path)


@pytest.fixture
def upgradable(area: Path, manifests: Manifests) -> Iterator[Upgradable]:
    manifests.put_secret({"password": value(1), "cold": value(1)})
    made = Upgradable(area, manifests, "secret/app")
    yield made
    made.close()


@pytest.mark.parametrize("hand_over", [Upgradable.hand_over, Upgradable.upgrade], ids=["SIGHUP", "command"])
def test_upgrades_and_downgrades(
    hand_over: Callable[[Upgradable], object],
    upgradable: Upgradable,
    manifests: Manifests,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No call of a reader fails, no content is torn or older than what was seen before."""
    number = 1
    readers = readers_of(upgradable.path, READERS)
    try:
        for i in range(UPGRADES):
            number += 1
            manifests.put_secret({"password": value(number), "cold": value(number)})
            version = (OTHER_VERSION, VERSION)[i % 2]
            upgradable.install(version)
            hand_over(upgradable)
            upgradable.wait_version(version)
            until(lambda: number_of(read(upgradable.path / "password")) == number, "the update")
    finally:
        outcomes = readers.stop()
    with capsys.disabled():
        print(f"\n{UPGRADES} hand-overs between {VERSION} and {OTHER_VERSION}: {outcomes}")
    check(outcomes)
    assert " again in " not in upgradable.log() and "was killed by" not in upgradable.log()


def test_updates_while_the_next_program_proves_itself(
    upgradable: Upgradable, manifests: Manifests
) -> None:
    """It reads a state that the running process goes on to write."""
    number = 1
    for version in (OTHER_VERSION, VERSION, OTHER_VERSION):
        upgradable.install(version)
        upgradable.hand_over()
        while upgradable.status()["version"] != version:
            number += 1
            manifests.put_secret({"password": value(number), "cold": value(number)})
            time.sleep(0.01)
    until(lambda: number_of(read(upgradable.path / "password")) == number, "the update")
    assert "--check failed" not in upgradable.log()


def test_the_command(upgradable: Upgradable) -> None:
    """It returns when the next process serves, and prints both versions."""
    for before, after in ((VERSION, OTHER_VERSION), (OTHER_VERSION, VERSION), (VERSION, VERSION)):
        earlier = upgradable.status()["pid"]
        upgradable.install(after)
        done = upgradable.upgrade()
        status = upgradable.status()
        assert (done.returncode, done.stderr, status["version"]) == (0, "", after)
        assert done.stdout == (
            f"{upgradable.path}: version {before} (process {earlier}) "
            f"-> version {after} (process {status['pid']})\n"
        )


def test_the_command_with_a_program_that_fails(upgradable: Upgradable, manifests: Manifests) -> None:
    """What its check has printed is the reason."""
    before = upgradable.status()["pid"]
    upgradable.install_broken("#!/bin/sh\necho the reason >&2\nexit 3\n")
    done = upgradable.upgrade()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"the reason\n--check failed\nsecretfs: {upgradable.path}: there is no hand-over: process "
        f"{before}, version {VERSION}, goes on\n"
    )
    assert upgradable.status()["pid"] == before
    manifests.put_secret({"password": value(2), "cold": value(2)})
    until(lambda: number_of(read(upgradable.path / "password")) == 2, "the update")


def test_the_command_without_a_keeper(area: Path, manifests: Manifests, mount: VolumeMaker) -> None:
    manifests.put_secret({"password": value(1)})
    volume = mount(manifests)
    done = program.run([program.binary(), "upgrade", volume.path], home=area / "home")
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no keeper, so a restart unmounts" in done.stderr
    assert volume.read("password") == value(1)


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 3\n", "no program"])
def test_a_program_that_fails(text: str, upgradable: Upgradable, manifests: Manifests) -> None:
    """The running process goes on, and a program that works can follow."""
    before = upgradable.status()["pid"]
    upgradable.install_broken(text)
    upgradable.hand_over()
    upgradable.wait_log("--check failed: there is no hand-over, the running process goes on")
    manifests.put_secret({"password": value(2), "cold": value(2)})
    until(lambda: number_of(read(upgradable.path / "password")) == 2, "the update")
    assert upgradable.status()["pid"] == before
    upgradable.install(OTHER_VERSION)
    upgradable.hand_over()
    upgradable.wait_version(OTHER_VERSION)


def test_options_that_would_unmount(area: Path, manifests: Manifests) -> None:
    """The command line's file has changed, so that the stored mount cannot be taken over."""
    volume = area / "volume.json"
    spec = {"name": "v", "secret": {"secretName": "app"}}
    volume.write_text(json.dumps(spec))
    manifests.put_secret({"password": value(1)})
    upgradable = Upgradable(area, manifests, "--volume", volume)
    try:
        before = upgradable.status()["pid"]
        volume.write_text(json.dumps({**spec, "secretfs": {"updates": "in-place"}}))
        upgradable.hand_over()
        upgradable.wait_log("a new process would unmount it")
        upgradable.wait_log("--check failed: there is no hand-over, the running process goes on")
        assert upgradable.status()["pid"] == before
    finally:
        upgradable.close()
