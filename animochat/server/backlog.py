"""What waits for clients that are slow to take it: in which form, how much, and for how long.

`MAX_QUEUED` bytes may wait for a client. A new session or missed messages may be more than that, sent at once: a client
for which more waits is *behind*, and stays as long as it takes `MIN_TAKEN` bytes in every `PATIENCE` seconds. Memory is
bounded all the same: for each client by the longest that is sent at once, for all of a worker by `MAX_BEHIND`.
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

#: Bytes that may wait for a client, whether it takes them or not.
MAX_QUEUED = 1024 * 1024

#: Bytes that a client has to take in so many seconds while more than `MAX_QUEUED` wait: 6.5 kB a second.
MIN_TAKEN, PATIENCE = 64 * 1024, 10.0

#: Bytes that may wait for all clients of a worker that are behind. Beyond, the one behind for longest is cut off.
MAX_BEHIND = 64 * 1024 * 1024

# Frames up to so many bytes are kept together: as an object of its own each would take some 60 bytes more.
_SMALL, _CHUNK = 4 * 1024, 64 * 1024

# Chunks for one system call.
_BUFFERS = 64


class Client(Protocol):
    """For whom something waits."""

    #: bytes that were taken of what had to wait, ever
    taken: int

    @property
    def queued(self) -> int:
        """Bytes that wait."""

    def cut_off(self) -> None:
        """End the connection. May be called from within a send, so it does not call the layer above."""


class Backlog:
    """The clients of a worker that are behind.

    Args:
        timers: the worker's wheel.
        most: bytes that may wait for one client, `MAX_QUEUED` at least.
    """

    def __init__(self, timers: TimerWheel, most: int) -> None:
        self._timers = timers
        self._most = max(most, MAX_QUEUED)
        # The one that has been behind for longest first; as each has more than MAX_QUEUED waiting, there are few.
        self._behind: OrderedDict[Client, _Watch] = OrderedDict()

    def look_at(self, client: Client) -> None:
        """See whether more waits for a client than may. To be called when its queue has grown beyond `MAX_QUEUED`."""
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
        """A client is gone, or no longer behind."""
        watch = self._behind.pop(client, None)
        if watch is not None:
            self._timers.remove(watch)

    def has_passed(self, watch: _Watch) -> None:
        """The time is over in which a client has to take something."""
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
        """Look whether the client has taken enough."""
        self._backlog.has_passed(self)


class Outgoing:
    """Frames that a socket did not take yet, in order."""

    __slots__ = ("_chunks", "size")

    def __init__(self) -> None:
        self._chunks: deque[bytearray | memoryview] = deque()  # each is whole frames, but for the first
        self.size = 0

    def add(self, frame: bytes, sent: int = 0) -> None:
        """Add a frame, of which the first `sent` bytes are sent already."""
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
        """Have a non-blocking socket take what it takes, and return how many bytes.

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
