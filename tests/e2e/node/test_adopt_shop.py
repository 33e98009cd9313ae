"""examples/adopt: a Deployment, a StatefulSet and a CronJob, from the label to the rollback."""

from __future__ import annotations

import json
from typing import Iterator

import pytest

from lib import program as programs
from lib.deploy import TOP
from lib.kube import Cluster, Node
from lib.kube.adoption import admitted, label, pod, volumes
from lib.kube.daemons import Daemon
from lib.kube.namespace import Namespace
from lib.kube.pods import Pod
from lib.waiting import until

SHOP = TOP / "examples" / "adopt" / "shop.yaml"
NO_LABEL = "the namespace has no label secretfs.io/adopt: enabled"


class Shop:
    def __init__(self, node: Node, ns: Namespace) -> None:
        self._node = node
        self._cluster = node.cluster
        self._seen: list[Pod] = []
        self.ns = ns

    def apply(self, checksum: str = "1") -> None:
        text = SHOP.read_text().replace('checksum/config: "1"', f'checksum/config: "{checksum}"')
        self.ns.kubectl("apply", "-f", "-", stdin=text)

    def wait_rolled_out(self) -> None:
        for owner in ("deployment/web", "statefulset/store"):
            self.ns.kubectl("rollout", "status", owner, "--timeout=110s")

    def pod(self, app: str) -> Pod:
        """The only one of the application, once those before it are gone."""

        def only_one() -> str | None:
            listed = json.loads(self.ns.kubectl("get", "pods", "-l", f"app={app}", "-o", "json"))
            names = [item["metadata"]["name"] for item in listed["items"]]
            return names[0] if len(names) == 1 else None

        name = until(only_one, f"one pod of {app}")
        assert name is not None
        return self._pod(name).wait_running()

    def _pod(self, name: str) -> Pod:
        self._seen.append(Pod(self._node, self.ns, name))
        return self._seen[-1]

    def report(self, name: str) -> tuple[str, bool]:
        """What a job of the CronJob prints, and whether its pod was adopted."""
        self.ns.kubectl("create", "job", "--from=cronjob/report", name)
        self.ns.kubectl("wait", "--for=condition=complete", f"job/{name}", "--timeout=110s")
        (item,) = json.loads(
            self.ns.kubectl("get", "pods", "-l", f"job-name={name}", "-o", "json")
        )["items"]
        return self._pod(item["metadata"]["name"]).log(), "all-secretfs" in volumes(item)

    def status(self) -> str:
        command = [programs.binary(), "adopt", "status", "-n", self.ns.name]
        command += ["--kubeconfig", self._cluster.admin_kubeconfig]
        search = f"PATH={self._cluster.assets.kubectl.parent}:/usr/bin:/bin"
        done = programs.run(["env", search, *command], home=self._cluster.directory)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def served(self) -> dict[str, list[str]]:
        """By the first word of a pod's name: SERVED, and why not the others."""
        lines = [line.split(maxsplit=3)[1:] for line in self.status().splitlines()[1:]]
        return {line[0].partition("-")[0]: line[1:] for line in lines}

    def close(self) -> None:
        """Its pods go with their owners."""
        self.ns.kubectl("delete", "--ignore-not-found", "-f", SHOP)
        for pod in self._seen:
            until(pod.is_off_the_node, f"pod {pod.name} has left the node", pause=0.05)


@pytest.fixture
def shop(policy: None, example_image: None, node: Node, ns: Namespace) -> Iterator[Shop]:
    made = Shop(node, ns)
    yield made
    made.close()


def read(pod: Pod, path: str) -> bytes:
    return pod.view(path).read_bytes()


def test_from_label_to_rollback(node_daemon: Daemon, cluster: Cluster, shop: Shop) -> None:
    ns = shop.ns
    label(ns, adopt="enabled")
    until(lambda: "own-secretfs" in volumes(admitted(cluster, ns, pod("probe"))), "the policy")
    shop.apply()
    shop.wait_rolled_out()
    report, is_adopted = shop.report("report-1")
    assert is_adopted
    for line in ("app.conf:level=1", "creds/user:dummy-user", 'labels:app="report"'):
        assert line in report, report
    assert shop.served() == {"web": ["2/2", "-"], "store": ["1/1", "-"]}

    # a change reaches the pods as they are, the file that is mounted alone included
    web, store = shop.pod("web"), shop.pod("store")
    ns.patch("db", {"password": b"dummy-2"})
    change = json.dumps({"data": {"app.conf": "level=2"}})
    ns.kubectl("patch", "configmap", "web", "--type=merge", "-p", change)
    until(lambda: read(web, "/etc/creds/password") == b"dummy-2", "the Secret")
    until(lambda: read(web, "/etc/web/app.conf") == b"level=2", "the ConfigMap")
    until(lambda: read(store, "/etc/store/app.conf") == b"level=2", "the file mounted alone")

    # the chart's own rollout goes on as before
    shop.apply(checksum="2")
    shop.wait_rolled_out()
    assert shop.pod("web").name != web.name
    assert shop.served() == {"web": ["2/2", "-"], "store": ["1/1", "-"]}

    label(ns, adopt=None)
    until(lambda: "own-secretfs" not in volumes(admitted(cluster, ns, pod("probe"))), "the policy")
    ns.kubectl("rollout", "restart", "deployment/web", "statefulset/store")
    shop.wait_rolled_out()
    web, store = shop.pod("web"), shop.pod("store")
    report, is_adopted = shop.report("report-2")
    assert "app.conf:level=1" in report and not is_adopted
    assert read(web, "/etc/web/app.conf") == read(store, "/etc/store/app.conf") == b"level=1"
    assert shop.served() == {"web": ["0/2", NO_LABEL], "store": ["0/1", NO_LABEL]}
