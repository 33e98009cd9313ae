"""`onUpdate: signal:HUP`: Debian's nginx serves a new certificate, and is not restarted."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from lib.kube import Node
from lib.kube.daemons import Daemon, Daemons
from lib.kube.images import with_libraries, write_image
from lib.kube.namespace import Namespace
from lib.kube.pods import Pod, Pods, plain_pod
from lib.process import Process
from lib.waiting import until

IMAGE = "localhost/secretfs-test/nginx:1"
PORT = 8443
CONFIGURATION = f"""\
daemon off;
pid /tmp/nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server {{
        listen {PORT} ssl;
        ssl_certificate /tls/tls.crt;
        ssl_certificate_key /tls/tls.key;
        return 204;
    }}
}}
"""
# it ends with what it got, so one signal is enough to be noticed
LISTENS = "trap 'echo SIGHUP; exit 1' HUP; echo listens; while :; do sleep 86400 & wait $!; done"


@pytest.fixture(scope="module")
def daemon(daemons_for_all: Daemons) -> Daemon:
    return daemons_for_all.start("node", daemons_for_all.kubeconfig("node"))


@pytest.fixture(scope="module")
def nginx(node_for_all: Node, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of this machine's."""
    if not node_for_all.has_pod_cgroups:
        pytest.skip("a pod has no control group of its own here")
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    directory = tmp_path_factory.mktemp("nginx")
    texts = {
        "/etc/nginx.conf": CONFIGURATION,
        "/etc/passwd": "root:x:0:0::/:\nwww-data:x:33:33::/:\nnobody:x:65534:65534::/:\n",
        "/etc/group": "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n",
    }
    files = with_libraries(Path(program).resolve())
    for path, text in texts.items():
        files[path] = directory / Path(path).name
        files[path].write_text(text)
    archive = write_image(directory / "image.tar", IMAGE, ["/bin/nginx"], files)
    node_for_all.ctr("images", "import", archive)
    return IMAGE


@pytest.fixture
def bystander(node: Node, tmp_path: Path) -> Iterator[Process]:
    """A process of the node, outside of pods, that a signal would end."""
    made = node.process("bystander", ["/bin/sh", "-c", LISTENS], tmp_path / "bystander.log")
    yield made
    made.stop()


def make_pair(directory: Path, name: str) -> dict[str, bytes]:
    """A key and its certificate, which names the pod."""
    command = ["openssl", "req", "-x509", "-newkey", "ed25519", "-noenc", "-days", "30"]
    command += ["-subj", f"/CN={name}", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    files = {"tls.crt": "cert.pem", "tls.key": "key.pem"}
    return {key: (directory / file).read_bytes() for key, file in files.items()}


def serves(pod: Pod, pair: dict[str, bytes]) -> bool:
    """Whether a new connection gets this certificate."""
    try:
        served = ssl.get_server_certificate((pod.get()["status"]["podIP"], PORT))
    except OSError:
        return False  # it does not listen yet
    return served.strip() == pair["tls.crt"].decode().strip()


def children(node: Node, pid: int) -> list[str]:
    return node.path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_nginx_serves_the_new_certificate(
    node: Node,
    ns: Namespace,
    daemon: Daemon,
    nginx: str,
    bystander: Process,
    pods: Pods,
    tmp_path: Path,
) -> None:
    """Its first process goes on with new workers. Nothing outside of the pod is signalled: neither
    a pod that has the same Secret without `onUpdate`, nor a process of the node."""
    pair = make_pair(tmp_path, "one")
    ns.create("web-tls", pair, type="kubernetes.io/tls")
    signalled = daemon.volume("web-tls", secretName="web-tls", check="tls", onUpdate="signal:HUP")
    web = plain_pod("web", {"tls": signalled}, ["/bin/nginx", "-c", "/etc/nginx.conf", "-e", "stderr"])
    web["spec"]["containers"][0]["image"] = nginx
    plain = daemon.volume("web-tls", secretName="web-tls")
    other = pods.run(plain_pod("other", {"tls": plain}, ["/bin/sh", "-c", LISTENS]))
    server = pods.run(web)
    until(lambda: serves(server, pair), "nginx serves the first certificate")
    until(lambda: "listens" in other.log() and "listens" in bystander.log_tail(), "they listen")
    container = server.container_id()
    master = node.container_pid(container)
    workers = children(node, master)

    for name in ("two", "three"):
        pair = make_pair(tmp_path, name)
        ns.patch("web-tls", pair)
        until(lambda: serves(server, pair), f"nginx serves certificate {name}\n{daemon.log_tail()}")
    status = server.get()["status"]["containerStatuses"][0]
    assert (server.container_id(), status["restartCount"]) == (container, 0)
    assert node.container_pid(container) == master
    until(lambda: not set(workers) & set(children(node, master)), "the first workers have ended")
    assert server.log().count("signal 1 (SIGHUP) received") == 2
    assert len(daemon.logged("signalled the update")) == 2

    invalid = {"tls.key": make_pair(tmp_path, "four")["tls.key"]}
    ns.patch("web-tls", invalid)
    server.wait_event("VolumeHeld")
    assert serves(server, pair)
    assert server.log().count("signal 1 (SIGHUP) received") == 2

    assert other.phase() == "Running" and "SIGHUP" not in other.log()
    assert bystander.exit_code() is None and "SIGHUP" not in bystander.log_tail()
