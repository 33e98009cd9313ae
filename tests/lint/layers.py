#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks who includes whom.

- A room (a directory) includes only the rooms that MAY_INCLUDE names.
- No circle of rooms, no circle of objects (a .c and its .h).
- Each file includes its own header first, which shows that the header stands alone.
"""

import pathlib
import re
import sys

BELOW_SERVE = {"base", "encoding", "cache", "volume", "fuse", "consumers", "handover"}
FETCHER = {"fetcher", "fetcher/http", "fetcher/auth", "fetcher/api", "fetcher/manifests"}
BELOW_CMD = BELOW_SERVE | FETCHER | {"grpc", "csi", "serve", "monitor", "node"}
MAY_INCLUDE = {
    "base": set(),
    "encoding": {"base"},
    "cache": {"base", "encoding"},
    "volume": {"base", "encoding", "cache"},
    "fetcher": {"base", "encoding", "cache"},
    "fetcher/auth": {"base", "encoding", "cache", "fetcher"},
    "fetcher/http": {"base", "encoding", "cache", "fetcher/auth"},
    "fetcher/api": {"base", "encoding", "cache", "fetcher", "fetcher/auth", "fetcher/http"},
    "fetcher/manifests": {"base", "encoding", "cache", "fetcher"},
    "fuse": {"base", "cache", "volume"},
    "consumers": {"base", "cache", "volume", "fuse"},
    "handover": {"base", "cache", "volume", "fuse"},
    "grpc": {"base"},
    "csi": {"base", "encoding", "cache", "volume", "grpc"},
    "serve": BELOW_SERVE,
    "monitor": BELOW_SERVE | FETCHER | {"serve"},
    "node": BELOW_SERVE | FETCHER | {"grpc", "csi", "serve", "monitor"},
    "keeper": {"base"},
    "cmd/shared": BELOW_CMD,
    "cmd/cluster": BELOW_CMD | {"cmd/shared"},
    "cmd/adopt": BELOW_CMD | {"cmd/shared"},
    "cmd/audit": BELOW_CMD | {"cmd/shared", "cmd/status"},
    "cmd/mount": BELOW_CMD | {"cmd/shared"},
    "cmd/exec": BELOW_CMD | {"cmd/shared"},
    "cmd/status": BELOW_CMD | {"cmd/shared", "cmd/cluster"},
    "cmd/doctor": BELOW_CMD | {"cmd/shared", "cmd/status", "cmd/cluster"},
    "cmd/observe": BELOW_CMD | {"cmd/shared", "cmd/status"},
    "cmd/rollout": BELOW_CMD | {"cmd/shared", "cmd/status"},
    "cmd": BELOW_CMD | {"cmd/shared", "cmd/adopt", "cmd/audit", "cmd/mount", "cmd/exec", "cmd/status", "cmd/doctor", "cmd/observe", "cmd/rollout"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
GENERATED = {"version.h", "ui_files.h"}
MAIN = {"cmd/main.c", "keeper/main.c"}  # objects without a header


def includes(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = INCLUDE.match(line)
        if found:
            yield number, found.group(1), found.group(2)


def room_of(name):
    return name.rsplit("/", 1)[0] if "/" in name else ""


def faults_of(room, path):
    own_header = str(path.with_suffix(".h"))
    first = True
    for number, quote, name in includes(path):
        if path.suffix == ".c" and first and str(path) not in MAIN:
            if name != own_header:
                yield f"{path}:{number}: {own_header} has to be the first include"
        first = False
        if quote == "<" or name in GENERATED:
            continue
        other = room_of(name)
        if other not in MAY_INCLUDE:
            yield f'{path}:{number}: "{name}" is not rooted at the top of the tree'
        elif other != room and other not in MAY_INCLUDE[room]:
            yield f"{path}:{number}: {room}/ must not include {other}/"


def objects_included_by(paths):
    """Which objects (paths without .c and .h) each object includes."""
    graph = {}
    for path in paths:
        own = str(path.with_suffix(""))
        others = {name.removesuffix(".h") for _, quote, name in includes(path) if quote == '"'}
        graph.setdefault(own, set()).update(others - {own})
    return graph


def circles(graph):
    """Each circle once, as the list of its members in order; the first one found from each start."""
    done, found = set(), []

    def walk(at, way):
        if at in way:
            found.append(way[way.index(at) :] + [at])
            return
        if at in done or at not in graph:
            return
        for other in sorted(graph[at]):
            walk(other, way + [at])
        done.add(at)

    for start in sorted(graph):
        walk(start, [])
    return found


def main():
    faults = []
    paths = []
    for room in MAY_INCLUDE:
        for path in sorted(pathlib.Path(room).glob("*.[ch]")):
            paths.append(path)
            faults.extend(faults_of(room, path))
    for name, graph in (("rooms", MAY_INCLUDE), ("files", objects_included_by(paths))):
        faults.extend(f"circle of {name}: {' -> '.join(way)}" for way in circles(graph))
    for fault in faults:
        print(fault, file=sys.stderr)
    if not paths:
        print("no files found: run this at the top of the tree", file=sys.stderr)
        return 1
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
