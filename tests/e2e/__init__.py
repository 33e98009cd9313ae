"""secretfs against a real kube-apiserver and etcd, found through KUBEBUILDER_ASSETS."""
