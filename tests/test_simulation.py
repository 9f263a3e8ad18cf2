"""bench/simulate.py at a tiny size: it follows the scripts' rules, and comes close to the real ones."""

from __future__ import annotations

import sys
from random import Random

import pytest
from support import ROOT

sys.path.insert(0, str(ROOT / "bench"))

from simulate import BEHAVIOUR, calibrate_and_check

from animochat.embedded import EmbeddedStore
from simulation.costs import Costs
from simulation.imitation import Imitation


@pytest.fixture
def costs() -> Costs:
    """A millisecond for everything."""
    costs = Costs(workers=1)
    for key in (("find", "matched 16"), ("find", "waiting 0"), ("skip", ""), ("leave", ""), ("disconnect", ""),
                ("tick", "idle"), ("tick", "matched 16")):  # fmt: skip
        costs.add(key, 0.001)
    for script in ("connect", "heartbeat"):
        for workers in (1, 2):
            costs.add_by_workers(script, workers, [0.001 * workers])
        costs.add((script, ""), 0.001)
    return costs


@pytest.fixture
def lobby(costs: Costs) -> Imitation:
    return Imitation(costs, 1, rest=5.0, random=Random(1))


def test_people_who_have_met_are_not_matched_and_others_are(lobby: Imitation) -> None:
    lobby.have_met(1, 2)
    assert lobby.find(1, 0.0).matches == []
    assert lobby.find(2, 0.0).matches == []
    assert lobby.find(3, 0.0).matches in ([(3, 1)], [(3, 2)])
    assert lobby.waiting == 1


def test_who_skips_is_matched_when_the_rest_is_over(lobby: Imitation) -> None:
    lobby.find(1, 0.0)
    lobby.skip(2, 0.0)
    assert lobby.tick(0, 4.9).matches == []
    assert lobby.tick(0, 5.0).matches == [(2, 1)]


def test_who_leaves_is_not_matched(lobby: Imitation) -> None:
    lobby.find(1, 0.0)
    lobby.disconnect(1, 0.0)
    assert lobby.find(2, 0.0).matches == []


def test_a_search_that_took_in_a_part_of_the_pool_goes_on(lobby: Imitation) -> None:
    """Everybody has met everybody, but for the last one and the seeker."""
    people = range(1, 302)
    for person in people:
        for other in range(1, person):
            lobby.have_met(person, other)
    for person in people:
        lobby.find(person, 0.0)
    while lobby.tick(0, 0.0).again:
        pass
    for person in people[:-1]:
        lobby.have_met(999, person)
    matches = lobby.find(999, 0.0).matches
    for _ in range(4):
        matches += lobby.tick(0, 0.0).matches
    assert matches == [(999, people[-1])]


def test_what_goes_through_all_workers_grows_with_them(costs: Costs) -> None:
    assert Imitation(costs, 100, BEHAVIOUR.rest, Random(1)).heartbeat(0, 0.0).seconds == pytest.approx(0.1)


def test_it_comes_close_to_the_real_scripts(store_url: str) -> None:
    """Within half, since a tiny run has few events; bench/simulate.py itself asks for 15 % of a longer one."""
    other = EmbeddedStore.start()
    try:
        _, checked = calibrate_and_check((store_url, other.url), (120, 160), (1, 2), 30.0, (1, 3))
    finally:
        other.stop()
    found = {name: (real, simulated) for name, real, simulated in checked}
    for name in ("matches/s", "scripts/s"):
        real, simulated = found[name]
        assert simulated == pytest.approx(real, rel=0.5), found
