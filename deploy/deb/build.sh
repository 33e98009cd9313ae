#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# build.sh VERSION MAKE: puts what `make install` installs into a Debian package, which becomes
# build/secretfs_VERSION_ARCHITECTURE.deb, and its SPDX document build/secretfs_VERSION.spdx.json.
# The same sources make the same bytes: SOURCE_DATE_EPOCH is the time of all files, by default that of
# the newest commit.
set -eu
version=$1 make=$2
here=$(dirname "$0")
architecture=$(dpkg --print-architecture)
work=build/deb
stage=$work/secretfs
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y VERSION)}
export SOURCE_DATE_EPOCH
rm -rf "$work"
mkdir -p "$stage/DEBIAN" "$work/debian"

$make -s install PREFIX=/usr ZSHDIR=/usr/share/zsh/vendor-completions DESTDIR="$PWD/$stage" >/dev/null
strip --strip-unneeded --remove-section=.comment "$stage/usr/bin/secretfs" \
    "$stage/usr/bin/secretfs-keeper"
find "$stage/usr/share/man" -type f -exec gzip -9n {} +
find "$stage/usr/share/man" -type l -execdir sh -c 'ln -s "$(readlink "$1").gz" "$1.gz"; rm "$1"' _ {} \;

doc=$stage/usr/share/doc/secretfs
install -m 0644 "$here/copyright" "$doc/copyright"
ln -sf copyright "$doc/LICENSE" # the text of Apache-2.0 is on every Debian
printf 'secretfs (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md beside this file.\n\n -- %s  %s\n' \
    "$version" "The secretfs authors <authors@secretfs.invalid>" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" |
    gzip -9n >"$doc/changelog.gz"

# dpkg-shlibdeps wants a source package's control file beside it
printf 'Source: secretfs\n\nPackage: secretfs\nArchitecture: any\n' >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O secretfs/usr/bin/secretfs secretfs/usr/bin/secretfs-keeper |
    sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || { echo "build.sh: dpkg-shlibdeps found no dependencies" >&2; exit 1; }

sed -e "s|@version@|$version|" -e "s|@architecture@|$architecture|" -e "s|@depends@|$depends|" \
    -e "s|@size@|$(du -k -s --exclude=DEBIAN "$stage" | cut -f1)|" \
    "$here/control.in" >"$stage/DEBIAN/control"
(cd "$stage" && find etc -type f -printf '/%p\n' | sort) >"$stage/DEBIAN/conffiles"
(cd "$stage" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' | sort -z |
    xargs -0 md5sum) >"$stage/DEBIAN/md5sums"
for script in postinst prerm postrm; do
    install -m 0755 "$here/$script" "$stage/DEBIAN/$script"
done

/usr/bin/python3 "$here/../release/sbom.py" "$version" "$stage/usr/bin/secretfs" >"build/secretfs_$version.spdx.json"
find "$stage" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group --build "$stage" "build/secretfs_${version}_${architecture}.deb"
