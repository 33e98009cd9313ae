"""A model of deploy/adopt/policy.yaml: what it makes of a pod."""

from __future__ import annotations

import copy
from typing import Any

KINDS = ("secret", "configMap", "downwardAPI")
SOURCES = (*KINDS, "serviceAccountToken", "clusterTrustBundle", "podCertificate")
RUNTIME_CLASSES = ("kata", "kata-qemu", "kata-clh", "kata-fc", "gvisor")
LONGEST_NAME = 54

Content = dict[str, Any]


def csi_volume(name: str) -> Content:
    attributes = {"podVolume": f"{name}-secretfs"}
    csi = {"driver": "csi.secretfs.io", "readOnly": True, "volumeAttributes": attributes}
    return {"name": name, "csi": csi}


def is_left_alone(pod: Content) -> bool:
    annotations = pod.get("metadata", {}).get("annotations", {})
    spec = pod["spec"]
    return (
        annotations.get("secretfs.io/adopt") == "disabled"
        or "kubernetes.io/config.mirror" in annotations
        or spec.get("os", {}).get("name") == "windows"
        or spec.get("nodeSelector", {}).get("kubernetes.io/os") == "windows"
        or spec.get("runtimeClassName") in RUNTIME_CLASSES
    )


def has_kind(volume: Content) -> bool:
    sources = volume.get("projected", {}).get("sources")
    return any(kind in volume for kind in KINDS) or (
        sources is not None and all(any(s in source for s in SOURCES) for source in sources)
    )


def is_adopted(spec: Content, volume: Content) -> bool:
    containers = spec["containers"] + spec.get("initContainers", [])
    mounted = {mount["name"] for c in containers for mount in c.get("volumeMounts", [])}
    name = volume["name"]
    return (
        has_kind(volume)
        and not name.startswith("kube-api-access-")
        and len(name) <= LONGEST_NAME
        and name in mounted
        and f"{name}-secretfs" not in {other["name"] for other in spec["volumes"]}
    )


def adopted(pod: Content) -> Content:
    """A copy of the pod, as the policy stores it."""
    made = copy.deepcopy(pod)
    if is_left_alone(pod):
        return made
    volumes = made["spec"].get("volumes", [])
    chosen = [volume for volume in volumes if is_adopted(pod["spec"], volume)]
    volumes += [csi_volume(volume["name"]) for volume in chosen]
    for volume in chosen:
        volume["name"] += "-secretfs"
    return made
