"""The values of manifests, beside Kubernetes' own decoder, which Go builds (skipped without it)."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

from lib import go, program

SOURCE = Path(program.__file__).parent / "programs" / "kubernetes_decoder"
HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n"
JSON_HEAD = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": '

# what kubectl accepts, and secretfs, too
ACCEPTED = {
    "last line without a newline": HEAD + "data:\n  k: |\n    pw",
    "the same, kept": HEAD + "data:\n  k: |+\n    pw",
    "the same, folded": HEAD + "data:\n  k: >\n    a\n    b",
    "quote in double quotes": HEAD + 'data: {k: "it\\\'s", l: \'a\\\', m: x\\\'y, n: "\\\\\\\'"}\n',
    "byte order marks": "\ufeff# x\n---\n\ufeff" + HEAD + "data: {k: a\ufeffb}\n",
    "two merges": HEAD + "data: {<<: {a: v, b: v}, <<: {a: w}, c: z}\n",
    "a merged list": HEAD + "data: {<<: [{a: v}, {a: w, b: w}], c: z}\n",
    "large integers": HEAD + "data: {9007199254740993: a, -7: b, 0x1f: c}\n",
    "floats": HEAD + "data: {3.141592653589793: a, 1.5: b, 999999.9: c, 0.00001: d}\n",
    "binary": HEAD + "data: {k: !!binary aGk=}\nbinaryData: {l: !!binary YUdrPQ==}\n",
    "JSON values in a row": '{"kind": "Other"}' + JSON_HEAD + '{"k": "v"}}{"kind": "Other"}',
    "YAML after JSON": '{"kind": "Other"}\n' + HEAD + "data: {k: v}\n",
    "carriage returns": (HEAD + "data:\n  k: |\n    a\n    b\n").replace("\n", "\r\n"),
    "line separators": HEAD + 'data: {k: "a\u2028b\u0085c"}\n',
}
PIECES = ('"', "'", "\\'", '\\"', "\\\\", "\\n", "\\x41", "a", "b: ", "\n", "\n    ", "  ", "- ")
PIECES += ("|", ">-", "#", " #", ":", ",", "{", "}", "[", "]", "&x ", "*x", "!", "\t", "\r\n")
PIECES += ("~", "yes", "1e3", "0x1", "\u00e4", "\ufeff", "%", "@", "`", "?")
N_CASES = 40


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go.build(SOURCE, tmp_path_factory.mktemp("go") / "decoder")


def kubernetes_values(decoder: Path, text: str) -> dict[str, str] | None:
    """The data of the ConfigMap; None if it cannot be decoded, or is not one of strings."""
    done = subprocess.run([decoder], input=text.encode(), capture_output=True, check=True)
    documents = [json.loads(line) for line in done.stdout.splitlines() if line not in (b"", b"error")]
    for document in documents:
        data = document.get("data") if isinstance(document, dict) else None
        if isinstance(data, dict) and document.get("kind") == "ConfigMap":
            values = {k: "" if v is None else v for k, v in data.items()}
            return values if all(isinstance(v, str) for v in values.values()) else None
    return None


def our_values(area: Path, text: str) -> dict[str, str] | None:
    directory = area / "manifests"
    directory.mkdir(exist_ok=True)
    (directory / "app.yaml").write_bytes(text.encode())
    options = ["--wait", "0", "--log-level", "error", "--manifests", directory]
    command = [program.binary(), "exec", *options, "--env-from", "cm/app:P_", "--", "env", "-0"]
    home = area / "home"
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=program.environment(home),
        check=False,
    )
    if done.returncode != 0:
        return None
    variables = [entry.partition("=") for entry in done.stdout.decode().split("\0")]
    return {name[2:]: value for name, _, value in variables if name.startswith("P_")}


@pytest.mark.parametrize("what", ACCEPTED)
def test_values_are_those_of_kubernetes(decoder: Path, area: Path, what: str):
    values = kubernetes_values(decoder, ACCEPTED[what])
    assert values
    assert our_values(area, ACCEPTED[what]) == values


@pytest.mark.parametrize("seed", range(3))
def test_random_values_are_those_of_kubernetes(decoder: Path, area: Path, seed: int):
    """secretfs may refuse more; what both accept is the same."""
    chance = random.Random(seed)
    n_same = 0
    for _ in range(N_CASES):
        pieces = "".join(chance.choices(PIECES, k=chance.randint(1, 6)))
        quote = chance.choice(("", '"', "'", "|\n    ", ">\n    "))
        end = quote if quote in "'\"" else ""
        text = f"{HEAD}data:\n  k: {quote}{pieces}{end}" + chance.choice(("", "\n"))
        ours, theirs = our_values(area, text), kubernetes_values(decoder, text)
        if ours is not None and theirs is not None:
            assert ours == theirs, repr(text)
            n_same += 1
    assert n_same > N_CASES / 5
