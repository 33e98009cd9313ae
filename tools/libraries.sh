#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# libraries.sh VERB LIBRARY...: check that pkg-config finds each library, and that the compiler and
# protoc-c can be run. Name what is missing with its Debian package, and with VERB, the make verb
# that installs it. A LIBRARY is written NAME[>=VERSION]:PACKAGE. CC is the compiler's command.
set -eu
verb=$1
shift
missing=
packages=

add() { # NAME PACKAGE
    missing="$missing
  $1 (Debian package $2)"
    case " $packages " in
    *" $2 "*) ;;
    *) packages="$packages $2" ;;
    esac
}

program() { # COMMAND PACKAGE
    command -v "$1" >/dev/null || add "$1" "$2"
}

program "${CC%% *}" "$(basename "${CC##* }")"
program protoc-c protobuf-c-compiler
program pkg-config pkg-config
command -v pkg-config >/dev/null || set -- # nothing else can be found without it
for library; do
    name=${library%%[>:]*}
    wanted=${library%:*}
    version=${wanted#"$name"}
    version=${version#>=}
    pkg-config --exists "$name${version:+ >= $version}" 2>/dev/null ||
        add "$name${version:+ $version or later}" "${library##*:}"
done
[ -n "$missing" ] || exit 0
cat >&2 <<END
missing, and needed to build:$missing
install them as root with: make $verb
or with: apt-get install$packages
END
exit 1
