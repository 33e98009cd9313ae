"""Volumes in a pod's words, beside what the real API server makes of the same pod."""

from __future__ import annotations

import json
import os
import stat
import textwrap
from pathlib import Path
from typing import Any, Callable

import pytest

from lib.kube import ApiError
from lib.kube.kubectl import KubectlFailed
from lib.kube.mounts import STALE, Mount, Mounts
from lib.kube.namespace import Namespace
from lib.waiting import until

SpecMounter = Callable[..., Mount]


@pytest.fixture
def mount_spec(mounts: Mounts, admin_args: list[str], tmp_path: Path) -> SpecMounter:
    """Mounts an entry of a pod's volumes, given as text or as a document."""

    def make(spec: str | dict[str, Any], *arguments: str) -> Mount:
        return mounts.make(str(spec_file(tmp_path, spec)), *admin_args, *arguments, "--volume")

    return make


def spec_file(directory: Path, spec: str | dict[str, Any]) -> Path:
    file = directory / "volume.yaml"
    file.write_text(spec if isinstance(spec, str) else json.dumps(spec))
    return file


def files_of(mount: Mount) -> dict[str, bytes]:
    """By path, nested ones too."""
    data = mount.view / "..data"
    found = [path for path in data.rglob("*") if path.is_file()]
    return {str(path.relative_to(data)): path.read_bytes() for path in found}


def wait_files(mount: Mount, files: dict[str, bytes]) -> None:
    until(lambda: files_of(mount) == files, f"{sorted(files)}")


# ---- what is a volume, and what its modes are: the API server's word on it

ACCEPTED = [
    "secret: {secretName: app}",
    "secret: {secretName: app, defaultMode: 0400}",
    "secret: {secretName: app, defaultMode: 256}",
    "secret: {secretName: app, defaultMode: 0o400}",
    "secret: {secretName: app, defaultMode: 0}",
    "secret: {secretName: app, defaultMode: 0777}",
    "secret: {secretName: app, defaultMode: 511}",
    "secret: {secretName: app, defaultMode: 0x1a4}",
    "secret: {secretName: app, defaultMode: 0b110}",
    "secret: {secretName: app, defaultMode: 1e2}",
    "secret: {secretName: app, defaultMode: null, items: null, optional: null}",
    "secret: {secretName: app, optional: yes}",
    "secret: {secretName: app, optional: off}",
    "secret: {secretName: app, items: []}",
    "secret: {secretName: app, items: [{key: a, path: x}]}",
    "secret: {secretName: app, items: [{key: a, path: x, mode: 0440}, {key: b, path: d/y}]}",
    "secret: {secretName: app, items: [{key: a, path: x}, {key: b, path: x}]}",
    "secret: {secretName: app, items: [{key: a, path: x//y}, {key: b, path: ./z/}]}",
    "secret: {secretName: app, items: [{key: a, path: d/..x}]}",
    "secret: {secretName: app, optional: true, items: [{key: 'no key', path: x}]}",
    '{"secret": {"secretName": "app", "defaultMode": 288}}',
    "configMap: {name: app, defaultMode: 0440, items: [{key: a, path: x, mode: 0}]}",
    "projected: {}",
    "projected: {sources: []}",
    "projected: {defaultMode: 0440, sources: [{secret: {name: app}}, {configMap: {name: app}}]}",
    "projected: {sources: [{secret: {name: app, items: [{key: a, path: x, mode: 0600}]}}]}",
    "projected: {sources: [{secret: {name: app}}, {secret: {name: app, optional: true}}]}",
]

REFUSED = [
    "secret: {}",
    "secret: {secretName: ''}",
    "secret: {name: app}",
    "secret: {secretName: app, mode: 0400}",
    "secret: {secretName: app, defaultMode: 01000}",
    "secret: {secretName: app, defaultMode: 512}",
    "secret: {secretName: app, defaultMode: -1}",
    "secret: {secretName: app, defaultMode: '0400'}",
    "secret: {secretName: app, defaultMode: 1.5}",
    "secret: {secretName: app, optional: 'yes'}",
    "secret: {secretName: app, items: {key: a, path: x}}",
    "secret: {secretName: app, items: [{key: '', path: x}]}",
    "secret: {secretName: app, items: [{key: a}]}",
    "secret: {secretName: app, items: [{key: a, path: /x}]}",
    "secret: {secretName: app, items: [{key: a, path: ..x}]}",
    "secret: {secretName: app, items: [{key: a, path: x/../y}]}",
    "secret: {secretName: app, items: [{key: a, path: x, mode: 512}]}",
    "secret: {secretName: app}\nconfigMap: {name: app}",
    "configMap: {name: ''}",
    "projected: {sources: [{secret: {secretName: app}}]}",
    "projected: {sources: [{secret: {name: app}, configMap: {name: app}}]}",
    "projected: {sources: [{secret: {name: app, items: [{key: a, path: x}]}},"
    " {configMap: {name: app, items: [{key: a, path: x}]}}]}",
]


# What the API server takes and no kubelet can show, or what needs a pod.
STRICTER = [
    "secret: {secretName: Not_A_Name}",
    "secret: {secretName: app, items: [{key: a, path: ./..x}]}",
    "secret: {secretName: app, items: [{key: a, path: .}]}",
    "secret: {secretName: app, items: [{key: a, path: %s}]}" % ("x" * 256),
    "projected: {sources: [{}]}",
    "projected: {sources: [{serviceAccountToken: {path: token}}]}",
    "downwardAPI: {items: [{path: x, fieldRef: {fieldPath: metadata.name}}]}",
    "emptyDir: {}",
]


def as_entry(spec: str) -> str:
    """With a name, which the API server needs."""
    return f'{{"name": "v", {spec[1:]}' if spec.startswith("{") else f"name: v\n{spec}\n"


def as_pod(spec: str) -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: p}}
spec:
  automountServiceAccountToken: false
  containers: [{{name: c, image: none.example/none}}]
  volumes:
  -
{textwrap.indent(as_entry(spec), "    ")}
"""


@pytest.fixture
def app(ns: Namespace) -> Namespace:
    """A namespace with a secret and a ConfigMap, both with the keys a and b, where pods can be."""
    ns.cluster.account_identity(ns.name, "default")
    for resource in ("secrets", "configmaps"):
        ns.create("app", {"a": ns.values.new(1), "b": ns.values.new(2)}, resource)
    return ns


def made_by_server(ns: Namespace, spec: str) -> dict[str, Any]:
    """The volume as the API server would store it."""
    pod = ns.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=as_pod(spec))
    return json.loads(pod)["spec"]["volumes"][0]


def modes_by_path(volume: dict[str, Any]) -> dict[str, int]:
    """Of the files that the volume shows of a and b: what the API server says the modes are."""
    (kind,) = set(volume) - {"name"}
    modes = {}
    single = {} if kind == "projected" else {kind: volume[kind]}
    for source in volume[kind].get("sources") or [single]:
        for fields in source.values():
            for item in fields.get("items") or [{"key": k, "path": k} for k in ("a", "b")]:
                if item["key"] in ("a", "b"):
                    path = os.path.normpath(item["path"])
                    modes[path] = item.get("mode", volume[kind]["defaultMode"])
    return modes


def test_what_is_a_volume(app: Namespace, mount_spec: SpecMounter) -> None:
    """B2, B3, B5, F1, L4, L5, M1, N1: one is one for both, with the same modes and paths."""
    for spec in ACCEPTED:
        expected = modes_by_path(made_by_server(app, spec))
        mount = mount_spec(as_entry(spec))
        data = mount.view / "..data"
        seen = {path: stat.S_IMODE((data / path).stat().st_mode) for path in files_of(mount)}
        assert seen == expected, spec
        mount.unmount()


def assert_refused(mounts: Mounts, arguments: list[str], file: Path) -> None:
    said = mounts.fail(str(file), *arguments, "--volume")
    assert said.startswith(f"secretfs: {file}: "), file.read_text()


def test_what_is_no_volume(
    app: Namespace, mounts: Mounts, admin_args: list[str], tmp_path: Path
) -> None:
    """L4, N1, N3: what the API server refuses is refused here, before anything is mounted."""
    for spec in REFUSED:
        with pytest.raises(KubectlFailed, match="(?i)volumes"):
            made_by_server(app, spec)
        assert_refused(mounts, admin_args, spec_file(tmp_path, as_entry(spec)))


def test_what_is_refused_here_only(
    app: Namespace, mounts: Mounts, admin_args: list[str], tmp_path: Path
) -> None:
    """B6 to B8, L2: it would never be shown, or is not for secretfs."""
    for spec in STRICTER:
        made_by_server(app, spec)
        assert_refused(mounts, admin_args, spec_file(tmp_path, as_entry(spec)))


# ---- following objects


def test_optional_comes_and_goes(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    """G2, G9: nothing at first, the keys when it is made, nothing when it is deleted."""
    mount = mounts.make("secret/later", *admin_args, "--optional")
    assert mount.files() == {}
    for version in (1, 2):
        value = ns.values.new(version)
        ns.create("later", {"key": value})
        mount.wait_for_files({"key": value})
        ns.delete("later")
        mount.wait_for_files({})
    assert mount.status()["volume"]["state"] == "current"
    assert mount.logged(STALE) == []


def test_optional_key_comes_and_goes(
    ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    """G4, G10"""
    first, second, third = (ns.values.new(i) for i in (1, 2, 3))
    ns.create("app", {"a": first})
    items = ["--item=a=a", "--item=b=d/b"]
    mount = mounts.make("secret/app", *admin_args, "--optional", *items)
    assert files_of(mount) == {"a": first}
    ns.patch("app", {"b": second})
    wait_files(mount, {"a": first, "d/b": second})
    ns.patch("app", {"a": None, "b": third})
    wait_files(mount, {"d/b": third})


def test_needed_key_goes_and_comes(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    """G3, G10: without the key nothing is mounted; later the old files stay until it is back."""
    first, second, third = (ns.values.new(i) for i in (1, 2, 3))
    ns.create("app", {"a": first})
    arguments = [*admin_args, "--item=a=a", "--item=b=b"]
    said = mounts.fail("secret/app", *arguments, "--wait=0")
    assert f"secret/{ns.name}/app: references non-existent secret key: b" in said

    ns.patch("app", {"b": second})
    mount = mounts.make("secret/app", *arguments)
    ns.patch("app", {"a": third, "b": None})
    status = mount.wait_for_volume("stale")
    assert "non-existent secret key: b" in status["volume"]["error"]
    assert mount.files() == {"a": first, "b": second}
    ns.patch("app", {"b": third})
    mount.wait_for_files({"a": third, "b": third})
    mount.wait_for_volume("current")
    mount.assert_told_once(STALE)


def test_projected(ns: Namespace, mount_spec: SpecMounter) -> None:
    """N2, N4, N6: of three objects, one of them twice; each is followed, one may be missing."""
    one, two, three, four = (ns.values.new(i) for i in (1, 2, 3, 4))
    ns.create("db", {"user": one, "shared": one})
    ns.create("app", {"shared": two}, "configmaps")
    mount = mount_spec(
        """
name: all
projected:
  defaultMode: 0440
  sources:
  - secret: {name: db}
  - configMap: {name: app}
  - secret: {name: db, items: [{key: user, path: d/u, mode: 0400}]}
  - configMap: {name: later, optional: true}
"""
    )
    assert files_of(mount) == {"user": one, "shared": two, "d/u": one}
    modes = [stat.S_IMODE((mount.view / path).stat().st_mode) for path in ("user", "d/u")]
    assert modes == [0o440, 0o400]
    ns.create("later", {"shared": three}, "configmaps")
    wait_files(mount, {"user": one, "shared": three, "d/u": one})
    ns.patch("db", {"user": four})
    wait_files(mount, {"user": four, "shared": three, "d/u": four})
    ns.delete("later", "configmaps")
    wait_files(mount, {"user": four, "shared": two, "d/u": four})
    ns.delete("app", "configmaps")
    assert "not found" in mount.wait_for_volume("stale")["volume"]["error"]
    assert files_of(mount) == {"user": four, "shared": two, "d/u": four}


def test_owners_and_fs_group(app: Namespace, mount_spec: SpecMounter) -> None:
    """F10, F11, and what pods cannot say."""
    mount = mount_spec(
        {
            "secret": {
                "secretName": "app",
                "defaultMode": 0o400,
                "items": [{"key": "a", "path": "a"}, {"key": "b", "path": "b", "uid": 7, "gid": 8}],
            },
            "secretfs": {"uid": 5, "fsGroup": 4711},
        }
    )
    data = mount.view / "..data"
    seen = {name: (data / name).stat() for name in ("a", "b")}
    assert {name: (s.st_uid, s.st_gid) for name, s in seen.items()} == {"a": (5, 4711), "b": (7, 8)}
    assert stat.S_IMODE(seen["a"].st_mode) == 0o440
    assert stat.S_IMODE(mount.view.stat().st_mode) == 0o3777


# ---- types


def test_type_that_is_asked_for(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    """L6: another type is refused when it is mounted, and keeps the old files when recreated."""
    first, second = ns.values.new(1), ns.values.new(2)
    kind = "kubernetes.io/basic-auth"
    ns.create("login", {"password": first}, type=kind)
    said = mounts.fail("secret/login", *admin_args, "--type=tls", "--wait=0")
    assert f"secret/{ns.name}/login is of type {kind}, expected kubernetes.io/tls" in said

    mount = mounts.make("secret/login", *admin_args, "--type=basic-auth")
    with pytest.raises(ApiError, match="field is immutable"):
        body = {"type": "Opaque"}
        path = f"/api/v1/namespaces/{ns.name}/secrets/login"
        ns.cluster.admin.request("PATCH", path, body, "application/merge-patch+json")
    ns.delete("login")
    ns.create("login", {"password": second})
    until(
        lambda: "is of type Opaque" in mount.status()["volume"].get("error", ""), "the new type"
    )
    assert mount.files() == {"password": first}
    ns.delete("login")
    ns.create("login", {"password": second}, type=kind)
    mount.wait_for_files({"password": second})


def test_certificate_that_does_not_fit(
    ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    """L6: the API server takes any pair; with tls: hold the last good one stays."""
    one, two = (ns.cluster.authority.client_pair(name) for name in ("one", "two"))
    files = [f"--cert={one.certificate}", f"--key={one.key}"]
    ns.kubectl("create", "secret", "tls", "web", *files)
    mount = mounts.make("secret/web", *admin_args, "--tls=hold", "--type=tls")
    shown = mount.files()
    assert "problem" not in mount.status()["object"]["certificate"]

    ns.patch("web", {"tls.crt": two.certificate.read_bytes()})
    status = mount.wait_for_volume("held")
    assert status["object"]["certificate"]["problem"] == "tls.key does not belong to tls.crt"
    assert "is held back: tls.key does not belong to tls.crt" in status["volume"]["error"]
    assert mount.files() == shown
    ns.patch("web", {"tls.key": two.key.read_bytes()})
    wanted = {"tls.crt": two.certificate.read_bytes(), "tls.key": two.key.read_bytes()}
    mount.wait_for_files(wanted)
    mount.wait_for_volume("current")


# ---- immutable objects


def test_immutable_and_optional(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    """G2, G19: it appears, is immutable, and is not watched from then on."""
    first, second = ns.values.new(1), ns.values.new(2)
    mount = mounts.make("secret/fixed", *admin_args, "--optional")
    ns.create("fixed", {"key": first}, immutable=True)
    mount.wait_for_files({"key": first})
    ns.delete("fixed")
    ns.create("fixed", {"key": second}, immutable=True)
    again = mounts.make("secret/fixed", *admin_args, "--optional")
    assert again.read("key") == second
    assert mount.read("key") == first


def test_immutable_in_a_projected_volume(ns: Namespace, mount_spec: SpecMounter) -> None:
    """G19: its other sources are followed."""
    fixed, first, second = (ns.values.new(i) for i in (1, 2, 3))
    ns.create("fixed", {"a": fixed}, immutable=True)
    ns.create("app", {"b": first}, "configmaps")
    sources = [{"secret": {"name": "fixed"}}, {"configMap": {"name": "app"}}]
    mount = mount_spec({"projected": {"sources": sources}})
    ns.patch("app", {"b": second}, "configmaps")
    wait_files(mount, {"a": fixed, "b": second})
    assert [known["immutable"] for known in mount.status()["objects"]] == [True, False]
