"""The people of one lobby as SimPy processes, and the store's one thread, which runs all of their scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

import simpy

from animochat.matchmaking.service import tick_interval
from simulation.behaviour import Behaviour
from simulation.imitation import Done, percentile

#: Seconds between a worker's heartbeats (animochat/chat/worker.py).
HEARTBEAT = 1.0


class Lobby(Protocol):
    """An Imitation or Real."""

    def have_met(self, a: int, b: int) -> None: ...
    def connect(self, person: int, now: float) -> Done: ...
    def disconnect(self, person: int, now: float) -> Done: ...
    def find(self, person: int, now: float) -> Done: ...
    def skip(self, person: int, now: float) -> Done: ...
    def leave(self, person: int, now: float) -> Done: ...
    def tick(self, worker: int, now: float) -> Done: ...
    def heartbeat(self, worker: int, now: float) -> Done: ...


@dataclass
class Aggregates:
    """Measurements of the measured time, in seconds and numbers."""

    seconds: float = 0.0
    scripts: Counter[str] = field(default_factory=Counter)
    busy: Counter[str] = field(default_factory=Counter)
    #: Commands of all scripts; and of the script with most commands, by ten seconds.
    commands: int = 0
    longest: Counter[int] = field(default_factory=Counter)
    #: Seconds from the moment at which a person may be matched (search, or end of the cooldown) to the match.
    waits: list[float] = field(default_factory=list)
    #: Seconds from calling a script to its end.
    delays: list[float] = field(default_factory=list)
    matches: int = 0

    @property
    def load(self) -> float:
        """Return the load of the store's one thread."""
        return sum(self.busy.values()) / self.seconds

    def summary(self) -> dict[str, float]:
        """Return the figures by name, for tables and comparisons."""
        return {
            "matches/s": self.matches / self.seconds,
            "scripts/s": sum(self.scripts.values()) / self.seconds,
            "commands/s": self.commands / self.seconds,
            "load of the slot": self.load,
            "wait mean s": sum(self.waits) / max(1, len(self.waits)),
            "wait p50 s": percentile(self.waits, 0.5),
            "wait p99 s": percentile(self.waits, 0.99),
            "script delay p99 ms": percentile(self.delays, 0.99) * 1000,
            "longest script of 10 s, commands": sum(self.longest.values()) / len(self.longest),
            "longest script of all, commands": max(self.longest.values()),
        }


class Town:
    """`people` are online on average, on `workers` workers. Call `run`, or iterate over `steps`, once."""

    def __init__(self, lobby: Lobby, people: int, workers: int, behaviour: Behaviour, seed: int) -> None:
        self._lobby = lobby
        self._behaviour = behaviour
        self._random = Random(seed)
        self._env = simpy.Environment()
        self._store = simpy.Resource(self._env, capacity=1)
        self._ends: dict[int, float] = {}  # when each visit ends
        self._offline: list[int] = []
        self._next = 0
        self._may_be_matched: dict[int, float] = {}
        self._measuring = False
        self.figures = Aggregates()
        self._populate(people)
        self._env.process(self._arrive(people / behaviour.mean("visit")))
        for worker in range(workers):
            self._env.process(self._repeat(worker, lambda: tick_interval(workers, self._random.uniform), self._tick))
            self._env.process(self._repeat(worker, lambda: HEARTBEAT, self._heartbeat))

    def run(self, warm_up: float, seconds: float) -> Aggregates:
        """Simulate; figures cover the time after `warm_up`."""
        for _ in self.steps(warm_up, seconds, seconds):
            pass
        return self.figures

    def steps(self, warm_up: float, seconds: float, step: float) -> Iterator[None]:
        """Do the same as `run`, in steps of this many seconds."""
        self._env.run(until=warm_up)
        self._measuring = True
        while self.figures.seconds < seconds:
            self.figures.seconds += step
            self._env.run(until=warm_up + self.figures.seconds)
            yield

    # The start: a lobby as at any later time

    def _populate(self, people: int) -> None:
        random, behaviour = self._random, self._behaviour
        everybody = [self._new() for _ in range(people)]
        # As many other people were here in the last 24 hours.
        self._offline = [self._new() for _ in range(people)]
        known = everybody + self._offline
        for person in known:
            for _ in range(min(behaviour.met, len(known) // 4) // 2):
                other = random.choice(known)
                if other != person:
                    self._lobby.have_met(person, other)
        for person in everybody:
            self._ends[person] = behaviour.in_the_middle_of("visit", random)
            self._lobby.connect(person, 0.0)
        # All search at the same moment; people who are matched are then in the middle of their chats.
        for person in everybody:
            for pair in self._lobby.find(person, 0.0).matches:
                self._begin(pair, behaviour.in_the_middle_of("chat", random))

    def _new(self) -> int:
        self._next += 1
        return self._next

    # Processes

    def _arrive(self, rate: float) -> Generator[Any, Any, None]:
        random, behaviour = self._random, self._behaviour
        while True:
            yield self._env.timeout(random.expovariate(rate))
            if self._offline and random.random() < behaviour.returning_share:
                index = random.randrange(len(self._offline))
                self._offline[index], self._offline[-1] = self._offline[-1], self._offline[index]
                person = self._offline.pop()
            else:
                person = self._new()
            self._ends[person] = self._env.now + behaviour.visit(random)
            self._env.process(self._visit(person))

    def _visit(self, person: int) -> Generator[Any, Any, None]:
        yield from self._script("connect", lambda: self._lobby.connect(person, self._env.now))
        yield from self._search_after(person, self._behaviour.reaction_mean)

    def _search_after(self, person: int, mean: float) -> Generator[Any, Any, None]:
        yield self._env.timeout(self._random.expovariate(1 / mean))
        self._may_be_matched[person] = self._env.now
        yield from self._script("find", lambda: self._lobby.find(person, self._env.now))
        # A person whose visit ends without a match gives up.
        if person in self._may_be_matched:
            self._env.process(self._give_up(person))

    def _give_up(self, person: int) -> Generator[Any, Any, None]:
        yield self._env.timeout(max(5.0, self._ends[person] - self._env.now))
        if person in self._may_be_matched:
            yield from self._go(person)

    def _go(self, person: int) -> Generator[Any, Any, None]:
        self._may_be_matched.pop(person, None)
        if self._ends.pop(person, None) is not None:
            yield from self._script("disconnect", lambda: self._lobby.disconnect(person, self._env.now))
            self._offline.append(person)

    def _begin(self, pair: tuple[int, int], seconds: float) -> None:
        for person in pair:
            since = self._may_be_matched.pop(person, None)
            if self._measuring and since is not None:
                self.figures.waits.append(self._env.now - since)
        if self._measuring:
            self.figures.matches += 1
        self._env.process(self._chat(pair, seconds))

    def _chat(self, pair: tuple[int, int], seconds: float) -> Generator[Any, Any, None]:
        random, behaviour = self._random, self._behaviour
        yield self._env.timeout(seconds)
        leaver, left = random.sample(pair, 2)
        self._env.process(self._after(left))
        if self._ends.get(leaver, 0.0) <= self._env.now:
            yield from self._go(leaver)
        elif random.random() < behaviour.skip_share:
            self._may_be_matched[leaver] = self._env.now + behaviour.rest
            yield from self._script("skip", lambda: self._lobby.skip(leaver, self._env.now))
            if leaver in self._may_be_matched:
                self._env.process(self._give_up(leaver))
        else:
            yield from self._script("leave", lambda: self._lobby.leave(leaver, self._env.now))
            yield from self._search_after(leaver, behaviour.pause_mean)

    def _after(self, person: int) -> Generator[Any, Any, None]:
        """React to the end of a chat by the partner."""
        if self._ends.get(person, 0.0) <= self._env.now:
            yield self._env.timeout(self._random.expovariate(1 / self._behaviour.reaction_mean))
            yield from self._go(person)
        else:
            yield from self._search_after(person, self._behaviour.reaction_mean)

    def _repeat(
        self, worker: int, seconds: Callable[[], float], action: Callable[[int], Generator[Any, Any, None]]
    ) -> Generator[Any, Any, None]:
        yield self._env.timeout(self._random.random() * seconds())
        while True:
            yield from action(worker)
            yield self._env.timeout(seconds())

    def _tick(self, worker: int) -> Generator[Any, Any, None]:
        again = True
        while again:
            again = yield from self._script("tick", lambda: self._lobby.tick(worker, self._env.now))

    def _heartbeat(self, worker: int) -> Generator[Any, Any, None]:
        yield from self._script("heartbeat", lambda: self._lobby.heartbeat(worker, self._env.now))

    def _script(self, name: str, run: Callable[[], Done]) -> Generator[Any, Any, bool]:
        """Wait for the store, occupy it for the script's time; its matches begin then."""
        asked = self._env.now
        with self._store.request() as turn:
            yield turn
            done = run()
            yield self._env.timeout(done.work.seconds)
        if self._measuring:
            self.figures.scripts[name] += 1
            self.figures.busy[name] += done.work.seconds
            self.figures.commands += done.work.commands
            time = int(asked // 10)
            self.figures.longest[time] = max(self.figures.longest[time], done.work.commands)
            self.figures.delays.append(self._env.now - asked)
        for pair in done.matches:
            self._begin(pair, self._behaviour.chat(self._random))
        return done.again
