#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks who includes whom: a room may include the rooms below it, never one above.

Also that each file includes its own header first, which shows that the header stands alone.
"""

import pathlib
import re
import sys

MAY_INCLUDE = {
    "base": set(),
    "cache": {"base"},
    "fetcher": {"base", "cache"},
    "volume": {"base", "cache"},
    "fuse": {"base", "cache", "volume"},
    "csi": {"base", "cache", "volume"},
    "daemon": {"base", "cache", "fetcher", "volume", "fuse", "csi"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
GENERATED = {"version.h"}
# these have nothing to offer to others
NO_OWN_HEADER = {
    "daemon/main.c",
    "daemon/doctor_command.c",
    "daemon/exec.c",
    "daemon/mount_helper.c",
    "daemon/status.c",
    "daemon/unmount.c",
}


def includes(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = INCLUDE.match(line)
        if found:
            yield number, found.group(1), found.group(2)


def faults_of(room, path):
    own_header = str(path.with_suffix(".h"))
    first = True
    for number, quote, name in includes(path):
        if path.suffix == ".c" and first and str(path) not in NO_OWN_HEADER:
            if name != own_header:
                yield f"{path}:{number}: {own_header} has to be the first include"
        first = False
        if quote == "<" or name in GENERATED:
            continue
        other = name.split("/")[0]
        if "/" not in name or other not in MAY_INCLUDE:
            yield f'{path}:{number}: "{name}" is not rooted at the top of the tree'
        elif other != room and other not in MAY_INCLUDE[room]:
            yield f"{path}:{number}: {room}/ must not include {other}/"


def main():
    faults = []
    n_files = 0
    for room in MAY_INCLUDE:
        for path in sorted(pathlib.Path(room).glob("*.[ch]")):
            n_files += 1
            faults.extend(faults_of(room, path))
    for fault in faults:
        print(fault, file=sys.stderr)
    if n_files == 0:
        print("no files found: run this at the top of the tree", file=sys.stderr)
        return 1
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
