"""Simulate one lobby's matching at sizes that no machine here can run: waits, script times, load of the lobby's slot.

    make simulate                                                   # measure, check, and the table of docs/scaling.md
    .venv/bin/python bench/simulate.py --people 300000 --lobbies 4  # one line of it: a size of your own

First it runs the matchmaking scripts on a real store, for simulated people and in the simulation's time, and records
the cost of each script: its time (from the store's `INFO cpu`) and the number of its commands (`INFO commandstats`),
which does not depend on the machine's load. Then it checks the simulation against another such run at another size; in
the simulation the store is one thread with a queue, and scripts cost what was recorded. Then it runs the requested
sizes.

simulation/behaviour.py has the assumptions about people; matching follows the scripts' rules (simulation/imitation.py).
Workers serve all lobbies, so each lobby has the ticks and heartbeats of all.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from random import Random

from animochat.store.embedded import EmbeddedStore
from simulation.behaviour import Behaviour
from simulation.costs import Costs
from simulation.imitation import Imitation
from simulation.real import Real
from simulation.town import Aggregates, Town

#: People per worker: docs/scaling.md.
PEOPLE_PER_WORKER = 20_000

#: The default sizes: people and lobbies.
SIZES = [(10_000, 1), (100_000, 1), (1_000_000, 5), (10_000_000, 50)]

#: Tolerated difference between the simulation and the real scripts.
TOLERANCE = 0.15

#: Figures that are not compared: they depend on the machine's load, or on a single event.
NOT_COMPARED = ["script delay p99 ms", "longest script of all, commands"]

BEHAVIOUR = Behaviour()


def simulate(costs: Costs, people: int, workers: int, warm_up: float, seconds: float, seed: int = 1) -> Aggregates:
    """Simulate one lobby with that many people."""
    lobby = Imitation(costs, BEHAVIOUR.rest, Random(seed))
    return Town(lobby, people, workers, BEHAVIOUR, seed).run(warm_up, seconds)


def calibrate_and_check(
    urls: tuple[str, str],
    people: tuple[int, int] = (1_000, 3_000),
    workers: tuple[int, int] = (4, 8),
    seconds: float = 400.0,
) -> tuple[Costs, list[tuple[str, float, float]]]:
    """Measure the scripts' costs in a lobby of one size; run another size with the real scripts, and simulated.

    Each run has its own empty store, and they alternate, so that other load on the machine affects all alike. Returns
    the costs, and for each figure its name, its real value, and its simulated value.
    """
    measured, truth = (Real(url, count) for url, count in zip(urls, workers, strict=True))
    towns = [
        Town(measured, people[0], workers[0], BEHAVIOUR, seed=2),
        Town(truth, people[1], workers[1], BEHAVIOUR, seed=3),
    ]
    for _ in zip(*(town.steps(10.0, seconds, 0.5) for town in towns), strict=True):
        pass
    real = towns[1].figures.summary()
    costs = measured.costs
    for lobby in (measured, truth):
        lobby.close()
        # The same people come and stay as long: only the scripts and their times differ.
    simulated = simulate(costs, people[1], workers[1], 10.0, seconds, seed=3).summary()
    return costs, [(name, real[name], simulated[name]) for name in real]


def main() -> int:
    """Print the requested figures; the exit status is 1 if the simulation differs too much."""
    parser = argparse.ArgumentParser(description="A discrete-event simulation of matching.")
    parser.add_argument("--people", type=int, help="online in all lobbies; default: the table")
    parser.add_argument("--lobbies", type=int, default=1, help="over which they are spread evenly (default 1)")
    parser.add_argument("--workers", type=int, help=f"in all (default: one for {PEOPLE_PER_WORKER:,} people)")
    parser.add_argument("--seconds", type=float, default=15.0, help="that are measured, after 10 more (default 15)")
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    options = parser.parse_args()
    stores = [EmbeddedStore.start(binary=shutil.which("redis-server")) for _ in range(2)]
    if sys.platform == "linux":
        # One is idle while the other one works. On two unequally busy cores they would differ by a third.
        for store in stores:
            os.sched_setaffinity(store.pid, {max(os.sched_getaffinity(0))})
    try:
        costs, checked = calibrate_and_check((stores[0].url, stores[1].url))
    finally:
        for store in stores:
            store.stop()
    _print_costs(costs)
    good = _print_check(checked)
    sizes = [(options.people, options.lobbies)] if options.people else SIZES
    results = _print_sizes(costs, sizes, options.workers, options.seconds)
    if options.json:
        options.json.write_text(json.dumps({"costs": list(costs.rows()), "check": checked, "sizes": results}, indent=2))
    return 0 if good else 1


def _print_costs(costs: Costs) -> None:
    print("| script | and then | runs | commands | at most | mean µs | p99 µs |\n" + "| --- " * 7 + "|")
    for script, outcome, runs, mean, most, *times in costs.rows():
        cells = [f"{mean:.1f}", f"{most}", *(f"{seconds * 1e6:,.0f}" for seconds in times)]
        print(f"| {script} | {outcome or '–'} | {runs:,} | {' | '.join(cells)} |")
    base, each = costs.per_command()
    print(f"\nA script takes {base * 1e6:.0f} µs, and {each * 1e6:.1f} µs for each command")


def _print_check(checked: list[tuple[str, float, float]]) -> bool:
    print("\n| | real scripts | simulated | off by |\n| --- | --- | --- | --- |")
    good = True
    for name, real, simulated in checked:
        off = simulated / real - 1 if real else math.nan
        good &= name in NOT_COMPARED or abs(off) <= TOLERANCE
        mark = " (not compared)" if name in NOT_COMPARED else ""
        print(f"| {name} | {real:.3g} | {simulated:.3g} | {off:+.0%}{mark} |")
    return good


def _print_sizes(
    costs: Costs, sizes: Sequence[tuple[int, int]], workers: int | None, seconds: float
) -> list[dict[str, float]]:
    results: list[dict[str, float]] = []
    for people, lobbies in sizes:
        count = workers or max(2, people // PEOPLE_PER_WORKER)
        begun = time.monotonic()
        figures = simulate(costs, people // lobbies, count, 10.0, seconds)
        took = time.monotonic() - begun
        base, each = costs.per_command()
        longest = {"longest script of all, ms": 1000 * (base + each * max(figures.longest.values()))}
        shares = {f"{name} %": 100 * busy / seconds for name, busy in figures.busy.most_common()}
        sizes_of = {"people": people, "lobbies": lobbies, "workers": count}
        results.append({**sizes_of, **figures.summary(), **longest, **shares, "took s": took})
    names = list(dict.fromkeys(name for result in results for name in result))
    print("\n| |" + " |" * len(results) + "\n| --- |" + " --- |" * len(results))
    for name in names:
        cells = [result.get(name, 0.0) for result in results]
        print(f"| {name} | " + " | ".join(f"{c:,}" if isinstance(c, int) else f"{c:.3g}" for c in cells) + " |")
    return results


if __name__ == "__main__":
    sys.exit(main())
