"""Blocks and reports of a partner after the room has ended, against a real store (animochat/moderation)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from animochat.matchmaking import service as matchmaking
from animochat.matchmaking.service import Matchmaking
from animochat.moderation import lobby_moderation as moderation
from animochat.moderation.lobby_moderation import BLOCK_MS, REPORT_WINDOW_MS, LobbyModeration, Said
from animochat.presence import service as presence
from animochat.protocol.errors import RateLimited
from animochat.protocol.room_record import PastRoom
from animochat.rooms import service as rooms
from animochat.rooms.appending import NewMessage
from animochat.store import keys
from tests.helpers.room_ends import ENDS
from tests.helpers.servers import eventually
from tests.helpers.store import TAG, Lobby, Person, Worker

SCRIPTS = presence.SCRIPTS + matchmaking.SCRIPTS + rooms.SCRIPTS + moderation.SCRIPTS

End = Callable[[Lobby, Person, Person], object]


@pytest.fixture
def lobby(redis_url: str) -> Iterator[Lobby]:
    with contextlib.closing(Lobby(redis_url)) as lobby:
        lobby.load_scripts(*SCRIPTS)
        yield lobby


def contents(lobby: Lobby) -> dict[bytes, bytes]:
    """Return everything in the store."""
    return {key: lobby.pipeline.execute("DUMP", key) for key in lobby.pipeline.execute("KEYS", "*")}


def since_end(lobby: Lobby, room: str) -> int:
    return lobby.now - int(lobby.hash(f":past:{room}")["ended"])


def until(lobby: Lobby, room: str, ms: int) -> None:
    """Let time pass until the room ended `ms` ago."""
    lobby.pass_time(ms - since_end(lobby, room))


def left(lobby: Lobby, first: str = "anna", second: str = "bert") -> tuple[Person, Person, str]:
    """Return two people whose room the second one has left, and the room."""
    anna, bert = lobby.pair(first, second)
    room = anna.room or ""
    bert.leave()
    return anna, bert, room


def write(worker: Worker, room: str, *texts: str) -> None:
    """Store messages from the member `a`."""
    worker.rooms.life.open(room, "a", 1)
    for number, text in enumerate(texts):
        body = f'"senderId":"u","content":"{text}","type":"text"'
        worker.rooms.append(NewMessage(room, "a", "x", "", number, 1, "", body, lambda *result: None))


# The time for reports


#: Without the room's record its members are unknown; a suspended person can't report.
REPORTABLE = {name: end for name, end in ENDS.items() if name not in ("the record is lost", "suspended")}


@pytest.mark.parametrize("end", REPORTABLE.values(), ids=REPORTABLE.keys())
def test_after_every_kind_of_end_members_can_report_and_block_for_15_minutes(lobby: Lobby, end: End) -> None:
    anna, bert = lobby.people("anna", "bert")
    anna.connect(address="annas")
    anna.find()
    bert.find()
    room = anna.room or ""
    end(lobby, anna, bert)
    lobby.workers[-1].rooms.life.close_ended()
    bert.connect(lobby.workers[-1])
    until(lobby, room, REPORT_WINDOW_MS - 1)
    assert bert.report("threat", room=room) == ("past", 0, "")
    (report,) = [r for r in lobby.moderation.reports(0, 10)[1] if r.reporter == "bert"]
    assert (report.reporter, report.reported, report.reason) == ("bert", "anna", "threat")
    assert lobby.hash(f":report:{report.id}")["address"] == "annas"
    for one, other in (("anna", "bert"), ("bert", "anna")):
        assert lobby.sorted_set(f":met:{one}")[other] >= lobby.now + BLOCK_MS
    before = contents(lobby)
    lobby.now += 1
    assert bert.block(room) == ("not-in-room", 0, "")
    assert bert.report(room=room) == ("not-in-room", 0, "")
    assert contents(lobby) == before


def test_reports_are_accepted_with_their_evidence_for_15_minutes_and_refused_after_16(
    lobby: Lobby,
) -> None:
    pairs = [left(lobby, f"a{number}", f"b{number}") for number in range(100)]
    for _, _, room in pairs:
        write(lobby.worker, room, f"cruel words in {room}")
    for reporter, _, room in pairs[:50]:
        until(lobby, room, REPORT_WINDOW_MS - 1)
        logged = lobby.worker.rooms.evidence(room, reporter.name, "b")
        reporter.report("threat", "", [Said("reported", m.timestamp, m.body) for m in logged], room)
    assert lobby.moderation.reports(0, 1)[0] == 50
    for reporter, _, room in pairs[50:]:
        logged = lobby.worker.rooms.evidence(room, reporter.name, "b")
        reporter.report("threat", "", [Said("reported", m.timestamp, m.body) for m in logged], room)
    total, reports = lobby.moderation.reports(0, 100)
    assert total == 100
    assert all(f"cruel words in {report.id}" in report.evidence[0].content for report in reports)
    late = left(lobby, "late", "cruel")
    until(lobby, late[2], 16 * 60_000)
    assert late[0].report(room=late[2]) == ("not-in-room", 0, "")
    assert lobby.moderation.reports(0, 1)[0] == 100


def test_all_traces_of_a_room_are_deleted_after_the_time_for_reports(lobby: Lobby) -> None:
    lobby.worker.rooms.life._ended_life_ms = lobby.worker.rooms.life._report_window_ms = 50
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room or ""
    write(lobby.worker, room, "cruel words")
    anna.leave()
    assert any(b"cruel words" in content for content in contents(lobby).values())
    lobby.worker.rooms.life.close_ended()
    names = [f"{keys.room(room)}:log", f"{keys.room(room)}:meta", f"{TAG}:past:{room}"]
    eventually(lambda: lobby.pipeline.execute("EXISTS", *names) == 0)
    assert not any(b"cruel words" in content for content in contents(lobby).values())
    assert anna.report(room=room) == ("not-in-room", 0, "")
    assert anna.connect().last_room is None


def test_without_a_report_window_ended_rooms_can_not_be_named(lobby: Lobby) -> None:
    lobby.moderation._report_window_ms = lobby.worker.rooms.life._report_window_ms = 0
    anna, _, room = left(lobby)
    assert anna.report(room=room) == ("not-in-room", 0, "")
    lobby.worker.rooms.life.close_ended()
    assert lobby.pipeline.execute("EXISTS", f"{TAG}:past:{room}") == 0


def test_taking_a_room_twice_from_the_agenda_does_not_extend_its_life(lobby: Lobby) -> None:
    _, _, room = left(lobby)
    lobby.worker.rooms.life.close_ended()
    lobby.pipeline.execute("PEXPIRE", f"{TAG}:past:{room}", 60_000)
    lobby.pipeline.execute("ZADD", f"{TAG}:ended", 0, room)
    lobby.worker.rooms.life.close_ended()
    assert 0 < lobby.pipeline.execute("PTTL", f"{TAG}:past:{room}") <= 60_000


# Only members may report


@pytest.mark.parametrize("act", [Person.block, lambda person, room: person.report(room=room)], ids=["block", "report"])
def test_only_members_can_name_a_room_and_nothing_changes_for_others(
    lobby: Lobby, act: Callable[[Person, str], object]
) -> None:
    _, _, room = left(lobby)
    carl, _ = lobby.pair("carl", "dora")
    (eve,) = lobby.people("eve")
    theirs = carl.room or ""
    before = contents(lobby)
    for person, named in ((eve, room), (carl, room), (eve, theirs), (eve, "f" * 16), (eve, "nonsense")):
        assert act(person, named) == ("not-in-room", 0, "")
    assert contents(lobby) == before
    assert [lobby.moderation.past_slot(room, name) for name in ("eve", "carl", "", "a")] == [None] * 4
    assert sorted(map(str, (lobby.moderation.past_slot(room, name) for name in ("anna", "bert")))) == ["a", "b"]


@pytest.mark.parametrize("named", ["", "nonsense", "F" * 16, "f" * 15, "f" * 17, "\ud800" * 16, "f" * 16 + "\n"])
def test_an_unknown_room_has_no_members(lobby: Lobby, named: str) -> None:
    assert lobby.moderation.past_slot(named, "anna") is None


def test_a_replaced_connection_can_not_name_a_room(lobby: Lobby) -> None:
    anna, _, room = left(lobby)
    old = anna.conn
    anna.connect()
    anna.conn = old
    assert anna.report(room=room) == ("unknown", 0, "")
    assert anna.block(room) == ("unknown", 0, "")
    assert lobby.moderation.reports(0, 1) == (0, [])


# Counting


def test_a_person_s_second_report_on_a_room_changes_nothing(lobby: Lobby) -> None:
    anna, bert, room = left(lobby)
    anna.report("threat", "first", room=room)
    before = contents(lobby)
    assert anna.report("spam", "second", room=room) == ("past", 0, "")
    assert contents(lobby) == before
    assert bert.report("spam", "mine", room=room) == ("past", 0, "")
    assert bert.report("spam", "mine again", room=room) == ("past", 0, "")
    found = {(r.reporter, r.reported): r.details for r in lobby.moderation.reports(0, 10)[1]}
    assert found == {("anna", "bert"): "first", ("bert", "anna"): "mine"}


def test_a_report_in_the_room_and_one_after_its_end_count_once(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room or ""
    anna.report("threat", "first")
    assert anna.report("spam", "second", room=room) == ("past", 0, "")
    assert [r.details for r in lobby.moderation.reports(0, 10)[1]] == ["first"]
    assert len(lobby.sorted_set(":reporter:anna")) == 1


def test_a_dismissed_report_cannot_be_filed_again(lobby: Lobby) -> None:
    anna, _, room = left(lobby)
    anna.report(room=room)
    assert lobby.moderation.dismiss(room)
    assert anna.report(room=room) == ("past", 0, "")
    assert lobby.moderation.reports(0, 10) == (0, [])


@pytest.mark.parametrize("by", ["person", "address"])
def test_the_limits_on_reports_hold_after_the_end_too(lobby: Lobby, by: str) -> None:
    lobby.moderation = LobbyModeration(
        lobby.pipeline,  # type: ignore[arg-type]
        2 if by == "person" else 0,
        0,
        clock=lobby.clock,
        reports_per_address=2 if by == "address" else 0,
    )
    anna = lobby.people("anna")[0]
    anna.connect(address="here")
    past = []
    for number in range(3):
        lobby.people(f"bert{number}")[0].find()
        anna.find()
        past.append(anna.room or "")
        anna.leave()
    for room in past[:2]:
        assert anna.report(room=room).state == "past"
    before = contents(lobby)
    with pytest.raises(RateLimited):
        anna.report(room=past[2])
    assert contents(lobby) == before
    anna.report(room=past[0])  # filed already, so that no limit stands in its way


def test_the_address_is_the_one_that_the_partner_had_in_the_room(lobby: Lobby) -> None:
    anna, bert = lobby.people("anna", "bert")
    bert.connect(address="then")
    anna.find()
    bert.find()
    room = anna.room or ""
    bert.leave()
    bert.connect(address="now")
    anna.report(room=room)
    assert lobby.hash(f":report:{room}")["address"] == "then"


def test_naming_a_past_room_does_not_affect_the_present_room_or_search(lobby: Lobby) -> None:
    anna, _, past = left(lobby)
    lobby.people("carl")[0].find()
    anna.find()
    record, present = anna.record, anna.room
    assert anna.report(room=past).state == "past"
    assert anna.block(past).state == "past"
    assert (anna.room, anna.record) == (present, record)
    anna.leave()
    anna.find()
    assert anna.block(past).state == "past"
    assert anna.waiting


def test_the_present_room_may_be_named_too(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    room = anna.room or ""
    assert anna.block(room)[::2] == ("left", room)
    assert (anna.room, bert.room) == (None, None)


@pytest.mark.parametrize("blocker", ["anna", "bert"])
def test_a_pair_that_was_blocked_after_the_end_does_not_meet_in_200_searches_without_a_history(
    lobby: Lobby, blocker: str
) -> None:
    lobby.matchmaking = Matchmaking(
        lobby.pipeline,  # type: ignore[arg-type]
        0,
        0,
        0,
        clock=lobby.clock,
        seed=lobby.matchmaking._seed,
    )
    people = dict(zip(("anna", "bert"), left(lobby)[:2], strict=True))
    room = people["anna"].record["last"].split(" ")[0]
    assert people[blocker].block(room).state == "past"
    for number in range(100):
        first, second = list(people.values())[:: 1 if number % 2 else -1]
        assert first.find().state == "waiting"
        assert second.find().state == "waiting"
        first.cancel()
        second.cancel()
        lobby.pass_time(1000)


def test_enough_reports_after_the_end_suspend_a_person_in_another_room(lobby: Lobby) -> None:
    lobby.moderation._auto_suspend_reports = 1
    anna, bert, room = left(lobby)
    lobby.people("carl")[0].find()
    bert.find()
    assert bert.partner == "carl"
    anna.report(room=room)
    assert bert.connect().state == "banned"
    assert lobby.rooms() == []


# After a reload


def test_after_a_reload_both_get_their_last_room_while_it_may_be_named(lobby: Lobby) -> None:
    anna, bert, room = left(lobby)
    ended = lobby.now
    lobby.pass_time(1000)
    for person in (anna, bert):
        assert person.connect().last_room == PastRoom(room, ended)
    anna.find()
    assert anna.connect().last_room == PastRoom(room, ended), "while waiting"
    lobby.people("carl")[0].find()
    assert anna.room is not None
    assert anna.connect().last_room == PastRoom(room, ended), "and in another room"
    lobby.pipeline.execute("DEL", f"{TAG}:past:{room}")
    assert anna.connect().last_room is None
