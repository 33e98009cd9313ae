"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import time
from typing import Callable, TypeVar

T = TypeVar("T")

# Generous: only a failing test ever waits that long.
PATIENCE = 120.0


def wait_for(
    condition: Callable[[], T],
    what: str,
    seconds: float = PATIENCE,
    pause: float = 0.02,
    forgive: tuple[type[Exception], ...] = (),
) -> T:
    """Returns the condition's first true value. `forgive`: exceptions that mean "not yet"."""
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except forgive as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s; at last: {last!r:.2000}")
        time.sleep(pause)
