"""A lobby in memory that follows the matchmaking scripts' rules and takes their measured time."""

from __future__ import annotations

import heapq
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from random import Random
from typing import NamedTuple

from animochat.matchmaking.service import TICK, TICK_GAP_MS
from simulation.costs import Costs, Work


def _numbers_of(source: str) -> dict[str, int]:
    """Return the constants at the beginning of a script."""
    found = re.findall(r"^local ([A-Z, ]+) = ([0-9, ]+)$", source, re.MULTILINE)
    return {
        name: int(number)
        for names, numbers in found
        for name, number in zip(names.split(", "), numbers.split(", "), strict=True)
    }


NUMBERS = _numbers_of(TICK.source)

#: People drawn, people per portion, and a tick's budget: as in the scripts.
DRAW, PORTION, BUDGET, PERSON, MATCH = (NUMBERS[name] for name in ("DRAW", "PORTION", "BUDGET", "PERSON", "MATCH"))


class Done(NamedTuple):
    """The result of a script: the store's work, the pairs that it matched, whether to run it again."""

    work: Work
    matches: list[tuple[int, int]]
    again: bool = False


def outcome(matched: bool, looked: int) -> str:
    """Return how a search ended and about how many people it looked at: its cost depends on both."""
    size = 0 if looked == 0 else 16 if looked <= DRAW else 100
    return f"{'matched' if matched else 'waiting'} {size}"


class Imitation:
    """People are numbers. `rest`: seconds of cooldown after a skip."""

    def __init__(self, costs: Costs, rest: float, random: Random) -> None:
        self._costs = costs
        self._random = random
        self._rest = rest
        # Lists: they are short, and there are millions of them.
        self._met: dict[int, list[int]] = defaultdict(list)
        self._pool: list[int] = []
        self._place: dict[int, int] = {}  # in the pool
        self._arrived: dict[int, int] = {}
        self._arrivals = 0
        self._resting: list[tuple[float, int]] = []
        self._rests: dict[int, float] = {}  # until when: valid entries of _resting
        self._searching: dict[int, int] = {}  # the search's position, in arrivals
        self._waiting: set[int] = set()
        self._ticked = -math.inf

    def have_met(self, a: int, b: int) -> None:
        """Keep these two from being matched."""
        self._met[a].append(b)
        self._met[b].append(a)

    def connect(self, person: int, now: float) -> Done:
        return self._plain("connect")

    def heartbeat(self, worker: int, now: float) -> Done:
        return self._plain("heartbeat")

    def disconnect(self, person: int, now: float) -> Done:
        self._stop_waiting(person)
        return self._plain("disconnect")

    def leave(self, person: int, now: float) -> Done:
        return self._plain("leave")

    def find(self, person: int, now: float) -> Done:
        self._waiting.add(person)
        partner, looked, _ = self._seek(person)
        work = self._costs.draw(("find", outcome(partner is not None, looked)), self._random)
        return Done(work, [] if partner is None else [(person, partner)])

    def skip(self, person: int, now: float) -> Done:
        """Run `next_match` in a room."""
        self._waiting.add(person)
        self._rests[person] = now + self._rest
        heapq.heappush(self._resting, (now + self._rest, person))
        return self._plain("skip")

    def tick(self, worker: int, now: float) -> Done:
        if now - self._ticked < TICK_GAP_MS / 1000:
            return Done(self._costs.draw(("tick", "refused"), self._random), [])
        work = self._costs.draw(("tick", "idle"), self._random)
        matches: list[tuple[int, int]] = []
        spent, unfinished = 0, False
        for due in (self._rested(now), self._searched()):
            for person in due:
                if spent >= BUDGET:
                    return Done(work, matches, True)
                spent += PERSON
                began = self._searching.pop(person, None)
                self._rests.pop(person, None)
                if person not in self._waiting:  # matched with an earlier one of these
                    continue
                partner, looked, done = self._seek(person) if began is None else self._go_on(person, began)
                work = work.and_then(self._costs.draw(("tick", outcome(partner is not None, looked)), self._random))
                spent += looked + (MATCH if partner is not None else 0)
                unfinished = unfinished or not done
                if partner is not None:
                    matches.append((person, partner))
        again = spent >= BUDGET or unfinished
        if not again:
            self._ticked = now
        return Done(work, matches, again)

    def _plain(self, script: str) -> Done:
        return Done(self._costs.draw((script, ""), self._random), [])

    def _rested(self, now: float) -> Iterator[int]:
        """Yield one tick's worth of people whose cooldown is over."""
        for _ in range(BUDGET // PERSON):
            while self._resting and self._rests.get(self._resting[0][1]) != self._resting[0][0]:
                heapq.heappop(self._resting)
            if not self._resting or self._resting[0][0] > now:
                return
            yield self._resting[0][1]

    def _searched(self) -> Iterator[int]:
        """Yield one tick's worth of people to search for."""
        yield from list(self._searching)[: BUDGET // PERSON]

    # The search, as in matchmaking/scripts/include/search.lua. Returns the partner, how many people were looked at,
    # and whether the search is complete.

    def _seek(self, person: int) -> tuple[int | None, int, bool]:
        size = len(self._pool)
        met = self._met[person]
        draw = min(size, DRAW if size > 2 * len(met) else PORTION)
        people = self._random.sample(self._pool, draw)
        partner = self._pick(person, people)
        done = partner is not None or draw == size
        if not done:
            self._searching[person] = 0
        return partner, draw, done

    def _go_on(self, person: int, last: int) -> tuple[int | None, int, bool]:
        people = heapq.nsmallest(PORTION, (p for p in self._pool if self._arrived[p] > last), key=self._arrived.get)  # type: ignore[arg-type]
        partner = self._pick(person, people)
        done = partner is not None or len(people) < PORTION
        if not done:
            self._searching[person] = self._arrived[people[-1]]
        return partner, PORTION, done

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
        self._rests.pop(person, None)
        self._searching.pop(person, None)
        place = self._place.pop(person, None)
        if place is not None:
            last = self._pool.pop()
            if last != person:
                self._pool[place] = last
                self._place[last] = place

    @property
    def waiting(self) -> int:
        """Return how many people are in the pool."""
        return len(self._pool)


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that this share (0 to 1) of the values does not exceed; NaN if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else math.nan
