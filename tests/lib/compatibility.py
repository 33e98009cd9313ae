"""What pods can say about their volumes: the rows of docs/compatibility.md, and of the test that
sees each of them (tests/e2e/node/test_compatibility.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TEST = "tests/e2e/node/test_compatibility.py"
FUNCTION = "test_row"
COLUMNS = ("kubelet", "node", "pod", "daemon")

SECRET = {"secretName": "db"}
FIELDS = [
    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
    {"path": "a/name", "fieldRef": {"fieldPath": "metadata.name"}, "mode": 0o400},
    {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}},
]
TOKEN = {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 3600}}
BUNDLE = "example.com:compatibility:ca"
TRUST = {"clusterTrustBundle": {"name": BUNDLE, "path": "ca.crt"}}
SIGNER = "example.com/compatibility"
CERTIFICATE = {
    "podCertificate": {
        "signerName": SIGNER,
        "keyType": "ECDSAP256",
        "credentialBundlePath": "pair.pem",
        "keyPath": "key.pem",
        "certificateChainPath": "chain.pem",
    }
}
USER_ITEMS = [{"key": "user", "path": "a", "user": 1001}, {"key": "user", "path": "b"}]
ITEMS = [{"key": "user", "path": "deep/er/user"}]


@dataclass(frozen=True)
class Row:
    """A pod has `volume`, and for each mode of rights a csi volume that shows it by `podVolume`."""

    name: str  # as in a pod's YAML
    volume: dict[str, Any]
    spec: dict[str, Any] = field(default_factory=dict)  # of the pod
    mount: dict[str, Any] = field(default_factory=dict)  # of each of its volumes
    has_token: bool = False  # its bytes are different in each volume
    has_owners: bool = False  # of files; the kubelet gives them the links as well
    needs_bundle: bool = False  # BUNDLE
    has_certificate: bool = False  # of SIGNER; a different one in each volume


def secret(**fields: Any) -> dict[str, Any]:
    return {"secret": {**SECRET, **fields}}


SOURCES = (
    Row("secret", secret()),
    Row("configMap, binaryData", {"configMap": {"name": "look"}}),
    Row("downwardAPI: fieldRef, resourceFieldRef", {"downwardAPI": {"items": FIELDS}}),
    Row(
        "projected: secret, configMap, downwardAPI",
        {
            "projected": {
                "sources": [
                    {"secret": {"name": "db", "items": ITEMS}},
                    {"configMap": {"name": "look"}},
                    {"downwardAPI": {"items": FIELDS}},
                ]
            }
        },
    ),
    Row("projected: serviceAccountToken", {"projected": {"sources": [TOKEN]}}, has_token=True),
    Row("projected: clusterTrustBundle", {"projected": {"sources": [TRUST]}}, needs_bundle=True),
    Row(
        "projected: podCertificate",
        {"projected": {"sources": [CERTIFICATE]}},
        has_certificate=True,
    ),
)
FIELD_ROWS = (
    Row("items", secret(items=ITEMS)),
    Row("items: mode", secret(items=[{**ITEMS[0], "mode": 0o400}])),
    Row("defaultMode", secret(defaultMode=0o440)),
    Row(
        "defaultUser, items: user",
        secret(items=USER_ITEMS, defaultUser=1000, defaultMode=0o444),
        has_owners=True,
    ),
    Row(
        "defaultUser of a projected volume",
        {"projected": {"sources": [{"secret": {"name": "db"}}, TOKEN], "defaultUser": 1000}},
        has_token=True,
    ),
    Row("optional: a missing object", {"secret": {"secretName": "none", "optional": True}}),
    Row("optional: a missing key", secret(optional=True, items=[*ITEMS, {"key": "no", "path": "n"}])),
    Row("immutable", {"secret": {"secretName": "fixed"}}),
)
POD_ROWS = (
    Row("fsGroup", secret(defaultMode=0o400), {"securityContext": {"fsGroup": 2000}}),
    Row(
        "runAsUser, fsGroup",
        {"projected": {"sources": [TOKEN], "defaultMode": 0o440}},
        {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000}},
        has_token=True,
    ),
    Row("hostUsers: false", secret(), {"hostUsers": False}),
    Row(
        "hostUsers: false, projected",
        {
            "projected": {
                "sources": [
                    {"secret": {"name": "db", "items": ITEMS}},
                    {"configMap": {"name": "look"}},
                    {"downwardAPI": {"items": FIELDS}},
                    TRUST,
                ]
            }
        },
        {"hostUsers": False},
        needs_bundle=True,
    ),
    Row(
        "hostUsers: false, serviceAccountToken",
        {"projected": {"sources": [TOKEN]}},
        {"hostUsers": False},
        has_token=True,
    ),
    Row(
        "hostUsers: false, podCertificate",
        {"projected": {"sources": [CERTIFICATE]}},
        {"hostUsers": False},
        has_certificate=True,
    ),
    Row("readOnly: true", secret(), mount={"readOnly": True}),
    Row(
        "recursiveReadOnly: Enabled",
        secret(),
        mount={"readOnly": True, "recursiveReadOnly": "Enabled"},
    ),
    Row("subPath", secret(), mount={"subPath": "user"}),
    Row("subPath: a directory", secret(items=ITEMS), mount={"subPath": "deep/er"}),
    Row("subPathExpr", secret(), mount={"subPathExpr": "$(KEY)"}),
)
PARTS = (
    ("Sources", SOURCES),
    ("Fields of a volume", FIELD_ROWS),
    ("Fields of the pod and its mounts", POD_ROWS),
)
ROWS = tuple(row for _, rows in PARTS for row in rows)

HEAD = f"""# Compatibility with the kubelet's volumes

What a pod can say of a volume, and where it was seen on Kubernetes 1.37. In each row one pod has the kubelet's volume and, for each mode of
rights, a csi volume that shows it by `podVolume` ([adopt.md](adopt.md)). "same" means: the same names, types, links, modes, owners, sizes and
bytes as the kubelet's volume beside it, in the same container, where neither can be written. Tokens and certificates differ in their bytes,
and each is one for the pod; the links to files with an owner differ in theirs ([differences.md](differences.md)).

The rights ([install.md](install.md)): with `node` the kubelet's own; with `pod` a Role for the pod's service account, and `deploy/rbac/pods`;
with `daemon` `deploy/rbac/daemon` and `deploy/rbac/pods`; for tokens, `pod` and `daemon` have `deploy/rbac/tokens` as well, for certificates `deploy/rbac/certificates`;
for trust bundles `daemon` has Kubernetes' `system:cluster-trust-bundle-discovery`, as each service account does. `defaultUser` and `user`
are alpha in 1.37: they need the feature gate AtomicWriteVolumeUserFields of the API server and, for its own volumes, of the kubelet.

This page is what `tools/compatibility.py` prints of the rows of `tests/lib/compatibility.py`, which `make e2e KUBE=newest` runs
(`{TEST}`). Kubernetes' own tests of these volumes are those of `make conformance` ([testing.md](testing.md)).
"""


def test_of(row: Row) -> str:
    return f"{FUNCTION}[{row.name}]"


def page() -> str:
    """docs/compatibility.md."""
    parts = [HEAD]
    for title, rows in PARTS:
        lines = [f"## {title}", "", "| | kubelet | secretfs, rights node | pod | daemon | seen by |"]
        lines.append("|---|---|---|---|---|---|")
        lines += [f"| {row.name} | yes | same | same | same | `{test_of(row)}` |" for row in rows]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
