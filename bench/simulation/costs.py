"""What scripts cost the store: times measured on a real one, by kind of script and what came of it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from random import Random

#: (script, outcome), as the lobbies name them.
Key = tuple[str, str]


class Costs:
    """Samples of seconds, drawn again as they were measured, so that the rare long ones are in it.

    What goes through all workers (connect, heartbeat) is measured with several numbers of them, and grows in a line.
    """

    def __init__(self, workers: int) -> None:
        #: How many there were in the ordinary runs.
        self.workers = workers
        self._samples: dict[Key, list[float]] = defaultdict(list)
        self._by_workers: dict[str, list[tuple[int, float]]] = defaultdict(list)

    def add(self, key: Key, seconds: float) -> None:
        """One measured run of a script."""
        self._samples[key].append(seconds)

    def add_by_workers(self, script: str, workers: int, seconds: Iterable[float]) -> None:
        """Measured runs of a script where so many workers were there."""
        self._by_workers[script].append((workers, statistics.fmean(seconds)))

    def per_worker(self, script: str) -> tuple[float, float]:
        """Seconds without workers, and for each of them. In between, they are those of the scripts' ordinary runs."""
        points = self._by_workers[script]
        each = max(0.0, statistics.linear_regression([p[0] for p in points], [p[1] for p in points]).slope)
        ordinary = self._samples[script, ""]
        return max(0.0, statistics.fmean(ordinary) - each * self.workers), each

    def draw(self, key: Key, random: Random) -> float:
        """A time for one run; of another outcome of the same script where this one was never measured."""
        samples = self._samples.get(key)
        if not samples:
            script, ended = key[0], key[1].partition(" ")[0]
            alike = [k for k in self._samples if k[0] == script and k[1] != "idle"]
            if not alike:
                raise LookupError(f"{script} was never measured: calibrate with more people, or for longer")
            # as many people looked at at least, and the same end, if possible
            samples = self._samples[max(alike, key=lambda k: (k[1].startswith(ended), k[1]))]
        return random.choice(samples)

    def rows(self) -> list[tuple[str, str, int, float, float, float]]:
        """script, outcome, runs, mean, p99, longest (seconds); for the report."""
        found = []
        for (script, outcome), samples in sorted(self._samples.items()):
            ordered = sorted(samples)
            p99 = ordered[int(len(ordered) * 0.99)]
            found.append((script, outcome, len(ordered), statistics.fmean(ordered), p99, ordered[-1]))
        return found
