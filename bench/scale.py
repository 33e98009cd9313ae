"""Measures many nodes at one API server: what each node and each volume costs it.

The API server and its etcd are real; each node is a real `secretfs node` with the rights of a kubelet
(node authorizer), and with its own volumes: one of a Secret that all nodes show, the others of
Secrets of their own. There are no kubelets and no containers. All of them share a network namespace
that nothing else uses, in groups of processes (node_group.py).
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import ssl
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, Iterator

import processes
from apiservers import Access, RealServer, write_kubeconfig
from node_group import CHANGING_KEY, DRIVER, NAMESPACE, SHARED_VOLUME
from processes import Failed, Obedient, run
from results import Spread, Table, mebibytes

GROUP_NODES = 40  # three inotify instances each, and one of the group, of 128
VALUE_BYTES = 100
N_KEYS = 10
SETTLE_SECONDS = 3.0
PATIENCE_SECONDS = 300.0
SAMPLE_SECONDS = 0.25
AFTER_SECONDS = 5.0  # that the restarted server is observed after the last watch is back
WATCHED = ("secrets", "pods")


@dataclass(frozen=True)
class ScaleSize:
    # volumes of a node, and the numbers of nodes that are measured with them, ascending
    nodes: dict[int, tuple[int, ...]]
    restarts: int  # the number of volumes with which the server is restarted
    changes: int
    idle_seconds: float


FULL = ScaleSize(
    nodes={1: (10, 100), 20: (10, 100), 5: (10, 50, 100, 200)},
    restarts=5,
    changes=5,
    idle_seconds=60.0,
)
QUICK = ScaleSize(nodes={2: (2, 4)}, restarts=2, changes=2, idle_seconds=2.0)


class ApiClient:
    """An administrator's requests on one connection, and what the server tells of itself."""

    def __init__(self, access: Access) -> None:
        self._host = access.url.removeprefix("https://")
        self._token = access.token_file.read_text()
        self._tls = ssl.create_default_context(cafile=str(access.ca))
        self._connection = http.client.HTTPSConnection(self._host, context=self._tls)

    def request(self, method: str, path: str, body: Any = None, kind: str = "json") -> str:
        headers = {"Authorization": f"Bearer {self._token}"}
        headers["Content-Type"] = f"application/{kind}"
        text = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, path, text, headers)
            response = self._connection.getresponse()
            answer = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        if response.status >= 300:
            raise Failed(f"{method} {path}: {response.status} {answer[:300]}")
        return answer

    def create(self, resource: str, body: dict[str, Any]) -> Any:
        return json.loads(self.request("POST", f"/api/v1/namespaces/{NAMESPACE}/{resource}", body))

    def collect_garbage(self) -> None:
        """After it, the heap is what is in use."""
        self.request("GET", "/debug/pprof/heap?gc=1")

    def metrics(self) -> Metrics:
        return Metrics(self.request("GET", "/metrics"))


class Metrics:
    _LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
    _LABEL = re.compile(r'(\w+)="([^"]*)"')

    def __init__(self, text: str) -> None:
        self._text = text

    def rows(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        start = 0
        while (start := self._text.find(f"\n{name}", start)) >= 0:
            match = self._LINE.match(self._text, start + 1)
            start += 1
            if match is not None and match[1] == name:
                yield dict(self._LABEL.findall(match[2] or "")), float(match[3])

    def value(self, name: str) -> float:
        return sum(value for _, value in self.rows(name))

    def in_use(self) -> int:
        """Bytes of heap and stacks, after a garbage collection."""
        heap = self.value("go_memstats_heap_alloc_bytes")
        return round(heap + self.value("go_memstats_stack_inuse_bytes"))

    def watches(self) -> int:
        """Of the resources that a daemon watches."""
        rows = self.rows("apiserver_longrunning_requests")
        return round(
            sum(
                value
                for labels, value in rows
                if labels["verb"] == "WATCH" and labels["resource"] in WATCHED
            )
        )

    def requests(self) -> Counter[str]:
        """By verb, resource and code; a watch counts when it has ended, `/version` never."""
        counted: Counter[str] = Counter()
        for labels, value in self.rows("apiserver_request_total"):
            words = (labels["verb"], labels["resource"] or "other", labels["code"])
            counted[" ".join(words)] += round(value)
        return counted


@dataclass
class Traffic:
    """Of the daemons' connections, as the kernel counts their bytes (with TLS, without headers of TCP)."""

    connections: int
    received: int  # by the daemons
    sent: int

    @staticmethod
    def now(port: int) -> Traffic:
        lines = run(["ss", "-HtinpO", "state", "established", f"dport = :{port}"]).splitlines()
        ours = [line for line in lines if '"secretfs"' in line]

        def total(field_name: str) -> int:
            return sum(int(text) for line in ours for text in re.findall(rf" {field_name}:(\d+)", line))

        return Traffic(len(ours), total("bytes_received"), total("bytes_sent"))


@dataclass
class Step:
    """What was there with so many nodes, of so many volumes each."""

    nodes: int
    volumes: int
    watches: int
    traffic: Traffic
    objects_in_use: int  # bytes of the API server's heap and stacks, before the new daemons started
    in_use: int  # the same with them
    resident_kib: int
    server_cpu_seconds: float  # since its start
    daemon_resident_kib: float  # of one daemon, its share of shared pages only (PSS)
    publishes: list[float]

    def document(self) -> dict[str, Any]:
        return {
            "nodes": self.nodes,
            "volumes": self.volumes,
            "watches": self.watches,
            "connections": self.traffic.connections,
            "bytesReceived": self.traffic.received,
            "bytesSent": self.traffic.sent,
            "apiserverBytesBeforeDaemons": self.objects_in_use,
            "apiserverBytes": self.in_use,
            "apiserverResidentKiB": self.resident_kib,
            "apiserverCpuSeconds": round(self.server_cpu_seconds, 2),
            "daemonProportionalKiB": round(self.daemon_resident_kib),
        }


@dataclass
class Outage:
    """What the API server got after all watches had ended; times in seconds since then."""

    key: str
    title: str
    nodes: int
    volumes: int
    restored: float  # when the last watch was back, to the second
    refused: list[tuple[float, int]]  # connections, in all, by then
    arrivals: list[float] = field(default_factory=list)  # of requests that the server received
    forbidden: list[float] = field(default_factory=list)  # answers of 403
    by_kind: Counter[str] = field(default_factory=Counter)  # of requests and answers

    def per_second(self, width: float = 1.0) -> list[float]:
        """Requests a second, in parts of so many seconds."""
        counts = Counter(int(arrival / width) for arrival in self.arrivals)
        return [counts[i] / width for i in range(max(counts, default=0) + 1)]

    def document(self) -> dict[str, Any]:
        return {
            "nodes": self.nodes,
            "volumes": self.volumes,
            "restored": round(self.restored, 2),
            "byKind": dict(self.by_kind),
            "requestsPerSecond": self.per_second(),
            "requestsPerSecondInTenths": self.per_second(0.1),
            "refusedConnections": [[round(at, 2), count] for at, count in self.refused],
        }


class Fleet:
    """An API server, and nodes that are added to it."""

    def __init__(self, secretfs: Path, directory: Path, assets: Path, volumes: int, most: int) -> None:
        self._secretfs = secretfs
        self._directory = directory
        self._volumes = volumes
        directory.mkdir()
        self._names = [f"node-{i}" for i in range(most)]
        lines = [f'{_token(name)},system:node:{name},{name},"system:nodes"' for name in self._names]
        flags = {"authorization-mode": "Node,RBAC"}
        self._server = RealServer(directory / "kube", assets, lines, flags)
        self._groups: list[Obedient] = []
        self._pids: list[int] = []
        self._audit = directory / "audit.log"
        self._access = self._server.__enter__()
        self._port = int(self._access.url.rpartition(":")[2])
        self.api = ApiClient(self._access)
        self._await_namespace()
        self.api.create("secrets", self._secret("shared"))
        metrics = self.api.metrics()
        self._requests_before = metrics.requests()
        self._watches_before = metrics.watches()  # of the server itself

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for group in self._groups:
            group.close()
        self._server.stop()

    def _await_namespace(self) -> None:
        def exists() -> bool:
            try:
                self.api.request("GET", f"/api/v1/namespaces/{NAMESPACE}")
                return True
            except Failed:
                return False

        _wait(exists, "the namespace")

    # ---- nodes

    def grow(self, count: int) -> Step:
        """Until there are so many nodes: their objects first, then daemons and volumes."""
        names = self._names[len(self._pids) : count]
        volumes = {name: self._create_pod(name) for name in names}
        time.sleep(SETTLE_SECONDS)
        objects_in_use = self._in_use()
        seconds = []
        while len(self._pids) < count:
            group_end = (len(self._pids) // GROUP_NODES + 1) * GROUP_NODES
            names = self._names[len(self._pids) : min(count, group_end)]
            seconds += self._add_nodes(names, [v for name in names for v in volumes[name]])
        _wait(self._are_watches_open, "all watches")
        return self.measure(objects_in_use, seconds)

    def _watches(self, metrics: Metrics) -> int:
        """Of the daemons."""
        return metrics.watches() - self._watches_before

    def _are_watches_open(self) -> bool:
        """One for each volume, as each has another object, and one for the pods."""
        return self._watches(self.api.metrics()) >= len(self._pids) * (self._volumes + 1)

    def _add_nodes(self, names: list[str], volumes: list[dict[str, str]]) -> list[float]:
        number = len(self._pids) // GROUP_NODES
        if number == len(self._groups):
            self._groups.append(self._start_group(number))
        group = self._groups[-1]
        self._pids += _ask(group, {"start": [self._prepare(name) for name in names]})
        seconds = _ask(group, {"publish": volumes})
        assert isinstance(seconds, list)
        return seconds

    def _start_group(self, number: int) -> Obedient:
        program = Path(__file__).with_name("node_group.py")
        command = [sys.executable, program, self._secretfs, number]
        return Obedient(command, self._directory / f"group-{number}.log")

    def _prepare(self, name: str) -> dict[str, str]:
        directory = self._directory / name
        directory.mkdir()
        access = (self._access.url, self._access.ca, _token(name))
        kubeconfig = write_kubeconfig(directory / "kubeconfig", *access)
        return {"name": name, "directory": str(directory), "kubeconfig": str(kubeconfig)}

    def _create_pod(self, name: str) -> list[dict[str, str]]:
        """On this node, with its Secrets. Return: the volumes that a kubelet publishes for it."""
        secrets = {SHARED_VOLUME: "shared"}
        secrets |= {f"own-{i}": f"{name}-{i}" for i in range(self._volumes - 1)}
        for volume, secret in secrets.items():
            if volume != SHARED_VOLUME:
                self.api.create("secrets", self._secret(secret))
        pod = self.api.create("pods", _pod(name, secrets))
        uid = pod["metadata"]["uid"]
        common = {"node": name, "pod": pod["metadata"]["name"], "uid": uid}
        return [{**common, "volume": volume, "secret": name} for volume, name in secrets.items()]

    def _secret(self, name: str) -> dict[str, Any]:
        value = base64.b64encode(b"s" * VALUE_BYTES).decode()
        data = {f"key-{i}": value for i in range(N_KEYS - 1)}
        return {"metadata": {"name": name}, "data": data | {CHANGING_KEY: value}}

    # ---- measurements

    def _in_use(self) -> int:
        """Bytes of the API server's heap and stacks."""
        self.api.collect_garbage()
        return self.api.metrics().in_use()

    def measure(self, objects_in_use: int, publishes: list[float]) -> Step:
        time.sleep(SETTLE_SECONDS)
        self.api.collect_garbage()
        metrics = self.api.metrics()
        shares = [_proportional_kib(pid) for pid in self._pids]
        return Step(
            nodes=len(self._pids),
            volumes=self._volumes,
            watches=self._watches(metrics),
            traffic=Traffic.now(self._port),
            objects_in_use=objects_in_use,
            in_use=metrics.in_use(),
            resident_kib=_resident_kib(self._server.pid),
            server_cpu_seconds=metrics.value("process_cpu_seconds_total"),
            daemon_resident_kib=sum(shares) / len(shares) if shares else 0,
            publishes=publishes,
        )

    def requests(self) -> Counter[str]:
        """Since before the first node."""
        counted = self.api.metrics().requests()
        counted.subtract(self._requests_before)
        return +counted

    def change(self, text: str) -> list[float]:
        """The shared Secret. Return: seconds from before the PATCH until each node shows it."""
        for group in self._groups:
            group.tell(json.dumps({"follow": text}))
        for group in self._groups:
            group.hear()  # "ready"
        patch = {"data": {CHANGING_KEY: base64.b64encode(text.encode()).decode()}}
        path = f"/api/v1/namespaces/{NAMESPACE}/secrets/shared"
        begin = time.monotonic()
        self.api.request("PATCH", path, patch, "merge-patch+json")
        times = [at for group in self._groups for at in json.loads(group.hear())]
        return [at - begin for at in times]

    def traffic(self) -> Traffic:
        return Traffic.now(self._port)

    def restart(self) -> Outage:
        """Kills the API server and starts another one at once, which logs the requests it gets."""
        policy = self._directory / "audit.json"
        policy.write_text(json.dumps(_audit_policy()))

        def act() -> None:
            self._server.kill_apiserver()
            self._server.start_apiserver(audit_log_path=self._audit, audit_policy_file=policy)

        return self._observe("scale-restart", "The API server killed and started", act)

    def break_connections(self) -> Outage:
        """All at once, as when one of several API servers ends, after restart()."""

        def act() -> None:
            run(["ss", "--kill", "--tcp", "--no-header", "dport", "=", f":{self._port}"])

        return self._observe("scale-broken", "All connections broken, the API server alive", act)

    def _observe(self, key: str, title: str, act: Callable[[], None]) -> Outage:
        failed_before = _failed_connections()
        since, begin = time.time(), time.monotonic()
        act()
        refused: list[tuple[float, int]] = []
        restored = None
        ask_at = begin + 1.0
        while restored is None or time.monotonic() < begin + restored + AFTER_SECONDS:
            if time.monotonic() > begin + PATIENCE_SECONDS:
                raise Failed(f"not all watches are back after {PATIENCE_SECONDS:.0f} s")
            refused.append((time.monotonic() - begin, _failed_connections() - failed_before))
            if restored is None and time.monotonic() > ask_at:
                ask_at = time.monotonic() + 1.0
                restored = time.monotonic() - begin if self._are_watches_back() else None
            time.sleep(SAMPLE_SECONDS)
        outage = Outage(key, title, len(self._pids), self._volumes, restored, refused)
        _read_audit(self._audit, since, outage)
        return outage

    def _are_watches_back(self) -> bool:
        try:
            return self._are_watches_open()
        except (OSError, http.client.HTTPException, Failed):
            return False


def _token(name: str) -> str:
    return f"dummy-{name}"


def _pod(node: str, secrets: dict[str, str]) -> dict[str, Any]:
    """Each Secret by a csi volume, and by one of the kubelet's, for which the node authorizer looks."""
    volumes: list[dict[str, Any]] = []
    for volume, secret in secrets.items():
        csi = {"driver": DRIVER, "readOnly": True, "volumeAttributes": {"secretName": secret}}
        volumes += [{"name": volume, "csi": csi}]
        volumes += [{"name": f"{volume}-right", "secret": {"secretName": secret}}]
    mounts = [{"name": volume, "mountPath": f"/{volume}"} for volume in secrets]
    container = {"name": "main", "image": "none", "volumeMounts": mounts}
    spec = {"nodeName": node, "containers": [container], "volumes": volumes}
    return {"metadata": {"name": f"pod-{node}"}, "spec": spec}


def _ask(group: Obedient, command: dict[str, Any]) -> list[Any]:
    answer = json.loads(group.ask(json.dumps(command)))
    assert isinstance(answer, list)
    return answer


def _wait(condition: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"waited {PATIENCE_SECONDS:.0f} s for {what} in vain")
        time.sleep(0.2)


def _resident_kib(pid: int) -> int:
    match = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1])


def _proportional_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    match = re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)
    assert match is not None
    return int(match[1])


def _failed_connections() -> int:
    """In this network namespace: those that the other side refused, most of all."""
    names, values = re.findall(r"^Tcp: (.*)$", Path("/proc/net/snmp").read_text(), re.MULTILINE)
    return int(dict(zip(names.split(), values.split()))["AttemptFails"])


# ---- audit

def _audit_policy() -> dict[str, Any]:
    resources = [{"group": "", "resources": list(WATCHED)}]
    daemons = {"level": "Metadata", "userGroups": ["system:nodes"], "resources": resources}
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "rules": [daemons, {"level": "None"}],
    }


def _read_audit(log: Path, since: float, outage: Outage) -> None:
    for line in log.read_text().splitlines():
        event = json.loads(line)
        resource = event["objectRef"]["resource"]
        if event["stage"] == "RequestReceived":
            at = _seconds_of(event["requestReceivedTimestamp"]) - since
        else:
            at = _seconds_of(event["stageTimestamp"]) - since
        if at < 0:
            continue
        if event["stage"] == "RequestReceived":
            kind = "list and watch" if "sendInitialEvents" in event["requestURI"] else event["verb"]
            outage.by_kind[f"requests: {kind} {resource}"] += 1
            outage.arrivals.append(at)
        elif event["stage"] == "ResponseStarted" or event["verb"] != "watch":
            code = event["responseStatus"]["code"]
            outage.by_kind[f"answers: {code}, {resource}"] += 1
            outage.forbidden += [at] if code == 403 else []
    outage.arrivals.sort()


def _seconds_of(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


# ---- tables

@dataclass
class Measured:
    steps: list[Step]
    requests: Counter[str]
    changes: list[list[float]]
    idle: Traffic | None
    idle_cpu: float
    outages: list[Outage]


def _run_fleet(secretfs: Path, directory: Path, assets: Path, volumes: int, size: ScaleSize) -> Measured:
    counts = size.nodes[volumes]
    with Fleet(secretfs, directory, assets, volumes, counts[-1]) as fleet:
        steps = [fleet.measure(0, [])]
        for count in counts:
            steps.append(fleet.grow(count))
            _progress(steps[-1])
        made = Measured(steps, fleet.requests(), [], None, 0.0, [])
        if volumes == size.restarts:
            made.idle, made.idle_cpu = _measure_idle(fleet, size.idle_seconds)
            made.changes = [fleet.change(f"change {i}") for i in range(size.changes)]
            made.outages = [fleet.restart(), fleet.break_connections()]
        return made


def _progress(step: Step) -> None:
    print(f"scale: {json.dumps(step.document())}", file=sys.stderr, flush=True)


def _measure_idle(fleet: Fleet, seconds: float) -> tuple[Traffic, float]:
    before, cpu = fleet.traffic(), fleet.api.metrics().value("process_cpu_seconds_total")
    time.sleep(seconds)
    after, cpu_after = fleet.traffic(), fleet.api.metrics().value("process_cpu_seconds_total")
    idle = Traffic(after.connections, after.received - before.received, after.sent - before.sent)
    return idle, cpu_after - cpu


def measure(secretfs: Path, size: ScaleSize) -> list[Table]:
    assets = RealServer.assets()
    if assets is None:
        raise Failed("KUBEBUILDER_ASSETS has to name a directory with etcd and kube-apiserver")
    processes.isolate_network()
    # not in /tmp: each daemon watches the directories on the way to its kubeconfig
    directory = Path(tempfile.mkdtemp(prefix="secretfs-bench-", dir="/var/tmp"))
    try:
        made = {v: _run_fleet(secretfs, directory / f"v{v}", assets, v, size) for v in size.nodes}
    finally:
        shutil.rmtree(directory)
    return list(_tables(made, size))


def _tables(made: dict[int, Measured], size: ScaleSize) -> Iterator[Table]:
    yield _table_of_steps(made, size)
    full = made[size.restarts]
    yield _table_of_requests(made)
    yield _table_of_changes(full)
    yield from map(_table_of_outage, full.outages)


def _table_of_steps(made: dict[int, Measured], size: ScaleSize) -> Table:
    columns = ["watches", "connections", "before MiB", "in use MiB", "resident MiB", "KiB sent", "KiB received"]
    columns += ["a daemon MiB", "publish ms"]
    table = Table("scale", "Nodes at one API server, by their number and their volumes", columns)
    for step in [step for measured in made.values() for step in measured.steps]:
        cells = [str(step.watches), str(step.traffic.connections)]
        cells += [f"{step.objects_in_use / 2**20:.1f}" if step.nodes else ""]
        cells += [f"{step.in_use / 2**20:.1f}", mebibytes(step.resident_kib)]
        cells += [f"{step.traffic.sent / 1024:.0f}", f"{step.traffic.received / 1024:.0f}"]
        cells += [f"{step.daemon_resident_kib / 1024:.1f}"]
        cells += [f"{Spread(step.publishes).p50 * 1e3:.1f}" if step.publishes else ""]
        table.add(f"{step.nodes} nodes, {step.volumes} volumes", cells, step.document())
    table.notes.append(
        "memory of the API server, heap and stacks after a garbage collection: before the last daemons "
        "started, with\n   their objects, and with them"
    )
    idle = made[size.restarts].idle
    if idle is not None:
        table.notes.append(
            f"with {size.restarts} volumes and all nodes, {size.idle_seconds:.0f} s without a change: "
            f"{idle.received} bytes received and {idle.sent} sent\n   by all daemons, and "
            f"{made[size.restarts].idle_cpu:.2f} s of processor time of the API server"
        )
    return table


def _table_of_requests(made: dict[int, Measured]) -> Table:
    table = Table("scale-requests", "Requests that have ended, of all nodes", ["requests"])
    for volumes, measured in made.items():
        for words, count in sorted(measured.requests.items()):
            verb, resource = words.split()[:2]
            if verb != "POST" and resource in WATCHED:  # the bench's own are POSTs
                name = f"{measured.steps[-1].nodes} nodes, {volumes} volumes: {words}"
                table.add(name, [str(count)], {"requests": count})
    return table


def _table_of_changes(measured: Measured) -> Table:
    title = f"A Secret that {measured.steps[-1].nodes} nodes show, ms from before the PATCH"
    table = Table("scale-change", title, ["first", "p50", "last"])
    for i, seconds in enumerate(measured.changes):
        spread = Spread(seconds)
        cells = [f"{value * 1e3:.1f}" for value in (min(seconds), spread.p50, spread.max)]
        table.add(f"change {i + 1}", cells, {"seconds": spread.document()})
    return table


def _table_of_outage(outage: Outage) -> Table:
    title = f"{outage.title}, under {outage.nodes} nodes of {outage.volumes} volumes"
    table = Table(outage.key, title, ["now"])
    first, last = outage.arrivals[0], outage.arrivals[-1]
    rows = {
        "first request received, s": first,
        "last request received, s": last,
        "all watches are back, s": outage.restored,
        "requests": len(outage.arrivals),
        "requests a second, mean from first to last": len(outage.arrivals) / (last - first),
        "requests in the busiest second": max(outage.per_second()),
        "requests in the busiest tenth of a second": max(outage.per_second(0.1)) / 10,
        "last answer of 403, s": max(outage.forbidden, default=0.0),
        "connections refused meanwhile": outage.refused[-1][1],
    }
    for name, value in rows.items():
        table.add(name, [f"{value:.1f}".removesuffix(".0")], {"value": round(value, 3)})
    for words, count in sorted(outage.by_kind.items()):
        table.add(words, [str(count)], {"value": count})
    table.rows[0].document["series"] = outage.document()
    return table
