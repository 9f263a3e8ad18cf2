"""Messages of a room, their order, and how a room ends, against a real store (animochat/rooms)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from animochat.protocol import channel
from animochat.protocol.channel import RelayedEvent
from animochat.rooms import service as rooms
from animochat.rooms.appending import BATCH, NewMessage, Outcome
from animochat.rooms.life import ENDED_LIFE_MS, LOG_LIFE_MS, TAKE_ENDED
from animochat.rooms.log import LOG_LENGTH, LoggedMessage, LogPart, LogReply
from animochat.rooms.memory import MemoryLog
from animochat.store import keys
from tests.helpers.store import HISTORY_MS, HOUR_MS, Lobby, Person, Worker


@pytest.fixture
def lobby(redis_url: str) -> Iterator[Lobby]:
    lobby = Lobby(redis_url)
    lobby.load_scripts(*rooms.SCRIPTS)
    yield lobby
    lobby.close()


class Stored(NamedTuple):
    seq: int
    timestamp: int
    outcome: Outcome | None


def say(
    person: Person, body: str, *, client_id: str = "", last_seq: int = 0, partner_worker: str | None = None
) -> Stored:
    """Store a message as the person's worker does; `partner_worker`: if that worker knows another one."""
    (stored,) = say_all([(person, body, client_id)], last_seq=last_seq, partner_worker=partner_worker)
    return stored


def say_all(
    messages: list[tuple[Person, str, str]], *, last_seq: int = 0, partner_worker: str | None = None
) -> list[Stored]:
    """Store several messages of one worker's people, which go out together."""
    worker = messages[0][0].worker
    stored: list[Stored] = []
    entries = []
    places: dict[str, tuple[str, str, str, str]] = {}
    versions: dict[str, int] = {}
    for person, body, client_id in messages:
        if person.name not in places:
            room = person.room
            assert room is not None
            a, b = worker.lobby.members(room)
            slot, partner = ("a", b) if a == person.name else ("b", a)
            where = partner_worker
            if where is None:
                where = worker.lobby.hash(f":person:{partner}").get("worker", "")
            places[person.name] = (room, slot, partner, where)
            versions[person.name] = int(person.record["v"])
            worker.rooms.life.open(room, slot, versions[person.name])
        done = lambda *result: stored.append(Stored(*result))  # noqa: E731
        entries.append(NewMessage(*places[person.name], last_seq, versions[person.name], client_id, body, done))
    worker.rooms._entries += entries[:-1]
    worker.rooms.append(entries[-1])
    return stored


def slot_of(person: Person) -> str:
    return "a" if person.lobby.members(person.room or "")[0] == person.name else "b"


def attach(person: Person, after: int = 0) -> LogPart:
    """Attach the person's worker to the room, as when the person has just connected."""
    version = int(person.record["v"])
    return person.worker.rooms.attach(person.room or "", person.name, slot_of(person), version, after=after)


def lines(worker: Worker) -> list[list[str]]:
    """Return the messages on the worker's channel: [person, room, seq, timestamp, body]."""
    found = []
    for data in worker.listen():
        kind, *rest = data.decode().split("\n")
        if kind == "messages":
            found += [line.split(" ", 4) for line in rest]
    return found


def two_workers(lobby: Lobby) -> tuple[Person, Person]:
    """Return two people in a room, each on a worker of their own."""
    (anna,), (bert,) = lobby.people("anna"), lobby.people("bert", worker=lobby.add_worker())
    anna.find()
    bert.find()
    return anna, bert


def ttl(lobby: Lobby, room: str, name: str) -> int:
    return int(lobby.pipeline.execute("PTTL", keys.room(room) + name))


# Order


def test_seq_counts_the_messages_of_both_members(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    assert [say(person, "x").seq for person in (anna, bert, bert, anna)] == [1, 2, 3, 4]


def test_messages_stored_together_keep_their_order(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    stored = say_all([(anna, "one", ""), (bert, "two", ""), (anna, "three", "")])
    assert [s.seq for s in stored] == [1, 2, 3]
    logged = attach(anna).messages
    assert [m.body for m in logged] == ["one", "two", "three"]


def test_each_room_counts_for_itself(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    carl, _ = lobby.pair("carl", "dora")
    assert [s.seq for s in say_all([(anna, "x", ""), (carl, "y", ""), (anna, "z", "")])] == [1, 1, 2]


def test_a_message_has_the_store_s_time(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    lobby.pass_time(1234)
    assert say(anna, "x").timestamp == lobby.now


def test_more_messages_than_one_script_takes_are_stored_in_order(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    stored = say_all([(anna, str(n), "") for n in range(BATCH + 5)])
    assert [s.seq for s in stored] == list(range(1, BATCH + 6))


# To the partner's worker, once


def test_a_message_between_two_on_one_worker_is_not_published(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    before = len(lobby.worker.listen())
    assert say(anna, "x").outcome is Outcome.LOCAL
    assert len(lobby.worker.listen()) == before


def test_a_message_between_two_workers_is_published_once_to_the_partner_s(lobby: Lobby) -> None:
    anna, bert = two_workers(lobby)
    before = len(anna.worker.listen())
    stored = say(anna, '"content":"two words"')
    assert stored.outcome is Outcome.REMOTE
    assert lines(bert.worker) == [["bert", anna.room, "1", str(stored.timestamp), '"content":"two words"']]
    assert len(anna.worker.listen()) == before


def test_one_batch_reaches_another_worker_in_one_publication(lobby: Lobby) -> None:
    anna, bert = two_workers(lobby)
    before = len(bert.worker.listen())
    say_all([(anna, str(n), "") for n in range(5)])
    assert len(bert.worker.listen()) == before + 1
    assert [line[4] for line in lines(bert.worker)] == ["0", "1", "2", "3", "4"]


def test_messages_go_to_the_partner_s_present_worker_even_if_the_sender_s_does_not_know_it(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    old = lobby.worker.name
    bert.connect(lobby.add_worker())
    attach(bert)
    assert say(anna, "x", partner_worker=old).outcome is Outcome.REMOTE
    assert [line[4] for line in lines(bert.worker)] == ["x"]


def test_partner_who_moved_to_the_sender_s_worker_is_local(lobby: Lobby) -> None:
    anna, bert = two_workers(lobby)
    other = bert.worker
    bert.connect(anna.worker)
    attach(bert)
    assert say(anna, "x", partner_worker=other.name).outcome is Outcome.LOCAL
    assert lines(other) == []


def test_messages_to_a_person_who_is_away_wait_in_the_log(lobby: Lobby) -> None:
    anna, bert = two_workers(lobby)
    bert.drop()
    assert say(anna, "x", partner_worker="").outcome is Outcome.REMOTE
    assert lines(bert.worker) == []
    bert.connect(anna.worker)
    logged = attach(bert).messages
    assert [m.body for m in logged] == ["x"]


def test_typing_reaches_the_partner_s_worker_and_is_not_stored(lobby: Lobby) -> None:
    anna, bert = two_workers(lobby)
    event = RelayedEvent(receiver="bert", room_id=anna.room or "", packet='2["partner-typing"]')
    anna.worker.rooms.publish_event(bert.worker.name, event)
    assert channel.decode(bert.worker.listen()[-1]) == [event]
    assert attach(anna) == LogPart(0, [])


# The same message again


def test_a_client_id_already_stored_is_not_stored_or_delivered_again(lobby: Lobby) -> None:
    anna, bert = two_workers(lobby)
    first = say(anna, "x", client_id="one")
    lobby.pass_time(1000)
    say(anna, "y", client_id="two")
    again = say(anna, "x", client_id="one")
    assert (again.seq, again.timestamp, again.outcome) == (first.seq, first.timestamp, Outcome.AGAIN)
    assert [line[4] for line in lines(bert.worker)] == ["x", "y"]
    assert [m.body for m in attach(bert).messages] == ["x", "y"]


def test_a_client_id_twice_in_one_batch_is_stored_once(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    stored = say_all([(anna, "x", "one"), (anna, "x", "one")])
    assert [(s.seq, s.outcome) for s in stored] == [(1, Outcome.LOCAL), (1, Outcome.AGAIN)]


def test_a_client_id_counts_for_one_sender_in_one_room(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    carl, _ = lobby.pair("carl", "dora")
    for person in (anna, bert, carl):
        assert say(person, "x", client_id="one").outcome is Outcome.LOCAL


@pytest.mark.parametrize("client_id", ["seq", "a", "b", "#1", "a:one", "x\ny", "ü 😀"])
def test_no_client_id_has_a_special_meaning(lobby: Lobby, client_id: str) -> None:
    anna, bert = lobby.pair("anna", "bert")
    assert say(anna, "x", client_id=client_id) == (1, lobby.now, Outcome.LOCAL)
    assert say(bert, "y", client_id=client_id) == (2, lobby.now, Outcome.LOCAL)
    assert say(anna, "x", client_id=client_id) == (1, lobby.now, Outcome.AGAIN)
    assert say(anna, "z").seq == 3


def test_a_message_sent_again_is_not_counted_again(lobby: Lobby) -> None:
    """`messagesTotal` counts messages, not attempts."""
    anna, _ = lobby.pair("anna", "bert")
    say(anna, "x", client_id="one")
    say(anna, "x", client_id="one")
    assert anna.worker.rooms.stored == 1


def test_the_heartbeat_counts_messages(lobby: Lobby) -> None:
    lobby.worker.heartbeat(3)
    lobby.worker.heartbeat(4)
    assert lobby.worker.presence.stats()["messagesTotal"] == 7


# The log


def test_a_log_keeps_the_latest_messages(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    say_all([(anna, str(n), f"id{n}") for n in range(1, LOG_LENGTH + 11)])
    last, logged, *_ = attach(anna)
    assert last == LOG_LENGTH + 10
    assert [m.seq for m in logged] == list(range(11, LOG_LENGTH + 11))


@pytest.mark.parametrize(("after", "complete"), [(0, False), (9, False), (10, True), (LOG_LENGTH + 10, True)])
def test_a_log_knows_when_it_no_longer_reaches_back(lobby: Lobby, after: int, complete: bool) -> None:
    anna, bert = lobby.pair("anna", "bert")
    say_all([(anna, str(n), "") for n in range(1, LOG_LENGTH + 11)])
    assert attach(bert, after).complete is complete
    assert lobby.worker.rooms.history(anna.room or "", "bert", "b", after).complete is complete


def test_messages_missing_from_the_log_are_gone_and_those_missing_from_a_memory_may_still_come(
    lobby: Lobby,
) -> None:
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room or ""
    say_all([(anna, str(n), "") for n in range(1, LOG_LENGTH + 11)])
    read = lobby.worker.rooms.history(room, "bert", "b", 0)
    assert (read.complete, read.gone) == (False, LOG_LENGTH + 10)
    assert lobby.worker.rooms.history(room, "bert", "b", 10).gone == 0, "nothing is missing"
    forgetful = MemoryLog(3).read(LogReply([], 2, 0), room, "bert", "b", 0, None)
    assert (forgetful.complete, forgetful.gone) == (False, 0)


def test_client_ids_are_forgotten_with_their_messages(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    say_all([(anna, str(n), f"id{n}") for n in range(1, LOG_LENGTH + 51)])
    fields = int(lobby.pipeline.execute("HLEN", keys.room(anna.room or "") + ":meta"))
    assert fields <= 2 * LOG_LENGTH + 4
    assert say(anna, "late", client_id=f"id{LOG_LENGTH + 50}").outcome is Outcome.AGAIN
    assert say(anna, "late", client_id="id51").outcome is Outcome.AGAIN
    assert say(anna, "late", client_id="id50").outcome is Outcome.LOCAL


def test_a_returning_member_gets_the_messages_after_the_last_known_one(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    slot = "a" if lobby.members(anna.room or "")[0] == "anna" else "b"
    other = "b" if slot == "a" else "a"
    for person, body in ((anna, "one"), (bert, "two"), (anna, "three")):
        say(person, body)
    assert attach(anna, after=1) == LogPart(
        3, [LoggedMessage(2, other, lobby.now, "two"), LoggedMessage(3, slot, lobby.now, "three")]
    )
    assert attach(anna, after=3) == LogPart(3, [])


@pytest.mark.parametrize("name", [":log", ":meta"])
@pytest.mark.parametrize("said", [1, 3])
def test_a_log_is_kept_for_24_hours_after_it_last_grew(lobby: Lobby, name: str, said: int) -> None:
    """In a quiet room a message must stay in the log, even if the first one is a day old."""
    anna, _ = lobby.pair("anna", "bert")
    for _ in range(said):
        say(anna, "x")
    lobby.pass_time(23 * HOUR_MS)
    for key in (":log", ":meta"):  # and in the store
        lobby.pipeline.execute("PEXPIRE", keys.room(anna.room or "") + key, HOUR_MS)
    say(anna, "y")
    assert ttl(lobby, anna.room or "", name) > LOG_LIFE_MS - HOUR_MS


def test_a_closed_log_is_kept_for_as_long_as_a_report_may_be_filed(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room or ""
    say(anna, "x")
    anna.leave()
    lobby.worker.rooms.life.close(room)
    assert all(0 < ttl(lobby, room, name) <= ENDED_LIFE_MS for name in (":log", ":meta"))


def test_a_lost_log_is_noticed_and_nothing_is_stored(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    for _ in range(3):
        say(anna, "x")
    lobby.pipeline.execute("DEL", keys.room(anna.room or "") + ":log", keys.room(anna.room or "") + ":meta")
    assert say_late(anna, anna.room or "", slot_of(anna), version(anna)).outcome is Outcome.LOST
    assert attach(anna) == LogPart(0, [])


def attach_again(person: Person, known: int, said: int, after: int = 0) -> LogPart:
    """Attach a worker that has seen the room up to `known`; `said` is the person's own last message."""
    partner = next(m for m in person.lobby.members(person.room or "") if m != person.name)
    return person.worker.rooms.attach(
        person.room or "", person.name, slot_of(person), version(person),
        after=after, known=known, said=said, partner=partner, partner_worker=person.worker.name,
    )  # fmt: skip


def set_back(lobby: Lobby, room: str, seq: int) -> None:
    """Remove everything after `seq` in the room, as if the store had lost it."""
    lobby.pipeline.execute("HSET", keys.room(room) + ":meta", "seq", seq)
    for number in range(seq + 1, seq + 10):
        lobby.pipeline.execute("XDEL", keys.room(room) + ":log", f"{number}-0")


def test_after_losing_the_end_of_a_log_nothing_is_stored_until_the_sender_is_attached(
    lobby: Lobby,
) -> None:
    anna, _ = lobby.pair("anna", "bert")
    seqs = [say(anna, str(number)).seq for number in range(3)]
    set_back(lobby, anna.room or "", 1)
    assert say(anna, "next", last_seq=seqs[-1]).outcome is Outcome.LOST
    attach_again(anna, known=seqs[-1], said=seqs[-1])
    assert say(anna, "next", last_seq=seqs[-1])[0] == seqs[-1] + 1


def test_a_receiver_without_a_lost_message_misses_it(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    for number in range(1, 5):
        say(anna, str(number))
    set_back(lobby, anna.room or "", 2)
    assert attach(bert, after=2).complete, "the loss is not known yet"
    anna.worker.listen()
    attach_again(anna, known=4, said=4)
    assert anna.worker.listen()[-1] == f"look\nbert {anna.room}".encode()
    say(anna, "5", last_seq=4)
    assert [m.seq for m in attach(bert, after=2).messages] == [5]
    read = lobby.worker.rooms.history(anna.room or "", "bert", slot_of(bert), 2)
    assert not attach(bert, after=2).complete
    assert not read.complete
    assert attach(bert, after=4).complete, "a receiver that has them misses nothing"
    assert attach(anna, after=0).complete, "one's own messages are not missing"
    heard = len(anna.worker.listen())
    attach_again(anna, known=5, said=5)
    attach_again(anna, known=5, said=4)
    assert len(anna.worker.listen()) == heard, "the hint is sent once"


def test_messages_dropped_by_a_full_log_do_not_count_as_lost(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    say(anna, "first")
    say_all([(bert, str(number), "") for number in range(LOG_LENGTH + 5)])
    attach_again(anna, known=LOG_LENGTH + 6, said=1)
    assert attach(bert, after=100).complete


def test_lost_seqs_are_noticed_without_a_log_too(discreet: Lobby) -> None:
    anna, bert = two_workers(discreet)
    for number in range(1, 3):
        say(anna, str(number))
    room = anna.room or ""
    discreet.pipeline.execute("HSET", keys.room(room) + ":meta", "seq", 0, f"last:{slot_of(anna)}", 0)
    elsewhere = discreet.add_worker().rooms
    assert elsewhere.attach(room, "bert", slot_of(bert), version(bert)).complete
    attach_again(anna, known=2, said=2)
    assert not elsewhere.attach(room, "bert", slot_of(bert), version(bert)).complete


def test_no_message_is_lost_or_duplicated_between_reading_the_log_and_subscribing(lobby: Lobby) -> None:
    anna, bert = two_workers(lobby)
    say(anna, "before")
    third = lobby.add_worker()
    bert.connect(third)
    say(anna, "between", partner_worker=lobby.workers[1].name)
    logged = attach(bert).messages
    say(anna, "after", partner_worker=lobby.workers[1].name)
    assert [m.body for m in logged] == ["before", "between"]
    assert [line[4] for line in lines(third)] == ["after"]


# Messages that are refused


def version(person: Person) -> int:
    """Return the person's version as the present connection knows it."""
    return int(person.record["v"])


def say_late(person: Person, room: str, slot: str, known: int, client_id: str = "") -> Stored:
    """Store a message of a connection that takes itself to be in the room; `known`: its version."""
    stored: list[Stored] = []
    entry = NewMessage(room, slot, "x", "", 0, known, client_id, "late", lambda *result: stored.append(Stored(*result)))
    person.worker.rooms.append(entry)
    return stored[0]


def test_messages_of_a_replaced_connection_are_not_stored(lobby: Lobby) -> None:
    anna, bert = two_workers(lobby)
    slot, old, known = slot_of(anna), anna.worker, version(anna)
    assert say(anna, "before").seq == 1
    anna.connect(lobby.add_worker())
    attach(anna)
    assert say(anna, "since").seq == 2
    heard = len(bert.worker.listen())
    anna.worker, new = old, anna.worker
    assert say_late(anna, anna.room or "", slot, known) == (0, lobby.now, Outcome.STALE)
    assert len(bert.worker.listen()) == heard
    anna.worker = new
    assert [m.body for m in attach(anna).messages] == ["before", "since"]


def test_a_late_resync_does_not_restore_a_replaced_connection(lobby: Lobby) -> None:
    """Its worker paused between two scripts: the store accepted the connection, which is outdated by now."""
    anna, bert = two_workers(lobby)
    room, slot, old = anna.room or "", slot_of(anna), anna.worker
    again = anna.resync().version
    anna.connect(lobby.add_worker())
    attach(anna)
    assert old.rooms.attach(room, "anna", slot, again).messages == []
    assert say(anna, "mine").outcome is Outcome.REMOTE
    assert say(bert, "to the new one", partner_worker=old.name).outcome is Outcome.REMOTE
    assert [line[4] for line in lines(anna.worker)] == ["to the new one"]


def test_a_registration_newer_than_the_log_s_is_accepted(lobby: Lobby) -> None:
    """The store is a replica without that registration."""
    anna, _ = lobby.pair("anna", "bert")
    room, slot, known = anna.room or "", slot_of(anna), version(anna)
    anna.worker.rooms.life.open(room, slot, known)
    assert say_late(anna, room, slot, known + 1)[0] == 1
    assert say_late(anna, room, slot, known)[0] == 2
    assert say_late(anna, room, slot, known - 1) == (0, lobby.now, Outcome.STALE)


def test_a_registration_is_later_than_any_before_it_whatever_the_store_has_lost(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    for _ in range(3):
        before = version(anna)
        assert anna.resync().version > before
    lobby.pass_time(1000)
    lobby.pipeline.execute("DEL", "{lobby:main}:person:anna")
    assert anna.connect().version > before


@pytest.mark.parametrize("client_id", ["", "known"])
def test_in_a_room_that_is_over_nothing_is_stored_or_acknowledged(lobby: Lobby, client_id: str) -> None:
    anna, bert = two_workers(lobby)
    room, slot = bert.room or "", slot_of(bert)
    say(bert, "last words", client_id=client_id)
    anna.leave()
    anna.worker.rooms.life.close(room)
    assert say_late(bert, room, slot, 10**13, client_id) == (0, lobby.now, Outcome.ENDED)
    assert [m.body for m in bert.worker.rooms.history(room, "bert", slot, 0).messages] == ["last words"]


def test_an_ended_room_is_not_reopened(lobby: Lobby) -> None:
    """This holds for a late open as well as for a member who reconnects."""
    anna, bert = two_workers(lobby)
    room, slot, known = anna.room or "", slot_of(anna), version(anna)
    anna.leave()
    anna.worker.rooms.life.close(room)
    anna.worker.rooms.life.open(room, slot, known)
    bert.worker.rooms.attach(room, "bert", "b" if slot == "a" else "a", version(bert))
    assert say_late(anna, room, slot, known).outcome is Outcome.ENDED
    assert ttl(lobby, room, ":log") == -2
    assert 0 < ttl(lobby, room, ":meta") <= ENDED_LIFE_MS


def test_in_an_unknown_room_not_even_the_first_message_is_stored(lobby: Lobby) -> None:
    """The store has lost its data before the first message, so that no seq is missing."""
    anna, _ = lobby.pair("anna", "bert")
    room, slot, known = anna.room or "", slot_of(anna), version(anna)
    anna.worker.rooms.life.open(room, slot, known)
    lobby.pipeline.execute("FLUSHALL")
    assert say_late(anna, room, slot, known).outcome is Outcome.LOST
    assert lobby.pipeline.execute("KEYS", keys.room(room) + "*") == []


# With storing off


@pytest.fixture
def discreet(redis_url: str) -> Iterator[Lobby]:
    """A lobby with STORE_MESSAGES=0."""
    lobby = Lobby(redis_url, storing=False)
    lobby.load_scripts(*rooms.SCRIPTS)
    yield lobby
    lobby.close()


def apply_or_defer(worker: Worker) -> None:
    """Let the worker read its channel, as chat/inbound.py does."""
    for person, room, seq, timestamp, body in lines(worker):
        worker.rooms.log.keep(room, int(seq), person, int(timestamp), body)


def missed(person: Person, after: int = 0) -> tuple[list[str], bool]:
    """Return the messages that a reconnecting person gets from the worker, and whether these are complete."""
    attached = attach(person, after)
    return [m.body for m in attached.messages if m.slot != slot_of(person)], attached.complete


def test_with_storing_off_no_message_is_in_the_store(discreet: Lobby) -> None:
    anna, bert = two_workers(discreet)
    say(anna, "between workers", client_id="one")
    bert.drop()
    say(anna, "to a person away", partner_worker="")
    carl, _ = discreet.pair("carl", "dora")
    say(carl, "on one worker")
    for key in discreet.pipeline.execute("KEYS", "*"):
        content = discreet.pipeline.execute("DUMP", key)
        assert not any(text in content for text in (b"between", b"person away", b"on one")), key
        assert discreet.pipeline.execute("TYPE", key) != b"stream"


def test_with_storing_off_order_and_client_ids_still_hold(discreet: Lobby) -> None:
    anna, bert = two_workers(discreet)
    first = say(anna, "x", client_id="one")
    assert [first.seq, say(bert, "y", client_id="one").seq] == [1, 2]
    discreet.pass_time(1000)
    assert say(anna, "x", client_id="one") == (first.seq, first.timestamp, Outcome.AGAIN)
    assert anna.worker.rooms.stored == 1
    # published again: no log has it, and a receiver that has it drops it
    assert [line[2:] for line in lines(bert.worker)] == [["1", str(first.timestamp), "x"]] * 2


def test_with_storing_off_the_same_worker_returns_missed_messages(discreet: Lobby) -> None:
    anna, bert = two_workers(discreet)
    say(anna, "one")
    say(bert, "two")
    bert.drop()
    say(anna, "three", partner_worker=bert.worker.name)  # the worker that anna's worker knows of
    apply_or_defer(bert.worker)
    bert.connect(bert.worker)
    assert missed(bert, after=1) == (["three"], True)
    assert missed(anna) == ([], False), "her worker hasn't taken from its channel yet"
    apply_or_defer(anna.worker)
    assert missed(anna) == (["two"], True)


def test_with_storing_off_another_worker_reports_missed_messages(discreet: Lobby) -> None:
    anna, bert = two_workers(discreet)
    say(anna, "one")
    say(bert, "two")
    bert.connect(discreet.add_worker())
    assert missed(bert, after=1) == ([], True)
    say(anna, "three", partner_worker="")
    bert.connect(discreet.add_worker())
    assert missed(bert, after=1) == ([], False)


def test_memory_keeps_the_last_messages_of_an_ended_room(discreet: Lobby) -> None:
    anna, bert = discreet.pair("anna", "bert")
    room, slot = bert.room or "", "a" if discreet.members(bert.room or "")[0] == "bert" else "b"
    say(anna, "goodbye")
    anna.leave()
    assert [m.body for m in bert.worker.rooms.history(room, "bert", slot, 0).messages] == ["goodbye"]
    elsewhere = discreet.add_worker().rooms.history(room, "bert", slot, 0)
    assert (elsewhere.messages, elsewhere.complete) == ([], False)


def test_memory_keeps_the_latest_messages_of_rooms_with_a_member_here() -> None:
    memory = MemoryLog(3)
    for room in ("here", "gone"):
        for seq in range(1, 6):
            memory.keep(room, seq, "anna", 0, str(seq))
        assert [seq for seq, _ in memory.after(room, 0)] == [3, 4, 5]
    memory.forget(lambda: {"here"})
    assert len(memory.after("gone", 0)) == 3, "for the grace time"
    memory.forget(lambda: {"here"})
    assert (len(memory.after("here", 0)), memory.after("gone", 0)) == (3, [])


@pytest.mark.parametrize("name", [":log", ":meta"])
def test_attaching_a_member_renews_the_log_s_expiry(lobby: Lobby, name: str) -> None:
    anna, _ = lobby.pair("anna", "bert")
    say(anna, "x")
    lobby.pipeline.execute("PEXPIRE", keys.room(anna.room or "") + name, 60_000)
    attach(anna)
    assert LOG_LIFE_MS - 60_000 < ttl(lobby, anna.room or "", name) <= LOG_LIFE_MS


def test_a_log_s_expiry_is_renewed_once_an_hour(lobby: Lobby) -> None:
    """Doing so for each message would double its cost."""
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room or ""
    say(anna, "x")
    for passed, renewed in ((HOUR_MS, False), (1, True), (HOUR_MS, False)):
        lobby.pass_time(passed)
        lobby.pipeline.execute("PEXPIRE", keys.room(room) + ":log", 60_000)
        say(anna, "y")
        assert (ttl(lobby, room, ":log") > 60_000) is renewed


def test_a_log_is_closed_once_and_later_messages_do_not_extend_it(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    room, slot, version = anna.room or "", slot_of(anna), int(anna.record["v"])
    say(anna, "x")
    lobby.worker.rooms.life.close(room)
    for name in (":log", ":meta"):
        lobby.pipeline.execute("PEXPIRE", keys.room(room) + name, 60_000)
    lobby.worker.rooms.life.close(room)
    said = lobby.worker.rooms.attach(room, "anna", slot, version)
    lobby.worker.rooms.life.open(room, slot, version)
    assert [message.body for message in said.messages] == ["x"], "it can still be read"
    assert all(0 < ttl(lobby, room, name) <= 60_000 for name in (":log", ":meta"))
    assert say(anna, "y").outcome is Outcome.ENDED


def test_a_log_that_lost_messages_does_not_reuse_their_seqs(lobby: Lobby) -> None:
    """A replica that was behind became the primary: the room continues after the highest known seq."""
    anna, bert = lobby.pair("anna", "bert")
    say(anna, "x")
    version = int(anna.record["v"])
    lobby.worker.rooms.attach(anna.room or "", "anna", slot_of(anna), version, known=7)
    assert say(bert, "y").seq == 8


def test_an_ended_room_is_on_the_agenda_until_one_worker_has_closed_its_log(lobby: Lobby) -> None:
    rooms = []
    for number in range(3):
        anna, _ = lobby.pair(f"a{number}", f"b{number}")
        rooms.append(anna.room)
        anna.leave()
    assert set(lobby.sorted_set(":ended")) == set(rooms)
    assert lobby.pipeline.execute("PTTL", f"{keys.lobby()}:ended") > 24 * HOUR_MS
    args = [2, 5000, ENDED_LIFE_MS, lobby.now]
    first = lobby.pipeline.call(TAKE_ENDED, [keys.lobby()], args)
    rest = lobby.pipeline.call(TAKE_ENDED, [keys.lobby()], args)
    assert sorted(room.decode() for room in first + rest) == sorted(map(str, rooms))
    assert lobby.pipeline.call(TAKE_ENDED, [keys.lobby()], args) == []
    assert lobby.pipeline.call(TAKE_ENDED, [keys.lobby()], [2, 5000, ENDED_LIFE_MS, lobby.now + 4999]) == []
    again = lobby.pipeline.call(TAKE_ENDED, [keys.lobby()], [9, 5000, ENDED_LIFE_MS, lobby.now + 5000])
    assert len(again) == 3, "the worker that took them may have died"


# Leaving


def test_leaving_ends_the_room_for_both_and_notifies_the_partner(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    room = anna.room
    state, version, left = anna.leave()
    assert (state, left) == ("left", room)
    assert version > anna.heard("matched")[0]["v"]
    assert (anna.room, bert.room) == (None, None)
    assert not lobby.sorted_set(":rooms")
    assert lobby.hash(f":room:{room}") == {}
    assert [(n["room"], n["reason"]) for n in bert.heard("ended")] == [(room, "left")]
    assert anna.heard("ended") == []


def test_leaving_without_a_room_is_refused(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    bert.leave()
    assert anna.leave() == ("not-in-room", 0, "")


def test_a_replaced_connection_cannot_leave_the_room(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    old = anna.conn
    anna.connect()
    anna.conn = old
    assert anna.leave() == ("unknown", 0, "")
    assert bert.partner == "anna"


def test_two_who_leave_at_once_get_one_notice_at_most(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.leave()
    bert.leave()
    assert (len(anna.heard("ended")), len(bert.heard("ended"))) == (0, 1)


def test_leaving_starts_no_cooldown(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    (carl,) = lobby.people("carl")
    carl.find()
    anna.leave()
    assert anna.find().state == "matched"
    assert (anna.partner, bert.room) == ("carl", None)


def test_a_room_whose_record_the_store_has_lost_can_be_left(lobby: Lobby) -> None:
    """No one may be stuck in a room that no longer exists."""
    anna, _ = lobby.pair("anna", "bert")
    lobby.pipeline.execute("DEL", f"{keys.lobby()}:room:{anna.room}")
    anna.leave()
    assert anna.room is None
    assert anna.find().state == "waiting"


def test_everything_has_an_expiry_but_the_counters(lobby: Lobby) -> None:
    anna, bert = two_workers(lobby)
    say(anna, "x", client_id="one")
    bert.next()
    carl, dora = lobby.pair("carl", "dora")
    carl.drop()
    (emil,) = lobby.people("emil")
    emil.find()
    lobby.run(1000)
    for worker in lobby.workers:
        worker.heartbeat()
    forever = {key.decode() for key in lobby.pipeline.execute("KEYS", "*") if lobby.pipeline.execute("PTTL", key) == -1}
    assert forever == {f"{keys.lobby()}:counters"}
    assert dora.partner == "carl"


# Any conversation


@settings(max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    batches=st.lists(
        st.lists(st.tuples(st.booleans(), st.text(max_size=5), st.integers(0, 5)), min_size=1, max_size=6), max_size=12
    )
)
def test_the_partner_gets_every_message_once_and_in_order(
    store_url: str, batches: list[list[tuple[bool, str, int]]]
) -> None:
    lobby = Lobby(store_url)
    lobby.pipeline.execute("FLUSHALL")
    lobby.load_scripts(*rooms.SCRIPTS)
    for worker in lobby.workers:
        worker.heartbeat()
    anna, bert = two_workers(lobby)
    said: dict[str, list[str]] = {"anna": [], "bert": []}
    known: dict[tuple[str, str], int] = {}
    seq = 0
    for batch in batches:
        for person in (anna, bert):
            mine = [
                (person, json.dumps(text), str(n or "")) for is_anna, text, n in batch if is_anna == (person is anna)
            ]
            if not mine:
                continue
            for (_, body, client_id), stored in zip(mine, say_all(mine, last_seq=seq), strict=True):
                first = known.get((person.name, client_id)) if client_id else None
                if first is not None:
                    assert (stored.seq, stored.outcome) == (first, Outcome.AGAIN)
                    continue
                seq += 1
                assert (stored.seq, stored.outcome) == (seq, Outcome.REMOTE)
                known[person.name, client_id] = seq
                said[person.name].append(f"{seq} {body}")
    for sender, receiver in ((anna, bert), (bert, anna)):
        assert [f"{line[2]} {line[4]}" for line in lines(receiver.worker)] == said[sender.name]
    assert lobby.now < HISTORY_MS * 10**6
    lobby.close()
