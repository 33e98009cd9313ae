"""deploy/monitoring: alerts by promtool and in a real Prometheus, and each query of the dashboard."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Iterator

import pytest
import yaml

from lib.deploy import DEPLOY, TOP
from lib.node_daemon import Node, NodeMaker
from lib.sources import Manifests
from lib.waiting import until

HERE = Path(__file__).parent
MONITORING = DEPLOY / "monitoring"
RULES = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())["spec"]
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
METRIC = re.compile(r"\b(?:secretfs|rest_client|process)_[a-z_]+")


def expressions() -> dict[str, list[str]]:
    """The dashboard's queries by panel, as Grafana sends them for all nodes."""
    return {
        panel["title"]: [
            target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            for target in panel["targets"]
        ]
        for panel in DASHBOARD["panels"]
    }


def write_rules(area: Path, *, annotated: bool = True) -> Path:
    """A rules file of Prometheus."""
    rules = [dict(rule) for rule in ALERTS.values()]
    for rule in rules:
        if not annotated:
            del rule["annotations"]
    path = area / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "secretfs", "rules": rules}]}))
    return path


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed (make packages-extra)")
    return found


def test_each_alert_has_a_runbook() -> None:
    """A section of troubleshooting.md that says the cause and what to do."""
    page = (TOP / "docs" / "troubleshooting.md").read_text()
    for name, rule in ALERTS.items():
        link = rule["annotations"]["runbook_url"]
        assert link == f"docs/troubleshooting.md#{name.lower()}"
        section = page.partition(f"\n### {name}\n")[2].partition("\n#")[0]
        assert "Cause: " in section and "What to do: " in section, name


def test_metrics_that_are_used_are_documented() -> None:
    known = set(METRIC.findall((TOP / "docs" / "metrics.md").read_text())) | {"process_"}
    queries = [rule["expr"] for rule in ALERTS.values()] + sum(expressions().values(), [])
    for query in queries:
        for name in METRIC.findall(query):
            base = re.sub(r"_(bucket|count)$", "", name)
            assert base in known or name.startswith("process_"), name


def test_alerts_by_promtool(area: Path) -> None:
    """Each alert fires when it should, after its time, and for nothing else."""
    promtool = needs("promtool")
    tests = yaml.safe_load((HERE / "alerts.yaml").read_text())["tests"]
    assert {test["name"] for test in tests} == set(ALERTS)
    write_rules(area, annotated=False)  # what alerts say is not the tests'
    shutil.copy(HERE / "alerts.yaml", area)
    done = subprocess.run(
        [promtool, "test", "rules", area / "alerts.yaml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---- in a real Prometheus


class Prometheus:
    """Scrapes a node each second, and evaluates the alerts."""

    def __init__(self, program: str, area: Path, target: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._address = "127.0.0.1:%d" % free.getsockname()[1]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(write_rules(area))],
            "scrape_configs": [
                {"job_name": "secretfs", "static_configs": [{"targets": [target]}]}
            ],
        }
        (area / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._log = open(area / "prometheus.log", "wb")
        self.process = subprocess.Popen(
            [
                program,
                f"--config.file={area}/prometheus.yml",
                f"--storage.tsdb.path={area}/tsdb",
                f"--web.listen-address={self._address}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def get(self, path: str, **query: str) -> Any:
        """None while it does not serve yet."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url) as reply:
                return json.load(reply)["data"]
        except OSError:
            assert self.process.poll() is None, "prometheus ended"
            return None

    def query(self, expression: str) -> list[Any]:
        data = self.get("query", query=expression)
        return data["result"] if data is not None else []

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


@pytest.fixture
def node(manifests: Manifests, start_node: NodeMaker) -> Node:
    manifests.put_secret({"user": b"dummy-1"})
    return start_node(*manifests.arguments, "--metrics-bind-address=127.0.0.1:0").wait_ready()


@pytest.fixture
def prometheus(node: Node, area: Path) -> Iterator[Prometheus]:
    program = needs("prometheus")
    target = re.search(r'serving metrics and health address="([^"]+)"', node.log())
    assert target is not None
    made = Prometheus(program, area, target.group(1))
    yield made
    made.close()


def test_prometheus_loads_alerts_and_answers_the_dashboard(
    node: Node, prometheus: Prometheus
) -> None:
    """Beside a running node each alert is evaluated, one fires, and each panel has a series, except
    those of what has not occurred: a certificate, a request to an API server, a consumer."""
    node.publish(node.pod())
    until(lambda: len(prometheus.query("rate(secretfs_volumes[1m])")) > 0, "two scrapes")

    def rules() -> dict[str, Any]:
        groups = (prometheus.get("rules") or {"groups": []})["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    until(lambda: {r["health"] for r in rules().values()} == {"ok"}, "the evaluation of all alerts")
    assert set(rules()) == set(ALERTS)
    # the node is registered by no kubelet
    until(lambda: rules()["SecretfsNotRegistered"]["state"] == "pending", "an alert")
    assert rules()["SecretfsAbsent"]["state"] == "inactive"
    empty = {"Certificates expire in", "Requests to API servers", "Consumers by version"}
    for panel, queries in expressions().items():
        for query in queries:
            result = prometheus.query(query)
            assert (len(result) == 0) == (panel in empty), (panel, query)
