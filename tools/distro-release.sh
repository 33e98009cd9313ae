#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# distro-release.sh deb/SUITE | image/SUITE[:ARCHITECTURE]...: build the Debian package, or the container
# image, on releases of Debian, each in a chroot, from nothing. Needs root, and in the environment
# VERSION, SOURCE_DATE_EPOCH, COMMIT, and OUTPUT, a directory; distro.sh has the other variables that it
# reads.
#
# The package of Debian 12 has the version VERSION+deb12, so that an upgrade of Debian upgrades it.
. "$(dirname "$0")/distro.sh"

make_deb() {
    local number

    # shellcheck disable=SC2016 # the chroot's shell expands these
    number=$(in_chroot sh -c '. /etc/os-release; echo "${VERSION_ID-}"')
    [ -n "$number" ] || die "$suite has no number yet: name a released Debian"
    built deb DEB_VERSION="$VERSION+deb$number"
    install -m 0644 "$build"/secretfs_*.deb "$build"/secretfs_*.spdx.json "$OUTPUT"
}

make_image() {
    built image-archive COMMIT="$COMMIT" "${options[@]}"
    install -m 0644 "$build"/secretfs-*.oci.tar "$build"/secretfs-*.spdx.json "$OUTPUT"
}

# built VERB VARIABLE=VALUE...: make it in the chroot.
built() {
    echo "$suite: make $1, see $log"
    logged "make $1" in_chroot env SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" make -j"$jobs" "$@"
}

each_suite() {
    local what=${1%%/*}

    enter_suite "${1#*/}" "$what"
    [ -n "$architecture" ] || packages=packages-$what
    rm -rf --one-file-system "$build"
    make_chroot
    mount_chroot
    install_packages
    "make_$what"
}

in_namespaces "$@"; exit
