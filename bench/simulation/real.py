"""The same lobby by the real scripts on a real store, in the simulation's time; and what each script takes there."""

from __future__ import annotations

import itertools
import statistics
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import msgspec
import redis
from store_support import HISTORY_MS, START, TAG, Lobby, Person

from simulation.costs import Costs
from simulation.imitation import DRAW, PORTION, Done, outcome

T = TypeVar("T")

#: The main thread's fields, user and system.
MAIN_THREAD = ("used_cpu_user_main_thread", "used_cpu_sys_main_thread")


class Real:
    """Stands in the place of an `Imitation`. Each script's time, from reading the command to writing the answer, is the
    store's own (`INFO cpu`), and goes to `costs` as well.
    """

    def __init__(self, url: str, workers: int) -> None:
        self._lobby = Lobby(url)
        self._workers = [self._lobby.worker, *(self._lobby.add_worker() for _ in range(workers - 1))]
        self._people: dict[int, Person] = {}
        self._met: list[tuple[int, int]] = []
        #: Seconds of the last ticks that had nothing to do.
        self._idle: deque[float] = deque(maxlen=100)
        self.costs = Costs(workers)
        # What asking for the time takes, which is in each time.
        asked = [self._busy() for _ in range(101)]
        self._asking = statistics.median(after - before for before, after in itertools.pairwise(asked))

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
        if self._met:
            self._write_met()
        if person not in self._people:
            self._people[person] = Person(self._lobby, str(person))
        worker = self._workers[person % len(self._workers)]
        return self._run("connect", now, lambda: self._people[person].connect(worker))

    def heartbeat(self, worker: int, now: float) -> Done:
        return self._run("heartbeat", now, self._workers[worker].heartbeat)

    def disconnect(self, person: int, now: float) -> Done:
        return self._run("disconnect", now, self._people[person].goodbye)

    def leave(self, person: int, now: float) -> Done:
        return self._run("leave", now, self._people[person].leave)

    def skip(self, person: int, now: float) -> Done:
        return self._run("skip", now, self._people[person].next)

    def find(self, person: int, now: float) -> Done:
        looked = self._would_look_at(person)
        seconds, search = self._timed(now, self._people[person].find)
        self.costs.add(("find", outcome(search.state == "matched", looked)), seconds)
        return Done(seconds, self._matches())

    def tick(self, worker: int, now: float) -> Done:
        self._lobby.now = START + int(now * 1000)
        due, size = self._due(), self._size(":pool")
        seconds, again = self._timed(now, self._lobby.matchmaking.tick)
        matches = self._matches()
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

    def _run(self, script: str, now: float, run: Callable[[], object]) -> Done:
        seconds, _ = self._timed(now, run)
        self.costs.add((script, ""), seconds)
        return Done(seconds, self._matches())

    def _timed(self, now: float, run: Callable[[], T]) -> tuple[float, T]:
        """Seconds that the store's thread was busy with it: not those in which other programs had its core."""
        self._lobby.now = START + int(now * 1000)
        before = self._busy()
        result = run()
        return max(0.0, self._busy() - before - self._asking), result

    # What the store says

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

    def _busy(self) -> float:
        """Seconds of CPU that the store's main thread has used so far."""
        lines = self._lobby.pipeline.execute("INFO", "cpu").decode().splitlines()
        return sum(float(line.partition(":")[2]) for line in lines if line.startswith(MAIN_THREAD))

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


def measure_workers(url: str, costs: Costs, numbers: Sequence[int]) -> None:
    """Add what the scripts that go through all workers cost with each of these numbers of them."""
    for count in numbers:
        Real.clear(url)
        real = Real(url, count)
        for script in ("connect", "heartbeat"):
            times = [getattr(real, script)(number % count, 0.0).seconds for number in range(100)]
            costs.add_by_workers(script, count, times)
        real.close()
