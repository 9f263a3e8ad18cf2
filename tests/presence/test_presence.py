"""Presence: connections, grace time, live and dead workers, against a real store (animochat/presence)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from animochat.moderation.lobby_moderation import NOTHING
from animochat.presence.service import REAP_WORKER, Registration, shared_secret
from animochat.settings import Settings, SettingsError
from animochat.store import keys
from tests.helpers.store import COOLDOWN_MS, GRACE_MS, HOUR_MS, LOST_GRACE_MS, TAG, TICK_MS, Lobby, Person


@pytest.fixture
def lobby(redis_url: str) -> Iterator[Lobby]:
    lobby = Lobby(redis_url)
    yield lobby
    lobby.close()


# Connecting


def test_a_new_person_is_idle_and_counted(lobby: Lobby) -> None:
    lobby.people("anna")
    (bert,) = lobby.people("bert", worker=lobby.add_worker())
    assert bert.connect() == Registration("idle", version=lobby.now + 1, online=2)
    assert lobby.worker.presence.stats()["onlineUsers"] == 2


def test_one_person_has_one_connection_and_the_newest_wins(lobby: Lobby) -> None:
    other = lobby.add_worker()
    (anna,) = lobby.people("anna")
    old = anna.conn
    anna.connect(other)
    assert anna.record["conn"] == anna.conn
    assert [(n["p"], n["e"], n["conn"]) for n in lobby.worker.notices()] == [("anna", "replaced", old)]
    assert other.notices() == []
    assert lobby.worker.presence.stats()["onlineUsers"] == 1


def test_a_second_connection_to_one_worker_replaces_the_first(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    old = anna.conn
    anna.connect()
    assert [(n["e"], n["conn"]) for n in lobby.worker.notices()] == [("replaced", old)]
    assert lobby.worker.presence.stats()["onlineUsers"] == 1


def test_a_replaced_connection_does_not_win_a_resync(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    old, new = anna.conn, lobby.new_connection()
    lobby.worker.presence.connect("anna", new)
    record = anna.record
    anna.conn = old
    assert anna.resync() == Registration("replaced")
    assert anna.record == record


def test_the_end_of_a_replaced_connection_does_not_affect_the_new_one(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    old = anna.conn
    anna.connect()
    new, anna.conn = anna.conn, old
    assert not anna.drop()
    assert not anna.goodbye()
    assert anna.record["conn"] == new
    assert anna.partner == "bert"
    assert [n["e"] for n in bert.heard()] == ["matched", "reconnected"]


def test_a_reload_in_a_chat_returns_the_room(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    (told,) = anna.heard("matched")
    lobby.pass_time(2000)
    room = anna.connect(lobby.add_worker()).room
    assert room is not None
    assert (room.room_id, room.slot, room.partner) == (told["room"], told["slot"], "bert")
    assert (room.user_id, room.partner_user_id) == (told["user"], told["partner"])
    assert (room.partner_worker, room.since, room.grace_ms) == (bert.worker.name, told["since"], None)


def test_the_room_says_that_the_partner_is_away(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    bert.drop()
    lobby.pass_time(3000)
    room = anna.connect().room
    assert room is not None
    assert (room.partner_worker, room.grace_ms) == ("", GRACE_MS - 3000)


def test_versions_only_grow_across_connections(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    versions = [anna.connect().version, anna.resync().version]
    anna.goodbye()
    versions.append(anna.connect().version)
    assert versions == sorted(set(versions))


def test_a_resync_registers_a_person_that_the_store_forgot(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    lobby.pipeline.execute("FLUSHALL")
    assert anna.resync().state == "idle"
    assert anna.record["conn"] == anna.conn


# Recovered sessions


def take_up(lobby: Lobby, session: str, new: str = "new") -> bool:
    """Reconnect Anna with the request for a session."""
    conn = lobby.new_connection()
    return lobby.worker.presence.connect("anna", conn, session=new, recover=session).recovered


@pytest.mark.parametrize("grace_ms", [GRACE_MS, LOST_GRACE_MS])
@pytest.mark.parametrize(("late", "recovered"), [(-GRACE_MS, True), (0, True), (1, False)])
def test_a_session_can_be_recovered_while_its_connection_s_place_is_kept(
    lobby: Lobby, grace_ms: int, late: int, recovered: bool
) -> None:
    lobby.worker.presence.connect("anna", "first", session="one")
    lobby.pass_time(HOUR_MS)
    lobby.worker.presence.disconnect("anna", "first", grace_ms)
    lobby.pass_time(grace_ms + late)
    assert take_up(lobby, "one") is recovered
    assert lobby.hash(":person:anna")["session"] == ("one" if recovered else "new")
    assert "kept" not in lobby.hash(":person:anna")


def test_a_session_whose_connection_counts_as_present_can_be_recovered_repeatedly(lobby: Lobby) -> None:
    lobby.worker.presence.connect("anna", "first", session="one")
    lobby.pass_time(HOUR_MS)
    assert take_up(lobby, "one")
    assert take_up(lobby, "one")
    assert not take_up(lobby, "another", new="two")
    assert not take_up(lobby, "one", new="three"), "it is not the latest any more"


@pytest.mark.parametrize("end", ["goodbye", "ban"])
def test_an_ended_session_is_not_recovered(lobby: Lobby, end: str) -> None:
    lobby.worker.presence.connect("anna", "first", session="one")
    if end == "goodbye":
        lobby.worker.presence.disconnect("anna", "first", None)
    else:
        lobby.moderation.ban("anna", 1, NOTHING, "")
        lobby.pass_time(1)
    assert "session" not in lobby.hash(":person:anna")
    assert not take_up(lobby, "one")


def test_without_a_request_no_session_is_recovered(lobby: Lobby) -> None:
    lobby.worker.presence.connect("anna", "first")
    assert not take_up(lobby, "")


@pytest.mark.parametrize("who", ["anna", "bert"])
def test_the_partner_is_notified_of_a_lost_connection_and_of_the_reconnection(lobby: Lobby, who: str) -> None:
    """It holds for both slots of the room."""
    people = {person.name: person for person in lobby.pair("anna", "bert")}
    other = people[next(name for name in people if name != who)]
    room = other.room
    people[who].drop()
    (away,) = other.heard("reconnecting")
    assert (away["room"], away["graceMs"]) == (room, GRACE_MS)
    elsewhere = lobby.add_worker()
    assert people[who].connect(elsewhere).room.partner == other.name  # type: ignore[union-attr]
    (back,) = other.heard("reconnected")
    assert (back["room"], back["worker"], back["quiet"]) == (room, elsewhere.name, False)
    assert [notice["e"] for notice in people[who].heard()] == []


def test_no_grace_time_is_left_for_a_partner_whose_grace_time_is_over(lobby: Lobby) -> None:
    """No tick has run yet."""
    anna, bert = lobby.pair("anna", "bert")
    bert.drop()
    lobby.pass_time(GRACE_MS + 5000)
    room = anna.connect().room
    assert room is not None
    assert (room.partner, room.grace_ms) == ("bert", 0)


def test_a_reconnect_to_a_room_without_a_record_ends_the_room(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room
    lobby.pipeline.execute("DEL", f"{TAG}:room:{room}")
    assert anna.connect().state == "idle"
    assert anna.room is None
    assert room not in lobby.sorted_set(":rooms")
    assert room in lobby.sorted_set(":ended")


def test_a_reconnect_during_a_search_continues_it_at_once(lobby: Lobby) -> None:
    anna = lobby.people("anna")[0]
    anna.find("Tea")
    anna.connect()
    assert lobby.sorted_set(":searching") == {}, "a person in the waiting sets is found there"
    anna.drop()
    lobby.pass_time(1)
    registration = anna.connect()
    assert (registration.state, registration.cooldown_ms, registration.interests) == ("waiting", 0, ("Tea",))
    assert lobby.sorted_set(":searching") == {"anna": lobby.now}
    assert lobby.sorted_set(":resting") == lobby.sorted_set(":away") == {}


@pytest.mark.parametrize(("left", "set_"), [(1, ":resting"), (0, ":searching")])
def test_a_reconnect_during_a_cooldown_keeps_the_time_left(lobby: Lobby, left: int, set_: str) -> None:
    anna, _ = lobby.pair("anna", "bert")
    anna.next()
    anna.drop()
    lobby.pass_time(COOLDOWN_MS - left)
    assert anna.connect().cooldown_ms == left
    assert lobby.sorted_set(set_) == {"anna": lobby.now + left}


def test_a_worker_is_known_at_every_time_of_the_clock(lobby: Lobby) -> None:
    for _ in range(4):
        lobby.pass_time(1)
        assert lobby.worker.heartbeat().known


# Disconnected or lost


def test_a_disconnect_ends_the_room_at_once(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.goodbye()
    assert [n["reason"] for n in bert.heard("ended")] == ["disconnected"]
    assert bert.room is None
    assert anna.connect().state == "idle"


def test_a_disconnect_ends_the_search_at_once(lobby: Lobby) -> None:
    anna, bert = lobby.people("anna", "bert")
    anna.find()
    anna.goodbye()
    assert anna.connect().state == "idle"
    assert bert.find().state == "waiting"


def test_a_lost_connection_keeps_its_place_for_the_grace_time(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.drop()
    assert [n["graceMs"] for n in bert.heard("reconnecting")] == [GRACE_MS]
    lobby.run(GRACE_MS - TICK_MS)
    assert bert.partner == "anna"
    assert anna.connect().state == "chatting"
    assert [(n["e"], n.get("quiet")) for n in bert.heard()[2:]] == [("reconnected", False)]
    lobby.run(GRACE_MS)
    assert bert.partner == "anna"


def test_the_room_ends_with_the_grace_time(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.drop()
    lobby.run(GRACE_MS)
    assert [n["reason"] for n in bert.heard("ended")] == ["disconnected"]
    assert (anna.room, bert.room) == (None, None)
    assert anna.connect().state == "idle"


def test_the_partner_of_a_person_who_is_away_may_leave_or_skip(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.drop()
    assert bert.next().cooldown_ms == 0
    assert anna.connect().state == "idle"
    assert bert.heard("reconnected") == []


def test_after_both_were_lost_the_first_to_reconnect_sees_the_other_as_away(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.drop()
    lobby.pass_time(4000)
    bert.drop()
    lobby.pass_time(1000)
    room = anna.connect().room
    assert room is not None
    assert room.grace_ms == GRACE_MS - 1000
    lobby.run(GRACE_MS - 1000)
    assert [n["e"] for n in anna.heard()][-1] == "ended"


def test_a_new_window_is_no_reconnection_to_the_partner(lobby: Lobby) -> None:
    """The partner's worker needs the new destination; the partner's client gets nothing."""
    anna, bert = lobby.pair("anna", "bert")
    other = lobby.add_worker()
    anna.connect(other)
    assert [(n["quiet"], n["worker"]) for n in bert.heard("reconnected")] == [(True, other.name)]


# How many people are online (presence/scripts/include/count_online.lua); over all sequences: test_state_machine.py


def test_what_connecting_and_a_heartbeat_cost_does_not_grow_with_the_workers(lobby: Lobby) -> None:
    def cost() -> tuple[int, int]:
        before = lobby.commands()
        lobby.people("anna")
        connected = lobby.commands()
        lobby.worker.heartbeat()
        return connected - before, lobby.commands() - connected

    lobby.people("anna")
    alone = cost()
    lobby.people("bert", worker=[lobby.add_worker() for _ in range(20)][-1])
    assert cost() == alone


def test_a_worker_s_people_who_expired_with_it_are_not_counted_once_it_is_reaped(lobby: Lobby) -> None:
    other = lobby.add_worker()
    lobby.people("anna")
    lobby.people("bert", "carl", worker=other)
    other.kill()
    lobby.pipeline.execute("DEL", f"{TAG}:worker:{other.name}")
    lobby.pass_time(5000)
    lobby.worker.presence.reap(other.name, GRACE_MS)
    assert lobby.worker.heartbeat().online == lobby.worker.presence.stats()["onlineUsers"] == 1


def test_a_worker_s_people_who_expired_while_it_was_suspended_are_not_counted_once_it_is_back(lobby: Lobby) -> None:
    lobby.people("anna", "bert")
    lobby.pipeline.execute("DEL", f"{TAG}:worker:{lobby.worker.name}")
    lobby.now += 7 * 24 * HOUR_MS
    assert lobby.worker.heartbeat().online == 0
    lobby.people("anna")
    assert lobby.worker.heartbeat().online == 1


def test_the_number_lives_as_long_as_any_worker_s_people(lobby: Lobby) -> None:
    def life(name: str) -> int:
        return int(lobby.pipeline.execute("PTTL", TAG + name))

    people = f":worker:{lobby.worker.name}"
    lobby.pipeline.execute("FLUSHALL")
    lobby.people("anna")
    assert life(":online") >= life(people) - 1000 > HOUR_MS
    for name in (":online", people):
        lobby.pipeline.execute("PEXPIRE", TAG + name, HOUR_MS)
    lobby.worker.heartbeat()
    assert life(":online") >= life(people) - 1000 > HOUR_MS


# Heartbeats


def test_a_heartbeat_returns_the_epoch(lobby: Lobby) -> None:
    first = lobby.worker.heartbeat()
    assert lobby.worker.heartbeat().epoch == first.epoch
    lobby.pipeline.execute("FLUSHALL")
    after = lobby.worker.heartbeat()
    assert after.epoch != first.epoch
    assert not after.known


def test_a_heartbeat_returns_the_number_of_subscribers(lobby: Lobby) -> None:
    assert lobby.worker.heartbeat().listeners == 1
    lobby.worker.unsubscribe()
    assert lobby.worker.heartbeat().listeners == 0


def test_a_heartbeat_returns_the_live_and_the_dead_workers(lobby: Lobby) -> None:
    other = lobby.add_worker()
    other.kill()
    lobby.pass_time(4999)
    assert (lobby.worker.heartbeat().workers, lobby.worker.heartbeat().dead) == (2, [])
    lobby.pass_time(1)
    assert (lobby.worker.heartbeat().workers, lobby.worker.heartbeat().dead) == (1, [other.name])


def test_stats_count_the_workers_that_live(lobby: Lobby) -> None:
    lobby.add_worker().kill()
    lobby.pass_time(5000)
    assert lobby.worker.presence.stats()["workers"] == 1


def test_stats_count_people_who_wait_including_cooldowns(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    (carl,) = lobby.people("carl")
    carl.find()
    anna.next()
    stats = lobby.worker.presence.stats()
    assert (stats["waitingUsers"], stats["activeRooms"], stats["matchesTotal"]) == (2, 0, 1)


# Workers die


def test_a_dead_worker_s_people_are_away_and_their_partners_are_notified(lobby: Lobby) -> None:
    other = lobby.add_worker()
    (anna,), (bert,) = lobby.people("anna", worker=other), lobby.people("bert")
    anna.find()
    bert.find()
    (carl,) = lobby.people("carl", worker=other)
    carl.find()
    other.kill()
    lobby.pass_time(5000)
    for dead in lobby.worker.heartbeat().dead:
        lobby.worker.presence.reap(dead, GRACE_MS)
    assert lobby.worker.presence.stats()["onlineUsers"] == 1
    assert lobby.worker.presence.stats()["waitingUsers"] == 0
    assert [n["e"] for n in bert.heard()] == ["matched", "reconnecting"]
    lobby.run(GRACE_MS)
    assert [n["e"] for n in bert.heard()] == ["matched", "reconnecting", "ended"]
    assert other.name not in lobby.sorted_set(":workers")


def test_a_dead_worker_is_reaped_once(lobby: Lobby) -> None:
    other, third = lobby.add_worker(), lobby.add_worker()
    (anna,), (bert,) = lobby.people("anna", worker=other), lobby.people("bert")
    anna.find()
    bert.find()
    other.kill()
    lobby.pass_time(5000)
    for worker in (lobby.worker, third, lobby.worker):
        worker.presence.reap(other.name, GRACE_MS)
    assert len(bert.heard("reconnecting")) == 1


def test_a_live_worker_is_not_reaped(lobby: Lobby) -> None:
    other = lobby.add_worker()
    (anna,) = lobby.people("anna", worker=other)
    lobby.worker.presence.reap(other.name, GRACE_MS)
    assert anna.record["conn"] == anna.conn


def test_people_of_a_dead_worker_who_come_back_elsewhere_are_in_the_same_room(lobby: Lobby) -> None:
    other = lobby.add_worker()
    (anna,), (bert,) = lobby.people("anna", worker=other), lobby.people("bert")
    anna.find()
    bert.find()
    other.kill()
    assert anna.connect(lobby.worker).state == "chatting"  # before any worker has noticed
    lobby.pass_time(5000)
    lobby.worker.presence.reap(other.name, GRACE_MS)
    lobby.run(GRACE_MS)
    assert anna.partner == "bert"
    assert bert.heard("reconnecting") == []


def test_all_of_a_large_worker_s_people_are_reaped(lobby: Lobby) -> None:
    other = lobby.add_worker()
    crowd = lobby.people(*(f"p{n}" for n in range(120)), worker=other)
    for person in crowd:
        person.find()
    other.kill()
    lobby.pass_time(5000)
    lobby.worker.presence.reap(other.name, GRACE_MS)
    assert lobby.worker.presence.stats()["onlineUsers"] == 0
    assert len(lobby.sorted_set(":away")) == 120
    lobby.run(GRACE_MS)
    assert lobby.rooms() == []


def test_the_next_heartbeat_shows_a_worker_that_it_counted_as_dead(lobby: Lobby) -> None:
    other = lobby.add_worker()
    (anna,), (bert,) = lobby.people("anna", worker=other), lobby.people("bert")
    anna.find()
    bert.find()
    other.beating = False
    lobby.pass_time(5000)
    lobby.worker.presence.reap(other.name, GRACE_MS)
    assert not other.heartbeat().known
    assert anna.resync().state == "chatting"
    assert other.heartbeat().known
    lobby.run(GRACE_MS)
    assert anna.partner == "bert"


def test_a_heartbeat_during_the_reaping_shows_it_to_the_worker(lobby: Lobby) -> None:
    """A large worker is reaped in portions. People of the first portion count as away: without a resync, their clients
    would show a room that ends without them."""
    other = lobby.add_worker()
    lobby.people(*(f"p{n}" for n in range(120)), worker=other)
    other.beating = False
    lobby.pass_time(5000)
    assert lobby.pipeline.call(REAP_WORKER, [TAG], [other.name, GRACE_MS, "", lobby.now])
    assert not other.heartbeat().known


def test_people_who_joined_a_worker_after_it_counted_as_dead_are_reaped_when_it_dies(lobby: Lobby) -> None:
    other = lobby.add_worker()
    lobby.pass_time(5000)
    other.beating = False
    lobby.pass_time(5000)
    lobby.worker.presence.reap(other.name, GRACE_MS)
    (anna,) = lobby.people("anna", worker=other)
    lobby.pass_time(4999)
    assert lobby.worker.heartbeat().dead == []
    lobby.pass_time(2)
    assert lobby.worker.heartbeat().dead == [other.name]
    lobby.worker.presence.reap(other.name, GRACE_MS)
    assert "conn" not in anna.record


def test_a_worker_sees_that_it_counted_as_dead_even_if_someone_has_joined_since(lobby: Lobby) -> None:
    other = lobby.add_worker()
    other.beating = False
    lobby.pass_time(5000)
    lobby.worker.presence.reap(other.name, GRACE_MS)
    lobby.people("anna", worker=other)
    assert not other.heartbeat().known


def test_a_stopping_worker_s_people_keep_their_places(lobby: Lobby) -> None:
    other = lobby.add_worker()
    (anna,), (bert,) = lobby.people("anna", worker=other), lobby.people("bert")
    anna.find()
    bert.find()
    other.presence.reap(other.name, GRACE_MS)
    assert [n["graceMs"] for n in bert.heard("reconnecting")] == [GRACE_MS]
    assert anna.connect(lobby.worker).state == "chatting"
    assert [n["quiet"] for n in bert.heard("reconnected")] == [False]
    assert other.name not in lobby.sorted_set(":workers")


# Expiry


def test_touching_keeps_people_and_their_rooms(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    names = [f"{TAG}:person:anna", f"{TAG}:room:{anna.room}"]
    for name in names:
        lobby.pipeline.execute("PEXPIRE", name, 60_000)
    lobby.worker.presence.touch([*(f"unknown{n}" for n in range(250)), "anna"])
    assert all(lobby.pipeline.execute("PTTL", name) > 3_600_000 for name in names)
    assert lobby.pipeline.execute("EXISTS", f"{TAG}:person:nobody1") == 0


#: Keys of a lobby that last LIFE (docs/keys.md), as far as the fixture below makes them.
INDEXES = [":epoch", ":online", ":workers", ":pool", ":resting", ":selective", ":searching", ":away", ":rooms"]

LIFE_MS = 7 * 24 * HOUR_MS


@pytest.fixture
def busy(lobby: Lobby) -> Lobby:
    """Return a lobby with a person in every state: each of INDEXES exists, and all of its counts differ."""
    other = lobby.add_worker()
    lobby.pair("anna", "bert")  # in a room
    lobby.pair("gone", "left")[0].drop()  # in one, and away
    lobby.people("carl", worker=other)[0].find("chess", "go")  # waits for an interest
    lobby.pair("emil", "fred")[0].next()  # in a cooldown
    lobby.people("hugo", worker=other)[0].find()
    people = [Person(lobby, name) for name in ("hugo", "ines", "jane")]
    lobby.all_have_met(people)
    for person in people:  # wait side by side, with another search due
        person.connect(other)
        person.find()
    return lobby


def lifetime(lobby: Lobby, name: str) -> int:
    return int(lobby.pipeline.execute("PTTL", TAG + name))


def is_whole(lobby: Lobby, name: str) -> bool:
    """Return whether this key has the full lifetime."""
    return LIFE_MS - 60_000 < lifetime(lobby, name) <= LIFE_MS


def test_a_heartbeat_keeps_the_lobby_and_its_own_people_for_seven_days(busy: Lobby) -> None:
    kept = [*INDEXES, f":worker:{busy.worker.name}"]
    others = f":worker:{busy.workers[1].name}"
    for name in [*kept, others]:
        assert busy.pipeline.execute("PEXPIRE", TAG + name, HOUR_MS) == 1, name
    busy.worker.heartbeat()
    assert [name for name in kept if not is_whole(busy, name)] == []
    assert lifetime(busy, others) <= HOUR_MS, "that worker renews it itself, or its people are lost"


def test_touching_keeps_a_person_the_room_and_the_interests_for_seven_days(busy: Lobby) -> None:
    room = busy.hash(":person:anna")["room"]
    interests = [f":interest:{name}" for name in busy.hash(":person:carl")["interests"].split()]
    kept = [":person:anna", ":person:carl", f":room:{room}", *interests]
    for name in [*kept, ":person:bert"]:
        busy.pipeline.execute("PEXPIRE", TAG + name, HOUR_MS)
    busy.worker.presence.touch(["anna", "carl"])
    assert (len(interests), [name for name in kept if not is_whole(busy, name)]) == (2, [])
    assert lifetime(busy, ":person:bert") <= HOUR_MS


def test_connecting_keeps_the_record_and_the_worker_s_people_for_seven_days(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    kept = [":person:anna", f":worker:{lobby.worker.name}", ":online"]
    for name in kept:
        lobby.pipeline.execute("PEXPIRE", TAG + name, HOUR_MS)
    anna.goodbye()
    anna.connect()
    assert [name for name in kept if not is_whole(lobby, name)] == []


def test_a_room_and_its_people_s_records_are_kept_for_seven_days(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    for name in (":person:anna", ":person:bert", f":room:{anna.room}"):
        assert is_whole(lobby, name), name


def test_an_empty_lobby_counts_nothing(lobby: Lobby) -> None:
    lobby.pipeline.execute("FLUSHALL")
    assert set(lobby.worker.presence.stats().values()) == {0}


def test_stats_return_each_number(busy: Lobby) -> None:
    busy.worker.heartbeat(11)
    assert busy.worker.presence.stats() == {
        "onlineUsers": 9,
        "waitingUsers": 5,
        "activeRooms": 2,
        "workers": 2,
        "matchesTotal": 3,
        "messagesTotal": 11,
    }


def test_the_online_count_is_right_after_every_change(busy: Lobby) -> None:
    """The running count equals a fresh count."""

    def online() -> int:
        return busy.worker.presence.stats()["onlineUsers"]

    def counted() -> int:
        return sum(busy.pipeline.execute("SCARD", f"{TAG}:worker:{worker.name}") for worker in busy.workers)

    assert online() == counted() == 9
    (anna,) = busy.people("anna")  # a second window
    assert online() == counted() == 9
    anna.connect(busy.workers[1])
    assert online() == counted() == 9
    anna.goodbye()
    assert online() == counted() == 8
    anna.goodbye()
    assert online() == counted() == 8
    busy.pipeline.execute("DEL", f"{TAG}:online")
    busy.add_worker()
    assert online() == counted() == 8


@pytest.mark.parametrize("count", [49, 50, 51])
def test_a_worker_is_reaped_completely_in_any_number_of_portions(lobby: Lobby, count: int) -> None:
    other = lobby.add_worker()
    lobby.people(*(f"p{n}" for n in range(count)), worker=other)
    other.presence.stopping()
    other.presence.reap(other.name, GRACE_MS)
    assert lobby.worker.presence.stats()["onlineUsers"] == 0
    assert lobby.pipeline.execute("EXISTS", f"{TAG}:worker:{other.name}", f"{TAG}:stopping") == 0
    assert set(lobby.sorted_set(":workers")) == {lobby.worker.name}


def test_a_stopping_worker_does_not_count_as_staying(lobby: Lobby) -> None:
    second, third = lobby.add_worker(), lobby.add_worker()
    third.kill()
    assert lobby.worker.presence.stopping() == 2
    assert is_whole(lobby, ":stopping")
    assert second.presence.stopping() == 1
    lobby.pass_time(4999)
    assert second.presence.stopping() == 1
    lobby.pass_time(1)
    assert second.presence.stopping() == 0


def test_a_check_leaves_nothing_behind(lobby: Lobby) -> None:
    before = lobby.pipeline.execute("KEYS", "*")
    lobby.worker.presence.check()
    assert sorted(lobby.pipeline.execute("KEYS", "*")) == sorted(before)


@pytest.mark.parametrize(
    "refused", ["hset", "hincrby", "zadd", "sadd", "incrby", "pexpire", "del", "publish", "pubsub|numsub"]
)
def test_a_check_fails_where_the_store_refuses_what_a_join_needs(store_url: str, refused: str) -> None:
    lobby = Lobby(store_url)
    lobby.worker.presence.check()
    lobby.pipeline.execute("ACL", "SETUSER", "default", f"-{refused}")
    try:
        with pytest.raises(redis.exceptions.ResponseError):
            lobby.worker.presence.check()
    finally:
        lobby.pipeline.execute("ACL", "SETUSER", "default", "+@all")
        lobby.close()


@pytest.mark.parametrize("going", ["goodbye", "drop", "drop while waiting", "drop from a room", "ban", "death"])
def test_the_record_of_a_person_who_left_expires_after_an_hour(lobby: Lobby, going: str) -> None:
    other = lobby.add_worker()
    (anna,) = lobby.people("anna", worker=other)
    if going.endswith(("waiting", "room")):
        anna.find()
    if going.endswith("room"):
        lobby.people("bert")[0].find()
    match going.split()[0]:
        case "goodbye":
            anna.goodbye()
        case "drop":
            anna.drop()
        case "ban":
            lobby.moderation.ban("anna", HOUR_MS, NOTHING, "")
        case "death":
            other.kill()
            lobby.pass_time(5000)
            lobby.worker.presence.reap(other.name, GRACE_MS)
    lobby.run(GRACE_MS)
    assert 0 < lobby.pipeline.execute("PTTL", f"{TAG}:person:anna") <= HOUR_MS


@pytest.mark.parametrize("state", ["connected", "waiting and away", "in a room and away", "back"])
def test_the_record_of_a_person_who_is_connected_or_has_a_place_is_kept(lobby: Lobby, state: str) -> None:
    (anna,) = lobby.people("anna")
    if state.startswith(("waiting", "in a room")):
        anna.find()
    if state.startswith("in a room"):
        lobby.people("bert")[0].find()
    if state.endswith("away"):
        anna.drop()
        lobby.run(GRACE_MS - TICK_MS)
    elif state == "back":
        anna.goodbye()
        anna.connect()
    assert lobby.pipeline.execute("PTTL", f"{TAG}:person:anna") > HOUR_MS


def test_the_record_outlives_the_longest_cooldown_and_grace_time() -> None:
    """presence/scripts/include/forget.lua relies on one hour."""
    for name in ("SKIP_COOLDOWN_MS", "RECONNECT_GRACE_MS", "LOST_GRACE_MS"):
        Settings.from_environ({name: str(HOUR_MS)})
        with pytest.raises(SettingsError):
            Settings.from_environ({name: str(HOUR_MS + 1)})


def test_the_secret_is_the_first_worker_s_for_all(lobby: Lobby) -> None:
    assert [shared_secret(lobby.pipeline, mine) for mine in ("one", "two")] == ["one", "one"]
    assert lobby.pipeline.execute("TTL", keys.SECRET) > 0


# Stopping


def test_a_stopping_worker_gets_the_number_of_staying_workers(lobby: Lobby) -> None:
    assert lobby.worker.presence.stopping() == 0
    one, two = lobby.add_worker(), lobby.add_worker()
    assert lobby.worker.presence.stopping() == 2
    assert one.presence.stopping() == 1
    two.kill()
    lobby.pass_time(6_000)
    assert one.presence.stopping() == 0
    for worker in (lobby.worker, one):
        worker.presence.reap(worker.name, GRACE_MS)
    assert lobby.pipeline.execute("EXISTS", f"{TAG}:stopping") == 0
