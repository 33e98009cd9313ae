"""Readers of several pods, and of a static volume, in loops while the node daemon is killed at random moments under its keeper."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from pathlib import Path

import pytest

from lib.fuse_kernel import Kernel
from lib.inotify import Watcher
from lib.kubelet import OK, Kubelet, PodVolume
from lib.mountinfo import mounts_at
from lib.node_daemon import KeptNode, NodeMaker
from lib.sources import Manifests
from lib.storm import (
    LIVE_READERS,
    READERS,
    Readers,
    check,
    n_generations,
    number_of,
    open_and_read,
    read,
    read_once,
    shown_generations,
    value,
)
from lib.waiting import until

KILLS = int(os.environ.get("SECRETFS_TEST_KILLS", "25"))
VOLUMES = 3  # the last one is static
# Of one version of each, at most three times, and of buffers: 0.2 to 0.9 MB. Unless older ones are freed, 0.13 MB more for each end.
MEMORY_BYTES = (2 << 20) + KILLS * (20 << 10)


class Writer:
    """Puts new versions of each volume's secret."""

    def __init__(self, manifests: Manifests) -> None:
        self._manifests = manifests
        self.numbers = [0] * VOLUMES
        for volume in range(VOLUMES):
            self.put(volume)

    def put(self, volume: int) -> None:
        self.numbers[volume] += 1
        content = value(self.numbers[volume])
        self._manifests.put_secret({"password": content, "cold": content}, name=f"s{volume}")


class Churn:
    """A kubelet that publishes and unpublishes a further volume, as long as it is not over.

    A call fails when its daemon is killed, and is repeated; what was answered holds (Kubelet checks it).
    """

    def __init__(self, kept: KeptNode, volume: PodVolume, *, resends: bool) -> None:
        self._resends = resends
        self.n_aborted = 0
        self._kubelet = Kubelet(kept.root)
        self._kubelet.register_all()
        self._volume = volume
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.n = 0
        self.failure = ""

    def __enter__(self) -> Churn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _publish(self) -> None:
        """Without the kubelet's growing delays."""
        while self._kubelet.attempt_publish(self._volume) != OK:
            time.sleep(0.01)

    def _read(self) -> None:
        """Again, where the kernel has ended what a killed daemon had taken."""
        try:
            read_once(open_and_read, self._volume.target)
        except ConnectionAbortedError:
            if self._resends:
                raise
            self.n_aborted += 1
            self._read()

    def _run(self) -> None:
        try:
            while not self._is_over.is_set():
                self._publish()
                self._read()
                self._kubelet.unpublish(self._volume)
                self.n += 1
        except Exception as e:  # noqa: BLE001 (reported, of any kind)
            self.failure = f"{type(e).__name__}: {e}"


def _define_static(area: Path, target: Path) -> None:
    directory = area / "volumes.d"
    directory.mkdir()
    volume = {"secret": {"secretName": f"s{VOLUMES - 1}"}}
    (directory / "static.yaml").write_text(json.dumps({"target": str(target), "volume": volume}))


def _is_newest(target: Path, number: int) -> bool:
    return number_of(read(target / "password")) == number


def _kill_often(kept: KeptNode, writer: Writer) -> None:
    for i in range(KILLS):
        for _ in range(random.randrange(4)):
            writer.put(random.randrange(VOLUMES))
            time.sleep(random.random() / 50)
        if i % 5 == 4:
            kept.hand_over()
        else:
            kept.kill_daemon()


def test_storm(
    area: Path,
    start_node: NodeMaker,
    manifests: Manifests,
    each_kernel: Kernel,
    watcher: Watcher,
    capsys: pytest.CaptureFixture[str],
) -> None:
    writer = Writer(manifests)
    static = area / "static"
    _define_static(area, static)
    kept = start_node(*manifests.arguments, kind=KeptNode, env=each_kernel.env).wait_ready()
    assert isinstance(kept, KeptNode)
    volumes = [kept.publish(kept.pod(i, f"s{i}")) for i in range(VOLUMES - 1)]
    until(lambda: mounts_at(static), "the static volume")
    targets = [*(v.target for v in volumes), static]
    mounts = [mounts_at(target) for target in targets]
    churn = Churn(kept, kept.pod(VOLUMES, "s0"), resends=each_kernel.resends)
    loops = {f"volume {i}": (READERS, target) for i, target in enumerate(targets)}
    first = [os.readlink(target / "..data") for target in targets]
    for name, (_, target) in loops.items():
        watcher.add(name, target)
    if each_kernel.resends:
        in_place = {"secretName": "s0", "updates": "in-place"}
        live = kept.publish(kept.pod(VOLUMES + 1, attributes=in_place))
        loops["in place"] = (LIVE_READERS, live.target)
    readers = Readers(loops)
    try:
        with churn:
            _kill_often(kept, writer)
        for target, number in zip(targets, writer.numbers):
            until(lambda t=target, n=number: _is_newest(t, n), f"version {number}")
    finally:
        outcomes = readers.stop()
    with capsys.disabled():
        print(f"\n{KILLS} ends, {sum(writer.numbers)} updates, {outcomes}, {churn.n} more volumes")
    check(outcomes, max_aborted=0 if each_kernel.resends else KILLS - KILLS // 5)
    assert churn.failure == ""
    assert [mounts_at(target) for target in targets] == mounts
    for target in targets:
        until(lambda t=target: n_generations(t) == 1, "the removal of old generations")
    ids = {*(v.volume_id for v in volumes), "static-static"}
    until(lambda: kept.directories() == ids, "the removal of others")
    events = watcher.read()
    for i, target in enumerate(targets):
        shown = shown_generations([e for e in events if e.watch == f"volume {i}"])
        assert first[i] not in shown and shown[-1] == os.readlink(target / "..data")
    until(lambda: kept.status()["memory"]["secretBytes"] <= MEMORY_BYTES, "older generations to be freed")
