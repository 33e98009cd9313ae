#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""root.py ROOT PROGRAM...: make the root directory of an image that runs these programs.

It has the programs in /usr/bin, the libraries that they load, with the licences and the records of
their Debian packages (where image scanners look for them: /var/lib/dpkg/status.d), the certificates
of public authorities, and what the C library reads below /etc. There is no shell.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

# the longest list of directories on which Debian's loader agrees for all architectures
LIBRARY_DIRECTORIES = ("/lib/{triplet}", "/usr/lib/{triplet}", "/lib", "/usr/lib")
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "var/run": "/run"}
DIRECTORIES = {"tmp": 0o1777, "run": 0o755, "proc": 0o555, "sys": 0o555, "dev": 0o755, "root": 0o700}
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/tmp:/sbin/nologin\n",
    "etc/group": "root:x:0:\nnonroot:x:65532:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
# paths of the system that are files of packages, or made of them
SHARED = ("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/openssl.cnf")
PACKAGES_OF_SHARED = ("ca-certificates", "openssl")
ARCHITECTURES = {"aarch64-linux-gnu": "arm64", "x86_64-linux-gnu": "amd64"}


def output_of(*command: str | pathlib.Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def needed_by(file: pathlib.Path) -> list[str]:
    """Names of libraries."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", output_of("readelf", "-d", file))


def loader_of(program: pathlib.Path) -> str:
    """Path of the dynamic loader, as the kernel reads it from the program."""
    found = re.search(r"interpreter: (\S+)\]", output_of("readelf", "-l", program))
    if found is None:
        raise SystemExit(f"root.py: {program} names no dynamic loader")
    return found[1]


def find_library(name: str, triplet: str) -> pathlib.Path:
    for directory in LIBRARY_DIRECTORIES:
        path = pathlib.Path(directory.format(triplet=triplet), name)
        if path.exists():
            return path
    raise SystemExit(f"root.py: {name} for {triplet} is not installed")


def libraries_of(programs: list[pathlib.Path], triplet: str) -> dict[str, pathlib.Path]:
    """All that the programs load, by name."""
    found: dict[str, pathlib.Path] = {}
    unread = list(programs)
    while unread:
        for name in needed_by(unread.pop()):
            if name not in found:
                found[name] = find_library(name, triplet)
                unread.append(found[name])
    return found


def triplet_of(program: pathlib.Path) -> str:
    """Debian's name of the architecture that the program is for."""
    machine = re.search(r"Machine: +(.+)", output_of("readelf", "-h", program))
    triplets = {"AArch64": "aarch64-linux-gnu", "Advanced Micro Devices X86-64": "x86_64-linux-gnu"}
    if machine is None or machine[1] not in triplets:
        raise SystemExit(f"root.py: {program} is for an unknown machine")
    return triplets[machine[1]]


def packages_of(paths: list[pathlib.Path]) -> set[str]:
    """Debian's database has a path with or without the link from /lib to /usr/lib."""
    spellings = {path: (os.path.realpath(path), os.path.realpath(path).removeprefix("/usr")) for path in paths}
    asked = [name for names in spellings.values() for name in names]
    # it fails when it does not know one of the names
    done = subprocess.run(["dpkg", "-S", *asked], capture_output=True, text=True, check=False)
    owners = {path: owner for owner, _, path in (line.partition(": ") for line in done.stdout.splitlines())}
    found = set()
    for path, names in spellings.items():
        owner = next((owners[name] for name in names if name in owners), None)
        if owner is None:
            raise SystemExit(f"root.py: no Debian package has {path}")
        found.add(owner)
    return found


def copy(source: pathlib.Path, target: pathlib.Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def add_base(root: pathlib.Path) -> None:
    for name, mode in DIRECTORIES.items():
        (root / name).mkdir(parents=True)
        (root / name).chmod(mode)
    for name in ("usr/bin", "usr/lib", "usr/lib64", "var"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    for path in SHARED:
        copy(pathlib.Path(path), root / path.lstrip("/"), 0o644)


def add_programs(root: pathlib.Path, programs: list[pathlib.Path]) -> None:
    for program in programs:
        copy(program, root / "usr/bin" / program.name, 0o755)
    stripped = [root / "usr/bin" / program.name for program in programs]
    prefix = "" if triplet_of(programs[0]).startswith(os.uname().machine) else triplet_of(programs[0]) + "-"
    subprocess.run([f"{prefix}strip", "--strip-unneeded", "--remove-section=.comment", *stripped], check=True)


def add_libraries(root: pathlib.Path, programs: list[pathlib.Path]) -> set[str]:
    """The packages of the libraries."""
    triplet, loader = triplet_of(programs[0]), loader_of(programs[0])
    libraries = libraries_of(programs, triplet)
    for name, path in libraries.items():
        # the loader, which libraries name, too, is where the kernel starts it
        if name != pathlib.Path(loader).name:
            copy(path, root / "usr/lib" / triplet / name, 0o644)
    copy(pathlib.Path(loader), root / "usr" / loader.lstrip("/"), 0o755)
    return packages_of(list(libraries.values()))


def add_records(root: pathlib.Path, packages: set[str], architecture: str) -> None:
    """A cross build has shared files of its own machine's packages; they are the same for each machine."""
    records = output_of("dpkg", "-s", *sorted(packages)).split("\n\n")
    for record in records:
        record = re.sub(r"^Architecture: (?!all$).*", f"Architecture: {architecture}", record, flags=re.M)
        name = record.removeprefix("Package: ").partition("\n")[0]
        copyright_file = pathlib.Path("/usr/share/doc", name, "copyright")
        copy(copyright_file, root / str(copyright_file).lstrip("/"), 0o644)
        status = root / "var/lib/dpkg/status.d" / name
        status.parent.mkdir(parents=True, exist_ok=True)
        status.write_text(record.rstrip("\n") + "\n")


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    root, programs = pathlib.Path(sys.argv[1]), [pathlib.Path(name) for name in sys.argv[2:]]
    if root.exists():
        raise SystemExit(f"root.py: {root} exists already")
    os.umask(0o022)
    root.mkdir(parents=True)
    add_base(root)
    add_programs(root, programs)
    packages = add_libraries(root, programs)
    add_records(root, packages | set(PACKAGES_OF_SHARED), ARCHITECTURES[triplet_of(programs[0])])


if __name__ == "__main__":
    main()
