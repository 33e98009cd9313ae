"""What kubectl and manifests can make of a Secret or ConfigMap is what the files show."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from lib.kube import ApiError, Cluster
from lib.kube.mounts import Mounts, program
from lib.kube.namespace import Namespace

MIB = 1 << 20


def test_create_by_command_and_patch(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    first, second = ns.values.new(1).decode(), ns.values.new(2).decode()
    literals = [f"--from-literal=password={first}", "--from-literal=user=app"]
    ns.kubectl("create", "secret", "generic", "db", *literals)
    mount = mounts.make("secret/db", *admin_args)
    assert mount.files() == {"password": first.encode(), "user": b"app"}
    generation = mount.generation()

    ns.kubectl("patch", "secret", "db", "-p", json.dumps({"stringData": {"password": second}}))
    mount.wait_for_value("password", second.encode())
    assert mount.files() == {"password": second.encode(), "user": b"app"}
    assert mount.generation() != generation
    mount.unmount()


def test_apply_a_manifest(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    def manifest(password: str, extra: str) -> str:
        return f"""
apiVersion: v1
kind: Secret
metadata:
  name: db
  labels: {{app: demo}}
data:
  user: {base64.b64encode(b"app").decode()}
stringData:
  password: {password}
  {extra}: "with a newline at its end\\n"
"""

    first, second = ns.values.new(1).decode(), ns.values.new(2).decode()
    ns.kubectl("apply", "-f", "-", stdin=manifest(first, "one"))
    mount = mounts.make("secret/db", *admin_args)
    text = b"with a newline at its end\n"
    assert mount.files() == {"user": b"app", "password": first.encode(), "one": text}

    # a key is added; stringData is only ever merged, so the other one stays
    ns.kubectl("apply", "-f", "-", stdin=manifest(second, "two"))
    mount.wait_for_value("password", second.encode())
    assert mount.files() == ns.stored("db")
    assert mount.read("two") == text


def test_apply_removes_a_key(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    def manifest(**data: bytes) -> str:
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "data": encoded}
        return json.dumps(body)

    first, second = ns.values.new(1), ns.values.new(2)
    ns.kubectl("apply", "-f", "-", stdin=manifest(stays=first, goes=b"x"))
    mount = mounts.make("secret/db", *admin_args)
    assert sorted(mount.files()) == ["goes", "stays"]
    ns.kubectl("apply", "-f", "-", stdin=manifest(stays=second, comes=b"y"))
    mount.wait_for_value("stays", second)
    assert mount.files() == {"stays": second, "comes": b"y"}


def test_edit_and_replace(
    ns: Namespace, mounts: Mounts, admin_args: list[str], tmp_path: Path
) -> None:
    first, second, third = (ns.values.new(i) for i in (1, 2, 3))
    ns.create("db", {"password": first})
    mount = mounts.make("secret/db", *admin_args)

    script = tmp_path / "edit.sed"
    old, new = (base64.b64encode(value).decode() for value in (first, second))
    script.write_text(f"s|{old}|{new}|\n")
    ns.kubectl("edit", "secret", "db", KUBE_EDITOR=f"sed -i -f {script}")
    mount.wait_for_value("password", second)

    whole = json.loads(ns.kubectl("get", "secret", "db", "-o", "json"))
    whole["data"]["password"] = base64.b64encode(third).decode()
    ns.kubectl("replace", "-f", "-", stdin=json.dumps(whole))
    mount.wait_for_value("password", third)


def test_names_are_completed(ns: Namespace, admin_args: list[str]) -> None:
    """The real server answers with a Table, as for the names beside a missing object."""
    for name in ("db", "web", "web-tls"):
        ns.create(name, {"password": ns.values.new(1)})
    command = [program(), "__complete", "mount", *admin_args, "secret/web"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["secret/web", "secret/web-tls", ":4"]


def test_labels_alone_publish_nothing(
    ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"password": first})
    mount = mounts.make("secret/db", *admin_args)
    generation = mount.generation()
    ns.kubectl("label", "secret", "db", "colour=blue")
    ns.kubectl("annotate", "secret", "db", "note=nothing new")
    mount.wait_for_version(ns.cluster.admin.get("secrets", ns.name, "db"))
    assert mount.generation() == generation
    ns.patch("db", {"password": second})
    mount.wait_for_value("password", second)
    assert mount.status()["lastUpdate"]["count"] == 2


# ---- types


def _opaque(ns: Namespace, directory: Path) -> None:
    raw = directory / "raw"
    raw.write_bytes(bytes(range(256)) * 3)
    ns.kubectl("create", "secret", "generic", "typed", f"--from-file={raw}", f"--from-file=x={raw}")


def _basic_auth(ns: Namespace, directory: Path) -> None:
    del directory
    password = ns.values.new().decode()
    manifest = f"""
apiVersion: v1
kind: Secret
metadata: {{name: typed}}
type: kubernetes.io/basic-auth
stringData: {{username: admin, password: "{password}"}}
"""
    ns.kubectl("apply", "-f", "-", stdin=manifest)


def _ssh_auth(ns: Namespace, directory: Path) -> None:
    del directory
    pair = ns.cluster.authority.client_pair("ssh")
    kind = "--type=kubernetes.io/ssh-auth"
    ns.kubectl("create", "secret", "generic", "typed", kind, f"--from-file=ssh-privatekey={pair.key}")


def _tls(ns: Namespace, directory: Path) -> None:
    del directory
    pair = ns.cluster.authority.client_pair("tls")
    files = [f"--cert={pair.certificate}", f"--key={pair.key}"]
    ns.kubectl("create", "secret", "tls", "typed", *files)


def _dockerconfigjson(ns: Namespace, directory: Path) -> None:
    del directory
    account = ["--docker-username=me", f"--docker-password={ns.values.new().decode()}"]
    server = "--docker-server=registry.example"
    ns.kubectl("create", "secret", "docker-registry", "typed", server, *account)


def _dockercfg(ns: Namespace, directory: Path) -> None:
    del directory
    config = json.dumps({"registry.example": {"auth": ns.values.new().decode()}}).encode()
    ns.create("typed", {".dockercfg": config}, type="kubernetes.io/dockercfg")


def _service_account_token(ns: Namespace, directory: Path) -> None:
    """As the token controller would fill it in; there is none here."""
    del directory
    token = ns.cluster.account_identity(ns.name, "app").token
    assert token is not None
    metadata = {"name": "typed", "annotations": {"kubernetes.io/service-account.name": "app"}}
    data = {
        "ca.crt": ns.cluster.authority.certificate.read_bytes(),
        "namespace": ns.name.encode(),
        "token": token.encode(),
    }
    kind = "kubernetes.io/service-account-token"
    ns.create("typed", data, type=kind, metadata=metadata)


def _bootstrap_token(ns: Namespace, directory: Path) -> None:
    del directory
    data = {"token-id": b"abcdef", "token-secret": b"0123456789abcdef", "usage": b""}
    ns.create("typed", data, type="bootstrap.kubernetes.io/token")


@pytest.mark.parametrize(
    ("kind", "make", "keys"),
    [
        ("Opaque", _opaque, "raw x"),
        ("kubernetes.io/basic-auth", _basic_auth, "password username"),
        ("kubernetes.io/ssh-auth", _ssh_auth, "ssh-privatekey"),
        ("kubernetes.io/tls", _tls, "tls.crt tls.key"),
        ("kubernetes.io/dockerconfigjson", _dockerconfigjson, ".dockerconfigjson"),
        ("kubernetes.io/dockercfg", _dockercfg, ".dockercfg"),
        (
            "kubernetes.io/service-account-token",
            _service_account_token,
            "ca.crt namespace token",
        ),
        ("bootstrap.kubernetes.io/token", _bootstrap_token, "token-id token-secret usage"),
    ],
    ids=lambda value: value.split("/")[-1] if isinstance(value, str) and "k" in value else "",
)
def test_types(
    ns: Namespace,
    mounts: Mounts,
    admin_args: list[str],
    tmp_path: Path,
    kind: str,
    make: object,
    keys: str,
) -> None:
    make(ns, tmp_path)  # type: ignore[operator]
    mount = mounts.make("secret/typed", *admin_args)
    assert sorted(mount.files()) == keys.split()
    assert mount.files() == ns.stored("typed")
    assert mount.status()["object"]["type"] == kind


def test_tls_files_are_the_originals(
    ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    pair = ns.cluster.authority.client_pair("tls")
    files = [f"--cert={pair.certificate}", f"--key={pair.key}"]
    ns.kubectl("create", "secret", "tls", "web", *files)
    mount = mounts.make("secret/web", *admin_args)
    assert mount.read("tls.crt") == pair.certificate.read_bytes()
    assert mount.read("tls.key") == pair.key.read_bytes()


# ---- keys and values


def test_every_kind_of_key_and_value(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    longest = "k" * 253
    data = {
        ".hidden": b"",
        "-x": b"\n",
        "9": b"\0\0\0",
        "a..b": bytes(range(256)),
        "A_b.C-d": "größe ✓\r\n".encode(),
        longest: b"no newline",
    }
    ns.create("odd", data)
    mount = mounts.make("secret/odd", *admin_args)
    assert mount.files() == data
    for key in data:
        status = os.stat(mount.view / key)
        assert stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o644
        assert (status.st_uid, status.st_gid) == (0, 0)
        assert os.readlink(mount.view / key) == f"..data/{key}"


def test_no_keys_at_all(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    ns.create("empty", {})
    mount = mounts.make("secret/empty", *admin_args)
    assert mount.files() == {}
    value = ns.values.new(1)
    ns.patch("empty", {"first": value})
    mount.wait_for_files({"first": value})
    ns.patch("empty", {"first": None})
    mount.wait_for_files({})


@pytest.mark.parametrize("resource", ["secrets", "configmaps"])
def test_one_mebibyte(
    ns: Namespace, mounts: Mounts, admin_args: list[str], resource: str
) -> None:
    """The most that the API server takes, in one value and spread over several."""
    one = os.urandom(MIB)
    ns.create("big", {"blob": one}, resource)
    mount = mounts.make(f"{resource[:-1]}/big", *admin_args)
    assert mount.files() == {"blob": one}
    assert mount.status()["volume"]["bytes"] == MIB

    several = {f"part-{i}": os.urandom(MIB // 8) for i in range(8)}
    ns.patch("big", {"blob": None, **several}, resource)
    mount.wait_for_files(several)

    with pytest.raises(ApiError, match="Too long"):
        ns.patch("big", {"one-more": b"x"}, resource)
    assert mount.files() == several


def test_configmap_of_text_and_bytes(
    ns: Namespace, mounts: Mounts, admin_args: list[str], tmp_path: Path
) -> None:
    raw = tmp_path / "raw.bin"
    raw.write_bytes(b"\xff\xfe\0" + os.urandom(1000))
    ns.kubectl("create", "configmap", "app", "--from-literal=mode=fast", f"--from-file={raw}")
    assert sorted(ns.cluster.admin.get("configmaps", ns.name, "app")["binaryData"]) == ["raw.bin"]
    mount = mounts.make("configmap/app", *admin_args)
    assert mount.files() == {"mode": b"fast", "raw.bin": raw.read_bytes()}

    ns.kubectl("patch", "configmap", "app", "-p", json.dumps({"data": {"mode": "slow\n"}}))
    mount.wait_for_value("mode", b"slow\n")
    ns.patch("app", {"raw.bin": b"\x80"}, "configmaps")
    mount.wait_for_value("raw.bin", b"\x80")
    assert mount.files() == {"mode": b"slow\n", "raw.bin": b"\x80"}


def test_secret_and_configmap_of_one_name(
    ns: Namespace, mounts: Mounts, admin_args: list[str]
) -> None:
    secret, config = ns.values.new(1), ns.values.new(2)
    ns.create("same", {"key": secret})
    ns.create("same", {"key": config}, "configmaps")
    assert mounts.make("secret/same", *admin_args).read("key") == secret
    assert mounts.make("configmap/same", *admin_args).read("key") == config


def test_immutable(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    """It cannot change and is not watched; recreated, it is noticed by the next mount (G19)."""
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("fixed", {"key": first}, immutable=True)
    mount = mounts.make("secret/fixed", *admin_args)
    assert mount.status()["object"]["immutable"] is True
    with pytest.raises(ApiError, match="immutable"):
        ns.patch("fixed", {"key": second})
    ns.delete("fixed")
    ns.create("fixed", {"key": second}, immutable=True)
    again = mounts.make("secret/fixed", *admin_args)
    assert again.read("key") == second
    assert mount.read("key") == first


def test_becomes_immutable(ns: Namespace, mounts: Mounts, admin_args: list[str]) -> None:
    value = ns.values.new(1)
    ns.create("fixed", {"key": value})
    mount = mounts.make("secret/fixed", *admin_args)
    generation = mount.generation()
    ns.kubectl("patch", "secret", "fixed", "-p", json.dumps({"immutable": True}))
    status = mount.wait_for_version(ns.cluster.admin.get("secrets", ns.name, "fixed"))
    assert status["object"]["immutable"] is True
    assert mount.generation() == generation


def test_the_cluster_keeps_secrets_encrypted(ns: Namespace, cluster: Cluster) -> None:
    """So these tests see what a production cluster does."""
    value = ns.values.new(1)
    ns.create("db", {"key": value})
    assert cluster.stored_bytes("secrets", ns.name, "db").startswith(b"k8s:enc:aescbc:")
    assert value not in cluster.stored_bytes("secrets", ns.name, "db")
