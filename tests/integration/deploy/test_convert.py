"""`secretfs convert`: manifests with the volumes that deploy/adopt's policy would give their pods."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib import adoption, program
from lib.deploy import DEPLOY, EXAMPLES, name_of

NAMES = ("a", "b-1", "creds", "n" * 54, "n" * 55, "kube-api-access-x", "a-secretfs", "unmounted")
SOURCES: tuple[dict[str, Any], ...] = (
    {"secret": {"name": "db"}},
    {"configMap": {"name": "look", "items": [{"key": "k", "path": "p"}]}},
    {"serviceAccountToken": {"path": "t"}},
    {"clusterTrustBundle": {"name": "one", "path": "ca.crt"}},
    {"podCertificate": {"keyType": "ED25519"}},
    {"ofLater": {}},
)
KINDS: tuple[dict[str, Any], ...] = (
    {"secret": {"secretName": "db", "optional": True}},
    {"configMap": {"name": "look", "items": [{"key": "k", "path": "p", "mode": 256}]}},
    {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    {"emptyDir": {}},
    {"csi": {"driver": "csi.secretfs.io", "volumeAttributes": {"secretName": "db"}}},
)
EXCLUSIONS: tuple[dict[str, Any], ...] = (
    {"os": {"name": "windows"}},
    {"nodeSelector": {"kubernetes.io/os": "windows"}},
    {"runtimeClassName": "gvisor"},
)
WORKLOADS: dict[tuple[str, str], tuple[str, ...]] = {
    ("v1", "Pod"): (),
    ("v1", "PodTemplate"): ("template",),
    ("apps/v1", "Deployment"): ("spec", "template"),
    ("apps/v1", "StatefulSet"): ("spec", "template"),
    ("apps/v1", "DaemonSet"): ("spec", "template"),
    ("batch/v1", "Job"): ("spec", "template"),
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
    ("example.com/v1", "Job"): (),
}
N_CASES = 40


class Convert:
    def __init__(self, area: Path) -> None:
        self.area = area

    def output(self, text: bytes, *options: str) -> bytes:
        path, result = self.area / "manifest", self.area / "result"
        path.write_bytes(text)
        command = f"exec {program.binary()} convert -f {path} {' '.join(options)} >{result}"
        done = program.run(["sh", "-c", command], home=self.area)
        assert done.returncode == 0, (done.stderr, text.decode())
        assert done.stderr == ""
        return result.read_bytes()


@pytest.fixture
def convert(area: Path) -> Convert:
    return Convert(area)


# ---- by chance


def random_volume(chance: random.Random, name: str) -> dict[str, Any]:
    if chance.random() < 0.3:
        sources = chance.sample(SOURCES, chance.randrange(len(SOURCES)))
        return {"name": name, "projected": {"sources": sources}}
    volume = {"name": name, **chance.choice(KINDS)}
    return dict(chance.sample(list(volume.items()), len(volume)))


def random_pod(chance: random.Random) -> dict[str, Any]:
    names = chance.sample(NAMES, chance.randrange(len(NAMES)))
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in names if name != "unmounted"]
    containers = [{"name": "main", "volumeMounts": mounts}]
    spec: dict[str, Any] = {
        "volumes": [random_volume(chance, name) for name in names],
        "containers": [{"name": "plain"}],
        "initContainers" if chance.random() < 0.5 else "containers": containers,
        "nodeName": "\u00e4\u20ac",
    }
    spec.setdefault("containers", []).append({"name": "other"})
    annotations = {"secretfs.io/adopt": chance.choice(("disabled", "other", "enabled"))}
    pod: dict[str, Any] = {"metadata": {"annotations": annotations}, "spec": spec}
    if chance.random() < 0.2:
        spec.update(chance.choice(EXCLUSIONS))
    return pod


def wrapped(kind: tuple[str, str], pod: dict[str, Any]) -> dict[str, Any]:
    content = pod
    for key in reversed(WORKLOADS[kind]):
        content = {key: content}
    return {"apiVersion": kind[0], "kind": kind[1], **content}


def with_comments(chance: random.Random, text: str) -> str:
    """Behind some lines, and between some, at any depth."""
    lines = []
    for line in text.splitlines():
        lines.append(line + " # why" if chance.random() < 0.2 else line)
        if chance.random() < 0.2:
            lines.append(" " * chance.randrange(12) + "# more")
        if chance.random() < 0.1:
            lines.append("")
    return "\n".join(lines) + chance.choice(("", "\n", "\n\n"))


def random_text(chance: random.Random, document: dict[str, Any]) -> str:
    form = chance.choice(("json", "pretty", "flow", "block", "block", "mixed"))
    if form in ("json", "pretty"):
        indent = 4 if form == "pretty" else None
        return json.dumps(document, indent=indent, ensure_ascii=chance.random() < 0.5) + "\n"
    document = json.loads(json.dumps(document))  # without aliases
    flow = {"flow": True, "block": False, "mixed": None}[form]
    text = yaml.dump(
        document,
        default_flow_style=flow,
        sort_keys=False,
        width=10**6,
        allow_unicode=True,
        default_style=chance.choice((None, None, "'", '"')) if form == "block" else None,
        indent=chance.choice((2, 4)),
    )
    return with_comments(chance, text) if flow is not True else text


def random_stream(chance: random.Random) -> tuple[bytes, list[Any]]:
    """The text, and the documents that its conversion should have."""
    texts, expected = [], []
    for _number in range(chance.randrange(1, 4)):
        kind = chance.choice(list(WORKLOADS))
        pod = random_pod(chance)
        own = kind[0] in ("v1", "apps/v1", "batch/v1")
        document = wrapped(kind, pod)
        made = wrapped(kind, adoption.adopted(pod) if own else pod)
        if chance.random() < 0.3:
            document, made = (
                {"apiVersion": "v1", "kind": "List", "items": [{"kind": "Secret"}, content]}
                for content in (document, made)
            )
        texts.append(random_text(chance, document))
        expected.append(made)
    text = "\n---\n".join(texts)
    if chance.random() < 0.2:
        text = text.replace("\n", "\r\n")
    return text.encode(), expected


@pytest.mark.parametrize("seed", range(N_CASES))
def test_as_the_policy(convert: Convert, seed: int) -> None:
    """The volumes of the policy; a second time nothing; and each byte back."""
    text, expected = random_stream(random.Random(seed))
    converted = convert.output(text)
    assert list(yaml.safe_load_all(converted)) == expected, text.decode()
    assert convert.output(converted) == converted
    assert convert.output(converted, "--revert") == text, converted.decode()


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_examples(convert: Convert, path: Path) -> None:
    """Pods that have csi volumes already."""
    assert convert.output(path.read_bytes()) == path.read_bytes()


def test_standard_input(area: Path) -> None:
    """In a pipeline in front of kubectl."""
    text = "kind: Pod\nspec:\n  containers: [{volumeMounts: [{name: a}]}]\n"
    text += "  volumes:\n  - {name: a, secret: {secretName: db}}\n"
    path = area / "manifest"
    command = ["sh", "-c", f"exec {program.binary()} convert -f - <{path}"]
    path.write_text(text)
    done = program.run(command, home=area)
    assert done.returncode == 0 and "podVolume: a-secretfs" in done.stdout, done
    path.write_text("a: [\n")
    done = program.run(command, home=area)
    assert done.stderr.startswith("secretfs: standard input: line 2"), done.stderr


@pytest.mark.parametrize("arguments", [(), ("-f",), ("-f", "a", "-f", "b"), ("-f", "a", "b")])
def test_command_line(area: Path, arguments: tuple[str, ...]) -> None:
    done = program.run([program.binary(), "convert", *arguments], home=area)
    assert done.returncode == 2 and "Run `secretfs convert --help`" in done.stderr


def test_missing_file(area: Path) -> None:
    done = program.run([program.binary(), "convert", "-f", area / "none"], home=area)
    assert done.returncode == 1 and f"{area}/none" in done.stderr


def test_full_disk(convert: Convert) -> None:
    """A part of a manifest is not taken for the whole."""
    path = convert.area / "manifest"
    path.write_bytes(b"a: 1\n")
    command = f"{program.binary()} convert -f {path} >/dev/full"
    done = program.run(["sh", "-c", command], home=convert.area)
    assert done.returncode == 1 and "cannot print the result" in done.stderr


# ---- beside the policy


def policy_text() -> str:
    return (DEPLOY / "adopt" / "policy.yaml").read_text()


def test_lists_are_those_of_the_policy() -> None:
    """The program, the model and the policy exclude the same runtimes and serve the same sources."""
    source = (DEPLOY.parent / "cmd" / "adopt" / "policy.c").read_text()

    def list_of(name: str) -> list[str]:
        found = re.search(rf"{name}\[\] = \{{(.*?)\}};", source, re.DOTALL)
        assert found is not None
        return re.findall(r'"([^"]*)"', found[1])

    (classes,) = re.findall(r"runtimeClassName in (\[.*?\])", policy_text())
    assert list_of("runtime_classes") == list(adoption.RUNTIME_CLASSES)
    assert json.loads(classes.replace("'", '"')) == list(adoption.RUNTIME_CLASSES)
    assert list_of("kinds") == list(adoption.KINDS)
    assert list_of("sources") == list(adoption.SOURCES)
    assert re.findall(r"has\(s\.(\w+)\)", policy_text()) == list(adoption.SOURCES)
    assert re.findall(r"has\(v\.(\w+)\)", policy_text())[:3] == list(adoption.KINDS)
    assert f"size(v.name) <= {adoption.LONGEST_NAME}" in policy_text()
