"""A slow lane for connections that hurry, and for who has just been cut off and connects again: together they get a
share of the event loop's time, however many they are.

Each flood is cut off in the end, but a thousand of them in one moment are seconds of work. In the lane that work takes
its time, and the people who talk beside it don't notice.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any, Protocol

from gevent import get_hub, getcurrent

#: Seconds between two rounds of the lane, and how long one may take: a twentieth of that, or one turn if that takes
#: longer. Where nobody else waits, who gets into the lane by mistake is held up by a hundredth of a second.
PERIOD, TURN = 0.01, 0.0005


class Hasty(Protocol):
    """What can be put in the lane."""

    def on_turn(self) -> None:
        """Do a little of the work. Called from the event loop, off the lane; may add itself again."""


class _Waiter:
    """A greenlet in the lane."""

    __slots__ = ("_greenlet",)

    def __init__(self, greenlet: Any) -> None:
        self._greenlet = greenlet

    def on_turn(self) -> None:
        self._greenlet.switch()


class SlowLane:
    """Calls ``entry.on_turn()`` for one after the other."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hasty, None] = OrderedDict()
        self._timer: Any = None

    def add(self, entry: Hasty, first: bool = False) -> None:
        """Let an entry wait for its turn, as the first or as the last; one that waits already keeps its place."""
        if entry not in self._waiting:
            self._waiting[entry] = None
            self._waiting.move_to_end(entry, last=not first)
        if self._timer is None:
            self._timer = get_hub().loop.timer(PERIOD, PERIOD)
            self._timer.start(self._run)

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, entry: Hasty) -> bool:
        return entry in self._waiting

    def remove(self, entry: Hasty) -> None:
        """An entry that is gone wants no turn any more."""
        self._waiting.pop(entry, None)

    def wait(self) -> None:
        """Hold up the present greenlet until it is its turn; what it does then counts, as far as its next pause."""
        waiter = _Waiter(getcurrent())
        self.add(waiter)
        try:
            get_hub().switch()
        finally:
            self.remove(waiter)

    def stop(self) -> None:
        """Forget everybody."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _run(self) -> None:
        until = time.perf_counter() + TURN
        while self._waiting and time.perf_counter() < until:
            entry, _ = self._waiting.popitem(last=False)
            entry.on_turn()
        if not self._waiting:
            self.stop()
