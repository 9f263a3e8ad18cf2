"""bench/simulate.py at a tiny size: it follows the scripts' rules, and comes close to the real ones."""

from __future__ import annotations

import sys
from random import Random

import pytest

from tests.helpers.servers import ROOT

sys.path.insert(0, str(ROOT / "bench"))

from simulate import calibrate_and_check

from animochat.store.embedded import EmbeddedStore
from simulation.costs import Costs, Work
from simulation.imitation import Imitation


@pytest.fixture
def costs() -> Costs:
    """Return a cost of a millisecond and ten commands for everything except a refused tick."""
    costs = Costs()
    for key in (("find", "matched 16"), ("find", "waiting 0"), ("skip", ""), ("leave", ""), ("disconnect", ""),
                ("tick", "idle"), ("tick", "matched 16"), ("tick", "waiting 0")):  # fmt: skip
        costs.add(key, Work(0.001, 10))
    costs.add(("tick", "refused"), Work(0.0001, 2))
    return costs


@pytest.fixture
def lobby(costs: Costs) -> Imitation:
    return Imitation(costs, rest=5.0, random=Random(1))


def test_people_who_have_met_are_not_matched_and_others_are(lobby: Imitation) -> None:
    lobby.have_met(1, 2)
    assert lobby.find(1, 0.0).matches == []
    assert lobby.find(2, 0.0).matches == []
    assert lobby.find(3, 0.0).matches in ([(3, 1)], [(3, 2)])
    assert lobby.waiting == 1


def test_a_skipper_is_matched_after_the_cooldown(lobby: Imitation) -> None:
    lobby.find(1, 0.0)
    lobby.skip(2, 0.0)
    assert lobby.tick(0, 4.9).matches == []
    assert lobby.tick(0, 5.0).matches == [(2, 1)]


def test_a_person_who_leaves_is_not_matched(lobby: Imitation) -> None:
    lobby.find(1, 0.0)
    lobby.disconnect(1, 0.0)
    assert lobby.find(2, 0.0).matches == []


def test_a_search_through_a_part_of_the_pool_continues(lobby: Imitation) -> None:
    """Everyone has met everyone, except the last person and the seeker."""
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


def test_a_tick_costs_the_sum_of_its_people_and_stops_at_the_script_s_budget(lobby: Imitation) -> None:
    """Each person counts as 5 of its budget of 50, and each waiting person that it looks at as 1."""
    for person in range(11):
        lobby.skip(person, 0.0)
        for other in range(person):
            lobby.have_met(person, other)
    assert lobby.tick(0, 4.9).work == Work(0.001, 10)
    assert (done := lobby.tick(0, 5.0)).again
    assert len(done.matches) == 0
    assert lobby.waiting == 7  # 7 * 5 + 0 + 1 + 2 + 3 + 4 + 5 + 6
    assert done.work.commands == 10 + 7 * 10


def test_a_tick_does_nothing_right_after_a_complete_one(lobby: Imitation) -> None:
    lobby.tick(0, 0.0)
    assert lobby.tick(1, 0.031).work.commands == 2
    assert lobby.tick(1, 0.032).work.commands == 10


def test_it_comes_close_to_the_real_scripts(store_url: str) -> None:
    """The bound is a half, since a tiny run has few events; bench/simulate.py itself demands 15 % of a longer run."""
    other = EmbeddedStore.start()
    try:
        _, checked = calibrate_and_check((store_url, other.url), (120, 160), (1, 2), 30.0)
    finally:
        other.stop()
    found = {name: (real, simulated) for name, real, simulated in checked}
    for name in ("matches/s", "scripts/s"):
        real, simulated = found[name]
        assert simulated == pytest.approx(real, rel=0.5), found
