#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# release.sh VERSION SUITE...: make what a release of the newest commit consists of, in
# build/release-VERSION: the sources, a Debian package for each SUITE, the images for amd64 and arm64,
# their SPDX documents, the Helm chart, and SHA256SUMS. Needs root, for the chroots. Run it as
# `make release`.
#
# All but the sources is built of the sources' archive, not of this directory. The same commit makes the
# same bytes, as long as Debian's packages are the same.
set -euo pipefail
version=$1
shift
top=$PWD
image_suite=bookworm # that of the Containerfile
output=$top/build/release-$version
tree=secretfs-$version

die() {
    echo "release: $*" >&2
    exit 1
}

check_commit() {
    [ -z "$(git status --porcelain)" ] || die "there are changes without a commit: commit them, or remove them"
    if ! git describe --exact-match --tags --match "v$version" >/dev/null 2>&1; then
        echo "release: the newest commit has no tag v$version: a rehearsal"
        return
    fi
    grep -q "^## \[$version\] - " CHANGELOG.md || die "CHANGELOG.md has no section [$version]: write it, and move the tag"
}

make_sources() {
    rm -rf "$output" build/release-tree
    mkdir -p "$output" build/release-tree
    git archive --prefix="$tree/" HEAD | gzip -9n >"$output/$tree.tar.gz"
    tar -C build/release-tree -xzf "$output/$tree.tar.gz"
}

# The directory's name in it is the chart's, as helm expects.
make_chart() {
    tar -C deploy/chart --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -c secretfs |
        gzip -9n >"$output/secretfs-chart-$version.tgz"
}

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
COMMIT=$(git rev-parse HEAD)
export SOURCE_DATE_EPOCH
check_commit
make_sources
cd "build/release-tree/$tree"
make_chart
VERSION=$version OUTPUT=$output COMMIT=$COMMIT tools/distro-release.sh "${@/#/deb/}" image/$image_suite image/$image_suite:arm64
deploy/image/index.py "$output/$tree.oci.tar" "$output/$tree"-*.oci.tar
cd "$output"
sha256sum -- * >SHA256SUMS
rm -rf "$top/build/release-tree"
echo "release: $(find . -type f ! -name SHA256SUMS | wc -l) files in ${output#"$top/"}, see SHA256SUMS"
