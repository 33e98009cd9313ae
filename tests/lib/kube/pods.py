"""Pods that a test makes and looks into, and the probe in them that tells what they see."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, NamedTuple

from lib.inotify import Event, is_generation, kind_of, normalised
from lib.waiting import until

from . import ApiError, Node
from .namespace import Namespace
from .node import IMAGE, NAME, POD_LOGS

CONTAINER = "main"


class Listed(NamedTuple):
    """A file, directory or link below a volume, as a container sees it."""

    path: str
    type: str  # -, d or l
    mode: int
    uid: int
    gid: int
    size: int
    target: str


class Content(NamedTuple):
    time: int  # ns of the real-time clock, when it had been read
    file: str
    data: bytes


@dataclass
class View:
    """What a probe has told of one of its paths."""

    listing: list[Listed] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    is_ready: bool = False

    def names(self) -> set[str]:
        return {entry.path for entry in self.listing}

    def comparable(self) -> list[Listed]:
        """The listing without the names of generations, in one order."""
        return sorted(
            entry._replace(path=_neutral(entry.path), target=_neutral(entry.target),
                           size=0 if is_generation(entry.target) else entry.size)
            for entry in self.listing
        )

    def comparable_events(self) -> list[Event]:
        return normalised(self.events)

    def last(self, file: str) -> bytes | None:
        found = [content.data for content in self.contents if content.file == file]
        return found[-1] if found else None

    def seen(self, file: str, data: bytes) -> Content | None:
        """When it was first read with this content."""
        for content in self.contents:
            if (content.file, content.data) == (file, data):
                return content
        return None


def _neutral(path: str) -> str:
    return "/".join("TS" if is_generation(part) else part for part in path.split("/"))


def parse_probe(text: str) -> dict[str, View]:
    views: dict[str, View] = {}
    for line in text.splitlines():
        name, kind, *words = line.split(" ")
        view = views.setdefault(name, View())
        if kind == "list":
            path, type_, mode, uid, gid, size, target = words
            view.listing.append(
                Listed(path, type_, int(mode, 8), int(uid), int(gid), int(size), target)
            )
        elif kind == "ready":
            view.is_ready = True
        elif kind == "event":
            _, mask, cookie, file = words
            event = Event(name, kind_of(int(mask, 16)), file if file != "-" else "", int(cookie))
            view.events.append(event._replace(watch="root"))
        elif kind == "content":
            time, file, data = words
            content = b"" if data == "-" else bytes.fromhex(data)
            view.contents.append(Content(int(time), file, content))
        else:
            view.errors.append(line)
    return views


class Pod:
    """One that the API server has."""

    def __init__(self, node: Node, ns: Namespace, name: str) -> None:
        self.node = node
        self.ns = ns
        self.name = name
        self._admin = ns.cluster.admin
        self._path = f"/api/v1/namespaces/{ns.name}/pods/{name}"
        self.uid = self.get()["metadata"]["uid"]

    # ---- the API's view

    def get(self) -> Any:
        return self._admin.request("GET", self._path)

    def phase(self) -> str:
        return self.get()["status"]["phase"]

    def is_gone(self) -> bool:
        try:
            return self.get()["metadata"]["uid"] != self.uid
        except ApiError as error:
            if error.code == 404:
                return True
            raise

    def wait_running(self, seconds: float = 120) -> Pod:
        def is_running() -> bool:
            return self.phase() == "Running"

        try:
            until(is_running, f"pod {self.name} runs", seconds, pause=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.describe()}") from None
        return self

    def describe(self) -> str:
        return self.ns.kubectl("describe", "pod", self.name)

    def events(self) -> list[str]:
        """The messages of the events about it, with their reasons."""
        selector = f"fieldSelector=involvedObject.uid={self.uid}"
        path = f"/api/v1/namespaces/{self.ns.name}/events?{selector}"
        return [f"{e['reason']}: {e['message']}" for e in self._admin.request("GET", path)["items"]]

    def wait_event(self, pattern: str) -> str:
        def find() -> str | None:
            found = [text for text in self.events() if re.search(pattern, text)]
            return found[-1] if found else None

        what = f"an event of pod {self.name} like {pattern!r}"
        try:
            found = until(find, what, pause=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.describe()}") from None
        assert found is not None
        return found

    def poke(self) -> None:
        """Has the kubelet sync it, which brings its own volumes up to date."""
        count = self.get()["metadata"].get("annotations", {}).get("poked", "0")
        self.ns.kubectl("annotate", "--overwrite", "pod", self.name, f"poked={int(count) + 1}")

    def delete(self, wait: bool = True) -> None:
        self._admin.request("DELETE", self._path)
        if wait:
            self.wait_gone()

    def wait_gone(self) -> None:
        until(self.is_gone, f"pod {self.name} is gone", pause=0.05)

    def delete_by_force(self) -> None:
        """Gone from the API at once, in any state on the node."""
        if not self.is_gone():
            options = {"gracePeriodSeconds": 0}
            self._admin.request("DELETE", self._path, options)

    # ---- the node's view

    @property
    def directory(self) -> Path:
        """The kubelet's directory of it, on the node."""
        return self.node.kubelet_root / "pods" / self.uid

    def volume_path(self, plugin: str, name: str) -> Path:
        return self.node.path(self.directory / "volumes" / plugin / name)

    def has_containers(self) -> bool:
        """Whether the kubelet says that one of them runs."""
        statuses = self.get()["status"].get("containerStatuses", [])
        return any("running" in status["state"] for status in statuses)

    def is_off_the_node(self) -> bool:
        return str(self.directory) not in self.node.mountinfo() and not self.node.path(
            self.directory / "volumes"
        ).exists()

    def container_id(self, container: str = CONTAINER) -> str:
        statuses = self.get()["status"]["containerStatuses"]
        (status,) = [entry for entry in statuses if entry["name"] == container]
        return str(status["containerID"].rpartition("/")[2])

    def view(self, path: str, container: str = CONTAINER) -> Path:
        """A path as the container's processes see it."""
        return Path(f"{self.node.container_view(self.container_id(container))}{path}")

    def log(self, container: str = CONTAINER) -> str:
        """What it wrote to its standard output and standard error."""
        directory = self.node.path(POD_LOGS / f"{self.ns.name}_{self.name}_{self.uid}" / container)
        files = sorted(directory.glob("*.log"), key=lambda path: int(path.stem))
        # each line is: time, stream, whether the line is full, and the line itself
        lines = [line for path in files for line in path.read_text().splitlines()]
        return "".join(f"{line.split(' ', 3)[3]}\n" for line in lines if line.count(" ") >= 3)

    # ---- the probe's view

    def probed(self, container: str = CONTAINER) -> dict[str, View]:
        return parse_probe(self.log(container))

    def wait_probed(self, *names: str) -> dict[str, View]:
        """Until the probe has listed all of these and watches them."""
        self.wait_running()

        def are_ready() -> bool:
            views = self.probed()
            return all(name in views and views[name].is_ready for name in names)

        try:
            until(are_ready, f"the probe in {self.name} is ready", pause=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None
        return self.probed()

    def wait_content(self, name: str, file: str, data: bytes) -> Content:
        def find() -> Content | None:
            return self.probed()[name].seen(file, data)

        found = until(find, f"{file} of {name} in pod {self.name} is new", pause=0.05)
        assert found is not None
        return found


class Pods:
    """Makes a test's pods; `finish` sees to it that all of them end in good order."""

    def __init__(self, node: Node, ns: Namespace) -> None:
        self._node = node
        self._ns = ns
        self._made: list[Pod] = []

    def make(self, manifest: Mapping[str, Any]) -> Pod:
        """Does not wait until it runs."""
        path = f"/api/v1/namespaces/{self._ns.name}/pods"
        self._ns.cluster.admin.request("POST", path, manifest)
        return self.adopt(manifest["metadata"]["name"])

    def adopt(self, name: str) -> Pod:
        """One that was made otherwise."""
        self._made.append(Pod(self._node, self._ns, name))
        return self._made[-1]

    def run(self, manifest: Mapping[str, Any]) -> Pod:
        return self.make(manifest).wait_running()

    def probe(self, name: str, volumes: Mapping[str, Any], **options: Any) -> Pod:
        """A pod whose probe has seen all of its volumes."""
        pod = self.make(probe_pod(name, volumes, **options))
        whole = set(volumes) - set(options.get("only_sub_paths", ()))
        pod.wait_probed(*options.get("sub_paths", {}), *whole)
        return pod

    def finish(self) -> None:
        left = [pod for pod in self._made if not pod.is_gone()]
        try:
            for pod in left:
                pod.delete_by_force()  # the node's side is the one that takes time, and counts
        finally:
            for pod in self._made:
                until(pod.is_off_the_node, f"pod {pod.name} has left the node", pause=0.05)


def plain_pod(
    name: str,
    volumes: Mapping[str, Any],
    command: list[str],
    *,
    mounts: list[dict[str, Any]] | None = None,
    fs_group: int | None = None,
    unmounted: Mapping[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """`volumes`: by name, what an entry of a pod's volumes says beside it. Each is mounted at
    /NAME, unless `mounts` say otherwise. `unmounted`: more of them that no container has."""
    if mounts is None:
        mounts = [{"name": volume, "mountPath": f"/{volume}"} for volume in volumes]
    container = {
        "name": CONTAINER,
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": command,
        "volumeMounts": mounts,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": NAME,
            "restartPolicy": "Never",
            # so it is gone from the API at once; the node takes its time
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {} if fs_group is None else {"fsGroup": fs_group},
            "containers": [container],
            "volumes": [
                {"name": volume, **source} for volume, source in {**volumes, **(unmounted or {})}.items()
            ],
            **spec,
        },
    }


def probe_pod(
    name: str,
    volumes: Mapping[str, Any],
    *,
    sub_paths: Mapping[str, tuple[str, str]] | None = None,
    only_sub_paths: tuple[str, ...] = (),
    **options: Any,
) -> dict[str, Any]:
    """`sub_paths`: by the name that the probe tells it under, a volume and a key of it that is
    mounted alone, at /file/NAME. `only_sub_paths`: volumes that are not mounted as a whole."""
    whole = [volume for volume in volumes if volume not in only_sub_paths]
    command = ["/bin/probe", *(f"{volume}=/{volume}" for volume in whole)]
    mounts = [{"name": volume, "mountPath": f"/{volume}"} for volume in whole]
    for label, (volume, key) in (sub_paths or {}).items():
        path = f"/file/{label}"
        mounts.append({"name": volume, "mountPath": path, "subPath": key})
        command.append(f"{label}={path}")
    return plain_pod(name, volumes, command, mounts=mounts, **options)
