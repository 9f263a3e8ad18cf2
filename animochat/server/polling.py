"""Long polling, the transport that every Engine.IO session starts on unless it starts on WebSocket.

It is *open*; after the session's end it is *closing* for as long as last packets wait for a poll, and then *gone*.
"""

from __future__ import annotations

from collections import deque

from gevent.event import Event

from animochat.server import packets


class Polling:
    """Packets that wait for a poll, and the requests under way."""

    __slots__ = ("posting", "queue", "resumed", "size", "waiter")

    def __init__(self) -> None:
        self.queue: deque[str | bytes] = deque()
        self.size = 0  # characters and bytes in the queue
        self.waiter: Event | None = None  # only while a GET waits
        self.posting = False
        self.resumed: Event | None = None  # only while a POST waits for resume()

    def put(self, packet: str | bytes) -> None:
        """Queue a packet, and wake the poll that waits for it."""
        self.queue.append(packet)
        self.size += len(packet)
        self.wake()

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

    def take(self) -> list[str | bytes]:
        """Return packets for one response, in order; a NOOP if there are none."""
        taken: list[str | bytes] = []
        while self.queue and len(taken) < packets.MAX_PACKETS_OUT:
            taken.append(self.queue.popleft())
            self.size -= len(taken[-1])
        return taken or [packets.NOOP]

    def end(self, last: str, keep: bool) -> None:
        """Answer the poll that waits with what is left and the packet `last`; without one, `keep` it for the next.

        Whatever the queue has afterwards is what the session's last polls get.
        """
        if self.waiter is not None or keep:
            self.put(last)
        else:
            self.queue.clear()
            self.size = 0
        if self.resumed is not None:
            self.resumed.set()
