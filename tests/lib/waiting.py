"""Waiting for a condition. Tests have no fixed pauses and no limits of wall-clock time."""

from __future__ import annotations

import os
import time
from typing import Callable, TypeVar

# Far longer than anything takes, also under a sanitizer on a busy machine: only a failing test ever
# waits that long.
PATIENCE_SECONDS = float(os.environ.get("PATIENCE", "120"))
# The pause between two questions: a share of what was waited so far, within these bounds.
_SHARE = 0.02
_SHORTEST_SECONDS = 0.002
_LONGEST_SECONDS = 0.02

T = TypeVar("T")


def until(
    condition: Callable[[], T],
    what: str = "",
    patience: float = PATIENCE_SECONDS,
    *,
    pause: float | None = None,
    forgive: tuple[type[Exception], ...] = (FileNotFoundError,),
) -> T:
    """Asks until the answer is true, and returns it.

    what: for the message of the failure.
    pause: seconds between two questions; without it, it grows with the time waited.
    forgive: exceptions that mean "not yet". By default that of a file that is not there: a reader that
        loses its processor for 10 ms on its way through ..data finds the generation removed
        (fuse/publish_queue.c). How often that happens is bounded where readers are counted.
    """
    begin = time.monotonic()
    answer: object = None
    while True:
        try:
            answer = condition()
            if answer:
                return answer
        except forgive as error:
            answer = error
        waited = time.monotonic() - begin
        if waited > patience:
            raise AssertionError(
                f"waited {patience:g} s in vain for: {what or condition}; at last: {answer!r:.2000}"
            )
        if pause is None:
            time.sleep(min(max(waited * _SHARE, _SHORTEST_SECONDS), _LONGEST_SECONDS))
        else:
            time.sleep(pause)
