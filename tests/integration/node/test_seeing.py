"""What can be seen of a node from outside: metrics, health, status, doctor and events."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lib import program, wire
from lib.certificates import make_pair, make_short_pair
from lib.deploy import TOP
from lib.grpc_client import call
from lib.kubelet import NOTIFY, OK
from lib.live import SubPaths
from lib.node_daemon import DRIVER, NODE, Node, NodeMaker, is_shown, read
from lib.sources import Api, Manifests
from lib.volume import unmount
from lib.waiting import until

SECRET_BYTES = b"dummy-value-of-a-secret"
PAGES = "--metrics-bind-address=127.0.0.1:0"


def address(node: Node) -> str:
    """Where it says that it serves its pages."""
    found = re.search(r'serving metrics and health address="([^"]+)"', node.log())
    assert found is not None, node.log()
    return found.group(1)


def get(node: Node, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address(node)}{path}") as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Metrics:
    """One scrape, read by a parser that is not ours."""

    def __init__(self, node: Node) -> None:
        status, self.text = get(node, "/metrics")
        assert status == 200
        self.families = {f.name: f for f in text_string_to_metric_families(self.text)}

    def value(self, sample: str, **labels: str) -> float | None:
        """None for an unknown sample."""
        for family in self.families.values():
            for found in family.samples:
                if found.name == sample and found.labels == labels:
                    return found.value
        return None


def register(node: Node, error: str = "") -> None:
    """Tells it what the kubelet made of it."""
    path = node.root / "plugins_registry" / f"{DRIVER}-reg.sock"
    message = wire.field(2, error) if error else wire.field(1, True)
    assert call(path, NOTIFY, message).code == OK


def status(node: Node, *arguments: str) -> Any:
    command = [program.binary(), "status", "-o", "json", *arguments]
    return json.loads(program.run(command, home=node.home).stdout)


def listed(node: Node) -> list[str]:
    """The targets of its volumes, each as often as it is listed."""
    return [i["mountpoint"] for i in status(node)["items"] if i.get("pid") == node.pid]


@pytest.fixture
def seen(start_node: NodeMaker, manifests: Manifests) -> Node:
    """A daemon on manifests that serves its pages on a free port."""
    manifests.put_secret({"user": SECRET_BYTES})
    return start_node(PAGES, *manifests.arguments).wait_ready()


@pytest.fixture
def on_api(start_node: NodeMaker, api: Api) -> Node:
    api.put_secret({"user": SECRET_BYTES})
    return start_node("--rights=daemon", PAGES, *api.arguments).wait_ready()


# ---- metrics


def test_metrics_count_publishes_and_volumes(seen: Node, manifests: Manifests) -> None:
    """What was published, how long it took, and which volumes exist."""
    volume = seen.publish(seen.pod())
    assert seen.pod(1, secret="none").publish(seen.endpoint).code != OK
    metrics = Metrics(seen)
    published = "secretfs_node_publish_total"
    assert metrics.value(published, result="success", reason="") == 1
    assert metrics.value(published, result="failure", reason="NOT_FOUND") == 1
    assert metrics.value("secretfs_node_publish_duration_seconds_count") == 2
    assert metrics.value("secretfs_volumes", state="current") == 1
    for state in ("waiting", "disconnected", "failing", "held", "stale"):
        assert metrics.value("secretfs_volumes", state=state) == 0
    assert metrics.value("secretfs_secret_bytes") > 0
    assert metrics.value("secretfs_fuse_requests_total", op="mkdir") >= 1
    seen.unpublish(volume)
    assert Metrics(seen).value("secretfs_volumes", state="current") == 0


def test_metrics_count_updates_without_the_first_content(seen: Node, manifests: Manifests) -> None:
    """An update is counted, the first content of a volume is none."""
    volume = seen.publish(seen.pod())
    count = "secretfs_update_propagation_seconds_count"
    assert Metrics(seen).value(count) in (None, 0)
    manifests.put_secret({"user": b"2"})
    until(lambda: read(volume, "user") == b"2", "the update")
    until(lambda: Metrics(seen).value(count) == 1, "its being counted")
    assert Metrics(seen).value("secretfs_update_propagation_seconds_sum") < 60


def test_metrics_count_requests_and_watches_of_the_api(on_api: Node, api: Api) -> None:
    volumes = [on_api.publish(on_api.pod(number)) for number in range(3)]
    metrics = until(lambda: _with_watches(on_api, 1), "the watch")
    assert metrics.value("rest_client_requests_total", code="200") >= 1
    assert metrics.value("secretfs_api_connections") >= 1
    assert metrics.value("secretfs_watch_restarts_total") == 0
    api.server.close_watches()
    until(lambda: Metrics(on_api).value("secretfs_watch_restarts_total") >= 1, "the restart")
    for volume in volumes:
        on_api.unpublish(volume)
    until(lambda: _with_watches(on_api, 0), "the watch's end")


def _with_watches(node: Node, n: int) -> Metrics | None:
    metrics = Metrics(node)
    return metrics if metrics.value("secretfs_watches") == n else None


# What the labels of these can be is only known when it occurs; docs/metrics.md names them.
LATER_SERIES = {"rest_client_requests", "secretfs_certificate_expiry_timestamp_seconds"}


def _series(metrics: Metrics) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Name and labels of each sample, without those of LATER_SERIES."""
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for name, family in metrics.families.items()
        if name not in LATER_SERIES
        for sample in family.samples
    }


def test_metrics_have_every_series_from_the_start(on_api: Node, api: Api, area: Path) -> None:
    """increase() and rate() miss the first count of a series that begins with it."""
    start = _series(Metrics(on_api))
    pair = on_api.pod(1, secret="web-tls")
    put_pair(api, make_pair(area, "good"))
    volume = on_api.publish(on_api.pod(attributes=_user_of("app")))
    on_api.publish(pair)
    assert on_api.pod(2, secret="none").publish(on_api.endpoint).code != OK
    assert on_api.pod(3, attributes={"unknown": "1"}).publish(on_api.endpoint).code != OK
    register(on_api)
    api.put_secret({"user": b"2"})
    until(lambda: read(volume, "user") == b"2", "the update")
    api.put_secret({"other": b"1"})
    until(lambda: events(api), "the event")
    api.server.close_watches()
    until(lambda: Metrics(on_api).value("secretfs_watch_restarts_total") >= 1, "the restart")
    on_api.unpublish(volume)
    metrics = Metrics(on_api)
    assert _series(metrics) == start
    assert LATER_SERIES <= set(metrics.families)


def test_metrics_describe_the_process(seen: Node) -> None:
    metrics = Metrics(seen)
    assert metrics.value("process_resident_memory_bytes") > 1 << 20
    assert metrics.value("process_open_fds") > 3
    assert metrics.value("secretfs_build_info", version=_version(seen)) == 1
    assert metrics.value("secretfs_metrics_dropped_total") == 0


def _version(node: Node) -> str:
    return program.run([program.binary(), "version"], home=node.home).stdout.split()[1]


def test_metrics_follow_the_conventions(seen: Node) -> None:
    """Names end in their unit or in _total; every family has a help; no label names a pod."""
    seen.publish(seen.pod())
    metrics = Metrics(seen)
    assert SECRET_BYTES.decode() not in metrics.text
    assert "web-0" not in metrics.text
    for name, family in metrics.families.items():
        assert family.documentation.endswith("."), name
        assert re.match(r"(secretfs|process|rest_client)_[a-z_]+$", name), name
        labels = {label for sample in family.samples for label in sample.labels}
        assert labels.isdisjoint({"pod", "volume", "target", "uid"}), name


def test_metrics_are_all_documented(seen: Node) -> None:
    """docs/metrics.md has every one."""
    text = (TOP / "docs" / "metrics.md").read_text()
    seen.publish(seen.pod())
    for family in Metrics(seen).families.values():
        name = family.name + ("_total" if family.type == "counter" else "")
        assert name.startswith("process_") or f"`{name}`" in text, name


def test_alerts_name_existing_series(seen: Node) -> None:
    """Each series and each state that an alert names exists from the start."""
    rules = (TOP / "deploy" / "monitoring" / "prometheusrule.yaml").read_text()
    alerts = "\n".join(re.findall(r"expr: (.*)", rules))
    samples = [sample for family in Metrics(seen).families.values() for sample in family.samples]
    names = set(re.findall(r"secretfs_[a-z_]+", alerts))
    assert len(names) > 3
    assert names - {sample.name for sample in samples} <= LATER_SERIES
    states = {sample.labels["state"] for sample in samples if sample.name == "secretfs_volumes"}
    named = "|".join(re.findall(r'state=~?"([a-z|]+)"', alerts)).split("|")
    assert set(named) == {"waiting", "failing", "held", "stale", "disconnected"} <= states


# ---- health


def test_health_is_ready_once_the_kubelet_has_registered_it(seen: Node) -> None:
    """It lives from the start, and is ready when the kubelet has taken it in."""
    assert get(seen, "/livez") == (200, "ok")
    assert get(seen, "/healthz") == (200, "ok")
    code, body = get(seen, "/readyz")
    assert code == 503
    assert "[+]mount ok" in body
    assert "[-]registered failed: the kubelet has not asked" in body
    register(seen)
    assert get(seen, "/readyz") == (200, "ok")
    code, body = get(seen, "/readyz?verbose")
    assert body.splitlines() == [
        "[+]mount ok",
        "[+]threads ok",
        "[+]registered ok",
        "[+]source ok",
        "readyz check passed",
    ]
    register(seen, error="the driver is not wanted")
    code, body = get(seen, "/readyz")
    assert (code, "the driver is not wanted" in body) == (503, True)


def test_ready_once_the_api_server_has_answered(start_node: NodeMaker, api: Api) -> None:
    """There is no request before the first volume; after one response the server may go away."""
    api.put_secret({"user": b"1"})
    api.server.stop_listening()
    node = start_node("--rights=daemon", PAGES, *api.arguments).wait_ready()
    register(node)
    assert get(node, "/readyz")[0] == 200
    volume = node.pod()
    assert volume.publish(node.endpoint).code != OK
    code, body = get(node, "/readyz")
    assert (code, "[-]source failed" in body) == (503, True)
    api.server.start_listening()
    until(lambda: volume.publish(node.endpoint).code == OK, "the API server")
    assert get(node, "/readyz")[0] == 200
    api.server.stop_listening()
    api.server.end_connections()
    until(lambda: "source failed, retrying" in node.log(), "word of it")
    assert get(node, "/readyz")[0] == 200


def test_pages_answer_404_and_405_to_what_they_do_not_serve(seen: Node) -> None:
    assert get(seen, "/")[0] == 404
    request = urllib.request.Request(f"http://{address(seen)}/metrics", method="POST")
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request)
    assert raised.value.code == 405


def test_no_pages_are_served_at_address_0(start_node: NodeMaker, manifests: Manifests) -> None:
    node = start_node("--metrics-bind-address=0", *manifests.arguments).wait_ready()
    assert "serving metrics" not in node.log()


def test_address_in_use_leaves_volumes_without_pages(
    start_node: NodeMaker, manifests: Manifests
) -> None:
    """Pods are not to go without volumes for that."""
    manifests.put_secret({"user": b"1"})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = [f"--metrics-bind-address=127.0.0.1:{port}", *manifests.arguments]
        node = start_node(*arguments).wait_ready()
        node.publish(node.pod())
        assert "cannot serve metrics and health" in node.log()


def test_invalid_address_ends_the_start(start_node: NodeMaker, manifests: Manifests) -> None:
    node = start_node("--metrics-bind-address=invalid", *manifests.arguments)
    node.expected_exit = 2
    assert node.wait_end() == 2
    assert "127.0.0.1:9090, [::1]:9090 or :9090" in node.log()


def test_stalled_clients_of_pages_hold_up_no_request(seen: Node, manifests: Manifests) -> None:
    """Stalled clients delay no other."""
    host, port = address(seen).rsplit(":", 1)
    stalled = [socket.create_connection((host, int(port))) for _ in range(10)]
    for client in stalled:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
    seen.publish(seen.pod())
    assert get(seen, "/livez")[0] == 200
    for client in stalled:
        client.close()


# ---- status


def test_status_lists_each_volume_with_its_pod(seen: Node) -> None:
    """Each volume with its pod, and the process once."""
    volumes = [seen.publish(seen.pod(number)) for number in range(3)]
    items = seen.status()["volumes"]
    assert set(items) == {str(volume.target) for volume in volumes}
    item = items[str(volumes[1].target)]
    assert item["pod"] == "default/web-1"
    assert item["volume"]["state"] == "current"
    assert item["volume"]["mountedAlone"] == {"count": 0, "live": False}
    assert item["process"] == "node"
    process = seen.status()
    assert process["registered"] is False
    assert process["driver"] == DRIVER
    assert SECRET_BYTES.decode() not in json.dumps(status(seen))


def test_status_of_one_volume_by_any_path_tells_its_source(on_api: Node, api: Api) -> None:
    """By its target or any path in it, with what its source tells."""
    volume = on_api.publish(on_api.pod())
    other = on_api.publish(on_api.pod(1))
    for path in (volume.target, volume.target / "user"):
        one = status(on_api, str(path))
        assert one["mountpoint"] == str(volume.target) != str(other.target)
        assert one["pod"] == "default/web-0"
        assert one["source"]["kind"] == "api"
        assert one["requests"]["total"] > 0
        assert "sources" not in one
    command = [program.binary(), "status", volume.target]
    text = program.run(command, home=on_api.home).stdout
    assert "default/web-0" in text
    assert (api.proxy or api.server).url in text


def test_status_lists_many_volumes_once_each(seen: Node) -> None:
    """More than one pass posts; none is missing and none is posted twice."""
    volumes = [seen.publish(seen.pod(number)) for number in range(150)]
    assert sorted(listed(seen)) == sorted(str(volume.target) for volume in volumes)


def test_status_lists_volumes_of_both_file_systems_once_each(seen: Node) -> None:
    """With either of them; nothing is reported twice."""
    standard = seen.publish(seen.pod())
    in_place = seen.publish(seen.pod(1, attributes={"secretName": "app", "updates": "in-place"}))
    assert standard.target.stat().st_dev != in_place.target.stat().st_dev
    assert sorted(listed(seen)) == sorted([str(standard.target), str(in_place.target)])
    for volume in (standard, in_place):
        assert status(seen, str(volume.target))["mountpoint"] == str(volume.target)
    assert [p["pid"] for p in status(seen)["processes"]].count(seen.pid) == 1


def test_status_lists_a_volume_that_waits(on_api: Node, api: Api) -> None:
    """What is not shown yet is listed as well, with the reason."""
    api.server.stop_listening()
    api.server.end_connections()
    volume = on_api.pod(secret="other")
    assert volume.publish(on_api.endpoint).code != OK
    item = on_api.status()["volumes"][str(volume.target)]
    assert item["volume"]["state"] == "waiting"
    assert "generation" not in item["volume"]
    assert item["source"]["state"] == "failing"


def test_unmount_of_a_volume_leaves_daemon_and_other_volumes(seen: Node) -> None:
    """The daemon goes on, and shows it again when it is asked to."""
    volume, other = seen.publish(seen.pod()), seen.publish(seen.pod(1))
    done = program.run([program.binary(), "unmount", volume.target], home=seen.home)
    assert done.returncode == 0, done.stderr
    assert not is_shown(volume)
    assert read(other, "user") == SECRET_BYTES
    assert seen.exit_status is None
    seen.publish(volume)
    assert is_shown(volume)

def test_status_debug_has_watches_and_queues(api: Api, start_node: NodeMaker) -> None:
    """The process has the watches of its sources, each volume its place in the queue; no value is
    among them, and nothing of it is there unless it is requested."""
    api.put_secret({"user": SECRET_BYTES})
    node = start_node("--rights=daemon", *api.arguments).wait_ready()
    volume = node.publish(node.pod())

    def listed(*arguments: str) -> dict[str, Any]:
        command = [program.binary(), "status", "-o", "json", *arguments]
        done = program.run(command, home=node.home)
        # 1: another mount of this host is about to end, as those of tests that run beside this one
        assert done.returncode in (0, 1) and str(node.run_dir) not in done.stderr, done.stderr
        assert SECRET_BYTES.decode() not in done.stdout
        return json.loads(done.stdout)

    def watches(list_: dict[str, Any]) -> list[dict[str, Any]]:
        (process,) = (p for p in list_["processes"] if p.get("runDirectory") == str(node.run_dir))
        return [w for source in process["sources"] for w in source.get("watchStates", [])]

    until(lambda: [w["state"] for w in watches(listed("--debug"))] == ["watching"], "the watch")
    assert watches(listed("--debug"))[0]["object"] == "secret/default/app"
    (item,) = (v for v in listed("--debug")["items"] if v["mountpoint"] == str(volume.target))
    assert item["debug"]["state"] == "ready"
    assert item["debug"]["queue"]["bindWaits"] is False
    one = listed("--debug", str(volume.target))
    assert one["source"]["watchStates"][0]["object"] == "secret/default/app"

    plain = listed()
    assert watches(plain) == []
    assert all("debug" not in v for v in plain["items"])


# ---- doctor


def examine(node: Node, *arguments: str) -> dict[str, dict[str, Any]]:
    places = [f"--kubelet-root={node.root}", f"--run-dir={node.run_dir}", f"--node-id={NODE}"]
    command = [program.binary(), "doctor", "-o", "json", *places, *arguments]
    found = json.loads(program.run(command, home=node.home).stdout)
    return {check["check"]: check for check in found["checks"]}


def test_doctor_checks_sockets_and_registration(seen: Node, manifests: Manifests) -> None:
    """Sockets and registration are seen as they are."""
    checks = examine(seen, *manifests.arguments)
    assert checks["csi-socket"]["result"] == "ok"
    assert checks["registration"]["result"] == "ok"
    assert checks["registered"]["result"] == "fail"
    register(seen, error="no such node")
    assert "no such node" in examine(seen, *manifests.arguments)["registered"]["text"]
    register(seen)
    checks = examine(seen, *manifests.arguments)
    assert checks["registered"]["result"] == "ok"
    assert checks["run-dir"]["result"] == "ok"


def test_doctor_takes_the_options_of_the_daemon(seen: Node) -> None:
    """Beside a healthy node nothing fails, though the command line names its directory only; what
    it has in addition wins."""
    register(seen)
    command = [program.binary(), "doctor", "-o", "json", f"--run-dir={seen.run_dir}"]
    done = program.run(command, home=seen.home)
    found = json.loads(done.stdout)
    checks = {check["check"]: check for check in found["checks"]}
    assert checks["options"]["text"] == f"those of the daemon that runs, process {seen.pid}"
    assert str(seen.root) in checks["kubelet-root"]["text"]
    assert [c for c in found["checks"] if c["result"] == "fail"] == []
    assert done.returncode == 0
    other = program.run([*command, f"--endpoint={seen.root}/none.sock"], home=seen.home)
    checks = {check["check"]: check for check in json.loads(other.stdout)["checks"]}
    assert "none.sock" in checks["csi-socket"]["text"]
    assert checks["registration"]["result"] == "ok"


def test_doctor_reports_the_limits_of_the_daemon(manifests: Manifests, start_node) -> None:
    """The daemon tells them: its process may be one that the doctor cannot see."""
    limited = ["setpriv", "--bounding-set=-ipc_lock", "prlimit", f"--memlock={4 << 20}"]
    node = start_node(*manifests.arguments, prefix=limited).wait_ready()
    check = examine(node, *manifests.arguments)["locked-memory"]
    assert check["result"] == "warn"
    assert "4096 KiB" in check["text"]


def test_doctor_names_a_volume_that_is_stale(seen: Node, manifests: Manifests) -> None:
    """With the reason that its status has, until it is current again."""
    volume = seen.publish(seen.pod(attributes=_user_of("app")))

    def named(text: str) -> bool:
        check = examine(seen, *manifests.arguments)["volumes"]
        return text in check["text"] and (check["result"] == "warn") == ("remedy" in check)

    until(lambda: not named(str(volume.target)), "a volume that is current")
    manifests.put_secret({"other": b"1"})
    until(lambda: named(f"1 stale, such as {volume.target}: "), "a volume that is stale")
    manifests.put_secret({"user": b"2"})
    until(lambda: not named(str(volume.target)), "a volume that is current again")


# ---- events


def events(api: Api) -> list[dict[str, Any]]:
    """Those that were posted, oldest first."""
    asked = api.server.requests.select(verb="create", resource="events")
    return [json.loads(request.body) for request in asked]


def test_event_on_a_pod_when_its_update_is_held_and_when_over(on_api: Node, api: Api) -> None:
    """Said when it begins, and when it is over."""
    volume = on_api.publish(on_api.pod(attributes=_user_of("app")))
    api.put_secret({"other": b"1"})
    event = until(lambda: events(api), "the event")[0]
    assert event["type"] == "Warning"
    assert event["reason"] == "VolumeHeld"
    assert "secret/default/app" in event["message"]
    assert "user" in event["message"]
    assert event["involvedObject"]["name"] == "web-0"
    assert event["involvedObject"]["uid"] == volume.uid
    assert SECRET_BYTES.decode() not in json.dumps(event)
    api.put_secret({"user": b"2"})
    until(lambda: len(events(api)) == 2, "the second event")
    assert events(api)[1]["reason"] == "VolumeCurrent"
    assert events(api)[1]["type"] == "Normal"

    def posted() -> float:
        return Metrics(on_api).value("secretfs_pod_events_total", result="posted")

    until(lambda: posted() == 2, "both to be counted")


def test_event_on_a_pod_whose_sub_path_does_not_follow(
    on_api: Node, api: Api, sub_path: SubPaths
) -> None:
    alone = sub_path(on_api.publish(on_api.pod()), "user")
    event = until(lambda: events(api), "the event")[0]
    assert (event["type"], event["reason"]) == ("Warning", "SubPathNotLive")
    assert "updates: in-place" in event["message"]
    assert Metrics(on_api).value("secretfs_lone_mounts", live="false") == 1
    unmount(alone)
    until(lambda: Metrics(on_api).value("secretfs_lone_mounts", live="false") == 0, "its end")
    assert len(events(api)) == 1


def _user_of(secret: str) -> dict[str, str]:
    return {"secretName": secret, "items": '[{"key": "user", "path": "user"}]'}


def test_events_that_are_not_allowed_are_deferred_with_one_log_line(
    start_node: NodeMaker, api: Api
) -> None:
    """One line in the log, and nothing else comes of it."""
    user = "daemon-without-events"
    api.server.grant(user, ["get", "list", "watch"], ["secrets"], namespace="default")
    for name in ("app", "more"):
        api.put_secret({"user": b"1"}, name=name)
    arguments = ["--rights=daemon", PAGES, "--kubeconfig", api.kubeconfig(user)]
    node = start_node(*arguments).wait_ready()
    for number, name in enumerate(("app", "more")):
        node.publish(node.pod(number, attributes=_user_of(name)))
        api.put_secret({"other": b"1"}, name=name)
        until(lambda n=name: f'object="secret/default/{n}"' in _stale(node), "the log line")
    deferred = lambda: Metrics(node).value("secretfs_pod_events_total", result="deferred")
    until(lambda: deferred() == 1, "the second event's end")
    assert node.log().count("cannot post events on pods") == 1
    assert len(events(api)) == 1


def test_namespace_that_refuses_events_delays_no_other(start_node: NodeMaker, api: Api) -> None:
    """A quota or the deletion of a namespace refuses its events."""
    user = "daemon-with-some-events"
    for namespace in ("default", "team"):
        api.server.grant(user, ["get", "list", "watch"], ["secrets"], namespace=namespace)
        api.server.apply_secret(namespace, "app", {"user": b"1"})
    api.server.grant(user, ["create"], ["events"], namespace="team")
    node = start_node("--rights=daemon", PAGES, "--kubeconfig", api.kubeconfig(user)).wait_ready()
    for number, namespace in enumerate(("default", "team")):
        pod = node.pod(number, namespace=namespace, attributes=_user_of("app"))
        node.publish(pod)
    api.server.apply_secret("default", "app", {"other": b"1"})
    refused = lambda: Metrics(node).value("secretfs_pod_events_total", result="failed")
    until(lambda: refused() == 1, "the refusal")
    api.server.apply_secret("team", "app", {"other": b"1"})
    posted = lambda: Metrics(node).value("secretfs_pod_events_total", result="posted")
    until(lambda: posted() == 1, "the event of the other namespace")
    assert 'namespace="default"' in _first(node, "cannot post events on pods")
    assert "403 (Forbidden)" in _first(node, "cannot post events on pods")


def _first(node: Node, text: str) -> str:
    return next(line for line in node.log().splitlines() if text in line)


def _stale(node: Node) -> str:
    return "\n".join(line for line in node.log().splitlines() if "cannot update" in line)


def test_no_event_for_a_volume_that_was_never_shown(on_api: Node, api: Api) -> None:
    """The kubelet tells that."""
    volume = on_api.pod(attributes=_user_of("none"))
    assert volume.publish(on_api.endpoint).code != OK
    assert events(api) == []


# ---- certificates


def put_pair(api: Api, pair: dict[str, bytes]) -> None:
    api.put_secret(pair, name="web-tls", type="kubernetes.io/tls")


def test_certificate_that_expires_is_in_metric_and_event(
    on_api: Node, api: Api, area: Path
) -> None:
    """The metric has the time in advance; the Event follows without an update."""
    put_pair(api, make_pair(area, "good"))
    on_api.publish(on_api.pod(secret="web-tls"))
    name = "secretfs_certificate_expiry_timestamp_seconds"
    labels = {"namespace": "default", "name": "web-tls"}
    later = Metrics(on_api).value(name, **labels)
    assert later is not None
    put_pair(api, make_short_pair(area, 4))
    until(lambda: Metrics(on_api).value(name, **labels) < later, "the update")
    event = until(lambda: events(api), "the event")[0]
    assert event["reason"] == "CertificateProblem"
    assert "its certificate expired on" in event["message"]


def test_consumers_of_volumes(start_node: Any, manifests: Manifests) -> None:
    """By namespace, with the age of an update that one of them has not opened."""
    manifests.put_secret({"password": b"dummy-1"})
    node = start_node("--consumers=on", PAGES, *manifests.arguments).wait_ready()
    volume = node.publish(node.pod())

    def counted(state: str) -> float:
        labels = {"namespace": volume.namespace, "state": state}
        return Metrics(node).value("secretfs_consumers", **labels) or 0

    def age() -> float:
        return Metrics(node).value("secretfs_rollout_age_seconds") or 0

    read(volume, "password")
    until(lambda: counted("current") > 0, "a consumer")
    assert (counted("old"), age()) == (0, 0)
    manifests.put_secret({"password": b"dummy-2"})
    until(lambda: counted("old") > 0, "an old consumer")
    until(lambda: age() > 0, "the age")
    read(volume, "password")
    until(lambda: counted("old") == 0, "the next open")
    assert age() == 0
