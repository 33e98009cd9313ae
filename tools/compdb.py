#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes compile_commands.json for editors and language servers: how each source is compiled.

All sources are compiled with the same options, so the Makefile passes those and the names; nothing
has to be compiled for it.
"""

import argparse
import json
import pathlib
import shlex


def main() -> None:
    parser = argparse.ArgumentParser(description="write a compilation database")
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--objects", required=True, help="directory of the object files")
    parser.add_argument("--command", required=True, help="compiler and options")
    parser.add_argument("sources", nargs="+")
    arguments = parser.parse_args()
    command = shlex.split(arguments.command)
    if command[0] == "ccache":
        del command[0]
    # clangd reads gcc's warning options and would report those that clang does not know
    command.append("-Wno-unknown-warning-option")
    entries = []
    for source in arguments.sources:
        target = f"{arguments.objects}/{source.removesuffix('.c')}.o"
        entries.append(
            {
                "directory": str(pathlib.Path.cwd()),
                "file": source,
                "output": target,
                "arguments": [*command, "-c", "-o", target, source],
            }
        )
    arguments.output.write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
