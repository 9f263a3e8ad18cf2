"""Deadlines of many connections on one greenlet: a timer wheel.

A greenlet that sleeps for each connection costs some 5 kB; an entry of the wheel costs some 50 bytes, and setting or
clearing a deadline is one set operation.
"""

from __future__ import annotations

import math
import time
from typing import Protocol

import gevent

from animochat.time_slice import TimeSlice


class Deadline(Protocol):
    """An entry of a wheel."""

    #: The entry's position on the wheel, -1 for none. Only the wheel sets it.
    timer_slot: int

    def on_timer(self) -> None:
        """Handle the deadline. Called from the wheel's greenlet, after removal from the wheel; may add itself again."""


class TimerWheel:
    """Calls ``entry.on_timer()`` once the delay given to :meth:`add` is over, at most one tick late.

    Args:
        tick: resolution in seconds.
        span: the longest delay in seconds.
    """

    def __init__(self, tick: float, span: float) -> None:
        self.tick = tick
        self._slots: list[set[Deadline]] = [set() for _ in range(math.ceil(span / tick) + 2)]
        self._current = 0
        self._greenlet: gevent.Greenlet | None = None

    def add(self, entry: Deadline, delay: float) -> None:
        """Set the entry's deadline to `delay` seconds from now; this replaces an earlier deadline."""
        self.remove(entry)
        ticks = min(max(1, math.ceil(delay / self.tick)), len(self._slots) - 1)
        entry.timer_slot = (self._current + ticks) % len(self._slots)
        self._slots[entry.timer_slot].add(entry)
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)

    def remove(self, entry: Deadline) -> None:
        """Clear the entry's deadline, if it has one."""
        if entry.timer_slot >= 0:
            self._slots[entry.timer_slot].discard(entry)
            entry.timer_slot = -1

    def stop(self) -> None:
        """Stop all calls; a deadline that is set later starts the wheel again."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
            self._greenlet = None

    def _run(self) -> None:
        next_tick = time.monotonic()
        while True:
            next_tick += self.tick
            # After a blockage the loop handles the missed ticks at once.
            gevent.sleep(max(0.0, next_tick - time.monotonic()))
            self._current = (self._current + 1) % len(self._slots)
            due = self._slots[self._current]
            time_slice = TimeSlice()
            while due:
                entry = due.pop()
                entry.timer_slot = -1
                entry.on_timer()
                time_slice.yield_if_due()
