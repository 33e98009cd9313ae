"""Random environments of random objects, beside a model of the kubelet's rules (O2 to O6, M4)."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from lib import program
from lib.sources import Manifests

KEYS = ("A", "b", "9x", "k.1", "-d", "..", "long-KEY_1")
NAMES = ("A", "b", "C", "k.1", "P_A")
PREFIXES = ("", "P_", "x-")
PIECES = ("$", "$$", "$(", ")", "(", "x", " ", "\u00e4")
PIECES += ("$(A)", "$(b)", "$(P_A)", "$(none)", "$(k.1)")
OBJECTS = ("secret/one", "secret/two", "configMap/three")
N_CASES = 12

Objects = dict[str, dict[str, str]]
Spec = dict[str, list[dict[str, Any]]]


class Missing(Exception):
    """O5: something that is needed is not there."""


# ---- by chance


def random_objects(chance: random.Random) -> Objects:
    """Values hold references, which are not to be expanded."""
    keys = [key for key in KEYS if key != ".."]  # no object can have that one (L1)
    return {
        name: {key: "".join(chance.choices(PIECES, k=2)) for key in keys if chance.random() < 0.7}
        for name in OBJECTS
        if chance.random() < 0.85
    }


def random_reference(chance: random.Random, **more: str) -> tuple[str, dict[str, Any]]:
    kind, name = chance.choice(OBJECTS).split("/")
    reference: dict[str, Any] = {"name": name, **more}
    if chance.random() < 0.7:
        reference["optional"] = True
    return kind, reference


def random_spec(chance: random.Random) -> Spec:
    env_from, env = [], []
    for _ in range(chance.randrange(4)):
        kind, reference = random_reference(chance)
        env_from.append({"prefix": chance.choice(PREFIXES), f"{kind}Ref": reference})
    for _ in range(chance.randint(1, 6)):
        entry: dict[str, Any] = {"name": chance.choice(NAMES)}
        if chance.random() < 0.6:
            entry["value"] = "".join(chance.choices(PIECES, k=chance.randrange(5)))
        else:
            kind, reference = random_reference(chance, key=chance.choice(KEYS[:5]))
            entry["valueFrom"] = {f"{kind}KeyRef": reference}
        env.append(entry)
    return {"envFrom": env_from, "env": env}


def put_objects(source: Manifests, objects: Objects) -> None:
    for name, data in objects.items():
        kind, short = name.split("/")
        if kind == "secret":
            source.put_secret({key: value.encode() for key, value in data.items()}, short)
        else:
            source.put_configmap(data, {"binary": b"never a variable"}, short)


# ---- the model


def expanded(text: str, variables: dict[str, str]) -> str:
    """What is no reference to a variable that is set stays as it is written."""

    def one(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        return variables.get(match.group(1), match.group())

    return re.sub(r"\$\$|\$\(([^)]*)\)", one, text)


def is_name(name: str, any_name: bool) -> bool:
    if any_name:
        return re.fullmatch(r"[ -<>-~]+", name) is not None
    is_known = re.fullmatch(r"[-._a-zA-Z][-._a-zA-Z0-9]*", name) is not None
    return is_known and name != "." and not name.startswith("..")


def looked_up(objects: Objects, holder: dict[str, Any], suffix: str) -> tuple[dict | None, dict]:
    (kind,) = [name for name in holder if name.endswith(suffix)]
    reference = holder[kind]
    return objects.get(f"{kind.removesuffix(suffix)}/{reference['name']}"), reference


def environment_of(spec: Spec, objects: Objects, any_name: bool) -> dict[str, str]:
    variables: dict[str, str] = {}
    for source in spec["envFrom"]:
        data, reference = looked_up(objects, source, "Ref")
        if data is None and not reference.get("optional"):
            raise Missing
        for key, value in (data or {}).items():
            name = source["prefix"] + key
            if is_name(name, any_name):
                variables[name] = value
    for entry in spec["env"]:
        if "valueFrom" not in entry:
            variables[entry["name"]] = expanded(entry.get("value", ""), variables)
            continue
        data, reference = looked_up(objects, entry["valueFrom"], "KeyRef")
        value = (data or {}).get(reference["key"])
        if value is not None:
            variables[entry["name"]] = value
        elif not reference.get("optional"):
            raise Missing
    return variables


# ---- both


def run_env(area: Path, source: Manifests, file: Path, any_name: bool):
    names = [] if any_name else ["--env-names", "strict"]
    arguments = [*source.arguments, "--wait", "0", "--log-level", "error", *names]
    command = [program.binary(), "exec", *arguments, "--env-spec", file, "--", "env", "-0"]
    return program.run(command, home=area / "home")


@pytest.mark.parametrize("seed", range(8))
def test_random_environments(area: Path, manifests: Manifests, seed: int):
    chance = random.Random(seed)
    file = area / "env.json"
    inherited = set(program.environment(area / "home"))
    for case in range(N_CASES):
        objects, spec, any_name = random_objects(chance), random_spec(chance), chance.random() < 0.5
        for old in manifests.directory.iterdir():
            old.unlink()
        put_objects(manifests, objects)
        file.write_text(json.dumps(spec))
        what = f"case {case}: {spec} of {objects}, any name: {any_name}"
        done = run_env(area, manifests, file, any_name)
        try:
            expected = environment_of(spec, objects, any_name)
        except Missing:
            assert done.returncode == 1, what
            assert re.search("not found in|couldn't find key", done.stderr), what
            continue
        assert done.returncode == 0, f"{what}: {done.stderr}"
        seen = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
        ours = {name: value for name, value in seen.items() if name not in inherited}
        assert ours == expected, what
