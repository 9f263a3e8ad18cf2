"""The same lobby with the real scripts on a real store, in the simulation's time; it measures each script's cost."""

from __future__ import annotations

import itertools
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec

from animochat.matchmaking import service as matchmaking
from animochat.presence import service as presence
from animochat.rooms import service as rooms
from simulation.costs import Costs, Work
from simulation.imitation import DRAW, PORTION, Done, outcome
from tests.helpers.store import HISTORY_MS, START, TAG, Lobby, Person

T = TypeVar("T")

#: The main thread's fields, user and system.
MAIN_THREAD = ("used_cpu_user_main_thread", "used_cpu_sys_main_thread")


class Real:
    """Replaces an `Imitation`. It adds each script's work to `costs`: its time from reading the command to writing the
    reply, as the store reports it (`INFO cpu`), and its commands (`INFO commandstats`).
    """

    def __init__(self, url: str, workers: int) -> None:
        self._lobby = Lobby(url)
        # now, so that no script's work includes it
        self._lobby.load_scripts(*presence.SCRIPTS, *matchmaking.SCRIPTS, *rooms.SCRIPTS)
        self._workers = [self._lobby.worker, *(self._lobby.add_worker() for _ in range(workers - 1))]
        self._people: dict[int, Person] = {}
        self._met: list[tuple[int, int]] = []
        #: The work of ticks that had nothing to do.
        self._idle: list[Work] = []
        self.costs = Costs()
        # The time of the measurement itself, which is part of each measured time.
        asked = [self._busy() for _ in range(101)]
        self._asking = statistics.median(after - before for before, after in itertools.pairwise(asked))

    def close(self) -> None:
        self._lobby.close()

    def have_met(self, a: int, b: int) -> None:
        self._met += [(a, b), (b, a)]

    def _write_met(self) -> None:
        """Write all history at once, before the first connection."""
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
        work, search = self._measured(now, self._people[person].find)
        self.costs.add(("find", outcome(search.state == "matched", looked)), work)
        return Done(work, self._matches())

    def tick(self, worker: int, now: float) -> Done:
        self._lobby.now = START + int(now * 1000)
        due, size, refused = self._due(), self._size(":pool"), self._just_ticked()
        work, again = self._measured(now, lambda: self._lobby.matchmaking.tick(matchmaking.TICK_GAP_MS))
        matches = self._matches()
        handled = due - self._due()
        if refused:
            self.costs.add(("tick", "refused"), work)
        elif not handled:
            self.costs.add(("tick", "idle"), work)
            self._idle.append(work)
        elif handled == 1 and self._idle:
            # One person's part is the difference to an idle tick; the work of several people is the sum of such parts.
            idle = Work(statistics.median(work.seconds for work in self._idle[-100:]), self._idle[-1].commands)
            self.costs.add(("tick", outcome(bool(matches), min(size, DRAW))), work.without(idle))
        return Done(work, matches, again)

    def _run(self, script: str, now: float, run: Callable[[], object]) -> Done:
        work, _ = self._measured(now, run)
        self.costs.add((script, ""), work)
        return Done(work, self._matches())

    def _measured(self, now: float, run: Callable[[], T]) -> tuple[Work, T]:
        """Return the seconds for which the store's thread was busy with it, without those of other programs."""
        self._lobby.now = START + int(now * 1000)
        commands = self._lobby.commands()
        before = self._busy()
        result = run()
        seconds = max(0.0, self._busy() - before - self._asking)
        return Work(seconds, self._lobby.commands() - commands), result

    # The store's answers

    def _size(self, name: str) -> int:
        return int(self._lobby.pipeline.execute("ZCARD", TAG + name))

    def _due(self) -> int:
        return sum(
            int(self._lobby.pipeline.execute("ZCOUNT", TAG + name, "-inf", self._lobby.now))
            for name in (":resting", ":searching")
        )

    def _just_ticked(self) -> bool:
        ticked = self._lobby.pipeline.execute("GET", TAG + ":ticked")
        return ticked is not None and self._lobby.now - int(ticked) < matchmaking.TICK_GAP_MS

    def _would_look_at(self, person: int) -> int:
        size = self._size(":pool")
        return min(size, DRAW if size > 2 * self._size(f":met:{person}") else PORTION)

    def _busy(self) -> float:
        """Return the seconds of CPU that the store's main thread has used so far."""
        lines = self._lobby.pipeline.execute("INFO", "cpu").decode().splitlines()
        return sum(float(line.partition(":")[2]) for line in lines if line.startswith(MAIN_THREAD))

    def _matches(self) -> list[tuple[int, int]]:
        """Return the pairs in the notices since the last call."""
        pairs = {}
        for _, data in self._lobby.listen():
            for notice in msgspec.json.decode(data):
                if notice["e"] == "matched":
                    pairs[notice["room"]] = (int(notice["p"]), int(notice["mate"]))
        for worker in self._workers:
            worker.heard.clear()
        return list(pairs.values())
