"""The scripts' costs for the store: measured on a real one, by script and outcome."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

#: (script, outcome), as the lobbies name them.
Key = tuple[str, str]


class Work(NamedTuple):
    """The cost of a script: seconds of the store's thread, and its number of commands, the call itself included.

    The second is the same on every machine, however busy.
    """

    seconds: float
    commands: int

    def and_then(self, other: Work) -> Work:
        """Return the sum of both."""
        return Work(self.seconds + other.seconds, self.commands + other.commands)

    def without(self, other: Work) -> Work:
        """Return the difference to another one. No seconds are negative."""
        return Work(max(0.0, self.seconds - other.seconds), self.commands - other.commands)


class Costs:
    """Measured samples that are drawn again, so that rare long ones are included."""

    def __init__(self) -> None:
        self._samples: dict[Key, list[Work]] = defaultdict(list)

    def add(self, key: Key, work: Work) -> None:
        """Add one measured run of a script."""
        self._samples[key].append(work)

    def draw(self, key: Key, random: Random) -> Work:
        """Return the work of one run; if this outcome was never measured, that of a similar outcome."""
        samples = self._samples.get(key)
        if not samples:
            script, ended = key[0], key[1].partition(" ")[0]
            alike = [k for k in self._samples if k[0] == script and k[1] not in ("idle", "refused")]
            if not alike:
                raise LookupError(f"{script} was never measured: calibrate with more people, or for longer")
            # if possible, an outcome with at least as many people looked at, and the same end
            samples = self._samples[max(alike, key=lambda k: (k[1].startswith(ended), k[1]))]
        return random.choice(samples)

    def per_command(self) -> tuple[float, float]:
        """Return the seconds of a script without commands, and of each command: a line through all scripts' samples."""
        whole = [work for (script, outcome), samples in self._samples.items() for work in samples
                 if script != "tick" or outcome in ("idle", "refused")]  # fmt: skip
        each, base = statistics.linear_regression([work.commands for work in whole], [work.seconds for work in whole])
        return base, each

    def rows(self) -> Iterator[tuple[str, str, int, float, int, float, float]]:
        """Yield script, outcome, runs, mean and most commands, mean and p99 of seconds; for the report."""
        for (script, outcome), samples in sorted(self._samples.items()):
            commands, seconds = [work.commands for work in samples], sorted(work.seconds for work in samples)
            times = statistics.fmean(seconds), seconds[int(len(seconds) * 0.99)]
            yield script, outcome, len(samples), statistics.fmean(commands), max(commands), *times
