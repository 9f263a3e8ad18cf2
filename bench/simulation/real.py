"""The same lobby by the real scripts on a real store, in the simulation's time; and what each script takes there."""

from __future__ import annotations

import statistics
import sys
from collections import deque
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import msgspec
import redis
from store_support import HISTORY_MS, START, TAG, Lobby, Person

from simulation.costs import Costs
from simulation.imitation import DRAW, PORTION, Done, outcome


class Real:
    """Stands in the place of an `Imitation`. Each script's time is the store's own (`INFO commandstats`), and goes to
    `costs` as well.
    """

    def __init__(self, url: str, workers: int, costs: Costs | None = None) -> None:
        self._lobby = Lobby(url)
        self._workers = [self._lobby.worker, *(self._lobby.add_worker() for _ in range(workers - 1))]
        self._people: dict[int, Person] = {}
        self._met: list[tuple[int, int]] = []
        #: Seconds of the last ticks that had nothing to do.
        self._idle: deque[float] = deque(maxlen=100)
        self.costs = costs or Costs()
        self._used = self._time_used()

    def close(self) -> None:
        self._lobby.close()

    @staticmethod
    def clear(url: str) -> None:
        """Empty the store."""
        with redis.Redis.from_url(url) as client:
            client.flushall()

    def have_met(self, a: int, b: int) -> None:
        self._met += [(a, b), (b, a)]

    def _write_met(self) -> None:
        """All at once, before the first connection."""
        until = START + HISTORY_MS
        with self._lobby.batch() as batch:
            for person, other in self._met:
                batch.zadd(f"{TAG}:met:{person}", {str(other): until})
        self._met.clear()

    def connect(self, person: int, now: float) -> Done:
        self._set(now)
        if self._met:
            self._write_met()
        if person not in self._people:
            self._people[person] = Person(self._lobby, str(person))
        self._people[person].connect(self._workers[person % len(self._workers)])
        return self._done("connect")

    def heartbeat(self, worker: int, now: float) -> Done:
        self._set(now)
        self._workers[worker].heartbeat()
        return self._done("heartbeat")

    def disconnect(self, person: int, now: float) -> Done:
        self._set(now)
        self._people[person].goodbye()
        return self._done("disconnect")

    def leave(self, person: int, now: float) -> Done:
        self._set(now)
        self._people[person].leave()
        return self._done("leave")

    def find(self, person: int, now: float) -> Done:
        self._set(now)
        looked = self._would_look_at(person)
        state = self._people[person].find().state
        return self._done("find", outcome(state == "matched", looked))

    def skip(self, person: int, now: float) -> Done:
        self._set(now)
        self._people[person].next()
        return self._done("skip")

    def tick(self, worker: int, now: float) -> Done:
        self._set(now)
        due, size = self._due(), self._size(":pool")
        again = self._lobby.matchmaking.tick()
        seconds, matches = self._seconds(), self._matches()
        handled = due - self._due()
        if not handled:
            self.costs.add(("tick", "idle"), seconds)
            self._idle.append(seconds)
        elif self._idle:
            # What is beyond an idle tick is shared by those whom it handled.
            each = max(0.0, seconds - statistics.median(self._idle)) / handled
            looked = min(size, DRAW)
            for number in range(handled):
                self.costs.add(("tick", outcome(number < len(matches), looked)), each)
        return Done(seconds, matches, again)

    # What the store says

    def _set(self, now: float) -> None:
        self._lobby.now = START + int(now * 1000)

    def _size(self, name: str) -> int:
        return int(self._lobby.pipeline.execute("ZCARD", TAG + name))

    def _due(self) -> int:
        return sum(
            int(self._lobby.pipeline.execute("ZCOUNT", TAG + name, "-inf", self._lobby.now))
            for name in (":resting", ":searching")
        )

    def _would_look_at(self, person: int) -> int:
        size = self._size(":pool")
        return min(size, DRAW if size > 2 * self._size(f":met:{person}") else PORTION)

    def _time_used(self) -> float:
        """Seconds that scripts have taken so far."""
        stats = self._lobby.pipeline.execute("INFO", "commandstats").decode()
        line = next((line for line in stats.splitlines() if line.startswith("cmdstat_evalsha:")), "usec=0,")
        return int(line.partition("usec=")[2].partition(",")[0]) / 1e6

    def _seconds(self) -> float:
        used, before = self._time_used(), self._used
        self._used = used
        return used - before

    def _done(self, script: str, what: str = "") -> Done:
        seconds = self._seconds()
        self.costs.add((script, what), seconds)
        return Done(seconds, self._matches())

    def _matches(self) -> list[tuple[int, int]]:
        """The pairs that the workers were told of since last asked."""
        pairs = {}
        for _, data in self._lobby.listen():
            for notice in msgspec.json.decode(data):
                if notice["e"] == "matched":
                    pairs[notice["room"]] = (int(notice["p"]), int(notice["mate"]))
        for worker in self._workers:
            worker.heard.clear()
        return list(pairs.values())


def measure(url: str, town: Any, workers: tuple[int, ...] = (1, 50, 200)) -> Costs:
    """What scripts cost on the empty store at `url`: in `town(lobby)`, and with each of these numbers of workers."""
    real = Real(url, 4)
    town(real)
    real.close()
    costs = real.costs
    for count in workers:
        real.clear(url)
        real = Real(url, count)
        for script in ("connect", "heartbeat"):
            times = [getattr(real, script)(number, 0.0).seconds for number in range(min(count, 40))]
            times += [getattr(real, script)(number % count, 0.0).seconds for number in range(40)]
            costs.add_by_workers(script, count, times)
        real.close()
    return costs
