#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs pytest on groups of directories in parallel, and shows the output of one after the other.

A group is a comma-separated list of directories. Without any these are mount, node, and all others
but systemd: they depend on nothing of each other, and wait most of their time. Of a group that
passes it shows the closing lines, of one that fails the whole output. At the end it names the tests
that failed again.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.process import die_with_parent  # noqa: E402 (found through the path above)

# A mount namespace that another group makes has copies of the mounts that it finds, and a mount lives
# until its last copy is gone. So each group's mounts are in a namespace of its own.
ALONE = ("unshare", "--mount", "--propagation", "private", "--")
PYTEST = (*ALONE, sys.executable, "-m", "pytest", "-q", "-rsfE", "-p", "no:cacheprovider")
CLOSING = re.compile(r"^(SKIPPED|XFAIL|XPASS) .*|^\d+ (passed|failed|skipped|error).* in .*s.*$")
FAILURE = re.compile(r"^(FAILED|ERROR) .*")
LONGEST = ("mount", "node")  # each is a group
CLEANUP_SECONDS = 50  # less than what a time limit leaves between SIGTERM and SIGKILL


class Group:
    """One pytest. It has a session of its own, so that only the runner passes signals to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._file = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*PYTEST, *name.split(",")],
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )

    def lines(self) -> list[str]:
        # a description of its own: the offset of this one is pytest's
        with open(f"/proc/self/fd/{self._file.fileno()}", errors="replace") as file:
            return file.read().splitlines()

    def failures(self) -> list[str]:
        """What to say of it at the end; none if it passed."""
        if self.process.returncode == 0:
            return []
        found = [line for line in self.lines() if FAILURE.match(line)]
        return found or [f"FAILED {self.name}: pytest exits with {self.process.returncode}"]

    def show(self) -> None:
        code = self.process.returncode
        print(f"== {self.name}: {'passed' if code == 0 else f'failed with {code}'}")
        for line in self.lines():
            if code != 0 or CLOSING.match(line):
                print(line)
        sys.stdout.flush()


def end_on_signal(groups: list[Group]) -> None:
    """On SIGTERM or SIGINT interrupt the groups, so that they clean up, and show their output."""

    def on_signal(number: int, _frame: object) -> NoReturn:
        running = [group for group in groups if group.process.poll() is None]
        for group in running:
            group.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + CLEANUP_SECONDS
        while time.monotonic() < deadline and any(g.process.poll() is None for g in running):
            time.sleep(0.1)
        for group in running:
            group.show()
            print(f"FAILED {group.name}: interrupted by {signal.Signals(number).name}", flush=True)
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def default_groups() -> list[str]:
    here = Path(__file__).parent
    tested = {path.parent.name for path in here.glob("*/test_*.py")} - {"systemd", *LONGEST}
    others = ",".join(str(here / name) for name in sorted(tested))
    return [*(str(here / name) for name in LONGEST), others]


def main() -> int:
    parser = argparse.ArgumentParser(description="run pytest on groups of directories at a time")
    parser.add_argument("groups", nargs="*", metavar="DIRECTORY[,DIRECTORY]...")
    begin = time.monotonic()
    # started by this thread, with whose end the kernel ends them
    groups = [Group(name) for name in parser.parse_args().groups or default_groups()]
    end_on_signal(groups)
    ended: queue.Queue[Group] = queue.Queue()
    for group in groups:
        waiting = threading.Thread(
            target=lambda g: (g.process.wait(), ended.put(g)), args=(group,), daemon=True
        )
        waiting.start()
    for _ in groups:
        ended.get().show()
    failures = [line for group in groups for line in group.failures()]
    print(*failures, sep="\n", end="\n" if failures else "")
    passed = sum(group.process.returncode == 0 for group in groups)
    seconds = time.monotonic() - begin
    print(f"integration: {passed} of {len(groups)} groups passed, {seconds:.0f} s")
    return 1 if passed < len(groups) else 0


if __name__ == "__main__":
    sys.exit(main())
