"""A real Kubernetes on loopback, started and ended by tests: etcd and kube-apiserver alone, or with a
whole node that runs pods."""

from .assets import Assets, AssetsUnusable, NodeAssets, NodeMissing, find_assets, find_node_assets
from .client import ApiError, Client
from .cluster import Cluster, Identity
from .kubectl import Kubectl
from .node import Node

__all__ = [
    "ApiError",
    "Assets",
    "AssetsUnusable",
    "Client",
    "Cluster",
    "Identity",
    "Kubectl",
    "Node",
    "NodeAssets",
    "NodeMissing",
    "find_assets",
    "find_node_assets",
]
