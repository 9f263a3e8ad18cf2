"""The protocol's rule "Matching", against a real store (animochat/matchmaking)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from animochat.matchmaking.interests import by_name
from animochat.matchmaking.service import TICK_GAP_MS, tick_interval
from animochat.moderation.lobby_moderation import BLOCK_MS
from tests.helpers.store import (
    COOLDOWN_MS,
    GRACE_MS,
    HISTORY_MS,
    HOUR_MS,
    INTEREST_WAIT_MS,
    TAG,
    TICK_MS,
    Lobby,
    Person,
)


@pytest.fixture
def lobby(redis_url: str) -> Iterator[Lobby]:
    lobby = Lobby(redis_url)
    yield lobby
    lobby.close()


@pytest.fixture
def embedded(store_url: str) -> Iterator[Lobby]:
    """Return a lobby for large crowds, which need one kind of store only."""
    lobby = Lobby(store_url)
    yield lobby
    lobby.close()


# find-match


def test_find_match_waits_while_no_one_else_searches(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    search = anna.find()
    assert (search.state, search.cooldown_ms) == ("waiting", 0)
    assert list(lobby.sorted_set(":pool")) == ["anna"]


@pytest.mark.parametrize("search", ["find", "next"])
def test_the_answer_to_a_search_has_the_room_and_the_version_that_the_notice_has(lobby: Lobby, search: str) -> None:
    """So the asking worker moves its client into the room before it answers, and the notice changes nothing."""
    anna, bert = lobby.people("anna", "bert")
    anna.find("Tea")
    answer = getattr(bert, search)("tea", "cats")
    notices = {notice["p"]: notice for notice in bert.worker.notices()}
    room = answer.room
    assert room is not None
    told = notices["bert"]
    assert (answer.version, room.room_id, room.slot, room.user_id, room.partner_user_id) == (
        told["v"], told["room"], told["slot"], told["user"], told["partner"],
    )  # fmt: skip
    assert (room.partner, room.partner_worker, room.since) == (told["mate"], told["worker"], told["since"])
    assert list(room.interests) == told["interests"] == ["tea"]
    assert room.grace_ms is None


@pytest.mark.parametrize("ask", ["find", "cancel"])
def test_a_refused_search_returns_the_present_room(lobby: Lobby, ask: str) -> None:
    anna, bert = lobby.people("anna", "bert")
    anna.find()
    bert.find()
    answer = getattr(anna, ask)()
    assert answer.state == "in-room"
    assert answer.room is not None
    assert (answer.room.room_id, answer.room.partner) == (anna.room, "bert")
    assert answer.version == int(anna.record["v"]), "nothing was changed"


def test_two_who_search_are_matched(lobby: Lobby) -> None:
    anna, bert = lobby.people("anna", "bert")
    anna.find()
    assert bert.find().state == "matched"
    assert (anna.partner, bert.partner) == ("bert", "anna")
    assert anna.room == bert.room
    assert not lobby.sorted_set(":pool")


def test_both_get_their_user_ids_for_the_room(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    (to_anna,), (to_bert,) = anna.heard("matched"), bert.heard("matched")
    assert to_anna["room"] == to_bert["room"] == anna.room
    assert {to_anna["slot"], to_bert["slot"]} == {"a", "b"}
    assert (to_anna["user"], to_anna["partner"]) == (to_bert["partner"], to_bert["user"])
    assert (to_anna["mate"], to_bert["mate"]) == ("bert", "anna")
    assert to_anna["since"] == to_bert["since"] == lobby.now


def test_a_match_on_one_worker_is_one_message(lobby: Lobby) -> None:
    lobby.pair("anna", "bert")
    assert [data.count(b'"matched"') for data in lobby.worker.listen()] == [2]


def test_each_worker_is_notified_of_its_own_person_only(lobby: Lobby) -> None:
    other = lobby.add_worker()
    (anna,), (bert,) = lobby.people("anna"), lobby.people("bert", worker=other)
    anna.find()
    bert.find()
    assert [(n["p"], n["worker"]) for n in lobby.worker.notices()] == [("anna", other.name)]
    assert [(n["p"], n["worker"]) for n in other.notices()] == [("bert", lobby.worker.name)]


def test_user_ids_differ_from_room_to_room(lobby: Lobby) -> None:
    """The partner sees names made for one room: the next room has other names for the same people."""
    anna, bert = lobby.pair("anna", "bert")
    names = {anna.heard()[-1]["user"], bert.heard()[-1]["user"], anna.room}
    anna.leave()
    lobby.pass_time(HISTORY_MS)
    anna.find()
    assert bert.find().state == "matched"
    later = {anna.heard()[-1]["user"], bert.heard()[-1]["user"], anna.room}
    assert len(names) == len(later) == 3
    assert not names & later
    assert not any(name in seen for name in ("anna", "bert", "conn") for seen in names | later)


def test_find_match_while_waiting_answers_waiting_again_and_changes_nothing(lobby: Lobby) -> None:
    anna, *_ = lobby.people("anna", "bert")
    first = anna.find()
    record, pool = anna.record, lobby.sorted_set(":pool")
    lobby.pass_time(1000)
    assert anna.find() == first
    assert (anna.record, lobby.sorted_set(":pool")) == (record, pool)


def test_find_match_in_a_room_is_refused_and_changes_nothing(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    record = anna.record
    assert anna.find().state == "in-room"
    assert anna.record == record


def test_no_person_is_matched_with_themselves(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    for _ in range(3):
        assert anna.find().state == "waiting"
        lobby.run(1000)
        anna.connect()  # another window of the same person
    assert anna.room is None


def test_a_person_in_a_room_is_not_matched(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    (carl,) = lobby.people("carl")
    assert carl.find().state == "waiting"
    lobby.run(2000)
    assert (anna.partner, bert.partner, carl.partner) == ("bert", "anna", None)


@pytest.mark.parametrize("call", [Person.find, Person.cancel, Person.next], ids=["find", "cancel", "next"])
def test_a_connection_that_the_store_does_not_know_changes_nothing(
    lobby: Lobby, call: Callable[[Person], object]
) -> None:
    (anna,) = lobby.people("anna")
    anna.find()
    old = anna.conn
    anna.connect()
    record, anna.conn = anna.record, old
    assert call(anna).state == "unknown"  # type: ignore[attr-defined]
    assert anna.record == record


def test_a_thousand_simultaneous_searches_match_everyone_once(embedded: Lobby) -> None:
    crowd = embedded.crowd(1000)
    for person in crowd:
        person.find()
    rooms = embedded.rooms()
    assert len(rooms) == 500
    assert sorted(name for pair in rooms for name in pair) == sorted(person.name for person in crowd)
    assert embedded.worker.presence.stats()["matchesTotal"] == 500


# cancel-match


def test_a_cancelled_search_is_not_matched(lobby: Lobby) -> None:
    anna, bert = lobby.people("anna", "bert")
    anna.find()
    assert anna.cancel().state == "cancelled"
    assert bert.find().state == "waiting"
    lobby.run(2000)
    assert not lobby.rooms()
    assert not anna.waiting


def test_cancelling_after_a_match_is_too_late(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    assert anna.cancel().state == "in-room"
    assert anna.partner == "bert"


def test_cancelling_does_not_end_the_cooldown(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.next()
    anna.cancel()
    lobby.pass_time(COOLDOWN_MS - 1)
    assert anna.find().cooldown_ms == 1
    assert not lobby.sorted_set(":pool")
    assert bert.room is None


# next-match and the cooldown


def test_next_match_leaves_the_room_and_notifies_the_partner(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    room = anna.room
    search = anna.next()
    assert (search.state, search.cooldown_ms, search.room_left) == ("waiting", COOLDOWN_MS, room)
    assert (anna.room, bert.room) == (None, None)
    assert [(n["room"], n["reason"]) for n in bert.heard("ended")] == [(room, "skipped")]
    assert anna.heard("ended") == []


def test_next_match_without_a_room_is_find_match(lobby: Lobby) -> None:
    anna, bert = lobby.people("anna", "bert")
    search = anna.next()
    assert (search.state, search.cooldown_ms, search.room_left) == ("waiting", 0, "")
    assert bert.next().state == "matched"


def test_next_match_while_waiting_changes_nothing(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    first = anna.find()
    record = anna.record
    assert anna.next() == first
    assert anna.record == record


@pytest.mark.parametrize("ask", ["find", "next"])
def test_a_search_during_the_cooldown_returns_the_time_left(lobby: Lobby, ask: str) -> None:
    anna, _ = lobby.pair("anna", "bert")
    anna.next()
    lobby.pass_time(1000)
    record = anna.record
    assert (getattr(anna, ask)().cooldown_ms, anna.record) == (COOLDOWN_MS - 1000, record)
    lobby.pass_time(COOLDOWN_MS)
    assert getattr(anna, ask)().cooldown_ms == 0, "no tick has run yet"


def test_a_cooldown_ends_to_the_millisecond(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    anna.next()
    anna.cancel()
    lobby.pass_time(COOLDOWN_MS)
    assert anna.find().cooldown_ms == 0
    assert set(lobby.sorted_set(":pool")) == {"anna"}


def test_a_skip_during_a_cooldown_starts_another_one(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    anna.next()
    lobby.run(COOLDOWN_MS)
    (carl,) = lobby.people("carl")
    carl.find()
    assert anna.partner == "carl"
    assert anna.next().cooldown_ms == COOLDOWN_MS
    assert float(anna.record["rest"]) == lobby.now + COOLDOWN_MS


@pytest.mark.parametrize("ask", ["find", "next", "cancel"])
def test_every_answer_contains_the_room_that_the_partner_ended_and_the_reason(lobby: Lobby, ask: str) -> None:
    """The notice about it may still be on its way to the worker."""
    anna, bert = lobby.pair("anna", "bert")
    room = anna.room
    bert.next()
    answer = getattr(anna, ask)()
    assert (answer.ended, answer.room_left) == ((room, "skipped"), "")
    assert answer.version == int(anna.record["v"])


def test_every_step_of_a_search_increases_the_version(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    versions = [int(anna.record["v"])]
    for step in (anna.find, anna.cancel, anna.next, anna.cancel):
        versions.append(step().version)
        assert versions[-1] == int(anna.record["v"])
    lobby.people("bert")[0].find()
    versions.append(anna.find().version)
    versions.append(anna.next().version)
    assert versions == sorted(set(versions))


def test_after_a_complete_search_the_next_one_waits_for_a_repeatable_match(lobby: Lobby) -> None:
    """The exception is the time at which two people may meet again."""
    anna, _ = lobby.pair("anna", "bert")
    lobby.people("carl")[0].find()
    assert lobby.sorted_set(":searching") == {}
    lobby.moderation.block_partner("anna", anna.conn)
    (dora,) = lobby.people("dora")
    lobby.have_met("dora", ["carl"], lobby.now + 5000)
    dora.find()
    assert lobby.sorted_set(":searching") == {"dora": lobby.now + 5000}


def test_match_history_expires_an_hour_after_its_last_entry(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    for person in (anna, bert):
        left = lobby.pipeline.execute("PTTL", f"{TAG}:met:{person.name}")
        assert HISTORY_MS + HOUR_MS - 60_000 < left <= HISTORY_MS + HOUR_MS
    anna.block()
    lobby.people("carl")[0].find()
    anna.find()
    left = lobby.pipeline.execute("PTTL", f"{TAG}:met:anna")
    assert BLOCK_MS + HOUR_MS - 60_000 < left <= BLOCK_MS + HOUR_MS, "the longest entry decides"


def test_only_expired_history_entries_are_removed(lobby: Lobby) -> None:
    anna, bert, *_ = lobby.people("anna", "bert", "carl", "dora")
    lobby.have_met("anna", ["carl", "dora"], lobby.now + 1000)
    lobby.have_met("anna", ["bert"], lobby.now + 5000)
    bert.find()
    lobby.pass_time(1000)
    assert anna.find().state == "waiting"
    assert set(lobby.sorted_set(":met:anna")) == {"bert"}


def test_a_skip_starts_no_cooldown_for_the_partner(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    (carl,) = lobby.people("carl")
    anna.next()
    carl.find()
    assert bert.find().state == "matched"
    assert bert.partner == "carl"


def test_no_match_during_a_cooldown(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    (carl,) = lobby.people("carl")
    anna.next()
    assert carl.find().state == "waiting"
    lobby.pass_time(COOLDOWN_MS - 1)
    lobby.tick()
    assert anna.room is None
    lobby.pass_time(1)
    lobby.tick()
    assert anna.partner == "carl"


def test_a_cooldown_lasts_across_a_disconnect(lobby: Lobby) -> None:
    """The person's cooldown lasts across reloads and disconnects: a token makes it the same person."""
    anna, _ = lobby.pair("anna", "bert")
    anna.next()
    anna.goodbye()
    lobby.pass_time(2000)
    assert anna.connect().state == "idle"
    assert anna.find().cooldown_ms == COOLDOWN_MS - 2000


def test_a_cooldown_lasts_across_a_reload(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    anna.next()
    anna.drop()
    lobby.pass_time(2000)
    registration = anna.connect()
    assert (registration.state, registration.cooldown_ms) == ("waiting", COOLDOWN_MS - 2000)
    (carl,) = lobby.people("carl")
    carl.find()
    lobby.run(2750)
    assert anna.room is None
    lobby.run(TICK_MS)
    assert anna.partner == "carl"


def test_the_end_of_a_room_by_the_partner_starts_no_cooldown(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    (carl,) = lobby.people("carl")
    anna.leave()
    assert anna.find().cooldown_ms == 0
    assert carl.find().state == "matched"
    assert carl.partner == "anna"
    assert bert.find().state == "waiting"


@pytest.mark.parametrize("back", [False, True])
def test_skipping_a_partner_who_is_away_costs_no_cooldown(lobby: Lobby, back: bool) -> None:
    anna, bert = lobby.pair("anna", "bert")
    bert.drop()
    if back:
        bert.connect()
    assert anna.next().cooldown_ms == (COOLDOWN_MS if back else 0)


def test_a_cooldown_that_runs_goes_on_where_the_partner_is_away(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    lobby.pipeline.execute("HSET", f"{TAG}:person:anna", "rest", lobby.now + 1000)
    bert.drop()
    assert anna.next().cooldown_ms == 1000


def test_three_hundred_whose_cooldowns_end_at_once_are_all_matched(embedded: Lobby) -> None:
    skippers = []
    for n in range(300):
        skipper, _ = embedded.pair(f"skipper{n}", f"partner{n}")
        skippers.append(skipper)
    for skipper in skippers:
        assert skipper.next().cooldown_ms == COOLDOWN_MS
    assert not embedded.rooms()
    embedded.pass_time(COOLDOWN_MS)
    assert embedded.tick() < 320  # a few in each script, so that no script takes long
    rooms = embedded.rooms()
    assert len(rooms) == 150
    assert set.union(*rooms) == {skipper.name for skipper in skippers}


# History


def test_people_who_met_within_24_hours_are_not_matched(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.leave()
    assert [anna.find().state, bert.find().state] == ["waiting", "waiting"]
    lobby.pass_time(HISTORY_MS - 1)
    lobby.tick()
    assert not lobby.rooms()


@pytest.mark.parametrize("first", ["anna", "bert"])
def test_history_holds_both_ways(lobby: Lobby, first: str) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.leave()
    order = [anna, bert] if first == "anna" else [bert, anna]
    assert [person.find().state for person in order] == ["waiting", "waiting"]


def test_people_who_met_24_hours_ago_may_meet_again(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.leave()
    lobby.pass_time(HISTORY_MS)
    anna.find()
    assert bert.find().state == "matched"


def test_24_hours_count_from_the_match_not_from_its_end(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    lobby.pass_time(23 * HOUR_MS)
    anna.leave()
    lobby.pass_time(HOUR_MS)
    anna.find()
    assert bert.find().state == "matched"


def test_each_pair_has_its_own_24_hours(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.leave()
    lobby.pass_time(12 * HOUR_MS)
    (carl,) = lobby.people("carl")
    carl.find()
    assert anna.find().state == "matched"
    anna.leave()
    lobby.pass_time(12 * HOUR_MS)  # a later match neither extends the earlier entry nor ends with it
    carl.find()
    assert anna.find().state == "waiting"
    assert bert.find().state == "matched"
    assert bert.partner in ("anna", "carl")


def test_history_lasts_across_reloads_and_disconnects(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.goodbye()
    anna.connect()
    anna.find()
    assert bert.find().state == "waiting"


def test_a_history_entry_that_expires_while_both_wait_leads_to_a_match_at_the_next_tick(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.leave()
    lobby.pass_time(HISTORY_MS - 1000)
    anna.find()
    bert.find()
    lobby.pass_time(999)
    lobby.tick()
    assert not lobby.rooms()
    lobby.pass_time(1)
    lobby.tick()
    assert anna.partner == "bert"


def test_the_second_of_several_expiring_history_entries_is_noticed_too(lobby: Lobby) -> None:
    """Anna has met both. When she may meet Bert again, he is busy; so she must meet Carl once she may."""
    anna, bert = lobby.pair("anna", "bert")
    anna.leave()
    lobby.pass_time(1000)
    (carl,) = lobby.people("carl")
    carl.find()
    anna.find()
    assert anna.partner == "carl"
    anna.leave()
    lobby.pass_time(HISTORY_MS - 2000)
    carl.find()
    anna.find()
    lobby.run(1000)
    assert not lobby.rooms()
    lobby.run(1000)
    assert anna.partner == "carl"
    assert bert.room is None


# Random choice


def _chi_square(counts: Counter[str], choices: int) -> float:
    expected = counts.total() / choices
    return sum((counts[name] - expected) ** 2 / expected for name in counts) + expected * (choices - len(counts))


def _partners(lobby: Lobby, crowd: list[Person], rounds: int) -> Counter[str]:
    """Count the partners that newcomers meet in a pool that stays the same."""
    counts: Counter[str] = Counter()
    by_name = {person.name: person for person in crowd}
    for person in crowd:
        person.find()
    for n in range(rounds):
        (seeker,) = lobby.people(f"seeker{n}")
        assert seeker.find().state == "matched"
        met = by_name[seeker.partner or ""]
        counts[met.name] += 1
        seeker.leave()
        seeker.goodbye()
        met.find()
    return counts


def test_the_partner_is_a_random_one_of_those_who_wait(lobby: Lobby) -> None:
    """The pool fits into one portion: all chance is in the seed, so that the result is always the same."""
    crowd = lobby.crowd(8)
    lobby.all_have_met(crowd)
    assert _chi_square(_partners(lobby, crowd, 400), 8) < 24.3  # 7 degrees of freedom, p = 0.001


def test_arrival_does_not_matter_in_a_large_pool_either(embedded: Lobby) -> None:
    """Here the store draws the candidates at random: the bound fails once in a thousand million runs."""
    crowd = embedded.crowd(100)
    embedded.all_have_met(crowd)
    counts = _partners(embedded, crowd, 400)
    quarters = Counter(str(int(name[1:]) // 25) for name in counts.elements())
    assert _chi_square(quarters, 4) < 45  # 3 degrees of freedom, p = 1e-9


def test_the_same_seed_makes_the_same_choice_and_another_another(store_url: str) -> None:
    """Redis starts each script with the same random numbers: without the seed all choices would be alike."""
    partners = {}
    for seed in ("one", "one", "two", "three", "four", "five", "six"):
        lobby = Lobby(store_url, seed)
        lobby.pipeline.execute("FLUSHALL")
        lobby.worker.heartbeat()
        crowd = lobby.crowd(10)
        lobby.all_have_met(crowd)
        for person in crowd:
            person.find()
        (anna,) = lobby.people("anna")
        anna.find()
        assert partners.setdefault(seed, anna.partner) == anna.partner
        lobby.close()
    assert len(set(partners.values())) > 1


# Everyone is found


def _pool_of(lobby: Lobby, count: int) -> list[Person]:
    """Return people who wait side by side, since all have met each other as far as one portion reaches."""
    crowd = lobby.crowd(count)
    with lobby.batch() as batch:
        for n, person in enumerate(crowd):
            batch.hset(f"{TAG}:person:{person.name}", "waiting", lobby.now)
            batch.zadd(f"{TAG}:pool", {person.name: n + 1})
        batch.hset(f"{TAG}:counters", "arrivals", count)
    return crowd


def _has_met_all_but(lobby: Lobby, name: str, crowd: list[Person], who: Person, until: int | None = None) -> None:
    lobby.have_met(name, [person.name for person in crowd if person is not who], until)


@pytest.mark.parametrize("place", [0, 99, 100, 700, 1199])
def test_the_only_stranger_in_a_pool_of_1200_is_found(embedded: Lobby, place: int) -> None:
    crowd = _pool_of(embedded, 1200)
    (anna,) = embedded.people("anna")
    _has_met_all_but(embedded, "anna", crowd, crowd[place])
    anna.find()
    for _ in range(10):
        if anna.room is None:
            embedded.run(TICK_MS)
    assert anna.partner == crowd[place].name


def test_two_who_may_meet_are_never_both_left_waiting_for_longer_than_a_second(embedded: Lobby) -> None:
    """This holds with one worker's ticks, however many people the seeker has met."""
    crowd = _pool_of(embedded, 2000)
    (anna,) = embedded.people("anna")
    _has_met_all_but(embedded, "anna", crowd, crowd[-1])
    anna.find()
    embedded.run(1000)
    assert anna.partner == crowd[-1].name


@pytest.mark.parametrize("count", [1, 9, 40])
def test_two_who_may_meet_wait_a_second_at_most_even_if_all_workers_but_one_die(embedded: Lobby, count: int) -> None:
    """Pairs may meet again at any time; in the first half all workers tick, in the second half only one."""
    people = embedded.crowd(40)
    embedded.all_have_met(people)
    start, length = embedded.now, 4000
    may_meet = {}
    for n, (a, b) in enumerate(zip(people[::2], people[1::2], strict=True)):
        may_meet[frozenset((a.name, b.name))] = until = start + 100 + n * (length - 1200) // 20
        embedded.have_met(a.name, [b.name], until)
    for person in people:
        person.find()

    chance = random.Random(1)
    looks = [(start + 1000 * tick_interval(count, chance.uniform) * chance.random(), worker) for worker in range(count)]
    done = set()
    while (look := min(looks)) < (start + length, 0):
        looks.remove(look)
        moment, worker = look
        if worker > 0 and moment > start + length / 2:
            continue
        embedded.now = int(moment)
        embedded.worker.heartbeat()
        while embedded.matchmaking.tick(TICK_GAP_MS):
            pass
        done.add(embedded.pipeline.execute("GET", f"{TAG}:ticked"))
        looks.append((moment + 1000 * tick_interval(count, chance.uniform), worker))

    rooms = [embedded.hash(f":room:{room}") for room in embedded.sorted_set(":rooms")]
    late = [int(room["since"]) - may_meet[frozenset((room["a"], room["b"]))] for room in rooms]
    assert len(late) == len(may_meet)
    assert 0 <= min(late) <= max(late) < 1000
    assert len(done) <= length / TICK_GAP_MS  # together no more ticks than of eight workers


def test_a_search_that_a_tick_leaves_unfinished_goes_on_at_once(embedded: Lobby) -> None:
    """All people who are drawn first are on a worker that was just killed."""
    anna, bert = embedded.people("anna", "bert")
    anna.find()
    anna.drop()
    bert.find()
    other = embedded.add_worker()
    for ghost in _pool_of(embedded, 200):
        ghost.connect(other)
    other.kill()
    anna.connect()
    assert embedded.tick() > 1
    assert anna.partner == "bert"


def test_one_script_looks_at_a_bounded_number_of_people(embedded: Lobby) -> None:
    """A script that looked through everyone would delay all others."""
    crowd = _pool_of(embedded, 1200)
    (anna,) = embedded.people("anna")
    embedded.have_met("anna", [person.name for person in crowd])
    anna.find()
    looks = 1
    while "seen" in anna.record:
        embedded.matchmaking.tick()
        looks += 1
    assert 12 <= looks <= 15


def test_a_newcomer_during_an_interrupted_search_finds_the_seeker(embedded: Lobby) -> None:
    crowd = _pool_of(embedded, 1200)
    (anna, bert) = embedded.people("anna", "bert")
    embedded.have_met("anna", [person.name for person in crowd])
    embedded.have_met("bert", [person.name for person in crowd])
    assert anna.find().state == "waiting"
    embedded.pass_time(TICK_MS)
    embedded.matchmaking.tick()
    bert.find()
    embedded.run(1750)
    assert anna.partner == "bert"


def _both_interrupted(lobby: Lobby, look_again_in: int) -> tuple[Person, Person]:
    """Return Anna and Bert in the middle of their searches through a pool of 1,200 people that they have met;
    they may meet each other again in a second."""
    crowd = _pool_of(lobby, 1200)
    anna, bert = lobby.people("anna", "bert")
    names = [person.name for person in crowd]
    lobby.have_met("anna", names)
    lobby.have_met("bert", names)
    lobby.have_met("anna", ["bert"], lobby.now + 1000)
    with lobby.batch() as batch:  # both arrived early: their places in the pool are the first ones
        for place, person in ((-2, anna), (-1, bert)):
            batch.hset(f"{TAG}:person:{person.name}", mapping={"waiting": lobby.now, "seen": f"{lobby.now} 1 100"})
            batch.zadd(f"{TAG}:pool", {person.name: place})
            batch.zadd(f"{TAG}:searching", {person.name: lobby.now + look_again_in})
    return anna, bert


def test_a_history_entry_that_expires_during_both_searches_is_not_missed(embedded: Lobby) -> None:
    """Each search had passed the other's place in the pool when the time ended."""
    anna, _ = _both_interrupted(embedded, 1000)
    embedded.run(4000)
    assert anna.partner == "bert"


def test_a_history_entry_that_expires_while_one_is_away_is_not_missed(embedded: Lobby) -> None:
    """Anna's connection is lost in the middle of her search and comes back. Meanwhile she may meet Bert again; he
    searched while she was away, and is at a place that her search has passed."""
    anna, bert = _both_interrupted(embedded, 0)
    with embedded.batch() as batch:
        batch.hdel(f"{TAG}:person:bert", "seen")
        batch.zadd(f"{TAG}:searching", {"bert": embedded.now + 1000})
    anna.drop()
    embedded.run(4000)
    assert bert.room is None
    assert anna.connect().state == "waiting"
    embedded.run(2000)
    assert anna.partner == "bert"


# Interests


def test_two_who_share_an_interest_are_matched_at_once(lobby: Lobby) -> None:
    anna, bert = lobby.people("anna", "bert")
    assert anna.find("tea", "chess").state == "waiting"
    assert bert.find("chess", "cats").state == "matched"
    assert anna.partner == "bert"


def test_both_get_the_shared_interests_in_their_own_spelling_and_order(lobby: Lobby) -> None:
    anna, bert = lobby.people("anna", "bert")
    anna.find("tea", "dogs", "Chess", "Straße")
    bert.find("STRASSE", "chess", "cats", "TEA")
    assert anna.heard("matched")[0]["interests"] == ["tea", "Chess", "Straße"]
    assert bert.heard("matched")[0]["interests"] == ["STRASSE", "chess", "TEA"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tea", "TEA"), (" tea\t", "tea"), ("Straße", "STRASSE"), ("ﬁlm", "FILM"), ("ｔｅａ", "tea"),
        ("caf\u00e9", "cafe\u0301"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("²", "2"), ("ᾳ", "αι"), ("\u1f80", "\u1f00\u03b9"),
        ("tea", "tea\u00a0"), ("日本", "日本"), ("{lobby}", "{LOBBY}"),
    ],
)  # fmt: skip
def test_spellings_that_are_one_interest(one: str, other: str) -> None:
    assert by_name([one]).keys() == by_name([other]).keys()
    assert by_name([one, other]) == by_name([one])


@pytest.mark.parametrize(("one", "other"), [("tea", "teas"), ("ice tea", "icetea"), ("cafe", "café"), ("i", "ı")])
def test_spellings_that_are_two_interests(one: str, other: str) -> None:
    assert list(by_name([one, other]).values()) == [one, other]


def test_an_interest_has_a_short_plain_name_in_the_store(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    wanted = ["ﷺ" * 32, "a b\nc", "}:pool", "\0", "'"]
    anna.find(*wanted)
    names = lobby.pipeline.execute("KEYS", f"{TAG}:interest:*")
    assert len(names) == len(wanted)
    assert {len(name) for name in names} == {len(f"{TAG}:interest:") + 16}
    (bert,) = lobby.people("bert")
    assert bert.find(*reversed(wanted)).state == "matched"
    assert bert.heard("matched")[0]["interests"] == wanted[::-1]


def test_during_the_interest_wait_only_people_who_share_one_meet(lobby: Lobby) -> None:
    anna, bert, carl = lobby.people("anna", "bert", "carl")
    assert anna.find("tea").state == "waiting"
    assert bert.find("chess").state == "waiting"
    assert carl.find().state == "waiting"
    lobby.pass_time(INTEREST_WAIT_MS - 1)
    lobby.tick()
    assert not lobby.rooms()


def test_after_the_interest_wait_people_without_interests_are_met(lobby: Lobby) -> None:
    anna, carl = lobby.people("anna", "carl")
    carl.find()
    anna.find("tea")
    lobby.pass_time(INTEREST_WAIT_MS)
    lobby.tick()
    assert anna.partner == "carl"
    assert "interests" not in anna.heard("matched")[0]


def test_two_without_a_shared_interest_meet_after_both_interest_waits(lobby: Lobby) -> None:
    anna, bert = lobby.people("anna", "bert")
    anna.find("tea")
    lobby.pass_time(4000)
    bert.find("chess")
    lobby.run(INTEREST_WAIT_MS - 1000)
    assert anna.room is None, "Bert still waits for a shared interest"
    lobby.run(1000)
    assert anna.partner == "bert"


def test_a_newcomer_after_the_interest_wait_may_share_an_interest_or_name_none(lobby: Lobby) -> None:
    anna, bert, carl, dora = lobby.people("anna", "bert", "carl", "dora")
    anna.find("tea")
    lobby.run(INTEREST_WAIT_MS)
    assert bert.find("chess").state == "waiting"
    assert carl.find("tea").state == "matched"
    assert carl.partner == "anna"
    assert carl.heard("matched")[0]["interests"] == ["tea"]
    lobby.run(INTEREST_WAIT_MS)
    assert dora.find().state == "matched"
    assert dora.partner == "bert"


def test_the_most_shared_come_first(lobby: Lobby) -> None:
    crowd = lobby.crowd(9)
    lobby.all_have_met(crowd)
    wanted = [["a"], ["b"], ["a", "c"], ["b", "x"], ["a", "b", "c"], ["c", "y"], ["x"], ["b", "c"], []]
    for person, interests in zip(crowd, wanted, strict=True):
        assert person.find(*interests).state == "waiting"
    order = []
    for n in range(7):
        (seeker,) = lobby.people(f"seeker{n}")
        assert seeker.find("c", "b", "a").state == "matched"
        order.append(len(seeker.heard("matched")[0]["interests"]))
    assert order == [3, 2, 2, 1, 1, 1, 1]
    (seeker,) = lobby.people("late")
    assert seeker.find("c", "b", "a").state == "waiting", "no one who shares an interest is left"


def test_of_those_who_share_as_much_the_partner_is_a_random_one(lobby: Lobby) -> None:
    crowd = lobby.crowd(6)
    lobby.all_have_met(crowd)
    for person in crowd:
        person.find("tea", "chess")
    counts: Counter[str] = Counter()
    for n in range(300):
        (seeker,) = lobby.people(f"seeker{n}")
        seeker.find("chess", "tea")
        met = next(person for person in crowd if person.name == seeker.partner)
        counts[met.name] += 1
        seeker.goodbye()
        met.find("tea", "chess")
    assert _chi_square(counts, 6) < 20.5  # 5 degrees of freedom, p = 0.001


def test_shared_interests_do_not_override_the_history(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.leave()
    anna.find("tea")
    assert bert.find("tea").state == "waiting"
    (carl,) = lobby.people("carl")
    assert carl.find("tea").state == "matched"


def test_a_history_entry_of_two_who_share_interests_expires_while_both_wait(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.leave()
    lobby.pass_time(HISTORY_MS - 1000)
    anna.find("tea")
    bert.find("tea")
    lobby.pass_time(1000)
    lobby.tick()
    assert anna.partner == "bert"


def test_find_match_while_waiting_changes_no_interests(lobby: Lobby) -> None:
    anna, bert = lobby.people("anna", "bert")
    anna.find("tea")
    record = anna.record
    assert anna.find("chess").state == anna.find().state == anna.next("chess").state == "waiting"
    assert anna.record == record
    assert bert.find("chess").state == "waiting"
    assert lobby.people("carl")[0].find("tea").state == "matched"


def test_the_interest_wait_begins_after_the_cooldown(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    carl, dora = lobby.people("carl", "dora")
    assert anna.next("tea").cooldown_ms == COOLDOWN_MS
    assert carl.find("tea").state == "waiting", "people in a cooldown are not found"
    carl.cancel()
    dora.find()
    lobby.run(COOLDOWN_MS + INTEREST_WAIT_MS - TICK_MS)
    assert anna.room is None
    lobby.run(TICK_MS)
    assert anna.partner == "dora"


def test_after_the_cooldown_people_are_found_by_interest(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    (carl,) = lobby.people("carl")
    anna.next("tea")
    carl.find("tea")
    lobby.run(COOLDOWN_MS)
    assert anna.partner == "carl"
    assert anna.heard("matched")[-1]["interests"] == ["tea"]


@pytest.mark.parametrize("stop", [Person.cancel, Person.goodbye, Person.drop], ids=["cancel", "goodbye", "drop"])
def test_the_end_of_a_wait_removes_the_person_from_every_set(lobby: Lobby, stop: Callable[[Person], object]) -> None:
    (anna,) = lobby.people("anna")
    anna.find("tea", "chess")
    assert len(lobby.pipeline.execute("KEYS", f"{TAG}:interest:*")) == 2
    assert lobby.worker.presence.stats()["waitingUsers"] == 1
    stop(anna)
    lobby.run(GRACE_MS)
    assert lobby.pipeline.execute("KEYS", f"{TAG}:interest:*") == []
    assert not lobby.sorted_set(":selective")
    assert lobby.worker.presence.stats()["waitingUsers"] == 0
    assert not {"waiting", "interests", "spelled", "open"} & anna.record.keys()


def test_a_match_removes_both_from_every_set(lobby: Lobby) -> None:
    anna, bert = lobby.people("anna", "bert")
    anna.find("tea", "chess")
    bert.find("chess", "cats")
    assert lobby.pipeline.execute("KEYS", f"{TAG}:interest:*") == []
    assert not lobby.sorted_set(":selective")
    assert not {"waiting", "interests", "spelled", "open"} & (anna.record.keys() | bert.record.keys())


def test_an_interest_s_set_expires_unless_someone_waits(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    anna.find("tea")
    (key,) = lobby.pipeline.execute("KEYS", f"{TAG}:interest:*")
    assert lobby.pipeline.execute("PTTL", key) > HISTORY_MS
    lobby.pipeline.execute("PEXPIRE", key, 1000)
    lobby.worker.presence.touch(["anna"])
    assert lobby.pipeline.execute("PTTL", key) > HISTORY_MS


def test_a_reconnect_within_the_grace_time_keeps_interests_and_wait(lobby: Lobby) -> None:
    anna, carl = lobby.people("anna", "carl")
    anna.find("Tea", "chess")
    carl.find()
    anna.drop()
    lobby.run(4000)
    registration = anna.connect(lobby.add_worker())
    assert (registration.state, registration.interests) == ("waiting", ("Tea", "chess"))
    lobby.run(INTEREST_WAIT_MS - 4000 - TICK_MS)
    assert anna.room is None
    (bert,) = lobby.people("bert")
    assert bert.find("TEA").state == "matched"
    assert anna.heard("matched")[0]["interests"] == ["Tea"]


def test_a_room_keeps_its_shared_interests(lobby: Lobby) -> None:
    """A person who was away at the match gets them later."""
    anna, bert = lobby.people("anna", "bert")
    anna.find("Tea", "dogs")
    bert.find("tea", "cats")
    shared = [person.connect(lobby.worker).room.interests for person in (anna, bert)]  # type: ignore[union-attr]
    assert shared == [("Tea",), ("tea",)]
    carl, dora = lobby.pair("carl", "dora")
    assert carl.connect().room.interests == dora.connect().room.interests == ()  # type: ignore[union-attr]


def test_a_person_of_a_silent_worker_is_met_by_interest_once_the_worker_is_back(lobby: Lobby) -> None:
    other = lobby.add_worker()
    (ghost,), (anna,) = lobby.people("ghost", worker=other), lobby.people("anna")
    ghost.find("tea")
    other.unsubscribe()
    assert anna.find("tea").state == "waiting"
    assert "ghost" not in lobby.sorted_set(":selective")
    other.subscribe()
    lobby.run(1250)
    assert ghost.partner == "anna"


def test_a_set_drops_a_person_without_a_record(lobby: Lobby) -> None:
    ghost, anna = lobby.people("ghost", "anna")
    ghost.find("tea")
    lobby.pipeline.execute("DEL", f"{TAG}:person:ghost")
    assert anna.find("tea").state == "waiting"
    (key,) = lobby.pipeline.execute("KEYS", f"{TAG}:interest:*")
    assert list(lobby.sorted_set(key.decode().removeprefix(TAG))) == ["anna"]


def _all_for_one_interest(lobby: Lobby, count: int) -> list[Person]:
    """Return people who wait for the same interest, half of them for a second one, too; all have met each other."""
    crowd = lobby.crowd(count)
    tea, chess = by_name(["tea", "chess"])
    until = lobby.now + INTEREST_WAIT_MS
    with lobby.batch() as batch:
        for n, person in enumerate(crowd):
            record = {"waiting": lobby.now, "interests": f"{tea} {chess}", "spelled": '["tea","chess"]', "open": until}
            batch.hset(f"{TAG}:person:{person.name}", mapping=record)
            for interest in (tea, chess):
                batch.zadd(f"{TAG}:interest:{interest}", {person.name: n + 1})
            batch.zadd(f"{TAG}:selective", {person.name: until})
        batch.hset(f"{TAG}:counters", "arrivals", count)
    return crowd


@pytest.mark.parametrize("place", [0, 49, 99, 100, 799])
def test_the_only_stranger_among_800_who_share_an_interest_is_found(embedded: Lobby, place: int) -> None:
    crowd = _all_for_one_interest(embedded, 800)
    (anna,) = embedded.people("anna")
    _has_met_all_but(embedded, "anna", crowd, crowd[place])
    anna.find("cats", "Tea", "chess")
    embedded.run(1000)
    assert anna.partner == crowd[place].name
    assert anna.heard("matched")[0]["interests"] == ["Tea", "chess"]


@pytest.mark.parametrize("place", [0, 50, 119])
def test_the_only_one_among_120_who_share_two_interests_is_found(embedded: Lobby, place: int) -> None:
    """They are more than a portion, so the number of shared interests must be counted in each portion."""
    crowd = _all_for_one_interest(embedded, 120)
    (anna,) = embedded.people("anna")
    _has_met_all_but(embedded, "anna", crowd, crowd[place])
    anna.find("tea", "chess")
    embedded.run(1000)
    assert anna.partner == crowd[place].name


def test_a_search_goes_on_to_the_pool_if_the_interest_wait_ends_meanwhile(embedded: Lobby) -> None:
    crowd = _all_for_one_interest(embedded, 800)
    (anna, carl) = embedded.people("anna", "carl")
    embedded.have_met("anna", [person.name for person in crowd])
    carl.find()
    anna.find("tea")
    embedded.matchmaking.tick()
    assert "seen" in anna.record
    with embedded.batch() as batch:  # as if the wait had begun long ago
        batch.hset(f"{TAG}:person:anna", "open", embedded.now)
        batch.zadd(f"{TAG}:selective", {"anna": embedded.now})
    embedded.run(TICK_MS)
    assert anna.partner == "carl"


def test_a_newcomer_during_the_silence_of_the_seeker_s_worker_is_not_missed(embedded: Lobby) -> None:
    """Anna's search has passed her first interest when her worker becomes silent. So Bert, who comes for that interest,
    can't find her. Once her worker is back, her search has to look there again."""
    other = embedded.add_worker()
    crowd = _all_for_one_interest(embedded, 800)
    (anna,), (bert,) = embedded.people("anna", worker=other), embedded.people("bert")
    for name in ("anna", "bert"):
        embedded.have_met(name, [person.name for person in crowd])
    anna.find("tea", "chess")
    while anna.record["seen"].split()[1] == "1":
        embedded.matchmaking.tick()
    other.unsubscribe()
    bert.find("tea")
    embedded.tick()
    assert (anna.room, bert.room) == (None, None)
    other.subscribe()
    embedded.run(1250)
    assert anna.partner == "bert"


def test_one_script_looks_at_a_bounded_number_of_people_who_share_an_interest(embedded: Lobby) -> None:
    crowd = _all_for_one_interest(embedded, 800)
    (anna,) = embedded.people("anna")
    embedded.have_met("anna", [person.name for person in crowd])
    anna.find("tea")
    looks = 1
    while "seen" in anna.record:
        embedded.matchmaking.tick()
        looks += 1
    assert 8 <= looks <= 11


def test_2000_people_with_random_interests_are_matched_as_the_rules_say(embedded: Lobby) -> None:
    """They name one to three of 50 interests each, one in ten people none, and arrive within ten seconds."""
    chance = random.Random(2000)
    crowd = embedded.crowd(2000)
    wanted = {p.name: chance.sample(range(50), chance.choice([1, 2, 3]) if chance.random() > 0.1 else 0) for p in crowd}
    since: dict[str, int] = {}
    waiting: list[Person] = []

    def may_stay(a: str, b: str) -> bool:
        over = [not wanted[name] or since[name] + INTEREST_WAIT_MS + 1000 <= embedded.now for name in (a, b)]
        return not set(wanted[a]) & set(wanted[b]) and not all(over)

    for start in range(0, 2000, 50):
        for person in crowd[start : start + 50]:
            since[person.name] = embedded.now
            can_share = [one for one in waiting if set(wanted[one.name]) & set(wanted[person.name])]
            state = person.find(*(f"interest {n}" for n in wanted[person.name])).state
            if can_share:
                assert state == "matched"
            waiting.append(person)
            if state == "matched":
                partner = person.partner or ""
                waiting = [one for one in waiting if one.name not in (person.name, partner)]
                shared = len(set(wanted[person.name]) & set(wanted[partner]))
                assert shared == max(
                    (len(set(wanted[one.name]) & set(wanted[person.name])) for one in can_share), default=0
                )
        embedded.run(TICK_MS)
        waiting = [person for person in waiting if person.waiting]
        assert all(may_stay(a.name, b.name) for a, b in combinations(waiting, 2))
    embedded.run(INTEREST_WAIT_MS + 1000)
    assert [person for person in waiting if person.waiting] == []
    met_at = embedded.sorted_set(":rooms")
    assert len(met_at) == 1000
    for room, at in met_at.items():
        a, b = embedded.members(room)
        waits = [since[name] + INTEREST_WAIT_MS if wanted[name] else 0 for name in (a, b)]
        assert set(wanted[a]) & set(wanted[b]) or max(waits) <= at


# People of dead workers


def test_people_of_a_killed_worker_are_not_matched(lobby: Lobby) -> None:
    """This works at once, long before a heartbeat is missed: the worker's channel has no subscriber any more."""
    other = lobby.add_worker()
    (ghost,), (anna,) = lobby.people("ghost", worker=other), lobby.people("anna")
    ghost.find()
    other.kill()
    assert anna.find().state == "waiting"
    lobby.run(3000)
    assert (anna.room, ghost.room) == (None, None)


def test_people_of_a_worker_without_heartbeats_are_not_matched(lobby: Lobby) -> None:
    """A worker that hangs is still subscribed."""
    other = lobby.add_worker()
    (ghost,), (anna,) = lobby.people("ghost", worker=other), lobby.people("anna")
    ghost.find()
    other.beating = False
    lobby.pass_time(5000)
    assert anna.find().state == "waiting"
    assert ghost.room is None


def test_a_cooldown_that_ends_on_a_dead_worker_leads_to_no_match(lobby: Lobby) -> None:
    other = lobby.add_worker()
    (ghost,) = lobby.people("ghost", worker=other)
    bert, anna = lobby.people("bert", "anna")
    bert.find()
    ghost.find()
    ghost.next()
    other.kill()
    anna.find()
    lobby.run(COOLDOWN_MS + 1000)
    assert (anna.room, ghost.room) == (None, None)


def test_people_of_a_worker_that_is_back_are_matched(lobby: Lobby) -> None:
    other = lobby.add_worker()
    (ghost,), (anna,) = lobby.people("ghost", worker=other), lobby.people("anna")
    ghost.find()
    other.unsubscribe()
    assert anna.find().state == "waiting"
    other.subscribe()
    lobby.run(1250)
    assert ghost.partner == "anna"


def test_people_of_dead_workers_in_the_pool_prevent_no_match(lobby: Lobby) -> None:
    other = lobby.add_worker()
    ghosts = lobby.people(*(f"ghost{n}" for n in range(60)), worker=other)
    lobby.all_have_met(ghosts)
    for ghost in ghosts:
        ghost.find()
    other.kill()
    anna, bert = lobby.people("anna", "bert")
    anna.find()
    bert.find()
    lobby.run(1000)
    assert anna.partner == "bert"


def test_a_person_who_is_away_is_not_matched_and_waits_again_after_reconnecting(lobby: Lobby) -> None:
    anna, bert = lobby.people("anna", "bert")
    anna.find()
    anna.drop()
    assert bert.find().state == "waiting"
    lobby.run(2000)
    assert bert.room is None
    assert anna.connect().state == "waiting"
    lobby.run(TICK_MS)
    assert anna.partner == "bert"


def test_the_search_ends_with_the_grace_time(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    anna.find()
    anna.drop()
    lobby.run(GRACE_MS)
    assert anna.connect().state == "idle"


def test_the_same_person_on_another_worker_goes_on_waiting(lobby: Lobby) -> None:
    other = lobby.add_worker()
    anna, bert = lobby.people("anna", "bert")
    anna.find()
    assert anna.connect(other).state == "waiting"
    assert bert.find().state == "matched"
    assert [n["e"] for n in anna.heard()] == ["matched"]


# Versions


def test_versions_order_a_person_s_changes(lobby: Lobby) -> None:
    anna, bert = lobby.people("anna", "bert")
    versions = [anna.find().version]
    bert.find()
    bert.drop()
    bert.connect()
    versions += [n["v"] for n in anna.heard()]
    versions += [anna.next().version, anna.cancel().version, anna.find().version]
    assert all(earlier < later for earlier, later in pairwise(versions))


def test_the_start_of_the_wait_survives_a_continued_search(lobby: Lobby) -> None:
    """docs/keys.md: `waiting` is the start of the wait. Another search, or the end of a cooldown, doesn't change it."""
    anna, _ = lobby.pair("anna", "bert")
    since = lobby.now
    anna.next()
    lobby.run(COOLDOWN_MS + 1000)
    assert int(anna.record["waiting"]) == since


# Any history


@settings(max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    met=st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)).filter(lambda pair: pair[0] < pair[1])),
    order=st.permutations(range(9)),
)
def test_with_any_history_only_strangers_meet_and_no_two_strangers_keep_waiting(
    store_url: str, met: set[tuple[int, int]], order: list[int]
) -> None:
    lobby = Lobby(store_url)
    lobby.pipeline.execute("FLUSHALL")
    lobby.worker.heartbeat()
    people = lobby.crowd(9)
    for a, b in met:
        lobby.have_met(f"p{a}", [f"p{b}"])
    for n in order:
        people[n].find()
    strangers = {frozenset((f"p{a}", f"p{b}")) for a, b in combinations(range(9), 2)} - {
        frozenset((f"p{a}", f"p{b}")) for a, b in met
    }
    assert all(frozenset(room) in strangers for room in lobby.rooms())
    left = [person.name for person in people if person.waiting]
    assert not [pair for pair in combinations(left, 2) if frozenset(pair) in strangers]
    lobby.close()
