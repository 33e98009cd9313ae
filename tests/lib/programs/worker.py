"""A command to run: notes in a file what it was started with and which signals it gets.

worker.py RECORD [SIGNAL=EXIT_STATUS | SIGNAL=ignore]...: without more, it notes HUP, USR1, WINCH
and CONT, and ends on TERM and INT as programs do.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from types import FrameType

NOTED = ("HUP", "USR1", "WINCH", "CONT", "RTMIN")


def number(name: str) -> signal.Signals:
    return getattr(signal, f"SIG{name}")


def main() -> None:
    record = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(**what: object) -> None:
        os.write(record, json.dumps({**what, "pid": os.getpid()}).encode() + b"\n")

    def on_noted(signo: int, _frame: FrameType | None) -> None:
        note(event=signal.Signals(signo).name)

    for name in NOTED:
        signal.signal(number(name), on_noted)
    for rule in sys.argv[2:]:
        name, outcome = rule.split("=")
        if outcome == "ignore":
            signal.signal(number(name), on_noted)
            continue

        def on_ending(signo: int, _frame: FrameType | None, status: int = int(outcome)) -> None:
            note(event=signal.Signals(signo).name)
            os._exit(status)

        signal.signal(number(name), on_ending)
    # with pause(), a signal that comes just before it would be handled after the next one only
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    note(
        event="start",
        group=os.getpgrp(),
        parent=os.getppid(),
        environment={os.fsdecode(k): os.fsdecode(v) for k, v in os.environb.items()},
        foreground=is_foreground(),
    )
    while True:
        os.read(woken, 64)


def is_foreground() -> bool | None:
    """Whether it has the terminal; None without one."""
    try:
        tty = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        return None
    try:
        return os.tcgetpgrp(tty) == os.getpgrp()
    finally:
        os.close(tty)


main()
