"""Long polling, the transport that every Engine.IO session starts on unless it starts on WebSocket.

A session is *open*; after its end it is *closing* while last packets wait for a poll, and then *gone*.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from gevent.event import Event

from animochat.server.backlog import MAX_QUEUED, Backlog
from animochat.server.engineio import packets
from animochat.server.engineio.responses import Response, payload


class Polling:
    """Packets that wait for a poll, and the requests under way.

    Args:
        backlog: the worker's.
        on_cut_off: called when the client is too slow; must not call the layer above at once.
        burst: number of packets that the client may post at once.
    """

    __slots__ = ("_backlog", "_connection", "_counted_at", "_left", "_on_cut_off", "_sending", "_waiting", "paused",
                 "posting", "queue", "taken", "waiter")  # fmt: skip

    def __init__(self, backlog: Backlog, on_cut_off: Callable[[], object], burst: float) -> None:
        self._backlog = backlog
        self._left = burst
        self._counted_at = time.monotonic()
        self._on_cut_off = on_cut_off
        self._connection: Any = None  # connection of the last response
        self._waiting = 0  # characters and bytes in the queue
        self._sending = 0  # bytes of responses under way
        #: bytes of responses that the client has read
        self.taken = 0
        self.queue: deque[str | bytes] = deque()
        self.waiter: Event | None = None  # only while a GET waits
        self.posting = False
        self.paused: Event | None = None  # only while a POST waits for the end of a paused session

    def count(self, packets_: float, rate: float, burst: float) -> float:
        """Count posted packets. Return how many more may come at once; below 0 there were too many."""
        now = time.monotonic()
        self._left = min(burst, self._left + (now - self._counted_at) * rate) - packets_
        self._counted_at = now
        return self._left

    @property
    def queued(self) -> int:
        """Return how many bytes wait for the client."""
        return self._waiting + self._sending

    def put(self, packet: str | bytes, early: bool = False) -> None:
        """Queue a packet, as the last one or (`early`) as the first one; wake the waiting poll."""
        (self.queue.appendleft if early else self.queue.append)(packet)
        self._waiting += len(packet)
        self.wake()
        if self.queued > MAX_QUEUED:
            self._backlog.look_at(self)

    def wake(self) -> None:
        """Answer the waiting poll, if there is one."""
        if self.waiter is not None:
            self.waiter.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait for a packet, for :meth:`wake`, or for this number of `seconds`."""
        self.waiter = Event()
        try:
            self.waiter.wait(seconds)
        finally:
            self.waiter = None

    def take(self, connection: Any) -> Response:
        """Return a response with packets in order, or with a NOOP if there are none. `connection`: carries it."""
        taken: list[str | bytes] = []
        while self.queue and len(taken) < packets.MAX_PACKETS_OUT:
            taken.append(self.queue.popleft())
            self._waiting -= len(taken[-1])
        self._connection = connection
        return payload(taken or [packets.NOOP], self._progress)

    def _progress(self, change: int) -> None:
        """Count bytes of a response that begin to wait for the client or, if negative, no longer wait."""
        self._sending += change
        if change < 0:
            self.taken -= change
        elif self.queued > MAX_QUEUED:
            self._backlog.look_at(self)

    def cut_off(self) -> None:
        """Hang up because the client is too slow."""
        if self._sending and self._connection is not None:
            self._connection.cut_off()
        self._on_cut_off()

    def clear(self) -> None:
        """Drop all packets that wait for a poll."""
        self.queue.clear()
        self._waiting = 0

    def end(self, last: str, keep: bool) -> None:
        """Answer the waiting poll with the rest and the packet `last`; without a poll, `keep` the packet for the next.

        The session's last polls get the packets that are left in the queue.
        """
        if self.waiter is not None or keep:
            self.put(last)
        else:
            self.clear()
        if self.paused is not None:
            self.paused.set()
