"""Limits on connecting, for each remote address and for the whole worker, kept in this worker's memory."""

from __future__ import annotations

import enum
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from animochat.server.addresses import group_of
from animochat.token_bucket import BURST_SECONDS, TokenBucket

#: Number of connects that a connection counts for if it was ended for abuse. A flood costs a worker some milliseconds
#: until it is cut off; this makes it return more slowly than others connect.
PENALTY_CONNECTS = 10.0

#: The part of an address's requests, of its rate and of its burst, that is not throttled.
UNHURRIED = 1 / 8

#: Probes per second and address that are not throttled. Load balancers probe every few seconds.
PROBES = 2.0

#: Seconds for which a penalized address is throttled (throttle.py).
PENALTY = 60.0

#: Addresses whose rate is kept, some 250 bytes each. Beyond, the one not seen for longest is dropped.
MAX_ADDRESSES = 20_000


class Pace(enum.Enum):
    """How to answer a request: at once, after a wait in the throttle queue, or not at all."""

    FREE = enum.auto()
    THROTTLED = enum.auto()
    REFUSED = enum.auto()


class Refusal(NamedTuple):
    """The HTTP answer to a handshake that exceeds a limit."""

    status: str
    #: seconds
    retry_after: int
    message: str
    #: a value of the metric connects_refused's label
    reason: str


TOO_FAST = Refusal("429 Too Many Requests", 1, "Too many connection attempts", "too-fast")
TOO_MANY_FROM_ADDRESS = Refusal(
    "503 Service Unavailable", 30, "Too many connections from this address", "too-many-from-address"
)
TOO_MANY = Refusal("503 Service Unavailable", 5, "Too many connections", "too-many")


class AddressBuckets:
    """A token bucket for each address group, of `rate` tokens per second.

    Args:
        now: a monotonic clock in seconds.
    """

    def __init__(self, rate: float, now: Callable[[], float]) -> None:
        self.rate = rate
        self._now = now
        #: The least recently used first.
        self.by_group: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, group: str) -> bool:
        """Take one of the group's tokens. Return whether there was one."""
        now = self._now()
        bucket = self.by_group.pop(group, None) or TokenBucket()
        self.by_group[group] = bucket
        taken = bucket.take(self.rate, now) == 0
        # Forget, a few at a time, the groups whose buckets would be full again by now.
        for _ in range(2):
            oldest, used = next(iter(self.by_group.items()))
            if len(self.by_group) <= MAX_ADDRESSES and now - used.used_at < BURST_SECONDS:
                break
            del self.by_group[oldest]
        return taken

    def drain(self, group: str, count: float) -> None:
        """Take up to `count` tokens from a group that has taken any."""
        if group in self.by_group:
            self.by_group[group].drain(count)


class ConnectionLimits:
    """Counts connections and requests.

    Call :meth:`admit` before a connection is opened and :meth:`release` when it has ended; :meth:`request` for each
    HTTP request.

    Args:
        rate: new connections per address and second, with a burst of `BURST_SECONDS` worth; 0 = no limit.
        per_address: open connections per address; 0 = no limit.
        total: open connections; 0 = no limit.
        rate_requests: HTTP requests per address and second, with such a burst; 0 = no limit.
        now: a monotonic clock in seconds.
    """

    def __init__(
        self,
        rate: float = 0,
        per_address: int = 0,
        total: int = 0,
        rate_requests: float = 0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.per_address = per_address
        self.total = total
        self.open = 0
        self._now = now
        # At most as long as the number of open connections.
        self._open_by_address: Counter[str] = Counter()
        self._connects = AddressBuckets(rate, now)
        self._requests = AddressBuckets(rate_requests, now)
        self._unhurried = AddressBuckets(rate_requests * UNHURRIED, now)
        self._probes = AddressBuckets(PROBES, now)
        # Times of the penalties, the oldest first.
        self._penalized: OrderedDict[str, float] = OrderedDict()

    def admit(self, address: str) -> Refusal | None:
        """Count a new connection from `address`. Return a refusal if it can't be opened; then only the try counts."""
        if self.total and self.open >= self.total:
            return TOO_MANY
        group = group_of(address)
        if group:  # a Unix socket has no address: its clients can't be told apart
            if self.per_address and self._open_by_address[group] >= self.per_address:
                return TOO_MANY_FROM_ADDRESS
            if self._connects.rate and not self._connects.take(group):
                return TOO_FAST
            if self.per_address:
                self._open_by_address[group] += 1
        self.open += 1
        return None

    def release(self, address: str) -> None:
        """Note that an admitted connection has ended."""
        self.open -= 1
        group = group_of(address)
        if self.per_address and group:
            self._open_by_address[group] -= 1
            if self._open_by_address[group] <= 0:
                del self._open_by_address[group]

    def connect_again(self, address: str) -> bool:
        """Count a connect on a connection that is open already. Return whether it is within the rate."""
        group = group_of(address)
        return not group or not self._connects.rate or self._connects.take(group)

    def request(self, address: str) -> Pace:
        """Count an HTTP request from `address`, and return how to answer it."""
        group = group_of(address)
        if not group:
            return Pace.FREE
        if self._requests.rate and not self._requests.take(group):
            return Pace.REFUSED
        if self.is_penalized(address) or (self._requests.rate and not self._unhurried.take(group)):
            return Pace.THROTTLED
        return Pace.FREE

    def probe(self, address: str) -> bool:
        """Count a load balancer's probe, and return whether it is within the rate."""
        return self._probes.take(group_of(address))

    def penalize(self, address: str) -> None:
        """Note that a connection from `address` was ended for abuse."""
        group = group_of(address)
        if group:
            self._penalized[group] = self._now()
            self._penalized.move_to_end(group)
            if len(self._penalized) > MAX_ADDRESSES:
                self._penalized.popitem(last=False)
        self._connects.drain(group, PENALTY_CONNECTS)

    def is_penalized(self, address: str) -> bool:
        """Return whether `address` was penalized a short while ago."""
        penalized = self._penalized.get(group_of(address)) if self._penalized else None
        return penalized is not None and self._now() - penalized < PENALTY
