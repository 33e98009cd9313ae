#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints docs/compatibility.md: tools/compatibility.py >docs/compatibility.md"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))

from lib.compatibility import page  # noqa: E402

if __name__ == "__main__":
    sys.stdout.write(page())
