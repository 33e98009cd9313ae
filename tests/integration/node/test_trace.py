"""`secretfs node --trace`: each category logs what docs/debugging.md promises, and never a value."""

from __future__ import annotations

import re

import pytest

from lib.node_daemon import NodeMaker, read
from lib.sources import Api, Manifests
from lib.waiting import until

VALUE = b"dummy-value-of-a-secret"

PROMISED = {
    "fuse": [r'request .*kind="lookup"', r"reply .*bytes="],
    "grpc": [
        r"connection changes state .*from=.* to=",
        r'call changes state .*method="NodePublishVolume"',
    ],
    "http": [r'request sent .*path="/api/v1/', r'response .*status="200"'],
    "node": [r"volume changes state .*from=.* to=", r"published volume changes state .*object="],
    "publisher": [
        r'step .*action="publish" volume="[^".]',
        r'step .*action="bind"',
        r'step .*action="remove"',
    ],
    "reflector": [r'watch changes state .*object="secret/default/app"'],
    "store": [r"object put .*resourceVersion="],
    "volume": [r'payload changed .*state="current"'],
}


@pytest.mark.parametrize("category", PROMISED)
def test_trace_of_a_category_logs_its_steps_alone(
    api: Api, start_node: NodeMaker, category: str
) -> None:
    """A volume is published, read and unpublished."""
    api.put_secret({"user": VALUE})
    node = start_node("--rights=daemon", *api.arguments, f"--trace={category}").wait_ready()
    volume = node.publish(node.pod())
    assert read(volume, "user") == VALUE
    node.unpublish(volume)
    for pattern in PROMISED[category]:
        with_category = pattern.replace(" .*", f' category="{category}".*', 1)
        until(lambda p=with_category: re.search(f" TRACE {p}", node.log()), with_category)
    traced = [line for line in node.log().splitlines() if " TRACE " in line]
    assert [line for line in traced if f'category="{category}"' not in line] == []
    assert VALUE.decode() not in node.log()


def test_unknown_category_is_a_usage_error(manifests: Manifests, start_node: NodeMaker) -> None:
    """The message names the known ones."""
    node = start_node(*manifests.arguments, "--trace=fuse,frobnicate")
    node.expected_exit = 2
    until(lambda: node.exit_status is not None, "the end")
    assert '--trace: invalid trace category "frobnicate", expected one of: fuse,' in node.log()
