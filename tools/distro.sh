# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# distro.sh, for scripts to source: releases of Debian, each in a chroot made by debootstrap. Needs root.
# A script sources it, defines each_suite SUITE[:ARCHITECTURE], and ends with:
#
#   in_namespaces "$@"; exit
#
# SUITE:arm64 is a build with Debian's cross compiler and libraries for arm64.
#
#   DISTRO_DIR      directory that keeps chroots and builds (/var/cache/secretfs-tests/distro)
#   DISTRO_MIRROR   URL of a Debian mirror (the one in this machine's apt sources)
#   DISTRO_REFRESH  1: upgrade the packages of chroots that exist
#   DISTRO_JOBS     number of parallel compilers (one per processor)
#
# The script runs in a mount and a pid namespace of its own: mounts and processes end with it, also
# when it fails or is killed. The source tree is mounted read-only.
set -euo pipefail

dir=${DISTRO_DIR:-/var/cache/secretfs-tests/distro}
jobs=${DISTRO_JOBS:-$(nproc)}
program=$(basename "$0" .sh)
source=$(cd "$(dirname "$0")/.." && pwd)
# native builds check conversions, and types of the C library have other widths there (nlink_t)
cross_arm64=(CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar CFLAGS=-Wno-conversion UNIT_EMULATOR=qemu-aarch64)
libraries_arm64=/usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig

die() {
    echo "$program: $*" >&2
    exit 1
}

# A copy of a FUSE mount in this namespace would keep it alive after its unmount elsewhere.
drop_fuse_mounts() {
    local target type

    while read -r _ target type _; do
        case $type in
        fuse*) umount -l "$(printf '%b' "$target")" || true ;;
        esac
    done </proc/self/mounts
}

mirror() {
    local uri

    if [ -n "${DISTRO_MIRROR-}" ]; then
        echo "$DISTRO_MIRROR"
        return
    fi
    # shellcheck disable=SC2016 # apt-get expands these
    uri=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^Debian Debian //p' | head -n 1)
    [ -n "$uri" ] || die "apt has no Debian mirror: run apt-get update, or set DISTRO_MIRROR"
    echo "$uri"
}

# enter_suite SUITE[:ARCHITECTURE] BUILD: the chroot is $root, the build directory $build of that name, the
# output of commands goes to $log. $packages_of_chroot is what debootstrap installs in it. $options are those
# of make, $libraries is where pkg-config looks, if not in its own place.
enter_suite() {
    suite=${1/:/-}
    release=${1%%:*}
    root=$dir/$suite
    build=$dir/$suite.$2
    log=$dir/$suite.log
    architecture=
    options=(WERROR=1)
    libraries=
    packages=packages-test
    packages_of_chroot=make
    case $1 in
    *:arm64)
        architecture=arm64
        options+=("${cross_arm64[@]}")
        libraries=$libraries_arm64
        packages=packages-cross-arm64
        ;;
    *:*) die "${1#*:}: no cross build for this architecture, only for arm64" ;;
    esac
    exec 9>"$dir/$suite.lock"
    flock -n 9 || die "another run uses $root: wait for it, or set DISTRO_DIR"
    : >"$log"
}

# in_chroot COMMAND...: run it with the chroot as the root of a mount namespace, so that /proc shows a
# root mount, as on a host. The sources are the working directory.
in_chroot() {
    # shellcheck disable=SC2016 # the inner shells expand these
    unshare --mount --propagation private /bin/sh -euc '
        cd "$1"
        shift
        pivot_root . mnt
        exec chroot . "$@"' sh "$root" \
        /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive ${http_proxy:+"http_proxy=$http_proxy"} ${libraries:+"PKG_CONFIG_LIBDIR=$libraries"} \
        /bin/sh -euc 'umount -l /mnt; cd /src; exec "$@"' sh "$@"
}

# logged WHAT COMMAND...: when the command fails, show the end of its output.
logged() {
    local what=$1
    shift

    "$@" >>"$log" 2>&1 && return
    tail -n 20 "$log" >&2
    die "$suite: $what failed, see $log"
}

# The chroot is complete when SUITE.complete exists; an interrupted one is made again.
make_chroot() {
    local uri

    [ ! -e "$root.complete" ] || return 0
    uri=$(mirror)
    echo "$suite: debootstrap, see $log"
    rm -rf --one-file-system "$root" "$build"
    logged debootstrap debootstrap --variant=minbase ${packages_of_chroot:+"--include=$packages_of_chroot"} "$release" "$root" "$uri"
    mkdir -p "$root/src"
    # a mirror may be a snapshot, or behind; apt checks the signature all the same
    echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90distro-check"
    touch "$root.complete"
}

mount_chroot() {
    mkdir -p "$build"
    mount --bind "$root" "$root" # pivot_root(8) needs a mount
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/tmp"
    mount --bind "$source" "$root/src"
    mount -o remount,bind,ro "$root/src"
    mount --bind "$build" "$root/src/build"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
}

install_packages() {
    # an interrupted run may have left packages unpacked
    logged "dpkg --configure" in_chroot dpkg --configure -a
    if [ -n "${DISTRO_REFRESH-}" ]; then
        logged "apt-get update" in_chroot apt-get update -q
        logged "apt-get dist-upgrade" in_chroot apt-get dist-upgrade -y -q
    fi
    [ -z "$architecture" ] || logged "dpkg" in_chroot dpkg --add-architecture "$architecture"
    logged "make $packages" in_chroot make -s "$packages"
}

# Compilers and headers of packages are no dependencies of make's: when they change, build from scratch.
remove_stale_build() {
    local versions

    versions=$(in_chroot dpkg-query -W)
    [ "$versions" != "$(cat "$build/packages" 2>/dev/null)" ] || return 0
    find "$build" -mindepth 1 -delete
    echo "$versions" >"$build/packages"
}

show_versions() {
    # shellcheck disable=SC2016 # the chroot's shell expands these
    in_chroot sh -c '
        . /etc/os-release
        printf "%s: gcc %s for %s, glibc %s" "$PRETTY_NAME" "$($0 -dumpfullversion)" "$($0 -dumpmachine)" \
            "$(ldd --version | sed -n "1s/.* //p")"
        for library; do printf ", %s %s" "$library" "$(pkg-config --modversion "$library")"; done
        echo' "${architecture:+aarch64-linux-gnu-}gcc" fuse3 libcurl libcrypto libnghttp2 libcjson libsystemd yaml-0.1 libprotobuf-c \
        libmicrohttpd cmocka
}

# in_namespaces SUITE...: each_suite of each, in namespaces of their own.
in_namespaces() {
    local failed= s

    if [ "${1-}" != --in-namespaces ]; then
        [ "$(id -u)" -eq 0 ] || die "chroots need root"
        [ $# -gt 0 ] || die "usage: $program.sh SUITE..."
        command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
        mkdir -p "$dir" "$source/build"
        exec unshare --mount --pid --fork --kill-child --propagation slave --mount-proc \
            "$0" --in-namespaces "$@"
    fi
    shift
    trap 'exit 130' INT TERM # the first process of a pid namespace has no default action
    drop_fuse_mounts
    for s; do
        set +e # in a condition, the subshell would ignore its own set -e
        (
            set -e
            each_suite "$s"
        )
        [ $? -eq 0 ] || failed="$failed $s"
        set -e
    done
    [ -z "$failed" ] || die "failed on$failed"
}
