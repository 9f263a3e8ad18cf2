"""Detect that this worker stood still: a signal stopped it, its machine was moved, or it got no processor.

After longer than its lease the other workers have taken it for dead, and its people may be elsewhere: its state of
them may be wrong, so it must ask the store before acting on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable


def uptime() -> float:
    """Return seconds that count while the machine sleeps, too, where the system has such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class StallDetector:
    """Calls `on_stall(seconds)` in the first `check()` after more than `limit` seconds without one.

    `check` costs next to nothing. Call it at regular intervals, and before acting on remembered state: after a stall
    any of these may come first. `clock` is in seconds.
    """

    def __init__(self, limit: float, on_stall: Callable[[float], None], clock: Callable[[], float] = uptime) -> None:
        self._limit = limit
        self._on_stall = on_stall
        self._clock = clock
        self._checked_at = clock()

    def check(self) -> None:
        now = self._clock()
        passed, self._checked_at = now - self._checked_at, now
        if passed > self._limit:
            self._on_stall(passed)
