#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tidy.sh FLAGS FILE...: clang-tidy with the compiler's FLAGS, quiet unless there is something to say.
set -u
flags=$1
shift
out=$(mktemp)
trap 'rm -f "$out"' EXIT
# shellcheck disable=SC2086 # flags are words
if clang-tidy --quiet --warnings-as-errors='*' "$@" -- $flags >"$out" 2>&1; then
    exit 0
fi
cat "$out" >&2
exit 1
