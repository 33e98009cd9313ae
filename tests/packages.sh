#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# packages.sh install PACKAGE...: install those of the Debian packages that are missing, as root.
# packages.sh check VERB PACKAGE...: name those that are missing, and VERB, the make verb that
# installs them. On other systems than Debian both trust that everything is installed.
set -eu
command -v dpkg-query >/dev/null || exit 0
mode=$1
shift
if [ "$mode" = check ]; then
    verb=$1
    shift
fi
# calls of a parallel make wait for each other
exec 9<"$0"
flock 9

missing=
for package; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] && continue
    # another package may provide the same command, as a kubectl from elsewhere does
    [ "$package" = kubernetes-client ] && command -v kubectl >/dev/null && continue
    missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$mode" = check ]; then
    echo "Debian packages are missing:$missing" >&2
    echo "install them as root with: make $verb" >&2
    echo "or with: apt-get install$missing" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "Debian packages are missing:$missing" >&2
    echo "install them as root with: apt-get install$missing" >&2
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
