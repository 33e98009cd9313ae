"""The program under test: where it is, what it may not say, and how to call it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Sequence

from lib.waiting import PATIENCE_SECONDS

_DEFAULT = Path(__file__).resolve().parents[2] / "build" / "debug" / "secretfs"
SUSPICIOUS = re.compile(
    r" ERROR |(?i:assert|sanitizer|runtime error|\bleak|memory leaks|stack smashing)"
)


def binary() -> Path:
    return Path(os.environ.get("SECRETFS", _DEFAULT)).resolve()


def has_sanitizer() -> bool:
    """Whether this is an ASan or TSan build, with a heap that keeps freed memory for a while."""
    program = binary().read_bytes()
    return b"__asan_init" in program or b"__tsan_init" in program


def environment(home: Path, **more: str) -> dict[str, str]:
    """A bare environment: nothing of the tester's own kubeconfigs."""
    kept = {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS") or k == "LANG"}
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {**kept, "PATH": path, "HOME": str(home), **more}


def run(
    command: Sequence[str | Path], *, home: Path, **options: object
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, without a terminal; both outputs are captured as text."""
    env = environment(home, **options.pop("env", {}))  # type: ignore[arg-type]
    return subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=env,
        check=False,
        **options,  # type: ignore[call-overload]
    )
