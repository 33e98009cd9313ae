#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kernel-check.sh SUITE [TEST]...: run tests on the kernel of a release of Debian, in a virtual machine
# without hardware support (qemu's software emulation). Needs root. Run it as `make kernel-check`.
#
#   SUITE          release of Debian whose linux-image-amd64 boots: bookworm, trixie
#   TEST           files for pytest (TESTS below)
#   KERNEL_DIR     directory that keeps kernels (/var/cache/secretfs-tests/kernel)
#   KERNEL_MIRROR  URL of a Debian mirror (http://deb.debian.org/debian)
#
# The machine has the root directory of this one, read-only by 9p, with empty tmpfs on /tmp, /run and
# /var/tmp. So it runs the same programs, libraries and build, and only the kernel differs. It has no
# network. Environment variables that begin with SECRETFS_TEST_ are those of the tests.
set -euo pipefail

dir=${KERNEL_DIR:-/var/cache/secretfs-tests/kernel}
mirror=${KERNEL_MIRROR:-http://deb.debian.org/debian}
source=$(cd "$(dirname "$0")/.." && pwd)
modules=(virtio_pci 9pnet_virtio 9p fuse overlay virtio_rng) # those that the machine loads
default_tests=(tests/integration/mount/test_layout.py tests/integration/mount/test_updates.py
    tests/integration/mount/test_events.py tests/integration/handover/test_crash.py
    tests/integration/handover/test_taken.py tests/integration/handover/test_storm.py
    tests/integration/handover/test_node_storm.py)
# emulation is some ten times slower than the processor
defaults=(PATIENCE=1200 SECRETFS_TEST_UPDATES=50 SECRETFS_TEST_KILLS=5)

die() {
    echo "kernel-check: $*" >&2
    exit 1
}

# apt with lists of its own, so that the machine's are not changed
apt_of() {
    local suite=$1
    shift

    apt-get -q -o "Dir::State::lists=$dir/$suite.apt/lists" -o "Dir::Cache=$dir/$suite.apt" \
        -o "Dir::Etc::sourcelist=$dir/$suite.apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::status=/dev/null -o APT::Sandbox::User=root "$@"
}

# The kernel that linux-image-amd64 depends on.
kernel_package() {
    apt_of "$1" install --simulate --no-install-recommends linux-image-amd64 |
        sed -n 's/^Inst \(linux-image-[0-9][^ ]*\) .*/\1/p' | head -n 1
}

# Sets $kernel, a directory with the unpacked package. It is fetched once.
fetch() {
    local suite=$1 package

    kernel=$dir/$suite
    [ ! -e "$kernel.complete" ] || return 0
    echo "$suite: fetching its kernel from $mirror"
    rm -rf "$kernel" "$dir/$suite.apt"
    mkdir -p "$dir/$suite.apt/lists/partial" "$dir/$suite.apt/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
        >"$dir/$suite.apt/sources.list"
    apt_of "$suite" update >/dev/null
    package=$(kernel_package "$suite")
    [ -n "$package" ] || die "$suite has no linux-image-amd64"
    (cd "$dir/$suite.apt" && apt_of "$suite" download "$package" >/dev/null)
    dpkg-deb -x "$dir/$suite.apt/$package"_*.deb "$kernel"
    rm -r "$dir/$suite.apt"
    [ -e "$kernel/lib" ] || ln -s usr/lib "$kernel/lib" # where depmod(8) looks
    touch "$kernel.complete"
}

# Prints the modules of $kernel that $modules need, in the order to load them.
module_files() {
    local module

    depmod -b "$kernel" "$version"
    for module in "${modules[@]}"; do
        modprobe -d "$kernel" -S "$version" --show-depends "$module"
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++'
}

# make_initramfs COMMAND: a busybox, the modules, and an init that runs COMMAND with bash in $source.
make_initramfs() {
    local file name n=100

    mkdir -p "$work/initramfs/"{bin,dev,modules,proc,root,source}
    cp /bin/busybox "$work/initramfs/bin/"
    module_files >"$work/modules"
    while read -r file; do
        name=$n-${file##*/}
        case $file in
        *.xz) xz -dc "$file" >"$work/initramfs/modules/${name%.xz}" ;;
        *) cp "$file" "$work/initramfs/modules/$name" ;;
        esac
        n=$((n + 1))
    done <"$work/modules"
    printf '%s\n' "$1" >"$work/initramfs/command"
    cat >"$work/initramfs/init" <<END
#!/bin/busybox sh
mount() { busybox mount "\$@"; }
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*; do busybox insmod \$module || echo "kernel-check: \$module is not loaded"; done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=262144 host /root
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t devtmpfs dev /root/dev
busybox mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs tmpfs /root/dev/shm
mount -t cgroup2 cgroup /root/sys/fs/cgroup
mount -t fusectl fusectl /root/sys/fs/fuse/connections
mount -o bind "/root$source" /source
for each in tmp run var/tmp; do mount -t tmpfs -o mode=1777 tmpfs /root/\$each; done
busybox mkdir -p "/root$source" # which the sources may be below
mount -o bind /source "/root$source"
busybox ip link set lo up
busybox hostname kernel-check
busybox cp /command /root/tmp/.command
exec busybox switch_root /root /bin/sh -c '
    PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp bash /tmp/.command
    echo "kernel-check: status \$?"
    echo o >/proc/sysrq-trigger
    while :; do :; done'
END
    chmod 755 "$work/initramfs/init"
    (cd "$work/initramfs" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initramfs.gz"
}

# The command of the machine, a script of bash.
guest_command() {
    local variables=("${defaults[@]}") name

    for name in "${!SECRETFS_TEST_@}"; do
        variables+=("$name=${!name}")
    done
    echo 'uname -srv'
    printf 'cd %q && exec env PYTHONDONTWRITEBYTECODE=1 LC_ALL=C.UTF-8' "$source"
    printf ' %q' "${variables[@]}" SECRETFS="${SECRETFS:-$source/build/debug/secretfs}"
    printf ' /usr/bin/python3 -m pytest -v -rsfE -p no:cacheprovider'
    printf ' %q' "$@"
}

# no_timer_check: on a busy machine the emulated timer is late, which the kernel takes for broken hardware.
boot() {
    qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 3072 -nodefaults -no-reboot \
        -display none -serial stdio -kernel "$kernel/boot/vmlinuz-$version" -initrd "$work/initramfs.gz" \
        -append "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on no_timer_check" \
        -device virtio-rng-pci -virtfs \
        local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap </dev/null
}

main() {
    local suite=${1-} status

    [ -n "$suite" ] || die "usage: kernel-check.sh SUITE [TEST]..."
    [ "$(id -u)" -eq 0 ] || die "the machine reads all files of this one: run it as root"
    [ -x "$source/build/debug/secretfs" ] || die "build/debug/secretfs is missing: run make kernel-check"
    shift
    [ $# -gt 0 ] || set -- "${default_tests[@]}"
    mkdir -p "$dir"
    exec 9>"$dir/$suite.lock"
    flock 9
    fetch "$suite"
    version=$(basename "$(echo "$kernel"/boot/vmlinuz-*)")
    version=${version#vmlinuz-}
    work=$(mktemp -d "${TMPDIR:-/tmp}/kernel-check-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    make_initramfs "$(guest_command "$@")"
    boot | sed -u 's|\r||g' | tee "$work/console"
    status=$(sed -n 's/^kernel-check: status //p' "$work/console")
    [ "$status" = 0 ] || die "$suite: failed with ${status:-no status, the machine has ended}"
    echo "$suite: passed on Linux $version"
}

main "$@"
exit
