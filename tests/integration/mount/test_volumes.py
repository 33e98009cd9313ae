"""Volumes in a pod's own words: what is shown of which objects, with which modes and owners."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from lib import program
from lib.certificates import make_pair, make_short_pair
from lib.sources import Api, Manifests, Source
from lib.volume import Volume, files_of, wait_files
from lib.waiting import until

GROUP = 4711


def mode_of(path: Path) -> str:
    return stat.filemode(path.lstat().st_mode)


def owners_of(path: Path) -> tuple[int, int]:
    return path.lstat().st_uid, path.lstat().st_gid


@pytest.fixture
def mount_spec(start_mount, area: Path) -> Callable[..., Volume]:
    """Mounts an entry of a pod's volumes."""

    def make(source: Source, spec: dict[str, Any] | str, *arguments: str, **options: Any) -> Volume:
        file = area / "volume.yaml"
        file.write_text(spec if isinstance(spec, str) else json.dumps(spec))
        volume = start_mount(*source.arguments, "--volume", str(file), *arguments, **options)
        return volume.wait_ready()

    return make


# ---- which files


def test_items_of_the_command_line(source, mount):
    """B2, B3: only listed keys, at their paths, a directory where a path has one."""
    source.put_secret({"user": b"app", "password": b"dummy", "other": b"x"})
    items = ["--item", "user=db/user", "--item", "password=pw:0400", "--item", "user=again"]
    volume = mount(source, *items, "--default-mode", "0440")

    assert files_of(volume) == {"db/user": b"app", "pw": b"dummy", "again": b"app"}
    assert volume.keys() == {"db", "pw", "again"}
    assert os.readlink(volume.path / "db") == "..data/db"
    generation = volume.path / volume.generation()
    assert mode_of(generation / "db") == "drwxr-xr-x"
    assert mode_of(generation / "db/user") == "-r--r-----"
    assert mode_of(generation / "pw") == "-r--------"

    source.put_secret({"user": b"new", "password": b"dummy", "other": b"y"})
    wait_files(volume, {"db/user": b"new", "pw": b"dummy", "again": b"new"})


def test_unlisted_key_that_changes_is_no_update(source, mount):
    """B2, E1: what is not shown does not count."""
    source.put_secret({"a": b"1", "b": b"1"})
    volume = mount(source, "--item", "a=a")
    before = volume.generation()
    source.put_secret({"a": b"1", "b": b"2"})
    source.put_secret({"a": b"1", "b": b"3", "c": b""})
    source.put_secret({"a": b"2", "b": b"3"})
    wait_files(volume, {"a": b"2"})
    assert volume.status()["lastUpdate"]["count"] == 2
    assert volume.generation() != before


def test_projected_sources_share_one_payload(source, mount_spec):
    """N1, N2, N6: all sources in one payload, later ones winning, and each of them followed."""
    source.put_secret({"user": b"app", "shared": b"secret"}, name="one")
    source.put_configmap({"shared": "configmap", "mode": "fast"}, {}, name="two")
    volume = mount_spec(
        source,
        {
            "name": "all",
            "projected": {
                "defaultMode": 0o440,
                "sources": [
                    {"secret": {"name": "one"}},
                    {"configMap": {"name": "two"}},
                    {"secret": {"name": "one", "items": [{"key": "user", "path": "d/u"}]}},
                ],
            },
        },
    )
    assert files_of(volume) == {
        "user": b"app",
        "shared": b"configmap",
        "mode": b"fast",
        "d/u": b"app",
    }
    assert mode_of(volume.path) == "drwxrwxrwt"

    source.put_secret({"user": b"new"}, name="one")
    wait_files(
        volume, {"user": b"new", "shared": b"configmap", "mode": b"fast", "d/u": b"new"}
    )
    source.put_configmap({"mode": "slow"}, {}, name="two")
    wait_files(volume, {"user": b"new", "mode": b"slow", "d/u": b"new"})
    status = volume.status()
    assert [o["name"] for o in status["objects"]] == ["one", "two", "one"]
    assert "object" not in status
    text = volume.run("status", str(volume.path)).stdout
    assert re.search(r"^Object: +ConfigMap default/two$", text, re.M)


def test_projected_errors_are_reported_together(manifests, area: Path):
    """N4: each missing object and key is named at once; nothing is mounted."""
    manifests.put_secret({"a": b"1"}, name="there")
    file = area / "volume.yaml"
    file.write_text(
        """
projected:
  sources:
  - secret: {name: there, items: [{key: b, path: b}]}
  - secret: {name: gone}
  - configMap: {name: gone, optional: true}
"""
    )
    target = area / "target"
    target.mkdir()
    command = [program.binary(), "mount", "--wait", "0", *manifests.arguments]
    done = program.run([*command, "--volume", file, target], home=area)
    assert done.returncode == 1
    assert done.stderr == (
        "secretfs: secret/default/there: references non-existent secret key: b; "
        'secret "gone" not found in namespace "default"; secret/default/there has the keys: a\n'
    )
    assert os.listdir(target) == []


def test_one_missing_object_keeps_the_whole_projected_volume(source, mount_spec):
    """N4, G8: while one source has an error the others' updates wait as well."""
    source.put_secret({"a": b"1"}, name="one")
    source.put_secret({"b": b"1"}, name="two")
    names = [{"secret": {"name": "one"}}, {"secret": {"name": "two"}}]
    volume = mount_spec(source, {"projected": {"sources": names}})
    source.delete_secret("one")
    until(lambda: volume.status()["volume"]["state"] == "stale", "the deletion")
    source.put_secret({"b": b"2"}, name="two")
    source.put_secret({"a": b"2"}, name="one")
    wait_files(volume, {"a": b"2", "b": b"2"})
    assert volume.status()["volume"]["state"] == "current"
    assert len(volume.log_lines("cannot update")) == 1


# ---- trust bundles


BUNDLE = {"clusterTrustBundle": {"name": "one", "path": "ca.crt"}}


def test_trust_bundle(area: Path, api: Api, mount_spec: Callable[..., Volume]) -> None:
    """Y15, Y16: as in a pod; with an API server there is no need of one."""
    pems = [make_pair(area, f"ca-{i}")["tls.crt"] for i in range(2)]
    api.put_secret({"user": b"admin"})
    api.server.put_trust_bundle("one", pems[0].decode())
    volume = mount_spec(api, {"projected": {"sources": [BUNDLE, {"secret": {"name": "app"}}]}})
    wait_files(volume, {"ca.crt": pems[0], "user": b"admin"})
    api.server.put_trust_bundle("one", pems[1].decode())
    wait_files(volume, {"ca.crt": pems[1], "user": b"admin"})
    assert mode_of(volume.path / "..data/ca.crt") == "-rw-r--r--"


def test_trust_bundle_and_manifests(area: Path, manifests: Manifests) -> None:
    file, target = area / "volume.yaml", area / "target"
    file.write_text(json.dumps({"projected": {"sources": [BUNDLE]}}))
    target.mkdir()
    command = [program.binary(), "mount", "--wait", "0", *manifests.arguments]
    done = program.run([*command, "--volume", file, target], home=area)
    assert done.returncode == 1
    assert done.stderr == (
        "secretfs: ClusterTrustBundles come from an API server only, not from manifests\n"
    )


@pytest.mark.parametrize(
    "text, message",
    [
        ("{secret: {secretName: app, mode: 1}}", "secret.mode: unknown field, expected one of: "),
        (
            "{projected: {sources: [{serviceAccountToken: {path: t}}]}}",
            "projected.sources[0].serviceAccountToken: unsupported source, expected one of",
        ),
        ("{secret: {secretName: app, items: [{key: a, path: ..x}]}}", "secret.items[0].path: "),
        (
            f"{{secret: {{secretName: app, items: [{{key: a, path: {'/'.join('p' * 65)}}}]}}}}",
            "secret.items[0].path: invalid path ",
        ),
    ],
)
def test_mistakes_in_a_volume_file_are_refused(area: Path, text: str, message: str):
    """The file and the field's path are named, and it is no usage error."""
    file = area / "volume.yaml"
    file.write_text(text)
    done = program.run([program.binary(), "mount", "--volume", file, area], home=area)
    assert done.returncode == 1
    assert done.stderr.startswith(f"secretfs: {file}: {message}")


# ---- optional


def test_optional_object_appears_and_disappears(source, mount):
    """G2, G9, A10: an empty volume at first, its keys when it comes, empty again when it goes."""
    volume = mount(source, "--optional")
    assert set(os.listdir(volume.path)) == {"..data", volume.generation()}
    assert volume.status()["object"]["presence"] == "absent"
    for value in (b"1", b"2"):
        source.put_secret({"a": value, "b": value})
        volume.wait_content({"a": value, "b": value})
        source.delete_secret()
        volume.wait_content({})
    assert volume.status()["volume"]["state"] == "current"


def test_optional_keys_come_and_go(source, mount):
    """G4, G10: only the missing file is missing, the others are updated."""
    source.put_secret({"a": b"1"})
    volume = mount(source, "--optional", "--item", "a=a", "--item", "b=d/b")
    assert files_of(volume) == {"a": b"1"}
    source.put_secret({"a": b"2", "b": b"2"})
    wait_files(volume, {"a": b"2", "d/b": b"2"})
    source.put_secret({"b": b"3"})
    wait_files(volume, {"d/b": b"3"})


def test_missing_key_refuses_the_whole_update(source, mount):
    """G10: without optional the old tree stays whole, and the status says why."""
    source.put_secret({"a": b"1", "b": b"1"})
    volume = mount(source, "--item", "a=a", "--item", "b=b")
    source.put_secret({"a": b"2"})
    until(lambda: volume.status()["volume"]["state"] == "stale", "the refusal")
    assert files_of(volume) == {"a": b"1", "b": b"1"}
    assert "references non-existent secret key: b" in volume.status()["volume"]["error"]
    source.put_secret({"a": b"3", "b": b"3"})
    wait_files(volume, {"a": b"3", "b": b"3"})


def test_forbidden_is_not_forgiven(http1, start_mount):
    """G6: optional is about what does not exist, not about what may not be seen."""
    arguments = ["--kubeconfig", http1.kubeconfig("unknown"), "--optional", "--wait", "3s"]
    volume = start_mount(*arguments, "secret/app")
    volume.expected_exit = 1
    volume.expected_words = "403|gave up"
    assert volume.wait_end() == 1
    assert "403" in volume.log()


def test_missing_path_is_no_directory(manifests, mount):
    """P3: who asks for a subPath that is not there makes nothing in the volume."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    with pytest.raises(OSError, match="Read-only"):
        os.mkdir(volume.path / "later")
    manifests.put_secret({"a": b"1", "later": b"2"})
    volume.wait_content({"a": b"1", "later": b"2"})


# ---- modes and owners


def test_modes_as_kubernetes_reads_them(manifests, mount_spec):
    """F1, L4: octal in YAML, 0 included."""
    manifests.put_secret({"a": b"1", "b": b"1", "c": b"1"})
    volume = mount_spec(
        manifests,
        """
- name: v
  secret:
    secretName: app
    defaultMode: 0400
    items:
    - {key: a, path: a}
    - {key: b, path: b, mode: 0}
    - {key: c, path: c, mode: 0o777}
""",
    )
    generation = volume.path / volume.generation()
    modes = {name: mode_of(generation / name) for name in "abc"}
    assert modes == {"a": "-r--------", "b": "----------", "c": "-rwxrwxrwx"}


def test_root_of_a_configmap(source, mount):
    """F6: 0777 without a sticky bit."""
    source.put_configmap({"a": "1"}, {})
    volume = mount(source, what="configmap/app")
    assert mode_of(volume.path) == "drwxrwxrwx"


@pytest.mark.parametrize(
    "what, root_mode", [("secret/app", "drwxrwsrwt"), ("configmap/app", "drwxrwsrwx")]
)
def test_fs_group_owns_everything_after_each_write(source, mount, what: str, root_mode: str):
    """F10, F11, F15, W1: group and setgid everywhere, links too, on the first write and later."""
    source.put_secret({"a": b"1", "b": b"1"})
    source.put_configmap({"a": "1", "b": "1"}, {})
    items = ["--item", "a=d/e/a", "--item", "b=b:0600", "--default-mode", "0400"]
    volume = mount(source, *items, "--fs-group", str(GROUP), what=what)

    for value in (b"1", b"2"):
        if value == b"2":
            source.put_secret({"a": value, "b": value})
            source.put_configmap({"a": "2", "b": "2"}, {})
            wait_files(volume, {"d/e/a": value, "b": value})
            volume.wait_cleaned()
        generation = volume.path / volume.generation()
        assert mode_of(volume.path) == root_mode
        assert mode_of(generation) == "drwxr-sr-x"
        assert mode_of(generation / "d/e") == "drwxr-sr-x"
        assert mode_of(generation / "d/e/a") == "-r--r-----"
        assert mode_of(generation / "b") == "-rw-r-----"
        assert mode_of(volume.path / "b") == "lrwxrwxrwx"
        for path in [volume.path, *volume.path.iterdir(), *generation.rglob("*")]:
            assert owners_of(path) == (0, GROUP), path


def test_fs_group_lets_the_group_read(manifests, mount):
    """What it is for: a process of another user that has the group reads a file of mode 0400."""
    manifests.put_secret({"a": b"dummy"})
    volume = mount(manifests, "--default-mode", "0400", "--fs-group", str(GROUP))
    path = str(volume.path / "a")
    user = ["setpriv", "--reuid=65534", "--regid=65534"]
    member = subprocess.run([*user, f"--groups={GROUP}", "cat", path], capture_output=True)
    other = subprocess.run([*user, "--clear-groups", "cat", path], capture_output=True)
    assert (member.returncode, member.stdout) == (0, b"dummy")
    assert other.returncode != 0


def test_owners_of_volume_and_items_are_set(manifests, mount_spec):
    """uid and gid of the volume and of single items; an item's mode is as asked for."""
    manifests.put_secret({"a": b"1", "b": b"1"})
    items = [{"key": "a", "path": "a"}, {"key": "b", "path": "b", "uid": 7, "gid": 8, "mode": 256}]
    spec = {"secret": {"secretName": "app", "items": items}, "secretfs": {"uid": 100, "gid": 200}}
    volume = mount_spec(manifests, spec)
    generation = volume.path / volume.generation()
    assert owners_of(generation / "a") == (100, 200)
    assert owners_of(generation / "b") == (7, 8)
    assert mode_of(generation / "b") == "-r--------"
    for path in (volume.path, generation, volume.path / "a", volume.path / "..data"):
        assert owners_of(path) == (100, 200)


def test_command_line_counts_more_than_the_file(manifests, mount_spec):
    """An entry of a pod's volumes can be taken as it is, the pod's fsGroup beside it."""
    manifests.put_secret({"a": b"1"})
    spec = {"secret": {"secretName": "app"}, "secretfs": {"uid": 100, "fsGroup": 5}}
    volume = mount_spec(manifests, spec, "--fs-group", str(GROUP), "--uid", "7")
    assert owners_of(volume.path / "..data/a") == (7, GROUP)


# ---- types and certificates


def test_another_type_is_refused(source, area: Path):
    """L6: --type says what it has to be."""
    source.put_secret({"a": b"1"}, type="Opaque")
    target = area / "target"
    target.mkdir()
    command = [program.binary(), "mount", "--wait", "2s", *source.arguments, "--type", "tls"]
    done = program.run([*command, "secret/app", target], home=area)
    assert done.returncode == 1
    assert "secret/default/app is of type Opaque, expected kubernetes.io/tls" in done.stderr


@pytest.mark.parametrize("hold", [[], ["--tls", "hold"]])
def test_certificate_that_expires_while_it_is_shown(manifests, mount, area: Path, hold: list[str]):
    """It is reported when it happens, without an update; what was accepted stays published."""
    pair = make_short_pair(area, 4)
    manifests.put_secret(pair, type="kubernetes.io/tls")
    volume = mount(manifests, *hold)
    assert "problem" not in volume.status()["object"]["certificate"]
    volume.wait_log("WARN invalid certificate .*its certificate expired on 20")
    certificate = volume.status()["object"]["certificate"]
    assert certificate["problem"].startswith("its certificate expired on ")
    assert certificate["notAfter"][:19] in certificate["problem"]
    assert volume.content() == pair
    good = make_pair(area, "good")
    manifests.put_secret(good, type="kubernetes.io/tls")
    volume.wait_content(good)
    volume.wait_log("INFO certificate is valid again")


def test_certificate_in_the_status(source, mount, area: Path):
    """Until when it is valid; that key and certificate do not belong together, also in the log."""
    one, two = make_pair(area, "one"), make_pair(area, "two")
    source.put_secret(one, type="kubernetes.io/tls")
    volume = mount(source)
    certificate = volume.status()["object"]["certificate"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", certificate["notAfter"])
    assert "problem" not in certificate

    mixed = {"tls.crt": two["tls.crt"], "tls.key": one["tls.key"]}
    source.put_secret(mixed, type="kubernetes.io/tls")
    volume.wait_content(mixed)
    problem = volume.status()["object"]["certificate"]["problem"]
    assert problem == "tls.key does not belong to tls.crt"
    volume.wait_log("WARN invalid certificate .*does not belong")
    text = volume.run("status", str(volume.path)).stdout
    assert "Certificate:      tls.key does not belong to tls.crt" in text

    source.put_secret(two, type="kubernetes.io/tls")
    volume.wait_log("INFO certificate is valid again")
    assert volume.status()["volume"]["state"] == "current"


def test_tls_hold_keeps_the_last_matching_pair(source, mount, area: Path):
    """The last coherent pair stays until a good one comes."""
    one, two = make_pair(area, "one"), make_pair(area, "two")
    source.put_secret(one, type="kubernetes.io/tls")
    volume = mount(source, "--tls", "hold", "--type", "tls")
    mixed = {"tls.crt": two["tls.crt"], "tls.key": one["tls.key"]}
    before = volume.status()
    source.put_secret(mixed, type="kubernetes.io/tls")
    until(lambda: volume.status()["volume"]["state"] == "held", "the update that is held back")
    assert volume.content() == one
    held = volume.status()
    assert held["object"]["resourceVersion"] == before["object"]["resourceVersion"]
    assert held["object"]["newestResourceVersion"] != held["object"]["resourceVersion"]
    for member in ("generation", "files", "bytes"):
        assert held["volume"][member] == before["volume"][member]
    assert "is held back: tls.key does not belong" in volume.status()["volume"]["error"]
    source.put_secret(two, type="kubernetes.io/tls")
    volume.wait_content(two)
    assert volume.status()["volume"]["state"] == "current"


# ---- immutable objects


def test_immutable_object_is_not_watched(http1, mount, start_mount):
    """G19: no watch stays; what was deleted and recreated is found by the next mount."""
    http1.put_secret({"a": b"1"}, immutable=True)
    volume = mount(http1)
    assert volume.status()["object"]["immutable"] is True
    assert volume.status()["source"]["state"] == "live"
    http1.delete_secret()
    http1.put_secret({"a": b"2"}, immutable=True)
    second = mount(http1)
    assert second.content() == {"a": b"2"}
    assert volume.content() == {"a": b"1"}
    assert volume.status()["source"]["requests"] == {"200": 1}


def test_invalid_content_is_held(manifests: Manifests, mount: Callable[..., Volume]) -> None:
    """check: the last valid content stays, with the reason, until a valid one comes."""
    manifests.put_secret({"a.json": b"[1]"})
    volume = mount(manifests, "--check-content", "json,nonempty")
    manifests.put_secret({"a.json": b"[1"})
    until(lambda: volume.status()["volume"]["state"] == "held", "the invalid update")
    assert volume.read("a.json") == b"[1]"
    error = volume.status()["volume"]["error"]
    assert error == 'secret/default/app is held back: key "a.json" is invalid JSON'
    manifests.put_secret({"a.json": b"[2]"})
    volume.wait_content({"a.json": b"[2]"})
    until(lambda: volume.status()["volume"]["state"] == "current", "the end of the hold")
