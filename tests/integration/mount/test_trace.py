"""`--trace`: each category logs what docs/debugging.md promises, only that, and never a value."""

from __future__ import annotations

import base64

import pytest

from lib.sources import Api
from lib.waiting import until

VALUES = (b"dummy-value-of-a-secret-1", b"dummy-value-of-a-secret-2")

# category: lines that mounting, updating and reading one object over HTTP/2 has to log
PROMISED = {
    "fuse": [
        r'request .*unique="\d+" kind="read" node="\d+" pid="\d+"',
        r'reply .*unique="\d+" bytes="\d+"',
        r'request .*kind="rename"',
        r'reply .*error="Function not implemented"',
    ],
    "http": [
        r"connection opened .*fd=",
        r'request sent .*path="/api/v1/namespaces/default/secrets\?.*localPort=',
        r'response .*path="/api/v1/.*status="200" protocol="HTTP/2"',
        r"request ended .*path=",
    ],
    "publisher": [
        r'step .*action="publish" volume="\."',
        r'step .*action="commit" volume="\."',
        r'step .*action="clean" volume="\."',
        r'update ended .*generation="\.\.[0-9_.]+"',
    ],
    "reflector": [
        r'watch changes state .*object="secret/default/app" from="listing" to="opening"',
        r"response .*status=",
        r"request .*path=",
    ],
    "store": [r'watch requested .*object="secret/default/app"', r"object put .*resourceVersion="],
    "volume": [r'payload changed .*state="current"'],
}


def check_no_value(log: str) -> None:
    for value in VALUES:
        assert value.decode() not in log
        assert base64.b64encode(value).decode() not in log


@pytest.mark.parametrize("category", PROMISED)
def test_trace_of_a_category_logs_its_steps_alone(api: Api, mount, category: str) -> None:
    """Each promised line is there after an update and a read; no line of another category is."""
    api.put_secret({"k": VALUES[0]})
    volume = mount(api, "--trace", category)
    assert volume.read("k") == VALUES[0]
    api.put_secret({"k": VALUES[1]})
    volume.wait_content({"k": VALUES[1]})
    for pattern in PROMISED[category]:
        volume.wait_log(f'TRACE {pattern.replace(" .*", f""" category="{category}".*""", 1)}')
    traced = volume.log_lines(" TRACE ")
    assert [line for line in traced if f'category="{category}"' not in line] == []
    check_no_value(volume.log())


def test_trace_of_all_categories_has_no_value(api: Api, mount) -> None:
    """Categories are combined with commas, and a mount option sets them, too."""
    api.put_secret({"k": VALUES[0]})
    volume = mount(api, "--trace", ",".join(PROMISED), "--log-level", "debug")
    api.put_secret({"k": VALUES[1]})
    volume.wait_content({"k": VALUES[1]})
    for category in PROMISED:
        until(lambda c=category: volume.log_lines(f'TRACE .*category="{c}"'), category)
    check_no_value(volume.log())


def test_trace_is_a_mount_option(api: Api, mount) -> None:
    api.put_secret({"k": VALUES[0]})
    volume = mount(api, "-o", "trace=volume")
    volume.wait_log('TRACE .*category="volume"')


def test_without_trace_nothing_is_traced(api: Api, mount) -> None:
    api.put_secret({"k": VALUES[0]})
    assert mount(api, "--log-level", "debug").log_lines(" TRACE ") == []
