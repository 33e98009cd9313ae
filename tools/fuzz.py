#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs fuzz targets and prints what each executed and reached.

The last line has the sums. A finding is an input that ends a target with an error: its output is
printed, the input is kept beside the target's corpus, and the exit status is 1.
"""

import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys

DONE = re.compile(rb"^#\d+\s+(?:DONE|INITED).*?cov: (\d+) ft: (\d+)", re.MULTILINE)
EXECUTED = re.compile(rb"^stat::number_of_executed_units: (\d+)", re.MULTILINE)


def run(target, options):
    """Return: name, executions, coverage in edges, features, the output of a finding or None."""
    name = target.name.removeprefix("fuzz_")
    seeds = options.seeds / name
    grown = options.corpus / target.name
    grown.mkdir(parents=True, exist_ok=True)
    command = [target, "-print_final_stats=1", f"-artifact_prefix={grown}-"]
    if options.seconds > 0:
        command += [f"-max_total_time={options.seconds}", grown]
    else:
        command += ["-runs=0"]
    done = subprocess.run([*command, seeds], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    reached = DONE.findall(done.stderr) or [(b"0", b"0")]
    executed = EXECUTED.findall(done.stderr) or [b"0"]
    edges, features = (int(number) for number in reached[-1])
    finding = done.stderr if done.returncode != 0 else None
    return name, int(executed[-1]), edges, features, finding


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="for each target; 0: the seeds only")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--seeds", type=pathlib.Path, default=pathlib.Path("tests/fuzz/corpus"))
    parser.add_argument("--corpus", type=pathlib.Path, default=pathlib.Path("build/fuzz/corpus"))
    parser.add_argument("targets", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    total, findings = 0, 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        print(f"{'TARGET':<18} {'EXECUTIONS':>12} {'EDGES':>7} {'FEATURES':>9}", flush=True)
        for result in pool.map(lambda target: run(target.resolve(), options), options.targets):
            name, executed, edges, features, finding = result
            total += executed
            print(f"{name:<18} {executed:>12} {edges:>7} {features:>9}", flush=True)
            if finding is not None:
                findings += 1
                sys.stderr.buffer.write(finding[-8000:])
                sys.stderr.flush()
    print(f"{len(options.targets)} targets, {total} executions, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
