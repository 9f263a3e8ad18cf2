"""What scripts cost the store: measured on a real one, by kind of script and what came of it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

#: (script, outcome), as the lobbies name them.
Key = tuple[str, str]


class Work(NamedTuple):
    """What a script took: seconds of the store's thread, and how many commands it executed, the call itself included.

    The second is the same on every machine, however busy.
    """

    seconds: float
    commands: int

    def and_then(self, other: Work) -> Work:
        """Both."""
        return Work(self.seconds + other.seconds, self.commands + other.commands)

    def without(self, other: Work) -> Work:
        """What is beyond another one. No seconds are negative."""
        return Work(max(0.0, self.seconds - other.seconds), self.commands - other.commands)


class Costs:
    """Samples of work, drawn again as they were measured, so that the rare long ones are in it."""

    def __init__(self) -> None:
        self._samples: dict[Key, list[Work]] = defaultdict(list)

    def add(self, key: Key, work: Work) -> None:
        """One measured run of a script."""
        self._samples[key].append(work)

    def draw(self, key: Key, random: Random) -> Work:
        """The work of one run; of another outcome of the same script where this one was never measured."""
        samples = self._samples.get(key)
        if not samples:
            script, ended = key[0], key[1].partition(" ")[0]
            alike = [k for k in self._samples if k[0] == script and k[1] not in ("idle", "refused")]
            if not alike:
                raise LookupError(f"{script} was never measured: calibrate with more people, or for longer")
            # as many people looked at at least, and the same end, if possible
            samples = self._samples[max(alike, key=lambda k: (k[1].startswith(ended), k[1]))]
        return random.choice(samples)

    def per_command(self) -> tuple[float, float]:
        """Seconds of a script that does nothing, and of each command: a line through whole scripts' samples."""
        whole = [work for (script, outcome), samples in self._samples.items() for work in samples
                 if script != "tick" or outcome in ("idle", "refused")]  # fmt: skip
        each, base = statistics.linear_regression([work.commands for work in whole], [work.seconds for work in whole])
        return base, each

    def rows(self) -> Iterator[tuple[str, str, int, float, int, float, float]]:
        """script, outcome, runs, mean and most commands, mean and p99 of seconds; for the report."""
        for (script, outcome), samples in sorted(self._samples.items()):
            commands, seconds = [work.commands for work in samples], sorted(work.seconds for work in samples)
            times = statistics.fmean(seconds), seconds[int(len(seconds) * 0.99)]
            yield script, outcome, len(samples), statistics.fmean(commands), max(commands), *times
