#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# packages.sh PACKAGE...: make sure that Debian packages are installed. As root what is missing is
# installed; anybody else is told what to install. On other systems it trusts that all is there.
set -eu
command -v dpkg-query >/dev/null || exit 0
missing=
for package; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] && continue
    # another package may provide the same command, as a kubectl from elsewhere does
    [ "$package" = kubernetes-client ] && command -v kubectl >/dev/null && continue
    missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "These Debian packages are missing; install them with: apt-get install$missing" >&2
    exit 1
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # a list of words is what is meant
if ! { apt-get update -q && apt-get install -y -q --no-install-recommends $missing; } >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
