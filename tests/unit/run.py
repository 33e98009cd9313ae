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

# Programs that cannot pass under qemu-user on arm64, and why. The others have to.
NO_SECCOMP = "qemu refuses seccomp filters"
NO_ADVICE = "qemu does not carry out each madvise(2)"
NO_OPENAT2 = "qemu has no openat2(2)"
SMALL_STACK = "a thread has a stack of 64 KiB, less than arm64 allows"
NOT_EMULATED = {
    "base/test_buf": "/proc/self/comm names qemu",
    "base/test_confinement": NO_SECCOMP,
    "base/test_privileged": NO_SECCOMP,
    "base/test_process": "qemu forks for vfork(2): posix_spawn(3) reports no failed exec",
    "cache/test_secmem": NO_ADVICE,
    "fetcher/auth/test_exec_plugin": NO_SECCOMP,
    "fetcher/http/test_curl_quirks": NO_ADVICE,
    "fetcher/http/test_page_buffers": NO_ADVICE,
    "fuse/test_names": SMALL_STACK,
    "fuse/test_tree": SMALL_STACK,
    "monitor/test_process_metrics": "the memory in /proc/self/stat is not the program's",
    "node/test_target": NO_OPENAT2,
    "node/test_volume": NO_OPENAT2,
    "volume/test_env_file": NO_OPENAT2,
}

CLOSING = re.compile(r"^\[=+\] .*\brun\.$", re.MULTILINE)


class Program:
    def __init__(self, path: str, emulator: str | None) -> None:
        self.path = path
        self.command = [emulator, path] if emulator else [path]
        self.process: subprocess.Popen | None = None
        # a file, not a pipe: a server that a test has forked may outlive the program for a moment
        self.file = tempfile.TemporaryFile()

    def run(self) -> Program:
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=self.file, stderr=subprocess.STDOUT
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


def without_not_emulated(paths: list[str]) -> list[str]:
    """The programs that an emulator can run. The others are shown with their reasons."""
    kept = []
    for path in paths:
        reason = NOT_EMULATED.get(path.partition("tests/unit/")[2])
        if reason is None:
            kept.append(path)
        else:
            print(f"SKIPPED {path}: {reason}")
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description="run unit test programs in parallel")
    parser.add_argument("--jobs", type=int, required=True, help="how many run at a time")
    parser.add_argument("--emulator", help="what runs programs of another architecture")
    parser.add_argument("programs", nargs="+")
    arguments = parser.parse_args()
    begin = time.monotonic()
    paths = without_not_emulated(arguments.programs) if arguments.emulator else arguments.programs
    programs = [Program(path, arguments.emulator) for path in paths]
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
