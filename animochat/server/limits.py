"""Who may connect: limits for each remote address and for the whole worker, kept in this worker's memory."""

from __future__ import annotations

import enum
import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

#: Seconds' worth of connects that an address may make at once.
BURST_SECONDS = 10.0

#: Connects that a connection counts for which had to be cut off for what was sent on it. A flood costs a worker some
#: milliseconds until it is cut off, and so comes back more slowly than others connect.
PENALTY_CONNECTS = 10.0

#: The part of an address's requests, of its rate and of its burst, that need not wait for their turn.
UNHURRIED = 1 / 8

#: Probes of an address a second that need not wait for their turn. Load balancers ask every few seconds.
PROBES = 2.0

#: Seconds for which an address is suspected after it was charged: it connects in the slow lane (lane.py).
PENALTY = 60.0

#: Addresses whose rate is remembered, some 250 bytes each. Beyond, the one not seen for longest starts afresh.
MAX_ADDRESSES = 20_000


class Pace(enum.Enum):
    """How a request is to be answered: at once, when it is its turn, or not at all."""

    FREE = enum.auto()
    THROTTLED = enum.auto()
    REFUSED = enum.auto()


class Refusal(NamedTuple):
    """The HTTP answer to a handshake that is one too many."""

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


def _address(text: str) -> str | None:
    """A usable form of an address with or without a port, None when it is not an address."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def client_address(environ: Mapping[str, Any], trusted_proxies: int) -> str:
    """The address that a request really came from; empty for a Unix socket without a proxy's word.

    Each proxy appends to X-Forwarded-For whom it was talking to. The last `trusted_proxies` entries are therefore
    true, and the first of these is the client; everything before it is the client's own invention.
    """
    peer = str(environ.get("REMOTE_ADDR") or "")
    if trusted_proxies > 0:
        # From the end, and no further: what the client made up in front may be long.
        entries = str(environ.get("HTTP_X_FORWARDED_FOR") or "").rsplit(",", trusted_proxies)
        forwarded = _address(entries[-min(trusted_proxies, len(entries))])
        if forwarded is not None:
            return forwarded
    return _address(peer) or peer


def comes_through_proxy(environ: Mapping[str, Any]) -> bool:
    """Return whether a proxy of the operator's own network seems to have sent a request: it says for whom."""
    if not environ.get("HTTP_X_FORWARDED_FOR"):
        return False
    peer = _address(str(environ.get("REMOTE_ADDR") or ""))
    return peer is None or ipaddress.ip_address(peer).is_private  # None: a Unix socket


def group_of(address: str) -> str:
    """What counts as one address: an IPv6 customer has a whole /64, and so has an attacker."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address, 64), strict=False))
    except ValueError:
        return address


class Buckets:
    """Tokens of each address group: `rate` a second, and `BURST_SECONDS` worth at once.

    Args:
        now: a monotonic clock in seconds.
    """

    def __init__(self, rate: float, now: Callable[[], float]) -> None:
        self.rate = rate
        self.burst = max(1.0, rate * BURST_SECONDS)
        self._now = now
        #: Tokens left and when that was; the least recently seen first.
        self.tokens: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, group: str) -> float:
        """Take a token. Returns how many are left; below 0 there was none to take."""
        now = self._now()
        tokens, since = self.tokens.pop(group, (self.burst, now))
        tokens = min(self.burst, tokens + (now - since) * self.rate)
        self.tokens[group] = (tokens - 1 if tokens >= 1 else tokens, now)
        # Forget, a few at a time, who would have all tokens again by now.
        for _ in range(2):
            oldest, (_, seen) = next(iter(self.tokens.items()))
            if len(self.tokens) <= MAX_ADDRESSES and now - seen < BURST_SECONDS:
                break
            del self.tokens[oldest]
        return tokens - 1

    def drain(self, group: str, count: float) -> None:
        """Take `count` tokens, or as many as there are, of a group that has taken any."""
        if group in self.tokens:
            tokens, since = self.tokens[group]
            self.tokens[group] = (max(0.0, tokens - count), since)


class ConnectionLimits:
    """Counts connections and requests.

    Call :meth:`admit` before a connection is opened and :meth:`release` when it has ended; :meth:`request` for each
    HTTP request.

    Args:
        rate: new connections per address and second, with a burst of `BURST_SECONDS` worth; 0 = no limit.
        per_address: open connections per address; 0 = no limit.
        total: open connections; 0 = no limit.
        rate_requests: HTTP requests per address and second, likewise; 0 = no limit.
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
        # As long as the open connections at most.
        self._open_by_address: Counter[str] = Counter()
        self._connects = Buckets(rate, now)
        self._requests = Buckets(rate_requests, now)
        self._unhurried = Buckets(rate_requests * UNHURRIED, now)
        self._probes = Buckets(PROBES, now)
        # When they were last charged; the one for which that is longest ago first.
        self._penalized: OrderedDict[str, float] = OrderedDict()

    def admit(self, address: str) -> Refusal | None:
        """Count a new connection from `address`, or say why it can't be opened (then it only counts as a try)."""
        if self.total and self.open >= self.total:
            return TOO_MANY
        group = group_of(address)
        if group:  # a Unix socket has no address: nothing to tell its clients apart by
            if self.per_address and self._open_by_address[group] >= self.per_address:
                return TOO_MANY_FROM_ADDRESS
            if self._connects.rate and self._connects.take(group) < 0:
                return TOO_FAST
            if self.per_address:
                self._open_by_address[group] += 1
        self.open += 1
        return None

    def release(self, address: str) -> None:
        """A connection that had been admitted has ended."""
        self.open -= 1
        group = group_of(address)
        if self.per_address and group:
            self._open_by_address[group] -= 1
            if self._open_by_address[group] <= 0:
                del self._open_by_address[group]

    def connect_again(self, address: str) -> bool:
        """Count a connect on a connection that is open already. Returns whether it is within the rate."""
        group = group_of(address)
        return not group or not self._connects.rate or self._connects.take(group) >= 0

    def request(self, address: str) -> Pace:
        """Count an HTTP request from `address`, and say how it is to be answered."""
        group = group_of(address)
        if not group:
            return Pace.FREE
        if self._requests.rate and self._requests.take(group) < 0:
            return Pace.REFUSED
        if self.is_penalized(address) or (self._requests.rate and self._unhurried.take(group) < 0):
            return Pace.THROTTLED
        return Pace.FREE

    def probe(self, address: str) -> bool:
        """Count a load balancer's question, and say whether it is one of few."""
        return self._probes.take(group_of(address)) >= 0

    def penalize(self, address: str) -> None:
        """A connection from `address` had to be cut off for what was sent on it."""
        group = group_of(address)
        if group:
            self._penalized[group] = self._now()
            self._penalized.move_to_end(group)
            if len(self._penalized) > MAX_ADDRESSES:
                self._penalized.popitem(last=False)
        self._connects.drain(group, PENALTY_CONNECTS)

    def is_penalized(self, address: str) -> bool:
        """Whether `address` was charged a short while ago."""
        charged = self._penalized.get(group_of(address)) if self._penalized else None
        return charged is not None and self._now() - charged < PENALTY
