"""What an Engine.IO session has as long as it is on long polling."""

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
        if self.waiter is not None:
            self.waiter.set()

    def take(self) -> list[str | bytes]:
        """Packets for one response, in order."""
        taken: list[str | bytes] = []
        while self.queue and len(taken) < packets.MAX_PACKETS_OUT:
            taken.append(self.queue.popleft())
            self.size -= len(taken[-1])
        return taken
