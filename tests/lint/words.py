#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Finds words that hide who does what, in code, comments, messages, tests and docs.

docs/design.md, "Words", has the words to use. A few hits may stay where the word is the right one;
MAX_HITS keeps them few.
"""

import argparse
import pathlib
import re
import subprocess
import sys

MAX_HITS = 9

# what is found, and what to write in its place
WORDS = {
    r"(some|no|any)body('s)?": "name the actor: kubelet, reader, caller, loop, publisher",
    r"(who|what|which|where)(so)?ever": "name the actor or the thing",
    r"anew": "again",
    r"somehow|somewhere": "say how, or where",
    r"what there is": "name the things",
    r"there is no such (?!file|process)": "unknown X",
    r"(is|are|was|were) to be": "name the actor: X does, X must",
    r"(is|are|was|were|be|been|being) told": "X notifies, X reports, X learns from Y",
    r"trouble": "error, failure, or the error's name",
    r"makes no sense": "invalid X: why",
}
PATTERN = re.compile(
    r"\b(?:" + "|".join(f"(?P<w{i}>{word})" for i, word in enumerate(WORDS)) + r")\b"
)
ADVICE = list(WORDS.values())
# the words themselves; a licence's text; what a fuzzer reads
LEFT_OUT = ("tests/lint/words.py", "LICENSE", "tests/fuzz/corpus/")


def files():
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0"):
        if name and not name.startswith(LEFT_OUT):
            yield pathlib.Path(name)


def hits_of(path):
    try:
        text = path.read_text()
    except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
        return
    # underscores part words in a name; a search of the whole text is faster than one of each line
    text = text.replace("_", " ").lower()
    for found in PATTERN.finditer(text):
        number = text.count("\n", 0, found.start()) + 1
        yield number, found.group(), ADVICE[int(found.lastgroup[1:])]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", type=pathlib.Path, help="without: all files of git")
    asked = parser.parse_args().paths
    found = [(path, *hit) for path in asked or files() for hit in hits_of(path)]
    if len(found) <= MAX_HITS and not asked:
        return 0
    for path, number, word, advice in found:
        print(f'{path}:{number}: "{word}": {advice}', file=sys.stderr)
    if found:
        print(f"{len(found)} hits; at most {MAX_HITS} in the whole tree", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
