#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# distro-readme.sh SUITE...: do what README.md says, word by word, on releases of Debian that nothing was
# installed on, each in a chroot that is made for it and removed. Prints how long each command took.
# Needs root and /dev/fuse. Run it as `make distro-check`; distro.sh has the variables that it reads.
#
# These are the commands of "Two commands", the tour (by its test, which compares the output), the
# package as docs/install.md builds and installs it, and what README.md does with it: a mount by
# mount(8), status. Where it takes a cluster as given there is the development API server of the tests.
# Left out is what needs hours or Kubernetes: `make test`, `make e2e`.
set -euo pipefail

# ---- within the chroot

# commands_of PAGE SECTION: its indented lines.
commands_of() {
    awk -v section="## $2" '/^## / { is_in = $0 == section } is_in && /^    / { print substr($0, 5) }' "$1"
}

# timed COMMAND: as if it was typed.
timed() {
    local begin=${EPOCHREALTIME/./}

    [ -n "$1" ] || {
        echo "a page does not have the command that was looked for"
        return 1
    }
    echo "\$ $1" >>build/readme.log
    # to a pipe, as to a terminal: in a file a mount in the background would go on logging
    eval "$1" </dev/null 2>&1 | cat >>build/readme.log || {
        echo "failed: $1"
        return 1
    }
    printf '%6d ms  %s\n' $(((${EPOCHREALTIME/./} - begin) / 1000)) "$1"
}

# A cluster with the Secret that README.md mounts, and its kubeconfig where it is looked for.
start_cluster() {
    PYTHONPATH=tests PYTHONDONTWRITEBYTECODE=1 python3 -m lib.devserver --dir /tmp/cluster >/tmp/cluster.log 2>&1 &
    cluster=$!
    until grep -q ready /tmp/cluster.log; do
        kill -0 "$cluster"
        sleep 0.1
    done
    mkdir -p /root/.kube
    cp /tmp/cluster/admin.kubeconfig /root/.kube/config
    kubectl create namespace prod >>build/readme.log
    kubectl -n prod create secret generic db --from-literal=username=app --from-literal=password=dummy-1 >>build/readme.log
}

run_readme() {
    local line lines

    mapfile -t lines < <(commands_of README.md "Two commands")
    for line in "${lines[@]}"; do
        case $line in
        make\ packages-build) start_cluster ;; # what `make demo` has installed runs it
        esac
        timed "$line"
    done
    [ "$(cat /run/secrets/db/password)" = dummy-1 ]
    timed "build/secretfs unmount /run/secrets/db"
    timed "make packages-test"
    timed "SECRETFS=/src/build/secretfs /usr/bin/python3 -B -m pytest -q -p no:cacheprovider tests/integration/deploy/test_tour.py"
    timed "$(commands_of docs/install.md "3a. Beside the kubelet, with systemd" | sed -n 's/ *# or:.*//; /^make /p')"
    mkdir -p /mnt/db
    timed "$(commands_of README.md "On a node" | grep '^mount -t')"
    [ "$(cat /mnt/db/username)" = app ]
    timed "secretfs status"
    timed "umount /mnt/db"
    timed "apt-get purge -y secretfs"
    kill "$cluster"
}

if [ "${1-}" = --inside ]; then
    run_readme
    exit
fi

# ---- outside

. "$(dirname "$0")/distro.sh"

each_suite() {
    enter_suite "$1" readme
    root=$dir/$suite.fresh
    rm -f "$root.complete"
    packages_of_chroot=
    make_chroot
    mount_chroot
    # README.md says what to type, not how to answer
    echo 'APT::Get::Assume-Yes "true";' >"$root/etc/apt/apt.conf.d/90assume-yes"
    in_chroot tools/distro-readme.sh --inside | sed -u "s/^/$suite: /" || {
        tail -n 30 "$build/readme.log" >&2
        die "$suite: README.md does not work, see $build/readme.log"
    }
    umount --recursive "$root"
    rm -rf --one-file-system "$root" "$root.complete"
}

in_namespaces "$@"; exit
