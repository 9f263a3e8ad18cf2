"""Queued bytes of slow clients: their form, their number, and how long they may wait.

`MAX_QUEUED` bytes may wait for a client. A new session or missed messages may be larger, sent at once: a client with
more in its queue is *behind*, and stays connected as long as it reads `MIN_TAKEN` bytes in every `PATIENCE` seconds.
Memory stays bounded: for each client by the largest single send, for all clients of a worker by `MAX_BEHIND`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from itertools import islice
from typing import Protocol

from animochat.server.library_internals import NativeSocket
from animochat.server.timers import TimerWheel
from animochat.telemetry.metrics import METRICS

log = logging.getLogger(__name__)

#: Bytes that may wait for a client, whether it reads them or not.
MAX_QUEUED = 1024 * 1024

#: Bytes that a client has to read in this many seconds while more than `MAX_QUEUED` wait: 6.5 kB per second.
MIN_TAKEN, PATIENCE = 64 * 1024, 10.0

#: Bytes that may wait for all clients of a worker that are behind. Beyond, the one behind for longest is cut off.
MAX_BEHIND = 64 * 1024 * 1024

# Frames up to this size are kept together: as an object of its own, each would take some 60 bytes more.
_SMALL, _CHUNK = 4 * 1024, 64 * 1024

# Chunks per system call.
_BUFFERS = 64


class Client(Protocol):
    """A client with queued bytes."""

    #: queued bytes that it has read, ever
    taken: int

    @property
    def queued(self) -> int:
        """Return how many bytes wait."""

    def cut_off(self) -> None:
        """End the connection. May be called from within a send, so it does not call the layer above."""


class Backlog:
    """The clients of a worker that are behind.

    Args:
        timers: the worker's wheel.
        most: bytes that may wait for one client, at least `MAX_QUEUED`.
    """

    def __init__(self, timers: TimerWheel, most: int) -> None:
        self._timers = timers
        self._most = max(most, MAX_QUEUED)
        # The client that has been behind for longest comes first. Each has more than MAX_QUEUED waiting: they are few.
        self._behind: OrderedDict[Client, _Watch] = OrderedDict()

    def look_at(self, client: Client) -> None:
        """Check whether too much waits for a client. Call this when its queue has grown beyond `MAX_QUEUED`."""
        if client.queued > self._most:
            self._cut_off(client)
            return
        if client not in self._behind:
            self._behind[client] = watch = _Watch(self, client)
            self._timers.add(watch, PATIENCE)
        for other in list(self._behind):
            if other.queued <= MAX_QUEUED:
                self.forget(other)
        while sum(other.queued for other in self._behind) > MAX_BEHIND:
            self._cut_off(next(iter(self._behind)))

    def forget(self, client: Client) -> None:
        """Forget a client that is gone, or no longer behind."""
        watch = self._behind.pop(client, None)
        if watch is not None:
            self._timers.remove(watch)

    def has_passed(self, watch: _Watch) -> None:
        """Check a client at the end of the time in which it had to read enough."""
        client = watch.client
        if client.queued <= MAX_QUEUED:
            self.forget(client)
        elif client.taken - watch.taken < MIN_TAKEN:
            self._cut_off(client)
        else:
            watch.taken = client.taken
            self._timers.add(watch, PATIENCE)

    def _cut_off(self, client: Client) -> None:
        self.forget(client)
        METRICS.slow_clients += 1
        client.cut_off()


class _Watch:
    """A client's deadline."""

    __slots__ = ("_backlog", "client", "taken", "timer_slot")

    def __init__(self, backlog: Backlog, client: Client) -> None:
        self._backlog = backlog
        self.client = client
        self.taken = client.taken
        self.timer_slot = -1

    def on_timer(self) -> None:
        """Check whether the client has read enough."""
        self._backlog.has_passed(self)


class Outgoing:
    """Frames that a socket has not accepted yet, in order."""

    __slots__ = ("_chunks", "size")

    def __init__(self) -> None:
        self._chunks: deque[bytearray | memoryview] = deque()  # each has whole frames, except the first
        self.size = 0

    def add(self, frame: bytes, sent: int = 0) -> None:
        """Add a frame; its first `sent` bytes are sent already."""
        self.size += len(frame) - sent
        if len(frame) > _SMALL:
            self._chunks.append(memoryview(frame)[sent:])
            return
        last = self._chunks[-1] if self._chunks else None
        if isinstance(last, bytearray) and len(last) < _CHUNK:
            last += frame[sent:]
        else:
            self._chunks.append(bytearray(frame[sent:]))

    def add_early(self, frame: bytes) -> None:
        """Add a frame in front of those that can still wait."""
        self.size += len(frame)
        self._chunks.insert(1, bytearray(frame))

    def send(self, sock: NativeSocket) -> int:
        """Send as much as a non-blocking socket accepts, and return how many bytes that were.

        Raises:
            OSError: as the socket's ``send``.
        """
        taken = sent = sock.sendmsg(list(islice(self._chunks, _BUFFERS)))
        self.size -= sent
        while sent:
            first = self._chunks[0]
            if sent < len(first):
                if isinstance(first, bytearray):
                    del first[:sent]
                else:
                    self._chunks[0] = first[sent:]
                break
            sent -= len(first)
            self._chunks.popleft()
        return taken
