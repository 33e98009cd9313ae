"""A node daemon and a scripted kubelet: real mounts, in a kubelet root of its own."""
