"""How long to wait for what has to come; there are no fixed pauses in these tests."""

from __future__ import annotations

import os
import time
from typing import Callable, TypeVar

# far longer than anything takes, also under a sanitizer on a busy machine
PATIENCE_SECONDS = float(os.environ.get("PATIENCE", "60"))
_INTERVAL_SECONDS = 0.002

T = TypeVar("T")


def until(condition: Callable[[], T], what: str = "") -> T:
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_SECONDS:g} s in vain for: {what or condition}")
        time.sleep(_INTERVAL_SECONDS)
