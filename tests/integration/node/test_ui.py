"""`ui: on`: a page for browsers at the address of the metrics, and the document behind it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import pytest

from lib import browser, program
from lib.browser import Browser
from lib.kubelet import PodVolume
from lib.node_daemon import Node, NodeMaker
from lib.sources import Manifests
from lib.waiting import PATIENCE_SECONDS, until

PAGES = "--metrics-bind-address=127.0.0.1:0"
NAME = "<i>x</i>"  # of a process, which chooses it
VOLUMES_MAX = 256  # NODE_UI_VOLUMES_MAX
FILES = ("/ui", "/ui/page.css", "/ui/page.js", "/ui/data")

# Opens a file, says so, and again for each line that it reads.
READER = """
import sys
open("/proc/self/comm", "w").write(sys.argv[1])
while True:
    open(sys.argv[2]).read()
    print("read", flush=True)
    if not sys.stdin.readline():
        break
"""


@pytest.fixture
def shown(start_node: NodeMaker, manifests: Manifests) -> Node:
    manifests.put_secret({"password": b"dummy-1"})
    return start_node(PAGES, "--ui=on", "--consumers=on", *manifests.arguments).wait_ready()


def address(node: Node) -> tuple[str, int]:
    found = re.search(r'serving metrics and health address="([^"]+):(\d+)"', node.log())
    assert found is not None, node.log()
    return found.group(1), int(found.group(2))


def get(node: Node, path: str, host: str | None = None) -> http.client.HTTPResponse:
    """`host`: what the request names instead of the address."""
    connection = http.client.HTTPConnection(*address(node), timeout=PATIENCE_SECONDS)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    return connection.getresponse()


def data(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(node, "/ui/data").read())
    return found


def wait_shown(node: Node, volume: PodVolume, n_updates: int) -> None:
    def is_shown() -> bool:
        listed = {each["mountpoint"]: each for each in data(node)["volumes"]}
        update = listed.get(str(volume.target), {}).get("lastUpdate", {})
        return update.get("count") == n_updates

    until(is_shown, f"{n_updates} updates in the document")


@contextmanager
def reader(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with an awkward name that has read a file, and reads it again at each line."""
    command = [sys.executable, "-c", READER, NAME, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "read\n"
        yield process
        process.stdin.close()


def read_again(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "read\n"


def test_off_by_default(start_node: NodeMaker, manifests: Manifests) -> None:
    manifests.put_secret({"password": b"dummy-1"})
    node = start_node(PAGES, *manifests.arguments).wait_ready()
    assert [get(node, path).status for path in FILES] == [404] * len(FILES)
    assert get(node, "/metrics").status == 200


def test_only_on_loopback(area: Path) -> None:
    """Names of pods and objects are for this host."""
    command = [str(program.binary()), "node", "--ui=on", "--metrics-bind-address=:0"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=program.environment(area), check=False
    )
    assert done.returncode == 2
    assert "ui takes a metrics-bind-address of this host only" in done.stderr


def test_files_of_the_page(shown: Node) -> None:
    """Each has the policy; nothing is loaded from elsewhere, and nothing can be changed."""
    kinds = {}
    for path in FILES:
        reply = get(shown, path)
        kinds[path] = reply.headers.get_content_type()
        assert reply.status == 200
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        assert not re.search(r"https?:|src=\"//", reply.read().decode()) or path == "/ui/data"
    assert list(kinds.values()) == ["text/html", "text/css", "text/javascript", "application/json"]
    connection = http.client.HTTPConnection(*address(shown), timeout=PATIENCE_SECONDS)
    connection.request("POST", "/ui/data", body="{}")
    assert connection.getresponse().status == 405


def test_name_of_another_site(shown: Node) -> None:
    """A site's name that resolves to this host: its page in a browser here reads nothing."""
    assert [get(shown, path, "example.com").status for path in FILES] == [421] * len(FILES)
    assert get(shown, "/ui/data", "localhost:9811").status == 200
    assert get(shown, "/metrics", "example.com").status == 200


def test_document(shown: Node, manifests: Manifests) -> None:
    """Volumes, states and updates; no values."""
    volume = shown.publish(shown.pod())
    wait_shown(shown, volume, 1)
    manifests.put_secret({"password": b"dummy-2"})
    wait_shown(shown, volume, 2)
    reply = get(shown, "/ui/data").read()
    assert b"dummy-" not in reply and b"password" not in reply
    document = json.loads(reply)
    (listed,) = document["volumes"]
    assert listed["pod"] == f"default/{volume.pod}"
    assert listed["volume"]["state"] == "current"
    assert document["states"]["current"] == 1
    assert document["omitted"] == 0
    assert document["process"]["driver"] == shown.status()["driver"]
    propagation = document["propagation"]
    assert propagation["count"] == sum(each["count"] for each in propagation["buckets"]) > 0


def test_volumes_that_are_not_current_come_first(shown: Node, manifests: Manifests) -> None:
    first, second = shown.publish(shown.pod(0)), shown.pod(1, secret="other")
    manifests.put_secret({"password": b"dummy-1"}, name="other")
    shown.publish(second)
    assert [each["pod"] for each in data(shown)["volumes"]] != []
    manifests.put_secret(
        {"password": b"dummy-2"}, name="other", annotations={"secretfs.io/pause": "true"}
    )

    def pods() -> list[str]:
        document = data(shown)
        return [each["pod"] for each in document["volumes"]] if document["states"]["held"] else []

    until(lambda: pods() == [f"default/{second.pod}", f"default/{first.pod}"], "the held one first")


def test_volumes_are_limited(shown: Node) -> None:
    """Those beyond the limit are counted."""
    for number in range(VOLUMES_MAX + 1):
        shown.publish(shown.pod(number))
    until(lambda: data(shown)["states"]["current"] == VOLUMES_MAX + 1, "the last one")
    document = data(shown)
    assert (len(document["volumes"]), document["omitted"]) == (VOLUMES_MAX, 1)


def test_names_have_no_tags(shown: Node) -> None:
    """Also a program that takes the document for HTML finds none."""
    volume = shown.publish(shown.pod())

    def processes() -> list[str]:
        (listed,) = data(shown)["volumes"]
        return [each["process"] for each in listed["volume"]["consumers"]["list"]]

    with reader(volume.target / "password"):
        until(lambda: NAME in processes(), "the process")
        body = get(shown, "/ui/data").read()
    assert b"<" not in body and b"003ci" in body


@pytest.fixture
def chromium(area: Path) -> Iterator[Browser]:
    if not browser.is_installed():
        pytest.skip(f"{browser.PROGRAM} is not installed: make packages-browser")
    made = Browser(area)
    yield made
    made.finish()


@pytest.mark.parametrize("updates", ["generations", "in-place"])
def test_page_in_a_browser(
    shown: Node, manifests: Manifests, chromium: Browser, updates: str
) -> None:
    """It shows a rollout as it happens, and a name is a text."""
    volume = shown.publish(shown.pod(attributes={"secretName": "app", "updates": updates}))
    host, port = address(shown)

    def rows(table: str) -> list[list[str]]:
        found: list[list[str]] = chromium.evaluate(
            f"[...document.querySelectorAll('#{table} tr')]"
            ".map(row => [...row.cells].map(cell => cell.innerText))"
        )
        return found

    def rollout() -> list[str]:
        found = rows("rollouts")
        return found[0][2:] if found else []

    with reader(volume.target / "password") as process:
        chromium.open(f"http://{host}:{port}/ui")
        until(lambda: rollout() == ["done", "1 of 1", "1 of 1"], "it is done")
        assert rows("rollouts")[0][0] == "secret/default/app"
        manifests.put_secret({"password": b"dummy-2"})
        until(lambda: rollout() == ["under way", "1 of 1", "0 of 1"], "it is under way")
        (shown_volume,) = rows("volumes")
        assert shown_volume[0] == f"default/{volume.pod}"
        assert shown_volume[-1] == f"older version: {NAME}"
        assert chromium.evaluate("document.querySelectorAll('i').length") == 0
        read_again(process)
        until(lambda: rollout() == ["done", "1 of 1", "1 of 1"], "it is done again")
    assert ["current", "1"] in rows("states")
    assert sum(int(row[1]) for row in rows("propagation")) > 0
    assert [text for text in chromium.errors() if "favicon" not in text] == []


def test_page_of_a_daemon_that_hangs(shown: Node, chromium: Browser) -> None:
    """Connections succeed, as the kernel accepts them, and nothing answers: the page says so."""
    host, port = address(shown)

    def failure() -> str:
        text: str = chromium.evaluate("document.getElementById('failure')?.innerText ?? ''")
        return text

    chromium.open(f"http://{host}:{port}/ui")
    shown_rows = "document.querySelectorAll('#states tr').length"
    until(lambda: chromium.evaluate(shown_rows), "the page")
    assert failure() == ""
    os.kill(shown.pid, signal.SIGSTOP)
    try:
        until(lambda: "the last state" in failure(), "the page to say that nothing answers")
    finally:
        os.kill(shown.pid, signal.SIGCONT)
    until(lambda: failure() == "", "the page to go on")
