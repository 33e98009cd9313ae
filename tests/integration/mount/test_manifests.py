"""A directory of manifests as the source, written to in the ways that people and programs do."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from lib import program
from lib.inotify import Watcher
from lib.volume import Volume
from lib.waiting import until

SECRET = """\
apiVersion: v1
kind: Secret
metadata:
  name: app
stringData:
  key: "{value}"
"""


def secret(value: str) -> str:
    return SECRET.format(value=value)


@pytest.fixture
def directory(area: Path) -> Path:
    path = area / "manifests"
    path.mkdir()
    return path


@pytest.fixture
def volume(directory: Path, start_mount) -> Volume:
    (directory / "app.yaml").write_text(secret("0"))
    return start_mount("--manifests", str(directory), "secret/app").wait_ready()


def replace(file: Path, text: str) -> None:
    """As an editor does: a new file is renamed over the old one."""
    aside = file.with_name(f".{file.name}.swp")
    aside.write_text(text)
    os.rename(aside, file)


def test_file_renamed_over(directory: Path, volume: Volume):
    for i in range(10):
        replace(directory / "app.yaml", secret(str(i)))
        volume.wait_content({"key": b"%d" % i})


def test_file_written_in_place(directory: Path, volume: Volume):
    """Half a file is not looked at: it is left until its writer has closed it."""
    text = secret("written slowly")
    with open(directory / "app.yaml", "w", encoding="ascii") as file:
        for character in text:
            file.write(character)
            file.flush()
        assert volume.read("key") == b"0"
    volume.wait_content({"key": b"written slowly"})
    assert volume.log_lines(" WARN ") == []
    assert volume.status()["lastUpdate"]["count"] == 2


def test_new_file_that_appears_half_written(directory: Path, area: Path, start_mount):
    """The same for a file that was not there before."""
    volume = start_mount("--manifests", str(directory), "--wait", "forever", "secret/app")
    with open(directory / "app.yaml", "w", encoding="ascii") as file:
        file.write(secret("1")[:60])
        file.flush()
        file.write(secret("1")[60:])
    volume.wait_ready()
    assert volume.content() == {"key": b"1"}


def test_directory_swapped_as_the_kubelet_does(area: Path, start_mount):
    """A volume of manifests that is itself a kubelet's: all files change in one step."""
    root = area / "manifests"
    root.mkdir()
    _kubelet_write(root, 1, {"app.yaml": secret("1")})
    volume = start_mount("--manifests", str(root), "secret/app").wait_ready()
    for i in range(2, 6):
        _kubelet_write(root, i, {"app.yaml": secret(str(i))})
        volume.wait_content({"key": b"%d" % i})
    assert volume.log_lines(" WARN ") == []


def test_directory_swapped_while_it_is_read(area: Path, start_mount):
    """Generations that are removed while they are read cause no warning."""
    root = area / "manifests"
    root.mkdir()
    texts = {f"{name}.yaml": secret("0").replace("app", name) for name in ("app", "b", "c")}
    _kubelet_write(root, 0, texts)
    volume = start_mount("--manifests", str(root), "secret/app").wait_ready()
    last = 300
    for i in range(1, last + 1):
        _kubelet_write(root, i, {n: t.replace('"0"', f'"{i}"') for n, t in texts.items()})
    volume.wait_content({"key": b"%d" % last})
    assert volume.log_lines(" WARN ") == []


def _kubelet_write(root: Path, number: int, files: dict[str, str]) -> None:
    new = root / f"..2026_01_02_03_04_05.{number}"
    new.mkdir()
    for name, text in files.items():
        (new / name).write_text(text)
    (root / "..data_tmp").symlink_to(new.name)
    old = os.readlink(root / "..data") if (root / "..data").is_symlink() else None
    os.rename(root / "..data_tmp", root / "..data")
    for name in files:
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"..data/{name}")
    if old is not None:
        for file in (root / old).iterdir():
            file.unlink()
        (root / old).rmdir()


def test_directory_that_is_a_symlink_to_be_swapped(area: Path, start_mount):
    """The directory itself may be a symlink that is pointed elsewhere."""
    for i in (1, 2):
        (area / f"v{i}").mkdir()
        (area / f"v{i}" / "app.yaml").write_text(secret(str(i)))
    (area / "current").symlink_to("v1")
    volume = start_mount("--manifests", str(area / "current"), "secret/app").wait_ready()
    assert volume.read("key") == b"1"
    (area / "next").symlink_to("v2")
    os.rename(area / "next", area / "current")
    volume.wait_content({"key": b"2"})


def test_bad_document_is_named_and_leaves_the_others_alone(directory: Path, volume: Volume):
    """File and line in status and log; the other documents of the file go on."""
    other = secret("1").replace("name: app", "name: other")
    bad = secret("1").replace('key: "1"', "key: [not, text]")
    replace(directory / "app.yaml", f"{other}---\n{bad}")
    until(lambda: volume.status()["source"]["state"] == "failing", "the bad document")
    source = volume.status()["source"]
    assert "app.yaml: line " in source["error"]
    assert source["badDocuments"] == 1
    assert volume.read("key") == b"0"
    assert len(volume.log_lines(r" WARN .*app\.yaml: line \d+")) == 1

    replace(directory / "app.yaml", secret("2"))
    volume.wait_content({"key": b"2"})
    until(lambda: volume.status()["source"]["state"] == "live", "the good document")
    volume.wait_log("source recovered")
    assert len(volume.log_lines("source recovered")) == 1


def test_bad_document_of_another_object(directory: Path, volume: Volume):
    """Another object's failure is not this one's."""
    bad = "apiVersion: v1\nkind: Secret\nmetadata: {name: bad}\ndata: {a: '!'}\n"
    (directory / "bad.yaml").write_text(bad)
    replace(directory / "app.yaml", secret("1"))
    volume.wait_content({"key": b"1"})
    status = volume.status()
    assert status["source"]["state"] == "live"
    assert status["volume"]["state"] == "current"
    assert volume.log_lines(" WARN ") == []


UNUSABLE = [
    ("stringData", "stringdata", 'stringdata: unknown field, .*; did you mean "stringData"?'),
    ("  name: app", "  name: app\n  label: {}", 'metadata.label: unknown field.*"labels"'),
    ("kind: Secret", "kind: Secret\nsops: {mac: dummy}", "sops: unknown field"),
    ("kind: Secret", "kind: secret", "write apiVersion: v1 and kind: Secret"),
    ("apiVersion: v1", "apiVersion: v2", "write apiVersion: v1 and kind: Secret"),
    ("name: app", "name: App", 'metadata.name "App" is invalid'),
    ('"x"', '"x', "while scanning a quoted scalar"),
]


@pytest.mark.parametrize("command", ["mount", "exec"])
@pytest.mark.parametrize("good, bad, reason", UNUSABLE)
def test_unusable_object_is_named(area, directory, command, good, bad, reason):
    """The last line has file, line and reason, not only that the object was not found."""
    (directory / "app.yaml").write_text(secret("x").replace(good, bad))
    target = area / "target"
    target.mkdir()
    arguments = {
        "mount": ["secret/app", target],
        "exec": ["--env-from", "secret/app", "--", "true"],
    }[command]
    options = ["--wait", "0", "--manifests", directory]
    done = program.run([program.binary(), command, *options, *arguments], home=area)
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert re.search(r"app\.yaml: line \d+", last), last
    assert re.search(reason, last), last


def test_object_that_an_api_server_refuses(directory: Path, start_mount):
    """It is used, and one warning says why the API server would not take it."""
    text = "type: kubernetes.io/basic-auth\n" + secret("1")
    (directory / "app.yaml").write_text(text)
    (directory / "other.yaml").write_text(text.replace("name: app", "name: other"))
    volume = start_mount("--manifests", str(directory), "secret/app").wait_ready()
    assert volume.content() == {"key": b"1"}
    (directory / "other.yaml").write_text(secret("2").replace("name: app", "name: other"))
    replace(directory / "app.yaml", text.replace('"1"', '"2"'))
    volume.wait_content({"key": b"2"})
    warnings = volume.log_lines(" WARN ")
    assert len(warnings) == 2, warnings
    for line in warnings:
        assert "app.yaml: line 1: type kubernetes.io/basic-auth requires the key" in line


def test_file_that_does_not_parse(directory: Path, volume: Volume):
    """The last good content stays until the file is good again."""
    replace(directory / "app.yaml", "kind: Secret\n\tmetadata: tabs\n")
    until(lambda: volume.status()["source"]["state"] == "failing", "the bad file")
    assert "app.yaml: line 2" in volume.status()["source"]["error"]
    assert volume.read("key") == b"0"
    replace(directory / "app.yaml", secret("1"))
    volume.wait_content({"key": b"1"})


def test_file_removed_and_back(directory: Path, volume: Volume, watcher: Watcher):
    """G8, G12: stale while it is away; the same content again is no event."""
    watcher.add("root", volume.path)
    (directory / "app.yaml").unlink()
    until(lambda: volume.status()["volume"]["state"] == "stale", "the removal")
    assert volume.read("key") == b"0"
    (directory / "app.yaml").write_text(secret("0"))
    until(lambda: volume.status()["volume"]["state"] == "current", "the return")
    assert watcher.read() == []


def test_file_moved_away_by_an_editor_for_a_moment(directory: Path, volume: Volume):
    """Some editors move the old file aside before they write the new one."""
    for i in range(5):
        os.rename(directory / "app.yaml", directory / "app.yaml~")
        (directory / "app.yaml").write_text(secret(str(i)))
        volume.wait_content({"key": b"%d" % i})


def test_object_moved_to_another_file(directory: Path, volume: Volume):
    """It is the object that counts, not the file that it is in."""
    os.rename(directory / "app.yaml", directory / "zzz.yml")
    replace(directory / "zzz.yml", secret("1"))
    volume.wait_content({"key": b"1"})
    assert volume.status()["volume"]["state"] == "current"


def test_directory_removed_and_back(directory: Path, volume: Volume):
    """Nothing is taken back while there is no directory; one that comes back is followed."""
    (directory / "app.yaml").unlink()
    until(lambda: volume.status()["volume"]["state"] == "stale", "the removal")
    directory.rmdir()
    until(lambda: volume.status()["source"]["state"] == "failing", "the removal")
    assert volume.read("key") == b"0"
    directory.mkdir()
    (directory / "app.yaml").write_text(secret("1"))
    volume.wait_content({"key": b"1"})
    until(lambda: volume.status()["source"]["state"] == "live", "the return")
    replace(directory / "app.yaml", secret("2"))
    volume.wait_content({"key": b"2"})


def test_directory_renamed_away_and_back(directory: Path, volume: Volume):
    """The path is what is followed."""
    os.rename(directory, directory.with_name("away"))
    until(lambda: volume.status()["source"]["state"] == "failing", "the removal")
    assert volume.read("key") == b"0"
    (directory.with_name("away") / "app.yaml").write_text(secret("1"))
    os.rename(directory.with_name("away"), directory)
    volume.wait_content({"key": b"1"})


def test_later_file_wins(directory: Path, volume: Volume):
    """Files are read in the order of their names."""
    (directory / "b.yaml").write_text(secret("later"))
    volume.wait_content({"key": b"later"})
    (directory / "b.yaml").unlink()
    volume.wait_content({"key": b"0"})


def test_string_data_wins_over_data(directory: Path, volume: Volume):
    """L8: as the API server merges them."""
    text = secret("text") + "data:\n  key: Yg==\n  other: b3RoZXI=\n"
    replace(directory / "app.yaml", text)
    volume.wait_content({"key": b"text", "other": b"other"})


def test_kubectl_list_in_json_is_a_manifest(directory: Path, volume: Volume):
    """`kubectl get -o json` output is a manifest."""
    item = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "app", "namespace": "default"},
        "data": {"key": "bGlzdGVk"},
    }
    document = {"apiVersion": "v1", "kind": "List", "items": [item]}
    (directory / "list.json").write_text(json.dumps(document))
    volume.wait_content({"key": b"listed"})


def test_namespace_option_selects_the_object(directory: Path, start_mount):
    """-n says whose object is meant; a manifest without a namespace belongs to that one."""
    (directory / "a.yaml").write_text(secret("none"))
    explicit = secret("prod").replace("name: app", "name: app\n  namespace: prod")
    (directory / "b.yaml").write_text(explicit)
    team = start_mount("--manifests", str(directory), "-n", "team", "secret/app").wait_ready()
    prod = start_mount("--manifests", str(directory), "-n", "prod", "secret/app").wait_ready()
    assert team.read("key") == b"none"
    assert prod.read("key") == b"prod"


def test_unreadable_names_are_ignored(directory: Path, volume: Volume, manifests_of_all_kinds):
    """Other kinds, other files and directories are ignored."""
    replace(directory / "app.yaml", secret("1"))
    volume.wait_content({"key": b"1"})
    assert volume.log_lines(" WARN ") == []


@pytest.fixture
def manifests_of_all_kinds(directory: Path, volume: Volume) -> None:
    (directory / "README.md").write_text("# not a manifest: [")
    (directory / "sub").mkdir()
    (directory / "sub" / "app.yaml").write_text(secret("in a directory"))
    (directory / "pod.yaml").write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: app}\n")
    (directory / "empty.yaml").write_text("")
    (directory / "comments.yaml").write_text("# nothing\n---\n---\n")
