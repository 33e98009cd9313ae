"""A real Kubernetes API server on loopback: etcd and kube-apiserver, started and ended by tests."""

from .assets import Assets, AssetsUnusable, find_assets
from .client import ApiError, Client
from .cluster import Cluster, Identity
from .kubectl import Kubectl
from .relay import Relay
from .waiting import wait_for

__all__ = [
    "ApiError",
    "Assets",
    "AssetsUnusable",
    "Client",
    "Cluster",
    "Identity",
    "Kubectl",
    "Relay",
    "find_assets",
    "wait_for",
]
