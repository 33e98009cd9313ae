#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# distro-deb.sh SUITE...: build the Debian package on these releases of Debian, each in a chroot, from
# nothing. Needs root, VERSION, SOURCE_DATE_EPOCH, and OUTPUT, a directory, in the environment;
# distro.sh has the other variables that it reads.
#
# The package of Debian 12 has the version VERSION+deb12, so that an upgrade of Debian upgrades it.
. "$(dirname "$0")/distro.sh"

each_suite() {
    local number

    enter_suite "$1" deb
    packages=packages-deb
    rm -rf --one-file-system "$build"
    make_chroot
    mount_chroot
    install_packages
    # shellcheck disable=SC2016 # the chroot's shell expands these
    number=$(in_chroot sh -c '. /etc/os-release; echo "${VERSION_ID-}"')
    [ -n "$number" ] || die "$suite has no number yet: name a released Debian"
    echo "$suite: make deb, see $log"
    logged "make deb" in_chroot env SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" \
        make -j"$jobs" deb DEB_VERSION="$VERSION+deb$number"
    install -m 0644 "$build"/secretfs_*.deb "$build"/secretfs_*.spdx.json "$OUTPUT"
}

in_namespaces "$@"; exit
