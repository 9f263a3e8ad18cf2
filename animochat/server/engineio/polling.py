"""Long polling, the transport that every Engine.IO session starts on unless it starts on WebSocket.

It is *open*; after the session's end it is *closing* for as long as last packets wait for a poll, and then *gone*.
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
        on_cut_off: called when the client is too slow; not to call the layer above at once.
        burst: packets that the client may post at once.
    """

    __slots__ = ("_backlog", "_connection", "_counted_at", "_left", "_on_cut_off", "_sending", "_waiting", "paused",
                 "posting", "queue", "taken", "waiter")  # fmt: skip

    def __init__(self, backlog: Backlog, on_cut_off: Callable[[], object], burst: float) -> None:
        self._backlog = backlog
        self._left = burst
        self._counted_at = time.monotonic()
        self._on_cut_off = on_cut_off
        self._connection: Any = None  # the one of the last response
        self._waiting = 0  # characters and bytes in the queue
        self._sending = 0  # bytes of responses under way
        #: bytes of responses that the client has taken
        self.taken = 0
        self.queue: deque[str | bytes] = deque()
        self.waiter: Event | None = None  # only while a GET waits
        self.posting = False
        self.paused: Event | None = None  # only while a POST waits for the end of a paused session

    def count(self, packets_: float, rate: float, burst: float) -> float:
        """Count posted packets. Returns how many more may come at once; below 0 it was too many."""
        now = time.monotonic()
        self._left = min(burst, self._left + (now - self._counted_at) * rate) - packets_
        self._counted_at = now
        return self._left

    @property
    def queued(self) -> int:
        """Bytes that wait for the client."""
        return self._waiting + self._sending

    def put(self, packet: str | bytes, early: bool = False) -> None:
        """Queue a packet, as the last or `early`, as the first; and wake the poll that waits for it."""
        (self.queue.appendleft if early else self.queue.append)(packet)
        self._waiting += len(packet)
        self.wake()
        if self.queued > MAX_QUEUED:
            self._backlog.look_at(self)

    def wake(self) -> None:
        """Have the poll that waits answered, if there is one."""
        if self.waiter is not None:
            self.waiter.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait for a packet, for :meth:`wake`, or for so many `seconds`."""
        self.waiter = Event()
        try:
            self.waiter.wait(seconds)
        finally:
            self.waiter = None

    def take(self, connection: Any) -> Response:
        """Return a response with packets, in order; with a NOOP if there are none. `connection`: what it is sent on."""
        taken: list[str | bytes] = []
        while self.queue and len(taken) < packets.MAX_PACKETS_OUT:
            taken.append(self.queue.popleft())
            self._waiting -= len(taken[-1])
        self._connection = connection
        return payload(taken or [packets.NOOP], self._progress)

    def _progress(self, change: int) -> None:
        """Count the bytes of a response that begin to wait for the client, or, where negative, wait no longer."""
        self._sending += change
        if change < 0:
            self.taken -= change
        elif self.queued > MAX_QUEUED:
            self._backlog.look_at(self)

    def cut_off(self) -> None:
        """The client is too slow: hang up."""
        if self._sending and self._connection is not None:
            self._connection.cut_off()
        self._on_cut_off()

    def clear(self) -> None:
        """Drop what waits for a poll."""
        self.queue.clear()
        self._waiting = 0

    def end(self, last: str, keep: bool) -> None:
        """Answer the poll that waits with what is left and the packet `last`; without one, `keep` it for the next.

        Whatever the queue has afterwards is what the session's last polls get.
        """
        if self.waiter is not None or keep:
            self.put(last)
        else:
            self.clear()
        if self.paused is not None:
            self.paused.set()
