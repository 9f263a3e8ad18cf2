"""Slice long-running work so that it never starves the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent

#: Seconds of work without a pause, and of each pause; any pause longer than 0 will do.
WORK, PAUSE = 0.0005, 0.001


class TimeSlice:
    """A slice of the event loop's time, which starts now. Call `yield_if_due()` in each round of the work.

    `pause` replaces the pause after each slice.
    """

    __slots__ = ("_pause", "_until")

    def __init__(self, pause: Callable[[], object] | None = None) -> None:
        self._pause = pause
        self._until = time.perf_counter() + WORK

    def yield_if_due(self) -> None:
        """Pause if the slice is used up, so that everything ready runs first, including arrived network data.

        `gevent.sleep(0)` is not enough: gevent first runs all ready greenlets, the sleeping one included, until there
        are none, and only then checks its sockets.
        """
        if time.perf_counter() >= self._until:
            if self._pause is None:
                gevent.sleep(PAUSE)
            else:
                self._pause()
            self._until = time.perf_counter() + WORK
