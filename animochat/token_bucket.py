"""A token bucket: a rate limit with a burst of ten seconds' worth."""

from __future__ import annotations

#: A full bucket has the tokens of this many seconds.
BURST_SECONDS = 10


class TokenBucket:
    """Holds `BURST_SECONDS` worth of tokens, at least one, and starts full. Times are monotonic, in seconds."""

    __slots__ = ("left", "used_at")

    def __init__(self) -> None:
        #: tokens; -1 at the start: full, whatever the rate is
        self.left = -1.0
        self.used_at = 0.0

    def take(self, rate: float, now: float) -> int:
        """Take a token of `rate` per second (0: no limit). Return 0, or the milliseconds until there is one."""
        if rate <= 0:
            return 0
        burst = max(1.0, rate * BURST_SECONDS)
        self.left = burst if self.left < 0 else min(burst, self.left + (now - self.used_at) * rate)
        self.used_at = now
        if self.left >= 1:
            self.left -= 1
            return 0
        return int((1 - self.left) / rate * 1000) + 1

    def drain(self, count: float) -> None:
        """Take up to `count` tokens from a bucket that was used."""
        self.left = max(0.0, self.left - count)
