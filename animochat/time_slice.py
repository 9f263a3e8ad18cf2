"""Long work is done in portions, and whoever talks meanwhile has a turn in between."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent

#: Seconds of work in a row, and of the pause after it: any time but none.
WORK, PAUSE = 0.0005, 0.001


class TimeSlice:
    """One's turn at the event loop, from here on. `yield_if_due()` is for each round of the work.

    `pause` takes the place of the pause after each turn.
    """

    __slots__ = ("_pause", "_until")

    def __init__(self, pause: Callable[[], object] | None = None) -> None:
        self._pause = pause
        self._until = time.perf_counter() + WORK

    def yield_if_due(self) -> None:
        """When the turn has been long enough, let go first whatever is ready, what came over the network included.

        `gevent.sleep(0)` doesn't: gevent goes on with the greenlets that are ready, the one that sleeps among them,
        until there are none, and only then looks at its sockets.
        """
        if time.perf_counter() >= self._until:
            if self._pause is None:
                gevent.sleep(PAUSE)
            else:
                self._pause()
            self._until = time.perf_counter() + WORK
