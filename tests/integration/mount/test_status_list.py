"""`secretfs status` without a target: every volume of the host, for people and for scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib import program
from lib.cell import USER
from lib.sources import Api, Manifests
from lib.waiting import until

COLUMNS = "POD VOLUME OBJECT STATE VERSION AGE READERS ERROR".split()
SECRET_BYTES = b"dummy-value-of-a-secret"


def rows(out: str) -> dict[str, dict[str, str]]:
    """The lines of a table by their volume, which of `secretfs mount` is its mount point; a line may
    have more words than there are columns."""
    header, *lines = out.splitlines()
    names = header.split()
    cut = [line.split(None, len(names) - 1) for line in lines]
    return {cells[1]: dict(zip(names, cells)) for cells in cut}


def status(home: Path, *arguments: str) -> str:
    """Other mounts of this host may have failed; only the requested ones count."""
    done = program.run([program.binary(), "status", *arguments], home=home)
    assert str(home) not in done.stderr
    return done.stdout


def test_a_line_for_each_volume(manifests: Manifests, mount, area: Path):
    """All mounts are listed, of each process, in columns."""
    manifests.put_secret({"a": SECRET_BYTES})
    manifests.put_secret({"a": b"1"}, name="other")
    first = mount(manifests)
    second = mount(manifests, what="secret/other")
    out = status(area)
    table = rows(out)

    assert out.split("\n", 1)[0].split() == COLUMNS
    assert table[str(first.path)]["OBJECT"] == "secret/default/app"
    assert table[str(second.path)]["OBJECT"] == "secret/default/other"
    assert table[str(first.path)]["STATE"] == "current"
    assert table[str(first.path)]["VERSION"] == first.status()["object"]["resourceVersion"]
    assert table[str(first.path)]["POD"] == "-"
    assert table[str(first.path)]["ERROR"] == "-"
    assert table[str(first.path)]["AGE"].endswith("s")


def test_wide_output_has_more_columns(manifests: Manifests, mount, area: Path):
    manifests.put_secret({"a": b"12345"})
    volume = mount(manifests)
    row = rows(status(area, "-o", "wide"))[str(volume.path)]

    assert (row["FILES"], row["BYTES"], row["UPDATES"]) == ("1", "5", "1")
    assert row["PID"] == str(volume.pid)
    assert row["LATENCY"].endswith("ms")
    assert row["GENERATION"] == volume.generation()
    assert row["TARGET"] == str(volume.path)


def test_no_headers_omits_the_header(manifests: Manifests, mount, area: Path):
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    lines = status(area, "--no-headers").splitlines()
    assert str(volume.path) in [line.split()[1] for line in lines]
    assert not any(line.startswith("POD") for line in lines)


def test_filters_select_volumes(manifests: Manifests, mount, area: Path):
    """By namespace and object; a path and a filter exclude each other."""
    manifests.put_secret({"a": b"1"})
    manifests.put_secret({"a": b"1"}, name="other")
    first, second = mount(manifests), mount(manifests, what="secret/other")

    def shown(*arguments: str) -> set[str]:
        ours = {str(first.path), str(second.path)}
        return {row for row in rows(status(area, *arguments)) if row in ours}

    assert shown("-n", "default") == {str(first.path), str(second.path)}
    assert shown("-n", "default", "--object", "secret/other") == {str(second.path)}
    assert shown("--object", "secret/default/app") == {str(first.path)}
    done = program.run([program.binary(), "status", "--object", "cm/none"], home=area)
    assert done.stdout == ""
    assert done.stderr.startswith("No volumes match.\n")  # other mounts of this host may hang
    listed = json.loads(status(area, "-o", "json", "--object", "secret/default/other"))
    assert str(second.path) in [item["mountpoint"] for item in listed["items"]]
    assert str(first.path) not in [item["mountpoint"] for item in listed["items"]]
    for arguments, message in (
        (["--object", "a/b/c/d"], "expected NAME, KIND/NAME or KIND/NAMESPACE/NAME"),
        (["--pod", "/a"], "expected NAME or NAMESPACE/NAME"),
        (["-n", "default", str(first.path)], "omit --namespace, --pod, --object and --selector"),
    ):
        done = program.run([program.binary(), "status", *arguments], home=area)
        assert done.returncode == 2
        assert message in done.stderr


def test_colours_on_a_terminal_only(manifests: Manifests, mount, terminal, area: Path):
    """States in colour, unless NO_COLOR is set; --watch redraws, and shows the end of a volume."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    command = f"{program.binary()} status --object secret/default/app"
    assert "\033[" not in status(area)
    terminal.type("export TERM=xterm\n")
    terminal.expect_prompt()
    terminal.type(f"{command}\n")
    terminal.expect(r"\x1b\[32mcurrent\x1b\[0m")
    terminal.expect_prompt()
    terminal.type(f"NO_COLOR=1 {command} | cat; NO_COLOR=1 {command}; echo e''nd\n")
    assert "\033[3" not in terminal.expect(r"(?s).*current.*current.*end")
    terminal.type(f"{command} --watch\n")
    terminal.expect(rf"\x1b\[HPOD .*\x1b\[K\n(.*\n)*-.* {volume.path} .*current")
    terminal.expect(r"\x1b\[J")
    version = volume.status()["object"]["resourceVersion"]
    manifests.put_secret({"a": b"2"})
    terminal.expect(rf"\x1b\[HPOD .*\x1b\[K\n(.*\n)*-.* {volume.path} .*current\S*\s+(?!{version}\s)")
    terminal.type("\x03")
    terminal.expect_prompt()


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_list_as_json_and_yaml_agrees_with_one_volume(
    manifests: Manifests, mount, area: Path, form: str
):
    """The same facts as a document, which is the one that is asked for by target, too."""
    manifests.put_secret({"a": SECRET_BYTES})
    volume = mount(manifests)
    load = json.loads if form == "json" else yaml.safe_load
    listed = load(status(area, "-o", form))
    one = load(status(area, "-o", form, str(volume.path)))
    item = _item(listed, volume.path)

    assert item["pid"] == one["pid"] == volume.pid
    assert item["object"] == one["object"]
    assert item["volume"] == one["volume"]
    assert volume.pid in [process["pid"] for process in listed["processes"]]


@pytest.mark.parametrize("form", ["text", "wide", "json", "yaml"])
def test_values_are_never_shown(manifests: Manifests, mount, area: Path, form: str):
    manifests.put_secret({"a": SECRET_BYTES})
    volume = mount(manifests)
    for arguments in ([], [str(volume.path)]):
        out = status(area, "-o", form, *arguments)
        assert str(volume.path) in out
        assert SECRET_BYTES.decode() not in out


def _item(listed: dict[str, Any], path: Path) -> dict[str, Any]:
    return next(item for item in listed["items"] if item["mountpoint"] == str(path))


def test_failure_is_shown(each_api: Api, mount, area: Path):
    """A source that fails is seen, with its reason in the last column."""
    each_api.put_secret({"a": b"1"})
    volume = mount(each_api)
    until(lambda: volume.status()["source"]["state"] == "live", "the watch")
    each_api.close()
    row = until(lambda: _failing(area, volume.path), "the failure in the table")
    assert row["STATE"] == "disconnected"
    assert len(row["ERROR"].split()) > 3


def _failing(area: Path, path: Path) -> dict[str, str] | None:
    row = rows(status(area, "-o", "wide"))[str(path)]
    return row if row["SOURCE"] == "failing" else None


def test_a_dead_mount_is_listed(manifests: Manifests, mount, area: Path):
    """With what to do about it."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    volume.kill()
    row = rows(status(area))[str(volume.path)]
    assert row["STATE"] == "dead"
    assert f"secretfs unmount {volume.path}" in row["ERROR"]


def test_a_mount_without_a_control_socket_is_not_dead(manifests: Manifests, mount, area: Path):
    """As where the directory of sockets is full, or another user may write to it."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    device = os.stat(volume.path).st_dev
    Path(f"/run/secretfs/{os.major(device)}:{os.minor(device)}.sock").unlink()
    row = rows(program.run([program.binary(), "status"], home=area).stdout)[str(volume.path)]
    assert row["STATE"] == "unknown"
    assert "has no control socket" in row["ERROR"] and "unmount" not in row["ERROR"]
    done = program.run([program.binary(), "status", volume.path], home=area)
    assert done.returncode == 1
    assert "has no control socket" in done.stderr


def test_other_users_see_only_their_own_volumes(manifests: Manifests, mount, area: Path):
    """What belongs to another user is left out, and is no error."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    other = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    done = program.run([*other, program.binary(), "status"], home=area)
    assert str(volume.path) not in done.stdout + done.stderr


class Watching:
    """A `secretfs status --watch` under way."""

    def __init__(self, area: Path, *arguments: str) -> None:
        self._out = area / "watched"
        with open(self._out, "wb") as out:
            self._process = subprocess.Popen(
                [str(program.binary()), "status", "--watch", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                env=program.environment(area),
            )

    def lines(self, path: Path) -> list[list[str]]:
        """What was printed of one target."""
        cut = [line.split() for line in self._out.read_text().splitlines()]
        return [cells for cells in cut if cells[1:2] == [str(path)]]

    def documents(self, path: Path) -> list[dict[str, Any]]:
        """The same of JSON; each line is a document."""
        whole = self._out.read_text().rpartition("\n")[0]
        items = [json.loads(line) for line in whole.splitlines()]
        return [item for item in items if item["mountpoint"] == str(path)]

    def end(self, number: int) -> int:
        self._process.send_signal(number)
        return self._process.wait()


@pytest.mark.parametrize("of_one", [False, True])
def test_watch_prints_a_volume_when_it_changes(
    manifests: Manifests, mount, area: Path, of_one: bool
):
    """A volume's line appears again when it has changed, and once more when it is gone."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    watching = Watching(area, *([str(volume.path)] if of_one else []))
    try:
        until(lambda: len(watching.lines(volume.path)) == 1, "the first line")
        before = watching.lines(volume.path)[0]
        manifests.put_secret({"a": b"2"})
        until(lambda: len(watching.lines(volume.path)) >= 2, "the line of the update")
        after = watching.lines(volume.path)[1]
        assert before[COLUMNS.index("VERSION")] != after[COLUMNS.index("VERSION")]
        if not of_one:
            volume.run("unmount", str(volume.path))
            until(lambda: watching.lines(volume.path)[-1][3] == "gone", "the end of it")
    finally:
        ended = watching.end(signal.SIGINT)
    assert ended == -signal.SIGINT


def test_watch_ends_with_its_reader(manifests: Manifests, mount, area: Path):
    """`secretfs status --watch | head -1`, also where SIGPIPE is ignored, as Python's is."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    watching = subprocess.Popen(
        [str(program.binary()), "status", "--watch", str(volume.path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=program.environment(area),
        restore_signals=False,
        text=True,
    )
    assert watching.stdout is not None and watching.stderr is not None
    watching.stdout.readline()
    watching.stdout.close()
    manifests.put_secret({"a": b"2"})
    until(lambda: watching.poll() is not None, "the end of the watch")
    with watching.stderr:
        assert (watching.returncode, watching.stderr.read()) == (0, "")


def test_watch_as_json_is_a_document_a_line(manifests: Manifests, mount, area: Path):
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    watching = Watching(area, "-o", "json")
    try:
        until(lambda: len(watching.documents(volume.path)) == 1, "the first document")
        manifests.put_secret({"a": b"2"})
        until(lambda: len(watching.documents(volume.path)) >= 2, "the update's document")
        first, second = watching.documents(volume.path)[:2]
        assert first["pid"] == second["pid"] == volume.pid
        assert first["object"]["resourceVersion"] != second["object"]["resourceVersion"]
    finally:
        watching.end(signal.SIGINT)


def test_status_refuses_unknown_arguments(area: Path):
    for arguments, message in (
        (["-o", "xml"], 'invalid output format "xml", expected one of: text, wide, json, yaml'),
        (["a", "b"], "status takes one path in a volume or none"),
        (["--unknown"], "unknown option --unknown"),
    ):
        done = program.run([program.binary(), "status", *arguments], home=area)
        assert done.returncode == 2
        assert message in done.stderr


@pytest.mark.parametrize("command", ["status", "unmount", "upgrade"])
def test_object_in_the_place_of_a_path(area: Path, command: str):
    done = program.run([program.binary(), command, "secret/db"], home=area)
    assert done.returncode == 1
    assert "secret/db is not a path; `secretfs status --object secret/db` lists the volumes" in done.stderr


def test_output_without_a_reader(manifests: Manifests, mount, area: Path):
    """A closed output ends --watch."""
    manifests.put_secret({"a": b"1"})
    volume = mount(manifests)
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [str(program.binary()), "status", "-w", str(volume.path)],
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.DEVNULL,
        env=program.environment(area),
    )
    os.close(writer)
    os.close(reader)
    assert process.wait() != 0
