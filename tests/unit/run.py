#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs unit test programs in parallel, and shows the output of one after the other.

Of a program that passes it shows cmocka's closing lines, of one that fails the whole output. At the
end it names the programs that failed again. A program fails when its exit status is not 0, or when
cmocka's closing line is missing, as after an exit in the middle of a test.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

CLOSING = re.compile(r"^\[=+\] .*\brun\.$", re.MULTILINE)


class Program:
    def __init__(self, path: str) -> None:
        self.path = path
        self.process: subprocess.Popen | None = None
        # a file, not a pipe: a server that a test has forked may outlive the program for a moment
        self.file = tempfile.TemporaryFile()

    def run(self) -> Program:
        self.process = subprocess.Popen(
            [self.path], stdin=subprocess.DEVNULL, stdout=self.file, stderr=subprocess.STDOUT
        )
        self.process.wait()
        return self

    def output(self) -> str:
        self.file.seek(0)
        return self.file.read().decode(errors="replace")

    def closing(self) -> str:
        """cmocka's summary: numbers, and the names of what was skipped or has failed."""
        found = list(CLOSING.finditer(self.output()))
        return self.output()[found[-1].start() :] if found else ""

    def fault(self) -> str:
        """Why it failed; empty if it passed."""
        status = self.process.returncode
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        if status > 0:
            return f"exit status {status}"
        return "" if self.closing() else "ended without cmocka's closing line"


def show(program: Program) -> None:
    fault = program.fault()
    text = program.output() if fault else program.closing()
    print(f"{program.path}: {fault}" if fault else program.path)
    print(text, end="" if text.endswith("\n") else "\n", flush=True)


def end_on_signal(programs: list[Program]) -> None:
    """On SIGTERM or SIGINT name the programs that run, show their output and end them."""

    def on_signal(number: int, _frame: object) -> None:
        for program in programs:
            if program.process is not None and program.process.poll() is None:
                print(f"FAILED {program.path}: still runs at {signal.Signals(number).name}")
                print(program.output(), flush=True)
                program.process.kill()
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def main() -> int:
    parser = argparse.ArgumentParser(description="run unit test programs in parallel")
    parser.add_argument("--jobs", type=int, required=True, help="how many run at a time")
    parser.add_argument("programs", nargs="+")
    arguments = parser.parse_args()
    begin = time.monotonic()
    programs = [Program(path) for path in arguments.programs]
    end_on_signal(programs)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        runs = [pool.submit(program.run) for program in programs]
        for run in concurrent.futures.as_completed(runs):
            show(run.result())
    failed = [program for program in programs if program.fault()]
    for program in failed:
        print(f"FAILED {program.path}: {program.fault()}")
    passed = len(programs) - len(failed)
    print(f"units: {passed} of {len(programs)} programs passed, {time.monotonic() - begin:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
