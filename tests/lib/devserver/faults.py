"""What a test may do to a request instead of, or around, the honest answer.

A Fault has a predicate and a number of times; the first fault in force that matches a request
serves it. serve() gets the exchange and decides whether and when the honest answer is computed and
what of it reaches the client. A fault that may block listens for the connection's end.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Iterable

from lib.waiting import PATIENCE_SECONDS

from .http11 import Disconnected
from .requestlog import Predicate, Request

if TYPE_CHECKING:
    from .api import Exchange, Reply

DROP_POINTS = ("before_headers", "after_headers", "mid_body")
HOLD_STAGES = ("request", "response")


class Fault:
    """A fault in force until it has served `times` requests (None: until cleared)."""

    def __init__(self, where: Predicate, times: int | None) -> None:
        self.hits = 0
        self._where = where
        self._remaining = times

    def take(self, request: Request) -> bool:
        """Thread: any, under the lock of Faults."""
        if self._remaining == 0 or not self._where(request):
            return False
        if self._remaining is not None:
            self._remaining -= 1
        self.hits += 1
        return True

    def clear(self) -> None:
        """No more requests; those in its hands stay there."""
        self._remaining = 0

    def serve(self, exchange: Exchange) -> None:
        raise NotImplementedError


class AnswerFault(Fault):
    """Answers with a given reply."""

    def __init__(self, where: Predicate, times: int | None, reply: Reply) -> None:
        super().__init__(where, times)
        self._reply = reply

    def serve(self, exchange: Exchange) -> None:
        exchange.send(self._reply)


class DropFault(Fault):
    """Ends the connection at a point of the answer; before_headers leaves the request undone."""

    def __init__(self, where: Predicate, times: int | None, when: str, reset: bool) -> None:
        super().__init__(where, times)
        if when not in DROP_POINTS:
            raise ValueError(f"when must be one of {', '.join(DROP_POINTS)}, not {when!r}")
        self._when = when
        self._reset = reset

    def serve(self, exchange: Exchange) -> None:
        if self._when != "before_headers":
            exchange.send_part(0.5 if self._when == "mid_body" else 0.0)
        exchange.drop(self._reset)


class HoldFault(Fault):
    """Keeps requests waiting, before they are carried out or with the answer ready to go."""

    def __init__(self, where: Predicate, times: int | None, stage: str) -> None:
        super().__init__(where, times)
        if stage not in HOLD_STAGES:
            raise ValueError(f"stage must be one of {', '.join(HOLD_STAGES)}, not {stage!r}")
        self._stage = stage
        self._changed = threading.Condition()
        self._released = False
        self._waiting = 0

    @property
    def waiting(self) -> int:
        return self._waiting

    def release(self) -> None:
        """Lets the held requests go on; later ones are no longer held."""
        self.clear()
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def wait_held(self, timeout: float = PATIENCE_SECONDS, count: int = 1) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting >= count, timeout):
                raise TimeoutError(f"{self._waiting} of {count} requests held in {timeout} s")

    def serve(self, exchange: Exchange) -> None:
        if self._stage == "response":
            outcome = exchange.handle()
            self._wait(exchange)
            exchange.send(outcome)
        else:
            self._wait(exchange)
            exchange.send(exchange.handle())

    def _wait(self, exchange: Exchange) -> None:
        with exchange.watching_for_hangup(self._wake), self._changed:
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._released or exchange.hung_up)
            self._waiting -= 1
        if exchange.hung_up:
            raise Disconnected

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Faults:
    """The faults in force, in the order in which they were set. Thread: any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def take(self, request: Request) -> Fault | None:
        with self._lock:
            return next((fault for fault in self._faults if fault.take(request)), None)

    def clear(self) -> None:
        """Ends every fault; requests that are held go on."""
        with self._lock:
            faults, self._faults = self._faults, []
        for fault in _holding(faults):
            fault.release()


def _holding(faults: Iterable[Fault]) -> list[HoldFault]:
    return [fault for fault in faults if isinstance(fault, HoldFault)]
