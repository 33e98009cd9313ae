"""The Kubernetes binaries that tests run, found the way that Kubernetes projects find them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "KUBEBUILDER_ASSETS"
# What a node needs is not among the usual three programs, so that it may be in another directory.
NODE_VARIABLE = "KUBE_ASSETS"

_CNI_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
_BUSYBOX = Path("/bin/busybox")


class AssetsUnusable(Exception):
    """The variable is set, and what it names cannot be used."""


class NodeMissing(Exception):
    """Something that a whole node needs is not here; the text says what, and how to get it."""


@dataclass(frozen=True)
class Assets:
    etcd: Path
    apiserver: Path
    kubectl: Path
    controller_manager: Path | None  # not one of the usual three, so few tests may need it


@dataclass(frozen=True)
class NodeAssets:
    controller_manager: Path
    scheduler: Path
    kubelet: Path
    containerd: Path
    ctr: Path
    runc: Path
    cni: Path  # the directory of the plug-ins
    busybox: Path


@dataclass(frozen=True)
class ConformanceAssets:
    """Kubernetes' own tests, and what they run."""

    tests: Path
    agnhost: Path
    sanity: Path


def find_conformance_assets() -> ConformanceAssets:
    """NodeMissing where they are not built."""
    directory = Path(os.environ[NODE_VARIABLE]).absolute()
    found = [directory / name for name in ("e2e.test", "agnhost", "csi-sanity")]
    missing = [path.name for path in found if not os.access(path, os.X_OK)]
    if missing:
        raise NodeMissing(f"there is no {' and no '.join(missing)} in {directory}")
    return ConformanceAssets(*found)


def find_assets() -> Assets | None:
    """None when the variable is not set: no cluster is requested."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    directory = Path(named).absolute()
    controller_manager = directory / "kube-controller-manager"
    return Assets(
        etcd=_program(directory / "etcd"),
        apiserver=_program(directory / "kube-apiserver"),
        kubectl=_program(directory / "kubectl"),
        controller_manager=controller_manager if os.access(controller_manager, os.X_OK) else None,
    )


def find_node_assets() -> NodeAssets:
    """NodeMissing where a node cannot be run."""
    named = os.environ.get(NODE_VARIABLE) or os.environ.get(VARIABLE)
    if not named:
        raise NodeMissing(f"{NODE_VARIABLE} is not set: it names a directory with a kubelet")
    directory = Path(named).absolute()
    missing = [
        name
        for name in ("kube-controller-manager", "kube-scheduler", "kubelet")
        if not os.access(directory / name, os.X_OK)
    ]
    if missing:
        raise NodeMissing(f"there is no {' and no '.join(missing)} in {directory}")
    _installed("mount", "mount")
    return NodeAssets(
        controller_manager=directory / "kube-controller-manager",
        scheduler=directory / "kube-scheduler",
        kubelet=directory / "kubelet",
        containerd=_beside_or_installed(directory, "containerd", "containerd"),
        ctr=_beside_or_installed(directory, "ctr", "containerd"),
        runc=_beside_or_installed(directory, "runc", "runc"),
        cni=_cni_directory(directory),
        busybox=_static_busybox(),
    )


def _program(path: Path) -> Path:
    if not os.access(path, os.X_OK):
        raise AssetsUnusable(f"{VARIABLE}={path.parent}, but there is no program {path.name} in it")
    return path


def _beside_or_installed(directory: Path, name: str, package: str) -> Path:
    """A newer Kubernetes has the programs of its node beside it, an older one uses Debian's."""
    beside = directory / name
    return beside if os.access(beside, os.X_OK) else _installed(name, package)


def _installed(name: str, package: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise NodeMissing(f"there is no {name}: install the package {package}")
    return Path(found)


def _cni_directory(assets: Path) -> Path:
    for directory in (assets / "cni", *_CNI_DIRECTORIES):
        if all(os.access(directory / name, os.X_OK) for name in ("ptp", "host-local", "loopback")):
            return directory
    raise NodeMissing("there are no CNI plug-ins: install the package containernetworking-plugins")


def _static_busybox() -> Path:
    """One that needs no libraries, since it is alone in its image."""
    if not os.access(_BUSYBOX, os.X_OK) or b"/ld-linux" in _BUSYBOX.read_bytes():
        raise NodeMissing(f"there is no static {_BUSYBOX}: install the package busybox-static")
    return _BUSYBOX


def minor_version(program: Path) -> int:
    """The N in v1.N.P, of one of Kubernetes' own programs."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v1\.(\d+)\.", text)
    assert version is not None, text
    return int(version[1])
