"""A name that does not exist: what the user reads, and when, beside the names that do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lib import program
from lib.sources import Api, Manifests, Source
from lib.terminal import Terminal

VALUE = b"dummy-never-shown"


def secretfs(area: Path, *arguments: str | Path) -> Any:
    return program.run([program.binary(), *arguments], home=area / "home")


@pytest.fixture
def point(area: Path) -> Path:
    path = area / "point"
    path.mkdir()
    return path


def fill(source: Source) -> None:
    for name in ("db", "web-tls", "web"):
        source.put_secret({"user": VALUE, "password": VALUE}, name=name)
    source.put_configmap({"theme": "dark"}, {}, name="app")


def typed(source: Source, *words: object, wait: str = "forever") -> str:
    return " ".join(map(str, [program.binary(), words[0], "--wait", wait, *source.arguments, *words[1:]]))


def lists_of_all(api: Api) -> list[object]:
    """Requests for more than one object by its name."""
    return [request for request in api.server.requests if request.verb == "list" and not request.name]


@pytest.fixture
def filled(source: Source) -> Source:
    fill(source)
    return source


CASES = {
    "object": (
        ("mount", "secret/web-tsl"),
        'secret "web-tsl" not found in namespace "default"; there are the secrets: web-tls, web, db',
    ),
    "kind": (
        ("mount", "configmap/db"),
        'configmap "db" not found in namespace "default"; there are the configmaps: app',
    ),
    "key": (
        ("mount", "--item", "passwrd=p", "secret/db"),
        "secret/default/db: references non-existent secret key: passwrd; secret/default/db has the keys: password, user",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_terminal_shows_what_exists_at_once(
    filled: Source, terminal: Terminal, point: Path, case: str
) -> None:
    """While the command waits; then Ctrl-C ends it."""
    words, message = CASES[case]
    terminal.type(f"{typed(filled, *words, point)}\n")
    terminal.expect(re.escape(f"secretfs: waiting: {message}\n"))
    terminal.type("\x03")
    terminal.expect_prompt()
    assert VALUE.decode() not in terminal.screen


@pytest.mark.parametrize(
    ("variable", "message"),
    {
        "A=secret/dc/user": 'secret "dc" not found in namespace "default"; there are the secrets: db, web, web-tls',
        "A=secret/db/usr": "couldn't find key usr in Secret default/db; secret/default/db has the keys: user, password",
    }.items(),
)
def test_exec_shows_what_exists(
    filled: Source, terminal: Terminal, variable: str, message: str
) -> None:
    """So does a command that fails at once, in its error."""
    terminal.type(f"{typed(filled, 'exec', '--env', variable, '--', 'true', wait='0')}\n")
    terminal.expect(re.escape(f"secretfs: {message}\n"))
    terminal.expect_prompt()


def test_the_limit_and_its_end_have_the_names(
    filled: Source, terminal: Terminal, point: Path
) -> None:
    terminal.type(f"{typed(filled, 'mount', 'secret/dbb', point, wait='1s')}\n")
    message = 'secret "dbb" not found in namespace "default"; there are the secrets: db, web, web-tls'
    terminal.expect(re.escape(f"secretfs: waiting up to 1 s: {message}\n"))
    terminal.expect(re.escape(f"secretfs: gave up after 1 s: {message}\n"))
    terminal.expect_prompt()


def test_object_that_appears_after_the_names(
    filled: Source, terminal: Terminal, area: Path, point: Path
) -> None:
    terminal.type(f"{typed(filled, 'mount', 'secret/late', point)}\n")
    terminal.expect("secretfs: waiting: .* there are the secrets: .*\n")
    filled.put_secret({"a": b"1"}, name="late")
    terminal.expect_prompt()
    assert (point / "a").read_bytes() == b"1"
    assert secretfs(area, "unmount", point).returncode == 0


def test_namespace_without_objects(http1: Api, terminal: Terminal, point: Path) -> None:
    """Most often it is the namespace that is wrong."""
    fill(http1)
    http1.server.create_namespace("prod")
    terminal.type(f"{typed(http1, 'mount', '-n', 'prod', 'secret/db', point, wait='0')}\n")
    message = 'secret "db" not found in namespace "prod"; namespace "prod" has no secrets'
    terminal.expect(re.escape(f"secretfs: {message}\n"))
    terminal.expect_prompt()


# ---- the request for names


def test_names_come_without_values(http1: Api, terminal: Terminal, point: Path) -> None:
    """The response is a Table without objects: not even annotations, which may hold values."""
    fill(http1)
    terminal.type(f"{typed(http1, 'mount', 'secret/dbb', point, wait='0')}\n")
    terminal.expect("there are the secrets: db")
    (request,) = lists_of_all(http1)
    assert request.headers["accept"] == "application/json;as=Table;g=meta.k8s.io;v=v1"
    assert (request.query["includeObject"], request.query["limit"]) == ("None", "500")


def test_missing_right_to_list_is_silent(http1: Api, terminal: Terminal, point: Path) -> None:
    """A user who may read one object by its name gets what is known without a list."""
    fill(http1)
    http1.server.grant("alice", ("get", "list", "watch"), names=("nope",))
    http1.arguments = ["--kubeconfig", http1.kubeconfig("alice")]
    terminal.type(f"{typed(http1, 'mount', 'secret/nope', point)}\n")
    terminal.expect(r'secretfs: waiting: secret "nope" not found in namespace "default"\n')
    assert [request.code for request in lists_of_all(http1)] == [403]
    terminal.type("\x03")
    terminal.expect_prompt()
    assert "orbidden" not in terminal.screen


def test_without_a_terminal_no_list_is_requested(http1: Api, area: Path, point: Path) -> None:
    """A service that starts before its object would otherwise be refused a list, in audit logs."""
    fill(http1)
    done = secretfs(area, "mount", "--wait", "0", *http1.arguments, "secret/dbb", point)
    assert done.stderr == 'secretfs: secret "dbb" not found in namespace "default"\n'
    assert lists_of_all(http1) == []


def test_many_names_are_cut(manifests: Manifests, area: Path, point: Path) -> None:
    """Manifests are in memory: no terminal is needed."""
    for i in range(30):
        manifests.put_secret({"a": b"1"}, name=f"s-{i:02}")
    done = secretfs(area, "mount", "--wait", "0", *manifests.arguments, "secret/s-0", point)
    assert done.stderr.endswith(
        "; there are the secrets: s-00, s-01, s-02, s-03, s-04, s-05, s-06, s-07 and 22 more\n"
    )
