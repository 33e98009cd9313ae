"""Man pages, node.yaml and the commands that pages show have the options of the program, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Iterator

import pytest
import yaml

from lib import program
from lib.deploy import TOP

MAN = TOP / "docs" / "man"
NODE_YAML = TOP / "systemd" / "node.yaml"
IN_SECRETFS_1 = ("mount", "exec", "unmount", "stop", "upgrade", "status", "observe", "rollout", "audit",
                 "health", "adopt", "convert")  # fmt: skip
OF_EVERY_COMMAND = {"--help"}
# `-v=4` is how other agents write it, which the page follows
NODE_PAGE_HAS = {"--v": ".It Fl v Ar n"}
# the kubelet's, the API server's and kubectl's
OF_OTHERS = {"--root-dir", "--goaway-chance", "--max-requests-inflight", "--feature-gates", "--runtime-config",
             "--server-side"}  # fmt: skip
PAGES = ("*.md", "docs/**/*.md", "deploy/**/*.md", "deploy/**/*.yaml", "examples/**/*.md", "examples/**/*.yaml",
         "systemd/*")  # fmt: skip
WITH_COMMANDS = sorted(
    path
    for pattern in PAGES
    for path in TOP.glob(pattern)
    if re.search(r"\bsecretfs [a-z]|`--[a-z]", path.read_text())
)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Of each command: the table that it parses with. The keeper has none, but its help."""
    home = tmp_path_factory.mktemp("home")

    def said(*words: str) -> str:
        return program.run([program.binary(), *words], home=home).stdout

    found = {}
    for command in re.findall(r"^  ([a-z]+) ", said("help"), re.M):
        offered = said("__complete", command, "--").splitlines()[:-1]
        found[command] = {line.rstrip("=") for line in offered}
    found["keeper"] = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", said("keeper", "--help"), re.M))
    return found


def long_options(lines: str) -> set[str]:
    """Of mdoc: `Fl n , Fl -namespace Ar name`, also `Fl c , -count`, is --namespace, and --count."""
    items = re.findall(r"^\.It Fl (.*)$", lines, re.M)
    return {f"-{name}" for item in items for name in re.findall(r"(?:^|Fl |, )(-[a-z-]+)", item)}


def items_of_commands() -> Iterator[tuple[str, str]]:
    """Each command that secretfs(1) describes, and its lines; that of rollout stands twice."""
    page = (MAN / "secretfs.1").read_text()
    listed = page.partition("\n.Ss Commands\n")[2].partition("\n.Ss ")[0]
    depth, command, text = 0, "", ""
    for line in listed.splitlines():
        depth += line.startswith(".Bl ") - line.startswith(".El")
        if depth == 1 and line.startswith(".It Cm "):
            yield command, text
            command, text = line.split()[2], ""
        text += line + "\n"
    yield command, text


@pytest.mark.parametrize("command", IN_SECRETFS_1)
def test_man_page_has_the_options_of_a_command(options: dict[str, set[str]], command: str) -> None:
    text = "".join(lines for name, lines in items_of_commands() if name == command)
    known = options[command]
    assert text and long_options(text) <= known
    # in the text, too; those of source and waiting are described once, with mount
    of_mount = options["mount"] if "are those of\n.Cm mount" in text else set()
    mentioned = {f"-{name}" for name in re.findall(r"Fl (-[a-z-]+)|, (-[a-z-]+)", text) for name in name}
    assert known - OF_EVERY_COMMAND - of_mount <= mentioned


@pytest.mark.parametrize("command", ["node", "keeper"])
def test_man_page_of_its_own_has_the_options(options: dict[str, set[str]], command: str) -> None:
    page = (MAN / f"secretfs-{command}.8").read_text()
    known = options[command]
    described = long_options(page) | {name for name, line in NODE_PAGE_HAS.items() if line in page}
    assert described | OF_EVERY_COMMAND == known | OF_EVERY_COMMAND


def test_man_page_of_mount_8_has_the_options(options: dict[str, set[str]]) -> None:
    """As words of -o, but for those that stand on a command line only."""
    page = (MAN / "mount.fuse.secretfs.8").read_text()
    items = "\n".join(re.findall(r"^\.It (Cm .*)$", page, re.M))
    described = {f"--{name.replace('_', '-')}" for name in re.findall(r"\b([a-z_]+)\b", items)}
    assert options["mount"] - OF_EVERY_COMMAND - {"--check", "--foreground"} <= described


# ---- node.yaml


def lines_in_effect() -> dict[str, Any]:
    """The file with each of its settings in effect: a line of text has a blank after its #."""
    text = re.sub(r"^#(?! [^ ]|$)", "", NODE_YAML.read_text(), flags=re.M)
    parsed: dict[str, Any] = yaml.load(text, yaml.BaseLoader)
    return parsed


def defaults(area: Path) -> dict[str, str]:
    """Of those options of a node whose help names one."""
    told = program.run([program.binary(), "node", "--help"], home=area).stdout
    parts = re.split(r"^ +(?:-\w, )?--([a-z-]+)", told, flags=re.M)[1:]
    found = {}
    for name, text in zip(parts[::2], parts[1::2]):
        value = re.search(r"\(default:\s+([\w./:]+)\s*[;)]|([\w-]+) \(default\)", text)
        if value is not None:
            found[name] = value[1] or value[2]
    return found


def test_node_yaml_has_options_and_their_defaults(options: dict[str, set[str]], area: Path) -> None:
    settings = lines_in_effect()
    known = {name.removeprefix("--") for name in options["node"]} | {"commands"}
    assert len(settings) > 10 and set(settings) <= known
    told = defaults(area)
    compared = {name: value for name, value in settings.items() if name in told}
    assert len(compared) > 8
    assert compared == {name: told[name] for name in compared}


def test_node_yaml_is_accepted(area: Path) -> None:
    """Each of its settings at once; what audit needs is off by default."""
    file = area / "node.yaml"
    file.write_text(yaml.safe_dump({**lines_in_effect(), "consumers": "on", "run-dir": str(area / "run")}))
    done = program.run([program.binary(), "node", f"--config={file}", "--check"], home=area)
    assert done.returncode != 2, done.stderr
    assert str(file) not in done.stderr


# ---- commands that pages show


def command_lines(page: str) -> Iterator[tuple[str, str]]:
    """Each `secretfs COMMAND`, of kubectl, too, and what follows it until the line's or the command's end."""
    text = page.replace("\\\n", " ")
    for found in re.finditer(r"\bsecretfs ([a-z]+)\b([^`\n]*)", text):
        yield found[1], re.split(r" -- | \| | && |;|#| {2,}", found[2])[0]


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=lambda path: str(path.relative_to(TOP)))
def test_options_that_pages_show_are_known(options: dict[str, set[str]], path: Path) -> None:
    page = path.read_text()
    for command, rest in command_lines(page):
        if command in options:
            used = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", rest))
            assert used <= options[command], (command, rest)
    named = set(re.findall(r"`(--[a-z][a-z-]*)[`= ]", page))
    assert named <= set().union(OF_OTHERS, *options.values())
