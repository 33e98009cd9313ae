"""secretfs on a real node: pods of a real kubelet, found through KUBE_ASSETS."""
