"""A token bucket: how often something may happen, with ten seconds' worth at once."""

from __future__ import annotations

#: Seconds' worth of tokens that a bucket holds.
BURST_SECONDS = 10


class TokenBucket:
    """Holds `BURST_SECONDS` worth of tokens, one at least, and is full at first. Times are monotonic, in seconds."""

    __slots__ = ("left", "used_at")

    def __init__(self) -> None:
        #: tokens; -1 at first: full, whatever the rate is
        self.left = -1.0
        self.used_at = 0.0

    def take(self, rate: float, now: float) -> int:
        """Take a token of `rate` a second (0: no limit). Return 0, or the milliseconds until there is one."""
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
        """Take `count` tokens, or as many as there are, from a bucket that was used."""
        self.left = max(0.0, self.left - count)
