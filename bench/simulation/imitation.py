"""A lobby in memory that follows the matchmaking scripts' rules and takes the time that they were measured to take."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from simulation.costs import Costs

#: The scripts' own numbers: people drawn, people of one look, and what a tick may do.
DRAW, PORTION, BUDGET, PERSON = 16, 100, 100, 5


class Done(NamedTuple):
    """What a script did: seconds of the store's, the pairs that it matched, whether it is to be run again."""

    seconds: float
    matches: list[tuple[int, int]]
    again: bool = False


def outcome(matched: bool, looked: int) -> str:
    """How a search ended, and after looking at about how many people: what its cost depends on."""
    size = 0 if looked == 0 else 16 if looked <= DRAW else 100
    return f"{'matched' if matched else 'waiting'} {size}"


class Imitation:
    """`workers` is how many there are; people are numbers."""

    def __init__(self, costs: Costs, workers: int, rest: float, random: Random) -> None:
        self._costs = costs
        self._random = random
        self._rest = rest
        base, each = costs.per_worker("connect")
        self._connect = base + each * workers
        base, each = costs.per_worker("heartbeat")
        self._heartbeat = base + each * workers
        # Lists: short ones, and millions of them.
        self._met: dict[int, list[int]] = defaultdict(list)
        self._pool: list[int] = []
        self._place: dict[int, int] = {}  # in the pool
        self._arrived: dict[int, int] = {}
        self._arrivals = 0
        self._resting: list[tuple[float, int]] = []
        self._searching: dict[int, int] = {}  # how far the search has come, in arrivals
        self._waiting: set[int] = set()

    def have_met(self, a: int, b: int) -> None:
        """They will not be matched."""
        self._met[a].append(b)
        self._met[b].append(a)

    def connect(self, person: int, now: float) -> Done:
        return Done(self._connect, [])

    def heartbeat(self, worker: int, now: float) -> Done:
        return Done(self._heartbeat, [])

    def disconnect(self, person: int, now: float) -> Done:
        self._stop_waiting(person)
        return Done(self._costs.draw(("disconnect", ""), self._random), [])

    def leave(self, person: int, now: float) -> Done:
        return Done(self._costs.draw(("leave", ""), self._random), [])

    def find(self, person: int, now: float) -> Done:
        self._waiting.add(person)
        partner, looked = self._seek(person)
        seconds = self._costs.draw(("find", outcome(partner is not None, looked)), self._random)
        return Done(seconds, [] if partner is None else [(person, partner)])

    def skip(self, person: int, now: float) -> Done:
        """`next_match` in a room."""
        self._waiting.add(person)
        heapq.heappush(self._resting, (now + self._rest, person))
        return Done(self._costs.draw(("skip", ""), self._random), [])

    def tick(self, worker: int, now: float) -> Done:
        seconds = self._costs.draw(("tick", "idle"), self._random)
        matches: list[tuple[int, int]] = []
        spent = 0
        due = []
        while self._resting and self._resting[0][0] <= now and len(due) < BUDGET // PERSON:
            due.append(heapq.heappop(self._resting)[1])
        due += list(self._searching)[: BUDGET // PERSON]
        for person in due:
            if spent >= BUDGET:
                if person not in self._searching:
                    heapq.heappush(self._resting, (now, person))
                continue
            spent += PERSON
            began = self._searching.pop(person, None)
            if person not in self._waiting:
                continue
            partner, looked = self._seek(person) if began is None else self._go_on(person, began)
            spent += looked
            key = ("tick", outcome(partner is not None, looked))
            seconds += self._costs.draw(key, self._random)
            if partner is not None:
                matches.append((person, partner))
        return Done(seconds, matches, spent >= BUDGET)

    # The search, as matchmaking/scripts/include/search.lua has it

    def _seek(self, person: int) -> tuple[int | None, int]:
        size = len(self._pool)
        met = self._met[person]
        draw = min(size, DRAW if size > 2 * len(met) else PORTION)
        people = self._random.sample(self._pool, draw)
        partner = self._pick(person, people)
        if partner is None and draw < size:
            self._searching[person] = -1
        return partner, draw

    def _go_on(self, person: int, last: int) -> tuple[int | None, int]:
        people = heapq.nsmallest(PORTION, (p for p in self._pool if self._arrived[p] > last), key=self._arrived.get)  # type: ignore[arg-type]
        if len(people) == PORTION:
            self._searching[person] = self._arrived[people[-1]]
        return self._pick(person, people), len(people)

    def _pick(self, person: int, people: Iterable[int]) -> int | None:
        met = self._met[person]
        candidates = [other for other in people if other != person and other not in met]
        if not candidates:
            if person not in self._place:
                self._arrivals += 1
                self._arrived[person] = self._arrivals
                self._place[person] = len(self._pool)
                self._pool.append(person)
            return None
        partner = self._random.choice(candidates)
        for one in (person, partner):
            self._stop_waiting(one)
        self.have_met(person, partner)
        return partner

    def _stop_waiting(self, person: int) -> None:
        self._waiting.discard(person)
        self._searching.pop(person, None)
        place = self._place.pop(person, None)
        if place is not None:
            last = self._pool.pop()
            if last != person:
                self._pool[place] = last
                self._place[last] = place

    @property
    def waiting(self) -> int:
        """How many are in the pool."""
        return len(self._pool)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that so many (0 to 1) do not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else math.nan
