"""The pods of a node as the API server has them, and which file system their volumes go to."""

from __future__ import annotations

import os
from typing import Any

from lib.kubelet import PodVolume
from lib.node_daemon import DRIVER, NODE, Node
from lib.sources import Api


def container(volume: PodVolume, **mount: Any) -> dict[str, Any]:
    """The spec of a container that mounts a volume; `mount`: further fields of its volumeMount."""
    mounts = [{"name": volume.volume, "mountPath": "/creds", **mount}]
    return {"name": "main", "image": "none", "volumeMounts": mounts}


def put_pod(
    api: Api,
    volume: PodVolume,
    *,
    node: str = NODE,
    phase: str = "Pending",
    containers: list[dict[str, Any]] | None = None,
    labels: dict[str, str] | None = None,
    **mount: Any,
) -> None:
    """The pod of a volume, whose one container mounts it in this way; `containers`: its statuses."""
    csi = {"name": volume.volume, "csi": {"driver": DRIVER, "readOnly": True}}
    spec = {"nodeName": node, "volumes": [csi], "containers": [container(volume, **mount)]}
    status = {"phase": phase, "containerStatuses": containers or []}
    metadata = {"uid": volume.uid, "labels": labels or {}}
    content = {"metadata": metadata, "spec": spec, "status": status}
    api.server.put_pod(volume.namespace, volume.pod, volume.uid, **content)


def put_adopted(
    api: Api, volume: PodVolume, *entries: dict[str, Any], mount: dict[str, Any] | None = None,
    **pod: Any
) -> None:
    """The pod of a csi volume that stands for one of `entries`, further volumes of the pod.

    pod: `metadata` and further fields of the spec
    """
    metadata = {"uid": volume.uid, **pod.pop("metadata", {})}
    attributes = dict(volume.attributes)
    csi = {"name": volume.volume, "csi": {"driver": DRIVER, "volumeAttributes": attributes}}
    spec: dict[str, Any] = {"nodeName": NODE, "volumes": [csi, *entries]}
    spec["containers"] = [container(volume, **(mount or {}))]
    spec.update(pod)
    content = {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}
    api.server.create_namespace(volume.namespace)
    api.server.put_unchecked("pods", volume.namespace, volume.pod, content)


def is_live(node: Node, volume: PodVolume) -> bool:
    """Whether the volume is in the file system that answers OPEN, and not in the other."""
    live = os.listdir(node.run_dir / "fs-live")
    assert (volume.volume_id in live) != (volume.volume_id in node.directories())
    told = node.status()["volumes"][str(volume.target)]["fileSystem"]
    assert told == ("live" if volume.volume_id in live else "standard")
    return volume.volume_id in live
