"""Who is kept from whom: blocks, against a real store (animochat/moderation)."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from store_support import GRACE_MS, HOUR_MS, TAG, Lobby, Person

from animochat.matchmaking.service import CANCEL_MATCH, NEXT_MATCH
from animochat.moderation.service import BLOCK_MS, DAY_MS
from animochat.rooms.service import LEAVE_ROOM


@pytest.fixture
def lobby(redis_url: str) -> Iterator[Lobby]:
    lobby = Lobby(redis_url)
    yield lobby
    lobby.close()


# Blocking


def test_blocking_ends_the_room_for_both_and_the_partner_hears_that_one_left(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    room = anna.room
    state, version, left = anna.block()
    assert (state, left) == ("left", room)
    assert version > anna.heard("matched")[0]["v"]
    assert (anna.room, bert.room, lobby.rooms()) == (None, None, [])
    assert [(n["room"], n["reason"]) for n in bert.heard("ended")] == [(room, "left")]
    assert anna.heard("ended") == []


@pytest.mark.parametrize("seeker", ["anna", "bert"])
def test_a_blocked_pair_does_not_meet_for_90_days_whoever_searches(lobby: Lobby, seeker: str) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.block()
    first, second = (bert, anna) if seeker == "anna" else (anna, bert)
    lobby.pass_time(BLOCK_MS - 1)
    assert first.find().state == "waiting"
    assert second.find().state == "waiting"
    lobby.tick()
    assert lobby.rooms() == []
    lobby.pass_time(1)
    lobby.tick()
    assert lobby.rooms() == [{"anna", "bert"}]
    assert BLOCK_MS == 90 * DAY_MS


def test_meeting_others_later_does_not_shorten_a_block(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    anna.block()
    before = lobby.sorted_set(":met:anna")
    lobby.people("carl")[0].find()
    anna.find()
    assert anna.partner == "carl"
    anna.leave()
    assert lobby.sorted_set(":met:anna")["bert"] == before["bert"]
    assert lobby.sorted_set(":met:bert")["anna"] == before["bert"]
    for name in ("anna", "bert"):
        assert lobby.pipeline.execute("PTTL", f"{TAG}:met:{name}") > BLOCK_MS


def test_a_partner_who_is_away_can_be_blocked_and_learns_it_as_leaving(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    room = anna.room
    bert.drop()
    assert anna.block()[0] == "left"
    lobby.run(GRACE_MS)
    assert bert.connect().ended == (room, "left")
    bert.find()
    assert anna.find().state == "waiting"


def test_who_is_in_no_room_can_block_nobody(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    bert.leave()
    assert anna.block() == ("not-in-room", 0, "")


def test_a_replaced_connection_cannot_block(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    old = anna.conn
    anna.connect()
    anna.conn = old
    assert anna.block() == ("unknown", 0, "")
    assert bert.partner == "anna"


def test_a_blocked_pair_never_meets_in_10_000_random_searches_in_a_pool_of_20(store_url: str) -> None:
    lobby = Lobby(store_url)
    lobby.load_scripts(CANCEL_MATCH, NEXT_MATCH, LEAVE_ROOM)
    dice = random.Random(1)
    people = lobby.crowd(20)
    people[0].find()
    people[1].find()
    people[0].block()
    lobby.listen()
    lobby.worker.heard.clear()

    def search(batch: Any, person: Person) -> None:
        """Leaves the room or the pool and searches; who met may meet again at once, and nobody rests."""
        batch.evalsha(CANCEL_MATCH.sha, 1, TAG, person.name, person.conn)
        batch.evalsha(NEXT_MATCH.sha, 1, TAG, person.name, person.conn, dice.random(), 1, 0, lobby.now)

    for _ in range(100):
        # Everybody waits: each knows all others, until the next millisecond.
        lobby.have_all_met_until(people, lobby.now + 1)
        with lobby.batch() as batch:
            for person in people:
                batch.evalsha(LEAVE_ROOM.sha, 1, TAG, person.name, person.conn)
                search(batch, person)
        assert len(lobby.sorted_set(":pool")) == 20
        lobby.pass_time(HOUR_MS)
        with lobby.batch() as batch:
            for _ in range(100):
                search(batch, dice.choice(people))
    met = Counter(frozenset([n["p"], n["mate"]]) for n in lobby.worker.notices() if n["e"] == "matched")
    assert met[frozenset({"p0", "p1"})] == 0
    pairs = {frozenset([a.name, b.name]) for a, b in itertools.combinations(people, 2)}
    assert set(met) - {frozenset({"p0", "p1"})} == pairs - {frozenset({"p0", "p1"})}, "everybody else met"
    lobby.close()
