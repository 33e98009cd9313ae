"""deploy/ and examples/ as people would use them, with what they say, on the node."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Mapping

import pytest
import yaml

from lib.chart import CHART, Helm, arguments_for
from lib.deploy import DEPLOY, EXAMPLES, VERSION, build_image, documents, of_kind
from lib.kube import Cluster, Node
from lib.kube.cluster import HOST, free_port
from lib.kube.daemons import DRIVER, Daemon
from lib.kube.mounts import program
from lib.kube.namespace import Namespace
from lib.kube.pods import Pod, Pods
from lib.kube.reader import Reader
from lib.storm import n_generations
from lib.waiting import until

# they are about rights that can be taken from a pod
WITH_POD_RIGHTS = {"pod-rights.yaml", "on-revoked.yaml"}


# ---- examples


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(
    example_image: None,
    node_daemon: Daemon,
    pod_daemon: Daemon,
    ns: Namespace,
    pods: Pods,
    path: Path,
) -> None:
    """It starts as it is, and shows what its volume is about."""
    del example_image
    daemon = pod_daemon if path.name in WITH_POD_RIGHTS else node_daemon
    text = path.read_text().replace(DRIVER, daemon.driver)
    ns.kubectl("apply", "-f", "-", stdin=text)
    loaded = documents(path)
    (manifest,) = of_kind(loaded, "Pod")
    pod = pods.adopt(manifest["metadata"]["name"]).wait_running()
    (mount,) = manifest["spec"]["containers"][0]["volumeMounts"]
    view = pod.view(mount["mountPath"])
    until(view.exists, "the container has its volume")
    if "optional" in path.name:
        assert [entry.name for entry in view.iterdir() if not entry.name.startswith("..")] == []
        return
    until(pod.log, "it tells what is there")
    files = {view} if view.is_file() else {entry for entry in view.rglob("*") if entry.is_file()}
    shown = {entry.read_bytes() for entry in files}
    values = [
        value.encode()
        for kind, key in (("Secret", "stringData"), ("ConfigMap", "data"))
        for document in of_kind(loaded, kind)
        for value in document[key].values()
    ]
    assert shown and shown <= set(values)


# ---- the DaemonSet


@pytest.fixture(scope="session")
def secretfs_image(node_for_all: Node, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `make image` makes."""
    name = f"docker.io/library/secretfs:{VERSION}"
    archive = build_image(tmp_path_factory.mktemp("image"), program().resolve(), name)
    node_for_all.ctr("images", "import", archive)
    return name


@pytest.fixture
def daemonset(
    request: pytest.FixtureRequest,
    node: Node,
    secretfs_image: str,
    kubectl: str,  # noqa: F811
) -> Iterator[str]:
    """What deploy/daemonset/rights-... makes, under names of its own. The driver's name."""
    del secretfs_image
    rights = request.param
    driver, cluster = f"{rights}.daemonset.secretfs.io", node.cluster
    directory = DEPLOY / "daemonset" / f"rights-{rights}"
    built = subprocess.run([kubectl, "kustomize", directory], capture_output=True, check=True)
    text = built.stdout.decode().replace(DRIVER, driver).replace("9811", str(free_port()))
    text = text.replace("/run/secretfs", "/run/secretfs-daemonset")
    # there may be a real one on this machine
    text = text.replace("/etc/kubernetes/", "/var/lib/kubernetes/")
    loaded = list(yaml.safe_load_all(text))
    made = {entry["metadata"]["name"]: entry for entry in of_kind(loaded, "DaemonSet")}
    container = made["secretfs"]["spec"]["template"]["spec"]["containers"][0]
    # there are no service addresses here, which is kube-proxy's work
    container["env"].append({"name": "KUBERNETES_SERVICE_HOST", "value": HOST})
    container["env"].append({"name": "KUBERNETES_SERVICE_PORT", "value": str(cluster.port)})
    _place_kubeconfig(node)
    text = yaml.safe_dump_all(loaded)
    cluster.kubectl.run("apply", "-f", "-", stdin=text)
    yield driver
    # what needs it has gone before; without the keeper the daemon unmounts
    delete = ("delete", "--cascade=foreground", "--timeout=100s")
    cluster.kubectl.run("-n", "secretfs", *delete, "daemonset/secretfs-keeper")
    cluster.kubectl.run(*delete, "--ignore-not-found", "-f", "-", stdin=text)
    until(lambda: driver not in node.mountinfo(), "nothing is mounted")


def _place_kubeconfig(node: Node) -> None:
    """Where a kubelet of this machine has none."""
    node.path("/var/lib/kubernetes").mkdir(exist_ok=True)
    node.path("/var/lib/kubernetes/kubelet.conf").write_text(node.kubeconfig.read_text())
    node.path("/var/lib/kubelet/pki").mkdir(exist_ok=True)


@pytest.mark.parametrize("daemonset", ["node", "pod", "daemon"], indirect=True)
def test_daemonset(
    daemonset: str,
    cluster: Cluster,
    ns: Namespace,
    pods: Pods,
) -> None:
    """It gets ready, serves pods, and follows files that containers have mounted alone."""
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    if daemonset.startswith("pod."):
        _permit(cluster, ns)

    def is_ready() -> bool:
        path = "/apis/apps/v1/namespaces/secretfs/daemonsets/secretfs"
        status = cluster.admin.request("GET", path)["status"]
        return status.get("numberReady", 0) == status.get("desiredNumberScheduled") == 1

    try:
        until(is_ready, "the DaemonSet is ready", pause=0.1)
    except AssertionError as error:
        told = cluster.kubectl.run("-n", "secretfs", "describe", "pods")
        raise AssertionError(f"{error}\n{told}") from None
    csi = {
        "driver": daemonset,
        "readOnly": True,
        "volumeAttributes": {"secretName": "db"},
        "nodePublishSecretRef": {"name": "db"},
    }
    pod = pods.probe("reader", {"ours": {"csi": csi}}, sub_paths={"alone": ("ours", "key")})
    assert pod.probed()["ours"].last("key") == first
    ns.patch("db", {"key": second})
    pod.wait_content("ours", "key", second)
    pod.wait_content("alone", "-", second)
    pod.delete()
    until(pod.is_off_the_node, "nothing is left of it")


def _permit(cluster: Cluster, ns: Namespace) -> None:
    """deploy/rbac/pod-example, as it is, for the pod's service account."""
    rules = yaml.safe_load_all((DEPLOY / "rbac" / "pod-example" / "role.yaml").read_text())
    text = yaml.safe_dump_all(list(rules)).replace("name: app\n", "name: default\n")
    ns.kubectl("apply", "-f", "-", stdin=text)


# ---- a release of the chart

CONNECTED = "connected to a new keeper"


class Release:
    """The chart on the node, in the test's namespace: a daemon and its keeper."""

    def __init__(self, helm: Helm, node: Node, ns: Namespace, values: Mapping[str, Any]) -> None:
        self.driver = f"{ns.name}.secretfs.io"
        self._helm, self._node, self._ns = helm, node, ns
        self._values = {
            "nameOverride": ns.name,
            "driverName": self.driver,
            "runDir": f"/run/{ns.name}",
            "metrics.port": free_port(),
            "image.repository": "docker.io/library/secretfs",
            **values,
        }

    def run(self, verb: str, **values: Any) -> None:
        """install or upgrade; returns when the daemon's pod is of this release, both are ready, and the
        daemon is connected to its keeper."""
        self._values.update({path.replace("_", "."): value for path, value in values.items()})
        self._helm.run(verb, "chart", CHART, "-n", self._ns.name, *arguments_for(self._values))
        until(lambda: self._is_ready("") and self._is_ready("-keeper"), "the release is ready", pause=0.1)
        until(self._is_kept, "the keeper has the mounts", pause=0.1)

    def _is_ready(self, suffix: str) -> bool:
        path = f"/apis/apps/v1/namespaces/{self._ns.name}/daemonsets/{self._ns.name}{suffix}"
        daemonset = self._ns.cluster.admin.request("GET", path)
        status = daemonset["status"]
        if status.get("observedGeneration") != daemonset["metadata"]["generation"]:
            return False
        if not suffix and status.get("updatedNumberScheduled") != 1:
            return False
        return status.get("numberReady") == status.get("desiredNumberScheduled") == 1

    def _is_kept(self) -> bool:
        """The keeper's pod is ready before it listens; a daemon that is killed earlier loses its mounts."""
        log = self.pod().log("secretfs")
        n_lost = log.count("no keeper runs yet") + log.count("the keeper has ended")
        return log.count(CONNECTED) == n_lost

    def pod(self, suffix: str = "") -> Pod:
        """The daemon's or the keeper's, which is the only one of its kind."""
        labels = f"app.kubernetes.io/name={self._ns.name}{suffix}"
        path = f"/api/v1/namespaces/{self._ns.name}/pods?labelSelector={labels}"
        found = self._ns.cluster.admin.request("GET", path)["items"]
        (name,) = [entry["metadata"]["name"] for entry in found
                   if "deletionTimestamp" not in entry["metadata"]]
        return Pod(self._node, self._ns, name)

    def wait_logged(self, text: str, count: int = 1) -> None:
        try:
            until(lambda: self.pod().log("secretfs").count(text) >= count, f"{count} times {text}")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.pod().log('secretfs')}") from None

    def first_process(self) -> int:
        return self._node.container_pid(self.pod().container_id("secretfs"))

    def kill_daemon(self) -> None:
        """SIGKILL to the daemon; the keeper in its container goes on."""
        first = self.first_process()
        children = self._node.path(f"/proc/{first}/task/{first}/children").read_text().split()
        self._node.run("kill", "-KILL", children[-1])

    def kill_container(self) -> None:
        self._node.run("kill", "-KILL", str(self.first_process()))

    def evict_keeper(self) -> None:
        """Returns when the daemon has found the next one."""
        pod = self.pod("-keeper")
        n_connected = self.pod().log("secretfs").count(CONNECTED)
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod.name}}
        path = f"/api/v1/namespaces/{self._ns.name}/pods/{pod.name}/eviction"
        self._ns.cluster.admin.request("POST", path, body)
        self.wait_logged(CONNECTED, n_connected + 1)

    def end(self) -> None:
        """Without its keeper the daemon unmounts."""
        delete = ("delete", "--cascade=foreground", "--timeout=100s")
        self._ns.kubectl(*delete, f"daemonset/{self._ns.name}-keeper")
        self._helm.run("uninstall", "chart", "-n", self._ns.name)
        try:
            until(lambda: self._mounts() == [], "nothing is mounted")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._mounts()}") from None

    def _mounts(self) -> list[str]:
        return [line for line in self._node.mountinfo().splitlines() if self.driver in line]


@pytest.fixture
def release(
    helm_program: Path, node: Node, ns: Namespace, secretfs_image: str, tmp_path: Path
) -> Iterator[Release]:
    _place_kubeconfig(node)
    node.ctr("images", "tag", "--force", secretfs_image, secretfs_image.replace(VERSION, "next"))
    helm = Helm(helm_program, tmp_path, node.cluster.admin_kubeconfig)
    values = {"kubelet.kubeconfig": "/var/lib/kubernetes/kubelet.conf"}
    with _installed(Release(helm, node, ns, values)) as made:
        yield made


@contextmanager
def _installed(release: Release) -> Iterator[Release]:
    try:
        release.run("install")
        yield release
    finally:
        release.end()


def test_volume_outlives_its_daemon(release: Release, ns: Namespace, pods: Pods) -> None:
    """No read fails while the daemon, its container and the keeper are killed, and while the release is
    upgraded; each update arrives, in the mount that the container has had from the beginning."""
    took_over = "took over volumes"
    serial = itertools.count(1)
    value = ns.values.new(next(serial))
    ns.create("db", {"key": value})
    attributes = {"secretName": "db"}
    csi = {"driver": release.driver, "volumeAttributes": attributes, "readOnly": True}
    pod = pods.probe("reader", {"ours": {"csi": {**csi, "nodePublishSecretRef": {"name": "db"}}}})

    def check_update() -> None:
        value = ns.values.new(next(serial))
        ns.patch("db", {"key": value})
        pod.wait_content("ours", "key", value)
        # a process that is killed earlier waits for an answer of the next one, and the runtime for it
        until(lambda: n_generations(pod.view("/ours")) == 1, "the end of the update")

    with Reader([pod.view("/ours/key")], pause=0.001):
        release.kill_daemon()
        release.wait_logged(took_over)
        check_update()
        release.run("upgrade", image_tag="next")
        release.wait_logged(took_over)
        check_update()
        release.kill_container()
        release.wait_logged(took_over, 2)
        check_update()
        release.evict_keeper()
        check_update()
        release.kill_daemon()
        release.wait_logged(took_over, 3)
        check_update()
    assert pod.probed()["ours"].errors == []
    pod.delete()
    until(pod.is_off_the_node, "nothing is left of it")


def test_kubectl_plugin_finds_the_release(
    release: Release, ns: Namespace, pods: Pods, tmp_path: Path
) -> None:
    """By the driver's name: name and namespace of the release, and its run directory, are its own."""
    (tmp_path / "kubectl-secretfs").symlink_to(program().absolute())
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ns.create("db", {"key": ns.values.new(1)})
    csi = {"driver": release.driver, "volumeAttributes": {"secretName": "db"}, "readOnly": True}
    pod = pods.probe("reader", {"ours": {"csi": {**csi, "nodePublishSecretRef": {"name": "db"}}}})

    def kubectl(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(ns.cluster.kubectl.program), "secretfs", *arguments]
        env = ns.cluster.kubectl.environment(**path)
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    listed = kubectl("status", "--driver", release.driver, "-n", ns.name, "--no-headers")
    assert f"{ns.name}/{pod.name}" in listed.stdout and "secret/" in listed.stdout, listed
    report = kubectl("doctor", "--driver", release.driver)
    assert report.stdout.startswith("node ") and release.driver in report.stdout, report
    done = kubectl("status", "--driver", "none.example")
    assert done.returncode == 1
    assert "no node has the driver none.example" in done.stderr and release.driver in done.stderr
    pod.delete()


# ---- kubelets of other distributions


PRESETS = yaml.safe_load((CHART / "files" / "kubelets.yaml").read_text())


@contextmanager
def _private_directory(node: Node, directory: Path) -> Iterator[None]:
    """An empty one in the place of the machine's, which only the node sees."""
    is_new = not directory.exists()
    directory.mkdir(exist_ok=True)
    node.run("mount", "-t", "tmpfs", "tmpfs", directory)
    try:
        yield
    finally:
        node.run("umount", "--lazy", directory)
        if is_new:
            directory.rmdir()


def _write_credentials(node: Node, kubeconfig: Path, certificates: Path) -> None:
    """A kubeconfig that names its certificates as files, as kubelets have it."""
    pair = node.identity.pair
    assert pair is not None
    for path in (kubeconfig.parent, certificates):
        node.path(path).mkdir(parents=True, exist_ok=True)
    text = node.cluster.kubeconfig(node.directory / "of-files.conf", node.identity, embed=False).read_text()
    for file in (node.cluster.authority.certificate, pair.certificate, pair.key):
        shutil.copy(file, node.path(certificates / file.name))
        text = text.replace(str(file), str(certificates / file.name))
    node.path(kubeconfig).write_text(text)


@pytest.fixture(params=PRESETS)
def preset(request: pytest.FixtureRequest, node: Node) -> Iterator[str]:
    """The kubelet has its root directory, its kubeconfig and its certificates where the preset of the
    chart says. To be named before `pods`, which end first."""
    files = {name: Path(path) for name, path in PRESETS[request.param].items()}
    with _private_directory(node, Path("/etc/kubernetes")), _private_directory(node, Path("/var/snap")):
        # a link to the directory of a revision
        node.path("/var/snap/microk8s/1").mkdir(parents=True)
        node.path("/var/snap/microk8s/current").symlink_to("1")
        _write_credentials(node, files["kubeconfig"], files["certificates"])
        default = node.kubelet_root
        node.move_kubelet(files["rootDir"])
        yield request.param
        node.move_kubelet(default)


def test_preset_of_the_chart(
    preset: str,
    helm_program: Path,
    node: Node,
    ns: Namespace,
    secretfs_image: str,
    tmp_path: Path,
    pods: Pods,
) -> None:
    """A release by the preset alone serves a pod, as a whole and by subPath, and updates both."""
    del secretfs_image
    first, second = ns.values.new(1), ns.values.new(2)
    ns.create("db", {"key": first})
    helm = Helm(helm_program, tmp_path, node.cluster.admin_kubeconfig)
    with _installed(Release(helm, node, ns, {"kubelet.preset": preset})) as release:
        csi = {
            "driver": release.driver,
            "readOnly": True,
            "volumeAttributes": {"secretName": "db"},
            "nodePublishSecretRef": {"name": "db"},
        }
        pod = pods.probe("reader", {"ours": {"csi": csi}}, sub_paths={"alone": ("ours", "key")})
        root = PRESETS[preset]["rootDir"]
        assert f" {root}/pods/{pod.uid}/volumes/kubernetes.io~csi/ours/mount " in node.mountinfo()
        ns.patch("db", {"key": second})
        pod.wait_content("ours", "key", second)
        pod.wait_content("alone", "-", second)
        assert "cannot open the status socket" not in release.pod().log("secretfs")
        pod.delete()
        until(pod.is_off_the_node, "nothing is left of it")
