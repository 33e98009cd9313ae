"""Values that are far longer in memory than in text: the text is what they cost."""

from __future__ import annotations

import json
from pathlib import Path

from lib.memory import not_asan
from lib.waiting import until

N_VALUES = (7 << 20) // 3  # {} and a comma, in the 8 MiB that a file may have; in memory 64 bytes each
PEAK_MAX_KIB = 100 << 10


def peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [entry for entry in status.splitlines() if entry.startswith("VmHWM:")]
    return int(line.split()[1])


@not_asan
def test_manifest_of_a_list_of_nothing(manifests, mount):
    manifests.put_secret({"key": b"dummy-1"})
    volume = mount(manifests)
    items = "{}," * N_VALUES
    text = f'{{"apiVersion":"v1","kind":"List","items":[{items}{{}}]}}'
    (manifests.directory / "long.json").write_text(text)
    until(lambda: "long.json: line 1: the document has more than" in json.dumps(volume.status()))
    assert peak_kib(volume.pid) < PEAK_MAX_KIB
    manifests.put_secret({"key": b"dummy-2"})
    volume.wait_content({"key": b"dummy-2"})


@not_asan
def test_server_sends_an_object_of_nothing(each_api, mount):
    """First in an event, then in a list; in the end the object can be used again."""
    each_api.put_secret({"key": b"dummy-1"})
    volume = mount(each_api, "--log-level=debug")
    long = {"metadata": {"finalizers": [{}] * N_VALUES}, "type": "Opaque", "data": {}}
    each_api.server.put_unchecked("secrets", "default", "app", long)
    volume.wait_log("list cannot be read: it has more than 400000 values")
    assert peak_kib(volume.pid) < PEAK_MAX_KIB
    assert volume.read("key") == b"dummy-1"
    each_api.server.put_unchecked("secrets", "default", "app", {"type": "Opaque"})
    each_api.put_secret({"key": b"dummy-2"})
    volume.wait_content({"key": b"dummy-2"})
