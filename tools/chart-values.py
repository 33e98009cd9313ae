#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the table of the Helm chart's values, made of the comments of its values.yaml.
--write puts it into the chart's README.md, and copies the files of deploy/monitoring into the chart."""

import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))

from lib.chart import CHART, COPIES, page_with_table, table  # noqa: E402


def main() -> None:
    if sys.argv[1:] != ["--write"]:
        sys.stdout.write(table())
        return
    readme = CHART / "README.md"
    readme.write_text(page_with_table(readme.read_text()))
    for copy, original in COPIES.items():
        shutil.copyfile(original, copy)


if __name__ == "__main__":
    main()
