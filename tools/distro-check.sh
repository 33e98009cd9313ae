#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# distro-check.sh SUITE[:ARCHITECTURE]...: build with warnings as errors and run the unit tests on other
# releases of Debian, each in a chroot. Needs root. Run it as `make distro-check`; distro.sh has the
# variables that it reads.
#
# SUITE:arm64 builds with Debian's cross compiler, and runs the unit tests under qemu-user:
# `make cross-arm64`.
#
# The build is kept in DISTRO_DIR/SUITE.build, so the next run compiles only what changed.
. "$(dirname "$0")/distro.sh"

each_suite() {
    local rc=0 warnings

    enter_suite "$1" build
    make_chroot
    mount_chroot
    install_packages
    remove_stale_build
    echo "== $suite: $(show_versions)"
    : >"$log"
    # --keep-going: one run shows the warnings of all files
    for kind in release debug; do
        in_chroot make -j"$jobs" --keep-going "${options[@]}" BUILD=$kind all unit-programs \
            >>"$log" 2>&1 || rc=$?
    done
    warnings=$(grep -cE 'warning: |\[-Werror' "$log") || true
    echo "$suite: $warnings warnings"
    if [ $rc -eq 0 ] && [ "$warnings" -eq 0 ]; then
        in_chroot make -s --keep-going "${options[@]}" BUILD=debug unit >>"$log" 2>&1 || rc=$?
    fi
    tail -n 3 "$log" | sed "s/^/$suite: /"
    [ -z "$architecture" ] || in_chroot make -s "${options[@]}" image-archive 2>>"$log" || rc=$?
    if [ $rc -eq 0 ] && [ "$warnings" -eq 0 ]; then
        echo "$suite: passed"
        return
    fi
    grep -aE 'warning: |error: |\[  FAILED  \]|\*\*\*' "$log" | sort -u | head -n 100
    die "$suite: failed, see $log"
}

in_namespaces "$@"; exit
