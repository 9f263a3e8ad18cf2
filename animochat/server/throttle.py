"""The throttle queue, for connections that send too fast, and for clients that connect again after abuse. Together they
get a small share of the event loop's time, however many they are.

Each flood is cut off in the end, but a thousand floods in one moment are seconds of work. In the queue that work is
spread over time, so that it does not delay other people's messages.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Protocol

from gevent import get_hub, getcurrent

#: Seconds between two rounds of the queue, and the time of one round: a twentieth of the period, or one entry if that
#: takes longer. If no other entry waits, a connection that is queued by mistake is delayed by a hundredth of a second.
PERIOD, TURN = 0.01, 0.0005


class Throttled(Protocol):
    """An entry of the queue."""

    def on_slot(self) -> None:
        """Do a little of the work. Called from the event loop, after removal from the queue; may add itself again."""


class _Queue:
    """The greenlets of one group: each time the group is served, one of them continues."""

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
    """Calls ``entry.on_slot()`` for one entry after the other."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Throttled, None] = OrderedDict()
        self._timer: Any = None
        #: number of waiting greenlets, and the greenlets by group
        self.waiting = 0
        self.queues: dict[Hashable, _Queue] = {}

    def add(self, entry: Throttled, first: bool = False) -> None:
        """Let an entry wait, as the first or as the last; an entry that waits already keeps its place."""
        if entry not in self._waiting:
            self._waiting[entry] = None
            self._waiting.move_to_end(entry, last=not first)
        if self._timer is None:
            self._timer = get_hub().loop.timer(PERIOD, PERIOD)
            self._timer.start(self._run)

    def __contains__(self, entry: Throttled) -> bool:
        return entry in self._waiting

    def remove(self, entry: Throttled) -> None:
        """Remove an entry that has ended."""
        self._waiting.pop(entry, None)

    def wait(self, group: Hashable = None) -> None:
        """Pause the current greenlet until it is served; its work counts until its next pause.

        All greenlets of one `group` share one place: a thousand connections of one address delay another address by one
        entry. Without a group the greenlet has its own place.
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
            if greenlet in queue.greenlets:  # it ended while it waited
                queue.remove(greenlet)

    def stop(self) -> None:
        """Drop all entries."""
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
