"""The Kubernetes binaries that tests run, found the way that Kubernetes projects find them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "KUBEBUILDER_ASSETS"


class AssetsUnusable(Exception):
    """The variable is set, and what it names cannot be used."""


@dataclass(frozen=True)
class Assets:
    etcd: Path
    apiserver: Path
    kubectl: Path
    controller_manager: Path | None  # not one of the usual three, so few tests may need it


def find_assets() -> Assets | None:
    """None when the variable is not set: nobody asked for a cluster."""
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


def _program(path: Path) -> Path:
    if not os.access(path, os.X_OK):
        raise AssetsUnusable(f"{VARIABLE}={path.parent}, but there is no program {path.name} in it")
    return path
