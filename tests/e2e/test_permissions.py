"""RBAC: the least privilege is enough, less is refused, and it can come and go under a mount."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.kube import Cluster, Identity
from lib.kube.cluster import HOST, READ_SECRETS, read_only
from lib.kube.mounts import FAILS, WELL, Mounts
from lib.kube.namespace import Namespace
from lib.relay import Relay
from lib.waiting import until


@pytest.fixture
def reader(cluster: Cluster, ns: Namespace) -> Identity:
    """A user without any right yet, with a new name."""
    return cluster.certificate_identity(f"reader-of-{ns.name}")


@pytest.fixture
def reader_args(
    cluster: Cluster, ns: Namespace, relay: Relay, reader: Identity, tmp_path: Path
) -> list[str]:
    server = f"https://{HOST}:{relay.port}"
    kubeconfig = cluster.kubeconfig(tmp_path / "reader.conf", reader, server=server)
    return [f"--kubeconfig={kubeconfig}", f"--namespace={ns.name}"]


def test_one_name_is_enough(
    cluster: Cluster, ns: Namespace, mounts: Mounts, reader: Identity, reader_args: list[str]
) -> None:
    """Lists and watches carry the name, so a rule with resourceNames allows them."""
    first, second = ns.values.new(1), ns.values.new(2)
    for name in ("mine", "other"):
        ns.create(name, {"key": first})
    cluster.grant(ns.name, "reader", reader, read_only("mine"))
    mount = mounts.make("secret/mine", *reader_args)
    ns.patch("mine", {"key": second})
    mount.wait_for_value("key", second)

    said = mounts.refused("secret/other", *reader_args)
    assert "403 (Forbidden)" in said and reader.user in said and "other" in said
    said = mounts.refused("configmap/mine", *reader_args)
    assert "403 (Forbidden)" in said and "configmaps" in said


def test_all_of_a_namespace(
    cluster: Cluster, ns: Namespace, mounts: Mounts, reader: Identity, reader_args: list[str]
) -> None:
    value = ns.values.new(1)
    ns.create("any", {"key": value})
    cluster.grant(ns.name, "reader", reader, READ_SECRETS)
    assert mounts.make("secret/any", *reader_args).files() == {"key": value}


@pytest.mark.parametrize("verbs", [["get"], ["get", "list"], ["get", "watch"]], ids="-".join)
def test_less_is_not_enough(
    cluster: Cluster,
    ns: Namespace,
    mounts: Mounts,
    reader: Identity,
    reader_args: list[str],
    verbs: list[str],
) -> None:
    """Without list there is nothing to show. Without watch there is, but it is not kept up."""
    ns.create("db", {"key": ns.values.new(1)})
    cluster.grant(ns.name, "reader", reader, {**read_only("db"), "verbs": verbs})
    if "list" not in verbs:
        said = mounts.refused("secret/db", *reader_args)
        assert "403 (Forbidden)" in said and "get, list and watch" in said
        return
    mount = mounts.make("secret/db", *reader_args)
    mount.wait_for_source_error("403 (Forbidden)")
    # at the back-off's pace it lists again, so updates do arrive
    second = ns.values.new(2)
    ns.patch("db", {"key": second})
    mount.wait_for_value("key", second)
    mount.assert_told_once(FAILS)


def test_granted_while_it_waits(
    cluster: Cluster, ns: Namespace, mounts: Mounts, reader: Identity, reader_args: list[str]
) -> None:
    value = ns.values.new(1)
    ns.create("db", {"key": value})
    mount = mounts.start("secret/db", *reader_args, "--wait=forever")
    until(lambda: mount.logged(FAILS), "it was refused")
    assert not mount.is_mounted()
    cluster.grant(ns.name, "reader", reader, read_only("db"))
    assert mount.wait_ready().files() == {"key": value}
    mount.wait_for_source("live")
    mount.assert_told_once(FAILS, WELL)


def test_revoked_and_granted_again(
    cluster: Cluster,
    ns: Namespace,
    mounts: Mounts,
    relay: Relay,
    reader: Identity,
    reader_args: list[str],
) -> None:
    """What was shown stays readable; what changed in between is shown as soon as it may be."""
    first, second, third = (ns.values.new(i) for i in (1, 2, 3))
    ns.create("db", {"key": first})
    rule = read_only("db")
    cluster.grant(ns.name, "reader", reader, rule)
    mount = mounts.make("secret/db", *reader_args)
    mount.wait_for_source("live")

    cluster.revoke(ns.name, "reader", reader, rule)
    relay.disconnect()  # a watch that stands is not asked again whether it may
    status = mount.wait_for_source_error("403 (Forbidden)")
    assert reader.user in status["source"]["error"]
    assert status["volume"]["state"] == "disconnected"
    ns.patch("db", {"key": second})
    # it has asked again and was refused again
    refused = status["source"]["requests"].get("403", 0)
    until(lambda: mount.status()["source"]["requests"]["403"] > refused + 1, "it asks again")
    assert mount.files() == {"key": first}

    cluster.grant(ns.name, "reader", reader, rule)
    mount.wait_for_value("key", second)
    mount.wait_for_source("live")
    ns.patch("db", {"key": third})
    mount.wait_for_value("key", third)
    mount.assert_told_once(FAILS, WELL)
