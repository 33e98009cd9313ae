#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks who uses whose functions and data, by the symbols of the built objects.

An include says who knows whom; a declaration in another object's header hides who uses whom.

- An object uses symbols only of its own room and of rooms that layers.py allows.
- No object uses a symbol of an object that uses one of its own, not even by a detour.

Usage: symbols.py DIRECTORY-OF-OBJECTS SOURCE...
"""

import pathlib
import subprocess
import sys

from layers import MAY_INCLUDE, room_of


def symbols_of(objects):
    """For each object its global definitions and what it leaves undefined."""
    command = ["nm", "--print-file-name", "--extern-only", "--no-sort", "--format=posix", *objects]
    defined, undefined = {}, {}
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        path, name, kind = line.split()[:3]
        path = path.rstrip(":")
        (undefined if kind.upper() in ("U", "W") else defined).setdefault(path, set()).add(name)
    return defined, undefined


def arrows(directory, sources):
    """Which objects, named as their sources without .c, each object uses, and by which symbol."""
    objects = {str(directory / source.with_suffix(".o")): str(source.with_suffix("")) for source in sources}
    defined, undefined = symbols_of(objects)
    owners = {name: objects[path] for path, names in defined.items() for name in names}
    graph = {}
    for path, names in undefined.items():
        own = objects[path]
        for name in sorted(names):
            if owners.get(name, own) != own:
                graph.setdefault(own, {}).setdefault(owners[name], name)
    return graph


def components(graph):
    """Tarjan's strongly connected components with more than one member."""
    index, low, stack, found = {}, {}, [], []

    def visit(at):
        index[at] = low[at] = len(index)
        stack.append(at)
        for other in graph.get(at, ()):
            if other not in index:
                visit(other)
                low[at] = min(low[at], low[other])
            elif other in stack:
                low[at] = min(low[at], index[other])
        if low[at] == index[at]:
            cut = stack.index(at)
            members = stack[cut:]
            del stack[cut:]
            if len(members) > 1:
                found.append(sorted(members))

    for start in sorted(graph):
        if start not in index:
            visit(start)
    return found


def main():
    directory, sources = pathlib.Path(sys.argv[1]), [pathlib.Path(name) for name in sys.argv[2:]]
    graph = arrows(directory, sources)
    faults = []
    for user, used in sorted(graph.items()):
        room = room_of(user)
        for owner, name in sorted(used.items()):
            if room_of(owner) != room and room_of(owner) not in MAY_INCLUDE[room]:
                faults.append(f"{user} must not use {name}() of {owner}")
    for members in components(graph):
        faults.append("circle of objects:")
        for user in members:
            for owner in members:
                if owner in graph.get(user, ()):
                    faults.append(f"  {user} uses {graph[user][owner]} of {owner}")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
