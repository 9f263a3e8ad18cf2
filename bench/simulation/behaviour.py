"""The behaviour of people: all assumptions, as opposed to measurements, are here."""

from __future__ import annotations

import functools
import itertools
from bisect import bisect
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Behaviour:
    """Times in seconds, shares from 0 to 1. All are assumptions; a deployment's own numbers can replace them."""

    #: A visit is lognormal: most are short, some last for hours.
    visit_median: float = 480.0
    visit_sigma: float = 1.0
    #: Share of chats that end at first sight: exponential.
    look_share: float = 0.45
    look_mean: float = 12.0
    #: The others are conversations: lognormal.
    talk_median: float = 150.0
    talk_sigma: float = 1.0
    #: Share of chats that a person ends by a skip (with cooldown); the others leave the room, pause, and search.
    skip_share: float = 0.85
    #: Time until a person searches after losing a partner, or after connecting: exponential.
    reaction_mean: float = 2.0
    pause_mean: float = 20.0
    #: Share of newcomers who were here within the history's 24 hours.
    returning_share: float = 0.4
    #: Number of people that everyone has met in that time.
    met: int = 20
    #: The cooldown after a skip (SKIP_COOLDOWN_MS).
    rest: float = 5.0

    def visit(self, random: Random) -> float:
        """Return how long a person stays."""
        return random.lognormvariate(0, self.visit_sigma) * self.visit_median

    def chat(self, random: Random) -> float:
        """Return how long two people stay together, unless a visit ends earlier."""
        if random.random() < self.look_share:
            return random.expovariate(1 / self.look_mean)
        return random.lognormvariate(0, self.talk_sigma) * self.talk_median

    def mean(self, what: str) -> float:
        """Return the mean of "visit" or "chat"."""
        lengths, totals = _lengths(self, what)
        return totals[-1] / len(lengths)

    def in_the_middle_of(self, what: str, random: Random) -> float:
        """Return the rest of a visit or chat that is under way: long ones are found more often."""
        lengths, totals = _lengths(self, what)
        return lengths[bisect(totals, random.random() * totals[-1])] * random.random()


@functools.cache
def _lengths(behaviour: Behaviour, what: str, draws: int = 20_000) -> tuple[list[float], list[float]]:
    """Return random lengths, and the sums of the first 1, 2, 3, …"""
    random = Random(1)
    lengths = [getattr(behaviour, what)(random) for _ in range(draws)]
    return lengths, list(itertools.accumulate(lengths))
