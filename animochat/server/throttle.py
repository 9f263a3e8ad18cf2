"""A slow lane for connections that hurry, and for who has just been cut off and connects again: together they get a
share of the event loop's time, however many they are.

Each flood is cut off in the end, but a thousand of them in one moment are seconds of work. In the lane that work takes
its time, and the people who talk beside it don't notice.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Protocol

from gevent import get_hub, getcurrent

#: Seconds between two rounds of the lane, and how long one may take: a twentieth of that, or one turn if that takes
#: longer. Where nobody else waits, who gets into the lane by mistake is held up by a hundredth of a second.
PERIOD, TURN = 0.01, 0.0005


class Throttled(Protocol):
    """What can be put in the lane."""

    def on_slot(self) -> None:
        """Do a little of the work. Called from the event loop, off the lane; may add itself again."""


class _Queue:
    """The greenlets of one group: whenever it is the group's turn, one of them goes on."""

    __slots__ = ("greenlets", "group", "throttle_queue")

    def __init__(self, throttle_queue: ThrottleQueue, group: Hashable) -> None:
        self.throttle_queue = throttle_queue
        self.group = group
        self.greenlets: dict[Any, None] = {}

    def on_slot(self) -> None:
        greenlet = next(iter(self.greenlets))
        self.remove(greenlet)
        if self.greenlets:
            self.throttle_queue.add(self)
        greenlet.switch()

    def remove(self, greenlet: Any) -> None:
        """Forget a greenlet, and the group with its last one."""
        del self.greenlets[greenlet]
        if not self.greenlets:
            self.throttle_queue.remove(self)
            self.throttle_queue.queues.pop(self.group, None)


class ThrottleQueue:
    """Calls ``entry.on_slot()`` for one after the other."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Throttled, None] = OrderedDict()
        self._timer: Any = None
        #: greenlets that wait, and by group
        self.waiting = 0
        self.queues: dict[Hashable, _Queue] = {}

    def add(self, entry: Throttled, first: bool = False) -> None:
        """Let an entry wait for its turn, as the first or as the last; one that waits already keeps its place."""
        if entry not in self._waiting:
            self._waiting[entry] = None
            self._waiting.move_to_end(entry, last=not first)
        if self._timer is None:
            self._timer = get_hub().loop.timer(PERIOD, PERIOD)
            self._timer.start(self._run)

    def __contains__(self, entry: Throttled) -> bool:
        return entry in self._waiting

    def remove(self, entry: Throttled) -> None:
        """An entry that is gone wants no turn any more."""
        self._waiting.pop(entry, None)

    def wait(self, group: Hashable = None) -> None:
        """Hold up the present greenlet until it is its turn; what it does then counts, as far as its next pause.

        All that wait in one `group` have one turn together: a thousand connections of one address delay another one's
        by a turn. Without a group it has turns of its own.
        """
        greenlet = getcurrent()
        group = greenlet if group is None else group
        queue = self.queues.get(group)
        if queue is None:
            queue = self.queues[group] = _Queue(self, group)
        queue.greenlets[greenlet] = None
        self.add(queue)
        self.waiting += 1
        try:
            get_hub().switch()
        finally:
            self.waiting -= 1
            if greenlet in queue.greenlets:  # ended while it waits
                queue.remove(greenlet)

    def stop(self) -> None:
        """Forget everybody."""
        self._waiting.clear()
        self.queues.clear()
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _run(self) -> None:
        until = time.perf_counter() + TURN
        while self._waiting and time.perf_counter() < until:
            entry, _ = self._waiting.popitem(last=False)
            entry.on_slot()
        if not self._waiting:
            self.stop()
