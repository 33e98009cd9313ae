"""What the program `reads` measures: operations in a volume and in a tmpfs, side by side."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from processes import run
from results import median


@dataclass
class Comparison:
    """One operation in the rounds of one run; nanoseconds, and the rounds' ratios."""

    ours: float
    theirs: float
    ratio: float

    @property
    def cells(self) -> list[str]:
        return [f"{self.ours:.0f}", f"{self.theirs:.0f}", f"{self.ratio:.2f}"]

    def document(self) -> dict[str, float]:
        ratio = round(self.ratio, 3)
        return {"secretfs_ns": self.ours, "tmpfs_ns": self.theirs, "ratio": ratio}


def compare(
    programs: Path, ours: Path, theirs: Path, rounds: int, *operations: str
) -> dict[str, Comparison]:
    """Medians by operation; of all operations unless some are named."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    command = [programs / "reads", "compare", ours, theirs, rounds, *operations]
    for line in run(command).splitlines():
        operation, first, second = line.split()
        pairs.setdefault(operation, []).append((float(first), float(second)))
    return {
        operation: Comparison(
            ours=median(pair[0] for pair in rounds_of),
            theirs=median(pair[1] for pair in rounds_of),
            ratio=median(pair[0] / pair[1] for pair in rounds_of),
        )
        for operation, rounds_of in pairs.items()
    }


def copy_volume(volume: Path, target: Path) -> None:
    """The same names, links, modes and bytes, made as the kubelet makes them."""
    generation = os.readlink(volume / "..data")
    (target / generation).mkdir()
    for name in os.listdir(volume / generation):
        shutil.copy(volume / generation / name, target / generation / name)
    os.symlink(generation, target / "..data_tmp")
    os.rename(target / "..data_tmp", target / "..data")
    for name in os.listdir(target / generation):
        os.symlink(f"..data/{name}", target / name)
