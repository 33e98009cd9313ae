"""The container image: what it is built of, what is in it, and that it runs."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lib import program
from lib.deploy import DEPLOY, TOP, VERSION, build_image
from lib.waiting import until

CONTAINERFILE = (DEPLOY / "image" / "Containerfile").read_text()
STAGES = CONTAINERFILE.split("\nFROM ")[1:]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an image of the program that is tested: image.tar, and ROOT with its files."""
    directory = tmp_path_factory.mktemp("image")
    build_image(directory, Path(program.binary()).resolve(), f"secretfs:{VERSION}")
    return directory


def packages_of(stage: str) -> set[str]:
    install = re.search(r"--no-install-recommends ([^&]*)&&", stage)
    assert install is not None
    return set(install[1].replace("\\", " ").split())


def test_is_built_of_what_make_asks_for() -> None:
    command = ["make", "-n", "packages-build"]
    orders = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True).stdout
    asked = re.search(r"packages\.sh install (.*)$", orders, re.MULTILINE)
    assert asked is not None
    # fusermount3 is for ordinary users
    assert packages_of(STAGES[0]) == set(asked[1].split()) - {"fuse3"}


def test_names_versions() -> None:
    assert [stage.split()[0] for stage in STAGES] == ["debian:12-slim", "scratch"]
    assert set(re.findall(r"secretfs:(\S+)", CONTAINERFILE)) == {VERSION}
    assert f'image.version="{VERSION}"' in CONTAINERFILE


def test_runs_and_has_no_shell(built: Path) -> None:
    """Also as a user who is not root. Sanitizers need /proc."""
    root = built / "ROOT"
    assert sorted(path.name for path in (root / "bin").iterdir()) == ["secretfs", "secretfs-keeper"]
    for user in ("0", "65532"):
        script = f'mount -t proc proc "$1/proc" && exec chroot --userspec={user} "$1" /usr/bin/secretfs version'
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.startswith(f"secretfs {VERSION} "), done.stderr


KEPT_MOUNT = """
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/tmp"
mkdir "$1/tmp/manifests" "$1/tmp/volume"
printf '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app"}}' >"$1/tmp/manifests/app.json"
exec chroot "$1" /usr/bin/secretfs-keeper -- /usr/bin/secretfs mount --foreground --manifests /tmp/manifests \
    secret/app /tmp/volume
"""


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no /dev/fuse")
def test_daemon_ends_in_order_in_the_image(built: Path, tmp_path: Path) -> None:
    """What the C library loads by itself to end a thread that waits is there, too."""
    script = ("sh", "-ec", KEPT_MOUNT, "sh", built / "ROOT")
    command = ["unshare", "--mount", "--propagation", "private", *script]
    log = tmp_path / "keeper.log"
    with open(log, "wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as keeper:
        try:
            until(lambda: log.read_text().count(" INFO mounted ") == 1, "the mount")
            keeper.send_signal(signal.SIGUSR2)
            until(lambda: " INFO took over the mount " in log.read_text(), "the next process")
        finally:
            keeper.terminate()
    assert " INFO handing the mount over " in log.read_text()
    assert "killed by signal" not in log.read_text(), log.read_text()
    assert keeper.returncode == 0


def test_each_library_has_its_package_and_licence(built: Path) -> None:
    """Where scanners of images look for them."""
    root = built / "ROOT"
    records = {path.name: path.read_text() for path in (root / "var/lib/dpkg/status.d").iterdir()}
    assert {"libc6", "libssl3", "libfuse3-3", "libgcc-s1", "ca-certificates"} <= set(records)
    for name, record in records.items():
        assert f"Package: {name}\n" in record and "\nVersion: " in record
        assert (root / "usr/share/doc" / name / "copyright").stat().st_size > 0


def blob(archive: tarfile.TarFile, digest: str) -> bytes:
    file = archive.extractfile(f"blobs/{digest.replace(':', '/')}")
    assert file is not None
    return file.read()


def loaded(archive: tarfile.TarFile, digest: str) -> Any:
    return json.loads(blob(archive, digest))


def test_archive_has_labels_and_one_layer(built: Path) -> None:
    with tarfile.open(built / "image.tar") as archive:
        index = archive.extractfile("index.json")
        assert index is not None
        (entry,) = json.load(index)["manifests"]
        manifest = loaded(archive, entry["digest"])
        config = loaded(archive, manifest["config"]["digest"])
        (layer,) = (gzip.decompress(blob(archive, one["digest"])) for one in manifest["layers"])
    labels = config["config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["config"]["Entrypoint"] == ["/usr/bin/secretfs"] and config["config"]["Cmd"] == ["help"]
    assert config["created"] == "2023-11-14T22:13:20Z"
    with tarfile.open(fileobj=io.BytesIO(layer)) as files:
        members = files.getmembers()
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, 1700000000)}
    modes = {member.name: member.mode for member in members}
    assert modes["usr/bin/secretfs"] == 0o755 and modes["tmp"] == 0o1777


def test_same_files_make_the_same_bytes(built: Path, tmp_path: Path) -> None:
    again = build_image(tmp_path, Path(program.binary()).resolve(), f"secretfs:{VERSION}")
    assert again.read_bytes() == (built / "image.tar").read_bytes()


def make_index(archive: Path, *images: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    command = [str(DEPLOY / "image" / "index.py"), str(archive), *(str(image) for image in images)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def archive_of(root: Path, archive: Path, name: str) -> Path:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run([DEPLOY / "image" / "archive.py", root, archive, name], env=environment, check=True)
    return archive


def test_one_archive_of_two_architectures(built: Path, tmp_path: Path) -> None:
    """The other one is the same image, whose program says that it is for arm64."""
    name = f"secretfs:{VERSION}"
    other_root = shutil.copytree(built / "ROOT", tmp_path / "ROOT", symlinks=True)
    with open(other_root / "usr/bin/secretfs", "r+b") as file:
        file.seek(18)
        file.write((183).to_bytes(2, "little"))
    other = archive_of(other_root, tmp_path / "arm64.tar", name)
    done = make_index(tmp_path / "both.tar", other, built / "image.tar")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f": {name} for amd64, arm64\n")
    with tarfile.open(tmp_path / "both.tar") as archive:
        index = archive.extractfile("index.json")
        assert index is not None
        (entry,) = json.load(index)["manifests"]
        assert entry["annotations"]["io.containerd.image.name"] == name
        entries = loaded(archive, entry["digest"])["manifests"]
        for one in entries:
            assert hashlib.sha256(blob(archive, one["digest"])).hexdigest() == one["digest"].partition(":")[2]
            config = loaded(archive, loaded(archive, one["digest"])["config"]["digest"])
            assert one["platform"] == {"architecture": config["architecture"], "os": "linux"}
    assert [one["platform"]["architecture"] for one in entries] == ["amd64", "arm64"]
    make_index(tmp_path / "again.tar", built / "image.tar", other)
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "both.tar").read_bytes()


def test_images_of_two_names_are_not_put_together(built: Path, tmp_path: Path) -> None:
    other = archive_of(built / "ROOT", tmp_path / "other.tar", "secretfs:next")
    done = make_index(tmp_path / "both.tar", other, built / "image.tar")
    assert done.returncode == 1
    assert done.stderr == f"index.py: the images have different names: secretfs:{VERSION}, secretfs:next\n"


def test_sbom_names_each_package_of_the_image(built: Path) -> None:
    root = built / "ROOT"
    command = [DEPLOY / "release" / "sbom.py", VERSION, root / "usr/bin/secretfs", root]
    document = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    versions = {package["name"]: package["versionInfo"] for package in document["packages"]}
    assert versions.pop("secretfs") == VERSION
    records = {path.name: path.read_text() for path in (root / "var/lib/dpkg/status.d").iterdir()}
    assert set(versions) == set(records)
    assert all(f"\nVersion: {versions[name]}\n" in record for name, record in records.items())


def test_records_have_the_architecture_of_the_image(tmp_path: Path) -> None:
    """A scanner of an image for arm64 finds no package of the machine that built it."""
    add_records = runpy.run_path(str(DEPLOY / "image" / "root.py"))["add_records"]
    add_records(tmp_path, {"ca-certificates", "openssl"}, "arm64")
    records = {path.name: path.read_text() for path in (tmp_path / "var/lib/dpkg/status.d").iterdir()}
    assert "\nArchitecture: arm64\n" in records["openssl"]
    assert "\nArchitecture: all\n" in records["ca-certificates"]


def test_missing_library_is_named(tmp_path: Path) -> None:
    """Not a program that ends with an error of the loader on a node."""
    source = tmp_path / "lib.c"
    source.write_text("int f(void) { return 0; }\n")
    main = tmp_path / "main.c"
    main.write_text("int f(void);\nint main(void) { return f(); }\n")
    compiler = os.environ.get("CC", "gcc").split()
    library = tmp_path / "libabsent.so"
    shared = ["-shared", "-fPIC", "-Wl,-soname,libabsent.so"]
    subprocess.run([*compiler, *shared, "-o", library, source], check=True)
    subprocess.run([*compiler, "-o", tmp_path / "main", main, library], check=True)
    tool = [str(DEPLOY / "image" / "root.py"), str(tmp_path / "ROOT"), str(tmp_path / "main")]
    done = subprocess.run(tool, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"root\.py: libabsent\.so for \S+ is not installed\n", done.stderr), done.stderr
