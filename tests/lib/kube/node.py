"""A whole Kubernetes node: controller manager, scheduler, containerd and a kubelet, on loopback.

Pods run for real, on images that are made here of static programs. Everything that belongs to the
node runs in namespaces of its own (see namespaces.py), in the directories that it has on every
machine, such as /var/lib/kubelet; `path` says where they can be seen from outside. What is left to
do at the end are the kernel parameters that a kubelet sets and the control groups of pods.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import yaml

from lib.cgroup import roots
from lib.process import Process
from lib.waiting import until

from .assets import NodeAssets, minor_version
from .client import ApiError
from .cluster import HOST, NODE_NAME, Cluster, free_port, knows_flag
from .images import write_image
from .sandbox import Namespaces

NAME = NODE_NAME
IMAGE = "localhost/secretfs-test/tools:1"  # busybox and probe
PAUSE_IMAGE = "localhost/secretfs-test/pause:1"

KUBELET_ROOT = Path("/var/lib/kubelet")
_CGROUP = "secretfs-e2e"  # of all pods
_CONTROLLERS = {"cpu", "cpuset", "hugetlb", "memory", "pids"}
POD_LOGS = Path("/var/log/pods")
_RUNTIME_STATE = Path("/run/containerd")
_RUNTIME_SOCKET = _RUNTIME_STATE / "containerd.sock"
_TASKS = _RUNTIME_STATE / "io.containerd.runtime.v2.task/k8s.io"
_CNI_CONFIGURATIONS = Path("/var/lib/cni/configurations")

# What a kubelet writes when it starts, if it finds something else there.
_KERNEL_PARAMETERS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
_PROGRAMS = Path(__file__).parent / "programs"
_ENDPOINT_IN_CONFIGURATION = 27  # as of 1.27 the kubelet takes its runtime's socket from there
_HAS_USER_FIELDS = 37  # alpha, off by default
_REFUSES_CGROUP_V1 = 31  # as of 1.31, unless its configuration permits it
# Reserved for benchmarks of networks (RFC 2544), so nothing that a machine needs is there.
_POD_NETWORK = "198.18.0.0/16"
MAX_PODS = 150


def apiserver_flags(program: Path) -> list[str]:
    """What the API server of a cluster with a node is started with, beside the usual."""
    flags = ["--enable-admission-plugins=NodeRestriction"]
    return flags + [f"--feature-gates={gate}=true" for gate in _gates(program)]


class Node:
    """`cluster` has to run, with the authorisation mode Node and `apiserver_flags`."""

    def __init__(self, cluster: Cluster, assets: NodeAssets, directory: Path) -> None:
        self.cluster = cluster
        self.assets = assets
        self.directory = directory
        self.identity = cluster.certificate_identity(f"system:node:{NAME}", ["system:nodes"])
        self.kubeconfig = cluster.kubeconfig(directory / "kubelet.conf", self.identity)
        self._serving = cluster.authority.server_pair(f"DNS:{NAME},IP:{HOST}")
        self._parameters = {name: _sysctl(name).read_text() for name in _KERNEL_PARAMETERS}
        self.kubelet_root = KUBELET_ROOT
        self._kubelet: Process | None = None
        self._started = ExitStack()

    # ---- starting and ending

    def start(self) -> None:
        try:
            pause, probe = (self._compile(name) for name in ("pause", "probe"))
            self._start_control_plane()
            self.inside = Namespaces(self.directory, pause)
            self._started.callback(self._end_namespaces)
            self.has_pod_cgroups = self._make_cgroups()
            self._start_containerd()
            self._import_images(pause, probe)
            self._write_kubelet_configuration()
            self.start_kubelet()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends everything at once: what is left to lose is thrown away."""
        self._started.close()

    def start_kubelet(self) -> None:
        command = [self.assets.kubelet, f"--config={self.directory / 'kubelet.yaml'}"]
        command += [f"--kubeconfig={self.kubeconfig}", f"--hostname-override={NAME}"]
        command += [f"--root-dir={self.kubelet_root}", "--v=2"]
        command += ["--runtime-cgroups=/", "--kubelet-cgroups=/"]
        if minor_version(self.assets.kubelet) < _ENDPOINT_IN_CONFIGURATION:
            command += [f"--container-runtime-endpoint=unix://{_RUNTIME_SOCKET}"]
        if knows_flag(self.assets.kubelet, "container-runtime string"):
            command += ["--container-runtime=remote"]
        self._kubelet = self.process("kubelet", command)
        self._wait_until_well(self._kubelet, self.is_ready)

    @contextmanager
    def hung_kubelet(self) -> Iterator[None]:
        """While it is entered the kubelet does not run, and its connections stay open."""
        assert self._kubelet is not None
        self._kubelet.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self._kubelet.send(signal.SIGCONT)

    def stop_kubelet(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._kubelet is not None
        self._kubelet.stop(number)
        self._kubelet = None

    def ensure_running(self) -> None:
        if self._kubelet is None or self._kubelet.exit_code() is not None:
            self.start_kubelet()

    def move_kubelet(self, root: Path) -> None:
        """Restarts the kubelet with another root directory. No pod may be left on the node."""
        self.stop_kubelet()
        self.kubelet_root = root
        self.start_kubelet()

    def is_ready(self) -> bool:
        node = self.cluster.admin.request("GET", f"/api/v1/nodes/{NAME}")
        conditions = {entry["type"]: entry["status"] for entry in node["status"]["conditions"]}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")

    # ---- what runs on it

    def process(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path | None = None,
        death: signal.Signals = signal.SIGKILL,
    ) -> Process:
        """Something that runs on the node, beside the kubelet."""
        log = log or self.directory / f"{name}.log"
        return self.inside.process(name, command, log, death)

    def run(self, *command: str | Path) -> str:
        return self.inside.run(command)

    def path(self, inside: str | Path) -> Path:
        return self.inside.path(inside)

    def mountinfo(self) -> str:
        return Path(f"/proc/{self.inside.pid}/mountinfo").read_text()

    def container_pid(self, container_id: str) -> int:
        """Of its first process, on the node."""
        return int(self.path(_TASKS / container_id / "init.pid").read_text())

    def container_view(self, container_id: str) -> Path:
        """The root directory of a container that runs, as its processes see it."""
        return self.path(f"/proc/{self.container_pid(container_id)}/root")

    # ---- how it is put together

    def _compile(self, name: str) -> Path:
        program = self.directory / name
        command = ["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-static"]
        subprocess.run([*command, "-o", program, _PROGRAMS / f"{name}.c"], check=True)
        return program

    def _start_control_plane(self) -> None:
        self._started.enter_context(self.cluster.controller_manager("*"))
        command = [self.assets.scheduler, f"--kubeconfig={self.cluster.admin_kubeconfig}"]
        command += ["--leader-elect=false", f"--bind-address={HOST}"]
        command += [f"--secure-port={free_port()}"]
        if knows_flag(self.assets.scheduler, "port int"):
            command += ["--port=0"]
        scheduler = Process("kube-scheduler", command, self.directory / "kube-scheduler.log")
        self._started.callback(scheduler.stop, signal.SIGKILL)

    def _start_containerd(self) -> None:
        configuration = self.directory / "containerd.toml"
        configuration.write_text(_containerd_configuration(self.assets))
        self.path(_CNI_CONFIGURATIONS).mkdir(parents=True)
        network = self.path(_CNI_CONFIGURATIONS) / "10-pods.conflist"
        network.write_text(json.dumps(_network()))
        # its shim is found through the path, and has to be of the same release
        path = f"PATH={self.assets.containerd.parent}:{os.environ['PATH']}"
        command = ["env", path, self.assets.containerd, "--config", configuration]
        self._wait_until_well(self.process("containerd", command), lambda: self.ctr("version"))

    def ctr(self, *words: str | Path) -> str:
        return self.run(self.assets.ctr, "-a", _RUNTIME_SOCKET, "-n", "k8s.io", *words)

    def _import_images(self, pause: Path, probe: Path) -> None:
        archive = self.directory / "pause.tar"
        write_image(archive, PAUSE_IMAGE, ["/bin/pause"], {"/bin/pause": pause})
        self.ctr("images", "import", archive)
        listed = subprocess.run([self.assets.busybox, "--list"], capture_output=True, check=True)
        names = set(listed.stdout.decode().split()) - {"busybox"}
        self._busybox_links = {f"/bin/{name}": "/bin/busybox" for name in sorted(names)}
        self.import_busybox_image(IMAGE, "/bin/sh", {"/bin/probe": probe})

    def import_busybox_image(
        self, name: str, entrypoint: str, programs: Mapping[str, Path] | None = None
    ) -> None:
        """An image of busybox and `programs`, by their paths in it."""
        archive = self.directory / "image.tar"
        all_programs = {"/bin/busybox": self.assets.busybox, **(programs or {})}
        write_image(archive, name, [entrypoint], all_programs, self._busybox_links)
        self.ctr("images", "import", archive)

    def _write_kubelet_configuration(self) -> None:
        resolv = self.directory / "resolv.conf"
        resolv.write_text("nameserver 127.0.0.1\n")
        configuration = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": HOST,
            "port": free_port(),
            "readOnlyPort": 0,
            "healthzPort": 0,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": False},
                "x509": {"clientCAFile": str(self.cluster.authority.certificate)},
            },
            "authorization": {"mode": "AlwaysAllow"},
            "tlsCertFile": str(self._serving.certificate),
            "tlsPrivateKeyFile": str(self._serving.key),
            "cgroupDriver": "cgroupfs",
            # a control group for each pod, below one for this node: a kubelet removes what is not
            # its own
            "cgroupsPerQOS": self.has_pod_cgroups,
            "cgroupRoot": f"/{_CGROUP}" if self.has_pod_cgroups else "",
            "enforceNodeAllocatable": [],
            "evictionHard": {},
            "imageGCHighThresholdPercent": 100,
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "resolvConf": str(resolv),
            "maxPods": MAX_PODS,
            # as in newer releases, so that pods of a test do not wait for one another
            "kubeAPIQPS": 50,
            "kubeAPIBurst": 100,
            "eventRecordQPS": 50,
            "eventBurst": 100,
            "volumePluginDir": str(KUBELET_ROOT / "volume-plugins"),
            "featureGates": {gate: True for gate in _gates(self.assets.kubelet)},
        }
        minor = minor_version(self.assets.kubelet)
        if minor >= _ENDPOINT_IN_CONFIGURATION:
            configuration["containerRuntimeEndpoint"] = f"unix://{_RUNTIME_SOCKET}"
        if minor >= _REFUSES_CGROUP_V1:
            configuration["failCgroupV1"] = False
        (self.directory / "kubelet.yaml").write_text(yaml.safe_dump(configuration))

    def _wait_until_well(self, process: Process, is_well: Any) -> None:
        def check() -> Any:
            if process.exit_code() is not None:
                raise RuntimeError(
                    f"{process.name} ended with {process.exit_code()}:\n{process.log_tail()}"
                )
            return is_well()

        forgive = (OSError, ApiError, KeyError, AssertionError)
        until(check, f"{process.name} is ready", pause=0.1, forgive=forgive)

    # ---- what is left of it

    def _make_cgroups(self) -> bool:
        """Whether that can be done here."""
        try:
            for root in _cgroup_roots():
                (root / _CGROUP).mkdir(exist_ok=True)
                _enable_controllers(root)
        except OSError:
            return False
        return True

    def _end_namespaces(self) -> None:
        self.inside.end()
        self._remove_cgroups()
        for name, value in self._parameters.items():
            if _sysctl(name).read_text() != value:
                _sysctl(name).write_text(value)

    def _remove_cgroups(self) -> None:
        """Every directory below is empty: the namespaces' end was the end of all processes."""
        for root in _cgroup_roots():
            for path, _, _ in os.walk(root / _CGROUP, topdown=False):
                os.rmdir(path)


def _cgroup_roots() -> list[Path]:
    return [*roots("cgroup2"), *roots("cgroup")]


def _enable_controllers(root: Path) -> None:
    """With cgroup 2 a kubelet wants its directory to have those that it uses."""
    control = root / "cgroup.subtree_control"
    if control.exists():
        has = set((root / "cgroup.controllers").read_text().split()) & _CONTROLLERS
        missing = has - set(control.read_text().split())
        control.write_text(" ".join(f"+{name}" for name in sorted(missing)))


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name


def _gates(program: Path) -> list[str]:
    """Features that these tests need and a release does not have switched on."""
    minor = minor_version(program)
    if minor < 21:
        return ["CSIServiceAccountToken"]
    return ["AtomicWriteVolumeUserFields"] if minor >= _HAS_USER_FIELDS else []


def _network() -> dict[str, Any]:
    """Each pod has a link of its own to the machine, which goes when the pod's namespace goes."""
    addresses = {"type": "host-local", "subnet": _POD_NETWORK, "dataDir": "/run/cni/addresses"}
    plugin = {"type": "ptp", "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "secretfs-test", "plugins": [plugin]}


def _containerd_configuration(assets: NodeAssets) -> str:
    command = [assets.containerd, "--version"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    is_second = re.search(r" v?2\.\d+\.\d+", text) is not None
    return _configuration_of_2(assets) if is_second else _configuration_of_1(assets)


def _configuration_of_1(assets: NodeAssets) -> str:
    return f"""
version = 2
root = "/var/lib/containerd"
state = "{_RUNTIME_STATE}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{_RUNTIME_SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  stream_server_address = "{HOST}"
  stream_server_port = "0"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{assets.cni}"
    conf_dir = "{_CNI_CONFIGURATIONS}"
"""


def _configuration_of_2(assets: NodeAssets) -> str:
    return f"""
version = 3
root = "/var/lib/containerd"
state = "{_RUNTIME_STATE}"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
  address = "{_RUNTIME_SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "{HOST}"
  stream_server_port = "0"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{assets.cni}"]
  conf_dir = "{_CNI_CONFIGURATIONS}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "{assets.runc}"
"""
