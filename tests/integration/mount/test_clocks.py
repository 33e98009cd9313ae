"""Clocks that jump: set forwards and backwards while a volume is served, and the machine suspended."""

from __future__ import annotations

import json
import re
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from lib import program
from lib.certificates import make_pair
from lib.clocks import Clocks
from lib.node_daemon import Node, NodeMaker, read
from lib.pods import put_adopted
from lib.service_manager import Manager
from lib.sources import Api, Manifests, Source
from lib.volume import VolumeMaker
from lib.waiting import until

pytestmark = pytest.mark.skipif(
    program.binary().exists() and program.has_sanitizer(),
    reason="a sanitizer's library has to be the first, and so has that of the clocks",
)

HOUR = 3600
YEAR = 365 * 24 * HOUR
PAGES = "--metrics-bind-address=127.0.0.1:0"
PROJECTED_TOKEN = {
    "name": "token-own",
    "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": HOUR}}]},
}


@pytest.fixture
def clocks(area: Path) -> Clocks:
    return Clocks(area)


def age_seconds(time: str, ahead: int) -> float:
    """ahead: of the program's wall clock to ours."""
    then = datetime.fromisoformat(time.replace("Z", "+00:00"))
    return (datetime.now(timezone.utc) + timedelta(seconds=ahead) - then).total_seconds()


def test_wall_clock_is_set(source: Source, mount: VolumeMaker, clocks: Clocks) -> None:
    """Updates go on; the generation's name has the new time; ages do not change."""
    source.put_secret({"a": b"0"})
    volume = mount(source, env=clocks.env)
    names = {volume.generation()}
    for number, step in enumerate((10 * YEAR, -15 * YEAR, -HOUR, 5 * YEAR + HOUR), 1):
        clocks.set_forward(step)
        source.put_secret({"a": b"%d" % number})
        volume.wait_content({"a": b"%d" % number})
        year = datetime.now(timezone.utc).year + (10, -5, -5, 0)[number - 1]
        assert abs(int(volume.generation()[2:6]) - year) <= 1
        names.add(volume.generation())
    assert len(names) == 5

    clocks.set_forward(10 * YEAR)
    status = volume.status()
    assert age_seconds(status["lastUpdate"]["time"], 10 * YEAR) < HOUR
    assert age_seconds(status["source"]["since"], 10 * YEAR) < HOUR


@pytest.mark.parametrize("step", [10 * YEAR, -10 * YEAR])
def test_wall_clock_is_set_while_the_server_is_away(
    each_api: Api, mount: VolumeMaker, clocks: Clocks, step: int
) -> None:
    """The delays between two attempts are not counted by that clock."""
    each_api.put_secret({"a": b"0"})
    volume = mount(each_api, env=clocks.env)
    each_api.server.fail(503, times=None)
    each_api.server.close_watches()
    until(lambda: volume.status()["volume"]["state"] == "disconnected", "the state")
    clocks.set_forward(step)
    each_api.put_secret({"a": b"1"})
    each_api.server.clear_faults()
    volume.wait_content({"a": b"1"})
    until(lambda: volume.status()["volume"]["state"] == "current", "the state")


@pytest.mark.parametrize("step", [10 * YEAR, -10 * YEAR])
def test_mount_is_started_with_a_wrong_clock(
    http1: Api, start_mount: VolumeMaker, clocks: Clocks, step: int
) -> None:
    """The server's certificate is not trusted, which the log says, until the clock is right."""
    http1.put_secret({"a": b"0"})
    clocks.set_forward(step)
    volume = start_mount(*http1.arguments, "secret/app", env=clocks.env)
    volume.wait_log("certificate (has expired|is not yet valid)")
    clocks.set_forward(-step)
    assert volume.wait_ready().read("a") == b"0"


def test_machine_is_suspended(source: Source, mount: VolumeMaker, clocks: Clocks) -> None:
    """The next update is shown; the time of the suspend belongs to the content's age."""
    source.put_secret({"a": b"0"})
    volume = mount(source, env=clocks.env)
    clocks.suspend(8 * HOUR)
    status = volume.status()
    assert 8 * HOUR <= age_seconds(status["lastUpdate"]["time"], 8 * HOUR) < 9 * HOUR
    source.put_secret({"a": b"1"})
    volume.wait_content({"a": b"1"})


def test_credential_of_a_plug_in_is_renewed_after_a_suspend(
    http1: Api, start_mount: VolumeMaker, clocks: Clocks, area: Path
) -> None:
    """It expired meanwhile: the next one is there before the server refuses a request."""
    http1.put_secret({"a": b"0"})
    runs = area / "runs"
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "kind": "ExecCredential",
        "status": {"token": http1.server.admin_token, "expirationTimestamp": "EXPIRY"},
    }
    script = (  # a run is counted once it has read the clock
        f"echo '{json.dumps(credential)}' |"
        ' sed "s/EXPIRY/$(date -u -d "+1 hour" +%Y-%m-%dT%H:%M:%SZ)/";'
        f" echo >> {runs}"
    )
    kubeconfig = http1.kubeconfig(auth="exec", exec_command=("/bin/sh", "-c", script))
    volume = start_mount("--kubeconfig", kubeconfig, "secret/app", env=clocks.env).wait_ready()
    for number in (1, 2, 3):
        until(lambda n=number: len(runs.read_text()) == n, f"{number} runs")
        clocks.suspend(HOUR)
    until(lambda: len(runs.read_text()) == 4, "4 runs")
    assert volume.read("a") == b"0"


def test_certificate_expires_by_the_clock(
    manifests: Manifests, mount: VolumeMaker, clocks: Clocks, area: Path
) -> None:
    """It is reported as soon as the clock is set, and valid when the clock is right again."""
    pair = make_pair(area, "good", days=30)
    manifests.put_secret(pair, type="kubernetes.io/tls")
    volume = mount(manifests, env=clocks.env)
    clocks.set_forward(YEAR)
    volume.wait_log("WARN invalid certificate .*its certificate expired on 20")
    clocks.set_forward(-YEAR)
    assert "problem" not in volume.status()["object"]["certificate"]
    assert volume.content() == pair


# ---- a node


def sample(node: Node, name: str) -> float:
    found = re.search(r'serving metrics and health address="([^"]+)"', node.log())
    assert found is not None
    with urllib.request.urlopen(f"http://{found[1]}/metrics") as reply:
        value = re.search(rf"^{name} (\S+)$", reply.read().decode(), re.MULTILINE)
    assert value is not None
    return float(value[1])


def test_ages_in_metrics(start_node: NodeMaker, api: Api, clocks: Clocks) -> None:
    """A clock that is set raises no alert; time of a suspend counts."""
    api.put_secret({"user": b"dummy"})
    node = start_node(PAGES, "--rights=daemon", *api.arguments, env=clocks.env).wait_ready()
    node.publish(node.pod())
    api.server.fail(503, times=None)
    api.server.close_watches()
    until(lambda: sample(node, "secretfs_source_failing_seconds") > 0, "a failing source")
    clocks.set_forward(10 * YEAR)
    assert sample(node, "secretfs_source_failing_seconds") < HOUR
    assert sample(node, "secretfs_secret_age_seconds") < HOUR
    clocks.suspend(2 * HOUR)
    assert 2 * HOUR <= sample(node, "secretfs_source_failing_seconds") < 3 * HOUR
    api.server.clear_faults()


def test_token_is_renewed_after_a_suspend(start_node: NodeMaker, api: Api, clocks: Clocks) -> None:
    api.put_secret({"user": b"dummy"})
    node = start_node("--rights=daemon", *api.arguments, env=clocks.env).wait_ready()
    volume = node.pod(attributes={"podVolume": "token-own"})
    put_adopted(api, volume, PROJECTED_TOKEN)
    node.publish(volume)
    clocks.suspend(HOUR)
    until(lambda: read(volume, "t") == b"dummy-default-default-2", "the next token")


def test_watchdog(
    start_node: NodeMaker, manifests: Manifests, clocks: Clocks, area: Path
) -> None:
    """Threads that respond are reported whichever clock jumps."""
    manager = Manager(area / "notify")
    env = {**clocks.env, **manager.env, "WATCHDOG_USEC": "100000"}
    start_node(*manifests.arguments, env=env).wait_ready()
    for jump in (lambda: clocks.set_forward(-YEAR), lambda: clocks.suspend(8 * HOUR)):
        manager.wait("WATCHDOG=1", manager.lines().count("WATCHDOG=1") + 3)
        jump()
    manager.wait("WATCHDOG=1", manager.lines().count("WATCHDOG=1") + 3)
