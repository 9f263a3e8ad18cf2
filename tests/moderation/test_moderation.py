"""Moderation: blocks, reports and bans, against a real store (animochat/moderation)."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from animochat.matchmaking.service import CANCEL_MATCH, NEXT_MATCH
from animochat.moderation import lobby_moderation
from animochat.moderation.announcements import Announcements
from animochat.moderation.lobby_moderation import (
    BLOCK_MS,
    DAY_MS,
    MAX_EVIDENCE,
    NOTHING,
    REPORT_MS,
    Ban,
    LobbyModeration,
    Origin,
    Report,
    Said,
)
from animochat.protocol.errors import RateLimited
from animochat.rooms.service import LEAVE_ROOM
from animochat.store import keys
from tests.helpers.store import GRACE_MS, HOUR_MS, TAG, Lobby, Person


@pytest.fixture
def lobby(redis_url: str) -> Iterator[Lobby]:
    lobby = Lobby(redis_url)
    yield lobby
    lobby.close()


# Blocking


def test_blocking_ends_the_room_and_looks_like_leaving_to_the_partner(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    room = anna.room
    state, version, left = anna.block()
    assert (state, left) == ("left", room)
    assert version > anna.heard("matched")[0]["v"]
    assert (anna.room, bert.room, lobby.rooms()) == (None, None, [])
    assert [(n["room"], n["reason"]) for n in bert.heard("ended")] == [(room, "left")]
    assert anna.heard("ended") == []


@pytest.mark.parametrize("seeker", ["anna", "bert"])
def test_a_blocked_pair_does_not_meet_for_90_days(lobby: Lobby, seeker: str) -> None:
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


def test_a_partner_who_is_away_can_be_blocked_and_sees_a_leaving_later(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    room = anna.room
    bert.drop()
    assert anna.block()[0] == "left"
    lobby.run(GRACE_MS)
    assert bert.connect().ended == (room, "left")
    bert.find()
    assert anna.find().state == "waiting"


def test_blocking_ends_a_room_whose_record_is_lost(lobby: Lobby) -> None:
    """No one may be stuck in it; the people to keep apart are lost with the record."""
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room
    lobby.pipeline.execute("DEL", f"{TAG}:room:{room}")
    assert anna.block()[::2] == ("left", room)
    assert anna.room is None


def test_blocking_without_a_room_is_refused(lobby: Lobby) -> None:
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
        """Leave the room or the pool and search; people may meet again at once, and there is no cooldown."""
        batch.evalsha(CANCEL_MATCH.sha, 1, TAG, person.name, person.conn)
        numbers = [1, 0, 0]  # history, cooldown and interest wait
        batch.evalsha(NEXT_MATCH.sha, 1, TAG, person.name, person.conn, dice.random(), *numbers, "", "", lobby.now)

    for _ in range(100):
        # Everyone waits: each has met all others, until the next millisecond.
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


# Reporting

#: Counts for unused names.
COUNT = itertools.count()


def evidence(*said: tuple[str, str]) -> list[Said]:
    return [Said(sender, 1_900_000_000_000 + number, content) for number, (sender, content) in enumerate(said)]


def test_a_report_is_kept_with_its_evidence_and_blocks_the_partner(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    room = anna.room
    said = evidence(("reporter", "hi"), ("reported", 'something "bad" 😀'))
    assert anna.report("threat", "He threatened me", said)[::2] == ("left", room)
    report = Report(
        room,
        "main",
        lobby.now,
        "open",
        "threat",
        "He threatened me",
        "anna",
        "bert",
        said,
        False,
        False,
        1,
        False,
        None,
    )
    assert lobby.moderation.reports(0, 10) == (1, [report])
    assert [(n["room"], n["reason"]) for n in bert.heard("ended")] == [(room, "left")]
    assert (anna.room, bert.room) == (None, None)
    bert.find()
    assert anna.find().state == "waiting"
    assert lobby.sorted_set(":met:bert")["anna"] == lobby.now + BLOCK_MS


@pytest.mark.parametrize("reporter", ["anna", "bert"])
def test_either_member_can_report_the_other(lobby: Lobby, reporter: str) -> None:
    people = {person.name: person for person in lobby.pair("anna", "bert")}
    for number, person in enumerate(people.values()):
        person.connect(address=f"address{number}")
    (other,) = people.keys() - {reporter}
    version = int(people[reporter].record["v"])
    state, told, _ = people[reporter].report()
    assert (state, told) == ("left", int(people[reporter].record["v"]))
    assert told > version
    (report,) = lobby.moderation.reports(0, 10)[1]
    assert (report.reporter, report.reported) == (reporter, other)
    record = lobby.hash(f":report:{report.id}")
    addresses = {"anna": "address0", "bert": "address1"}
    assert (record["reporter_address"], record["address"]) == (addresses[reporter], addresses[other])
    assert [notice["p"] for notice in lobby.worker.notices() if notice["e"] == "ended"] == [other]


def test_a_report_on_a_person_who_is_away_is_kept(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    bert.drop()
    assert anna.report()[0] == "left"
    assert lobby.moderation.reports(0, 10)[1][0].reported == "bert"


def test_a_report_is_on_the_partner_in_the_room_that_its_evidence_is_of(lobby: Lobby) -> None:
    """It is read earlier; if the room has changed meanwhile, the report would concern another person."""
    anna, bert = lobby.pair("anna", "bert")
    old = anna.room or ""
    bert.leave()
    lobby.people("carl")[0].find()
    anna.find()
    assert anna.report(room=old) == ("past", 0, "")
    assert anna.partner == "carl"
    assert [report.reported for report in lobby.moderation.reports(0, 10)[1]] == ["bert"]


def test_a_replaced_connection_cannot_report(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    old = anna.conn
    anna.connect()
    anna.conn = old
    assert anna.report() == ("unknown", 0, "")
    assert bert.partner == "anna"


def test_a_report_is_kept_for_30_days(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room
    anna.report()
    assert 0 < lobby.pipeline.execute("PTTL", f"{TAG}:report:{room}") <= REPORT_MS == 30 * DAY_MS
    lobby.pass_time(REPORT_MS - 1)
    assert lobby.moderation.reports(0, 10)[0] == 1
    lobby.pass_time(1)
    assert lobby.moderation.reports(0, 10) == (0, [])


def test_evidence_that_is_too_long_loses_its_beginning(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    anna.report(evidence=evidence(*(("reported", str(n) + "😀" * 2000) for n in range(200))))
    (report,) = lobby.moderation.reports(0, 10)[1]
    assert [said.content.rstrip("😀") for said in report.evidence] == [str(n) for n in range(192, 200)]
    assert lobby.pipeline.execute("HSTRLEN", f"{TAG}:report:{report.id}", "evidence") <= MAX_EVIDENCE


def test_too_many_reports_are_refused_and_change_nothing(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    for n in range(3):
        lobby.people(f"p{n}")[0].find()
        anna.find()
        anna.report()
        lobby.pass_time(1000)
    lobby.people("p3")[0].find()
    anna.find()
    with pytest.raises(RateLimited) as refused:
        anna.report()
    assert refused.value.retry_after_ms == HOUR_MS - 3000
    assert anna.partner == "p3"
    assert lobby.moderation.reports(0, 10)[0] == 3
    lobby.pass_time(HOUR_MS - 3000)
    assert anna.report()[0] == "left"


def filed(lobby: Lobby, address: str, name: str = "", said: int = 0) -> str:
    """File a report by a new person at that address, on another one, with about `said` bytes of evidence."""
    name = name or f"reporter{next(COUNT)}"
    anna, _ = lobby.pair(name, f"on-{name}")
    anna.connect(address=address)
    room = anna.room or ""
    anna.report(evidence=evidence(("reported", "x" * (said - 100))) if said else ())
    lobby.pass_time(1)
    return room


def limited(lobby: Lobby, per_address: int, per_person: int = 0) -> None:
    lobby.moderation = LobbyModeration(
        lobby.pipeline,  # type: ignore[arg-type]
        per_person,
        0,
        clock=lobby.clock,
        reports_per_address=per_address,
    )


def open_reports(lobby: Lobby) -> list[str]:
    return [report.id for report in lobby.moderation.reports(0, 1000)[1]]


def test_the_reports_of_an_address_per_hour_are_limited(lobby: Lobby) -> None:
    limited(lobby, 3)
    for _ in range(3):
        filed(lobby, HIDDEN)
    anna, _ = lobby.pair("anna", "bert")
    anna.connect(address=HIDDEN)
    for left in (HOUR_MS - 3, 1):
        with pytest.raises(RateLimited) as refused:
            anna.report()
        assert refused.value.retry_after_ms == left
        assert anna.partner == "bert", "nothing was changed"
        assert len(open_reports(lobby)) == 3
        lobby.pass_time(left - 1)
    filed(lobby, "another")  # a millisecond passes
    assert anna.report()[0] == "left"


def test_people_without_a_known_address_have_no_common_limit(lobby: Lobby) -> None:
    limited(lobby, 1)
    for _ in range(3):
        filed(lobby, "")
    assert len(open_reports(lobby)) == 3


@pytest.mark.parametrize(("per_person", "per_address"), [(1, 3), (3, 1)])
def test_with_two_limits_reached_the_longer_wait_counts(lobby: Lobby, per_person: int, per_address: int) -> None:
    """This holds even if a limit was lowered meanwhile."""
    limited(lobby, 3, 3)
    (anna,) = lobby.people("anna")
    for n in range(4):
        anna.connect(address=HIDDEN)
        lobby.people(f"p{n}")[0].find()
        anna.find()
        if n < 3:
            anna.report()
            lobby.pass_time(1000)
    limited(lobby, per_address, per_person)
    with pytest.raises(RateLimited) as refused:
        anna.report()
    assert refused.value.retry_after_ms == HOUR_MS - 1000, "until the last of the three is an hour old"
    lobby.pass_time(HOUR_MS - 1000 - 1)
    with pytest.raises(RateLimited):
        anna.report()
    lobby.pass_time(1)
    assert anna.report()[0] == "left"


def test_a_flood_from_one_address_pushes_out_its_own_reports_only(
    lobby: Lobby, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest report of the address that has the most goes, and leaves nothing behind."""
    monkeypatch.setattr(lobby_moderation, "MAX_OPEN_REPORTS", 6)
    honest = [filed(lobby, "one"), filed(lobby, "one"), filed(lobby, "two")]
    flood = [filed(lobby, HIDDEN, f"f{n}") for n in range(10)]
    assert open_reports(lobby) == honest + flood[-3:]
    for number, room in enumerate(flood[:-3]):
        assert lobby.hash(f":report:{room}") == {}
        assert lobby.sorted_set(f":reported:on-f{number}") == {}
    late = filed(lobby, "three")
    assert open_reports(lobby) == [*honest, *flood[-2:], late], "one address's reports don't limit another's"


def test_of_addresses_with_as_many_reports_the_oldest_report_goes(
    lobby: Lobby, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lobby_moderation, "MAX_OPEN_REPORTS", 4)
    rooms = [filed(lobby, address) for address in ("one", "two", "two", "one", "three")]
    assert open_reports(lobby) == rooms[1:]


def test_reports_without_a_known_address_are_as_one_address_s(lobby: Lobby, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lobby_moderation, "MAX_OPEN_REPORTS", 3)
    rooms = [filed(lobby, address) for address in ("one", "", "two", "")]
    assert open_reports(lobby) == [rooms[0], *rooms[2:]]


def test_open_reports_have_a_bound_in_bytes_and_the_address_with_the_most_bytes_loses_its_oldest(
    lobby: Lobby, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lobby_moderation, "MAX_OPEN_BYTES", 10_000)
    small = [filed(lobby, "one", said=500) for _ in range(4)]
    big = [filed(lobby, HIDDEN, said=3000) for _ in range(2)]
    assert open_reports(lobby) == small + big
    big.append(filed(lobby, HIDDEN, said=3000))
    assert open_reports(lobby) == small + big[1:]
    other = filed(lobby, "two", said=5000)
    assert open_reports(lobby) == [*small, big[2], other]


def test_as_many_reports_as_may_be_open_are_kept_to_the_byte(lobby: Lobby, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = [filed(lobby, "one", said=500) for _ in range(3)]
    size = sum(int(lobby.hash(f":report:{room}")["bytes"]) for room in rooms)
    assert size == sum(
        lobby.pipeline.execute("HSTRLEN", f"{TAG}:report:{room}", field)
        for room in rooms
        for field in ("details", "evidence")
    )
    monkeypatch.setattr(lobby_moderation, "MAX_OPEN_REPORTS", 4)
    monkeypatch.setattr(lobby_moderation, "MAX_OPEN_BYTES", size + 2)  # no evidence is "[]"
    rooms.append(filed(lobby, "one"))
    assert open_reports(lobby) == rooms
    monkeypatch.setattr(lobby_moderation, "MAX_OPEN_REPORTS", 5)
    monkeypatch.setattr(lobby_moderation, "MAX_OPEN_BYTES", size + 3)
    rooms.append(filed(lobby, "one"))
    assert open_reports(lobby) == rooms[1:]


def left_of(filed_by: list[tuple[str, int]], most: int, most_bytes: int) -> list[int]:
    """Return the numbers of the reports that are left, given address and size of each, the oldest first."""
    left = list(range(len(filed_by)))
    while len(left) > most or sum(filed_by[n][1] for n in left) > most_bytes:
        share: Counter[str] = Counter()
        for n in left:
            share[filed_by[n][0]] += 1 if len(left) > most else filed_by[n][1]
        left.remove(next(n for n in left if share[filed_by[n][0]] == max(share.values())))
    return left


@pytest.mark.parametrize(("most", "most_bytes"), [(5, 10**6), (100, 5_000), (9, 7_000), (11, 9_000), (4, 4_000)])
@pytest.mark.parametrize("seed", range(2))
def test_each_report_over_a_bound_removes_the_oldest_of_the_largest_address(
    lobby: Lobby, monkeypatch: pytest.MonkeyPatch, most: int, most_bytes: int, seed: int
) -> None:
    """This happens after an update with lower bounds."""
    dice = random.Random(seed)
    sizes = [(dice.choice(["one", "two", "two", "three", ""]), dice.choice([500, 1000, 2000])) for _ in range(11)]
    rooms = [filed(lobby, address, said=size) for address, size in sizes]
    filed_by = [
        (address, int(lobby.hash(f":report:{room}")["bytes"])) for (address, _), room in zip(sizes, rooms, strict=True)
    ]
    monkeypatch.setattr(lobby_moderation, "MAX_OPEN_REPORTS", most)
    monkeypatch.setattr(lobby_moderation, "MAX_OPEN_BYTES", most_bytes)
    rooms.append(filed(lobby, "four"))
    filed_by.append(("four", 2))  # no evidence is "[]"
    assert open_reports(lobby) == [rooms[n] for n in left_of(filed_by, most, most_bytes)]


def test_dismissing_a_report_deletes_its_evidence(lobby: Lobby) -> None:
    """Otherwise a flood would fill the store with evidence that no one looks at."""
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room or ""
    anna.report("threat", "details", evidence(("reported", "words")))
    lobby.moderation.dismiss(room)
    record = lobby.hash(f":report:{room}")
    assert record["reported"] == "bert"
    assert {"details", "evidence"} & set(record) == set()
    assert lobby.pipeline.execute("PTTL", f"{TAG}:report:{room}") > 0


def test_report_counters_keep_only_the_last_hour(lobby: Lobby) -> None:
    limited(lobby, 100, 100)
    (anna,) = lobby.people("anna")
    for number in range(3):
        anna.connect(address=HIDDEN)
        lobby.people(f"p{number}")[0].find()
        anna.find()
        anna.report()
        for counter in (":reporter:anna", f":reporter-address:{HIDDEN}"):
            assert len(lobby.sorted_set(counter)) == min(number + 1, 2)
            assert expiry(lobby, counter) == HOUR_MS
        lobby.pass_time(HOUR_MS // 2)


def test_the_lists_of_open_reports_keep_only_30_days(lobby: Lobby) -> None:
    bert = Person(lobby, "bert")
    rooms = []
    for number, reporter in enumerate(lobby.people("anna", "carl", "dora")):
        for person in (reporter, bert):
            person.connect()
            person.find()
        rooms.append(reporter.room or "")
        reporter.report()
        assert expiry(lobby, f":report:{rooms[-1]}") == REPORT_MS
        for index in (":reports", ":reported:bert"):
            assert list(lobby.sorted_set(index)) == rooms[-2:], number
            assert expiry(lobby, index) == REPORT_MS
        lobby.pass_time(REPORT_MS // 2)


def test_a_report_whose_record_is_gone_is_listed_no_more(lobby: Lobby) -> None:
    rooms = [filed(lobby, "one"), filed(lobby, "two")]
    lobby.pipeline.execute("DEL", f"{TAG}:report:{rooms[0]}")
    assert open_reports(lobby) == rooms[1:]
    assert lobby.moderation.reports(0, 10)[0] == 1
    lobby.pipeline.execute("DEL", f"{TAG}:report:{rooms[1]}")
    assert lobby.moderation.dismiss(rooms[1]) is False
    assert lobby.moderation.reports(0, 10) == (0, [])


def test_reports_that_are_too_old_are_not_counted_beside_a_new_one(lobby: Lobby) -> None:
    anna, bert = lobby.pair("anna", "bert")
    anna.report()
    lobby.pass_time(REPORT_MS - 1)
    (carl,) = lobby.people("carl")
    for person in (carl, bert):
        person.connect()
        person.find()
    carl.report()
    lobby.pass_time(1)
    assert [(report.reporter, report.reports) for report in lobby.moderation.reports(0, 10)[1]] == [("carl", 1)]


def test_reports_are_listed_the_oldest_first_and_in_portions(lobby: Lobby) -> None:
    for n in range(5):
        lobby.pair(f"a{n}", f"b{n}")[0].report()
        lobby.pass_time(1)
    total, some = lobby.moderation.reports(1, 2)
    assert (total, [report.reporter for report in some]) == (5, ["a1", "a2"])


def test_a_dismissed_report_is_closed_once(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room or ""
    anna.report()
    assert lobby.moderation.dismiss(room) is True
    assert lobby.moderation.reports(0, 10) == (0, [])
    assert lobby.moderation.dismiss(room) is False
    assert lobby.moderation.dismiss("no such") is False
    assert lobby.hash(f":report:{room}")["state"] == "dismissed"


# Banning

HIDDEN = "0123456789abcdef"

MINUTE_MS = 60_000


def test_a_banned_person_is_refused_until_the_ban_ends(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    lobby.moderation.ban("anna", 1000, NOTHING, "")
    for again in (False, True):
        answer = anna.worker.presence.connect("anna", "conn", again)
        assert (answer.state, answer.banned_ms) == ("banned", 1000)
    lobby.pass_time(999)
    assert anna.connect().banned_ms == 1
    lobby.pass_time(1)
    assert anna.connect().state == "idle"


def test_a_permanent_ban_has_no_end(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna")
    lobby.moderation.ban("anna", None, NOTHING, "")
    lobby.pass_time(20 * 365 * DAY_MS)
    assert (anna.connect().state, anna.connect().banned_ms) == ("banned", None)
    assert [ban.until for ban in lobby.moderation.bans(0, 10)[1]] == [None]
    for key in (":bans", ":ban:person:anna"):
        assert lobby.pipeline.execute("PTTL", TAG + key) == -1


def test_a_ban_closes_the_person_wherever_connected_and_ends_the_room(lobby: Lobby) -> None:
    (anna,) = lobby.people("anna", worker=lobby.add_worker())
    (bert,) = lobby.people("bert")
    anna.find()
    bert.find()
    room = anna.room
    lobby.moderation.ban("anna", 1000, NOTHING, "")
    assert [(n["conn"], n["ms"]) for n in anna.heard("banned")] == [(anna.conn, 1000)]
    assert [(n["room"], n["reason"]) for n in bert.heard("ended")] == [(room, "disconnected")]
    assert (anna.room, bert.room, lobby.rooms()) == (None, None, [])
    assert bert.worker.presence.stats()["onlineUsers"] == 1
    assert bert.heard("banned") == []


@pytest.mark.parametrize("state", ["waiting", "resting", "away waiting", "away chatting"])
def test_a_banned_person_can_not_be_matched(lobby: Lobby, state: str) -> None:
    anna, bert = lobby.pair("anna", "bert")
    if state != "away chatting":
        anna.leave()
        anna.find()
        anna.next() if state == "resting" else None
    if "away" in state:
        anna.drop()
    lobby.moderation.ban("anna", None, NOTHING, "")
    assert not anna.waiting
    for name in (":pool", ":resting", ":searching", ":away", ":rooms"):
        assert lobby.sorted_set(name) == {}, name
    assert bert.room is None


def test_a_banned_address_refuses_everyone_who_has_it(lobby: Lobby) -> None:
    anna, bert = Person(lobby, "anna"), Person(lobby, "bert")
    anna.connect(address=HIDDEN)
    lobby.ear.subscribe(keys.everybody())
    lobby.moderation.ban("anna", 1000, Origin(HIDDEN), "")
    assert bert.connect(address=HIDDEN).state == "banned"
    assert bert.connect(address="another").state == "idle"
    assert bert.connect().state == "idle"
    (data,) = [data for channel, data in lobby.ear.messages() if channel == keys.everybody()]
    assert json.loads(data) == [{"p": "", "e": "banned", "address": HIDDEN, "ms": 1000}]
    lobby.pass_time(1000)
    assert bert.connect(address=HIDDEN).state == "idle"


def test_a_banned_person_does_not_count_as_online(lobby: Lobby) -> None:
    lobby.people("anna", "bert")
    lobby.moderation.ban("anna", DAY_MS, NOTHING, "")
    assert lobby.worker.presence.stats()["onlineUsers"] == 1


def test_without_an_address_the_person_alone_is_banned(lobby: Lobby) -> None:
    Person(lobby, "anna").connect(address=HIDDEN)
    lobby.moderation.ban("anna", 1000, NOTHING, "")
    assert [ban.id for ban in lobby.moderation.bans(0, 10)[1]] == ["person:anna"]


def test_the_address_of_a_person_without_a_record_comes_from_the_last_report(lobby: Lobby) -> None:
    bert = Person(lobby, "bert")
    for name, address in (("anna", "another"), ("carl", HIDDEN)):
        bert.connect(address=address)
        (other,) = lobby.people(name)
        other.find()
        bert.find()
        other.report()
        lobby.pass_time(1)
    bert.goodbye()
    lobby.pipeline.execute("DEL", f"{TAG}:person:bert")
    assert lobby.moderation.subject("bert") == ("bert", Origin(HIDDEN))
    assert lobby.moderation.subject("unknown") is None


def test_banning_a_reported_person_settles_all_reports_on_that_person(lobby: Lobby) -> None:
    bert = Person(lobby, "bert")
    bert.connect(address=HIDDEN)
    rooms = []
    for name in ("anna", "carl"):
        (other,) = lobby.people(name)
        other.find()
        bert.find()
        rooms.append(other.room or "")
        other.report()
        lobby.pass_time(1)
    other_report = lobby.pair("dora", "emil")[0]
    other_report.report()
    assert [report.reports for report in lobby.moderation.reports(0, 10)[1]] == [2, 2, 1]
    assert lobby.moderation.reports(0, 1)[1][0].has_address is True
    assert lobby.moderation.ban_reported(rooms[0], None, Origin(HIDDEN), "enough") == "bert"
    assert [report.reporter for report in lobby.moderation.reports(0, 10)[1]] == ["dora"]
    assert {lobby.hash(f":report:{room}")["state"] for room in rooms} == {"banned"}
    assert lobby.moderation.bans(0, 10)[1] == [
        Ban(subject, "main", "bert", lobby.now, None, "operator", "enough", rooms[0])
        for subject in (f"address:{HIDDEN}", "person:bert")
    ]


def test_an_unknown_report_bans_no_one(lobby: Lobby) -> None:
    assert lobby.moderation.ban_reported("no such", None, Origin(HIDDEN), "") is None
    assert lobby.moderation.bans(0, 10) == (0, [])


def test_a_lifted_ban_lets_the_person_in_again_and_the_address(lobby: Lobby) -> None:
    anna = Person(lobby, "anna")
    anna.connect(address=HIDDEN)
    lobby.moderation.ban("anna", None, Origin(HIDDEN), "")
    assert lobby.moderation.lift("person:anna") is True
    assert anna.connect(address=HIDDEN).state == "idle"
    assert lobby.moderation.bans(0, 10) == (0, [])
    assert lobby.moderation.lift("person:anna") is False


def test_an_address_stays_banned_while_another_person_s_ban_needs_it(lobby: Lobby) -> None:
    for name in ("anna", "bert"):
        Person(lobby, name).connect(address=HIDDEN)
    lobby.moderation.ban("anna", None, Origin(HIDDEN), "")
    lobby.moderation.ban("bert", 1000, Origin(HIDDEN), "")
    lobby.moderation.lift("person:anna")
    assert {ban.id for ban in lobby.moderation.bans(0, 10)[1]} == {"person:bert", f"address:{HIDDEN}"}
    assert lobby.moderation.lift(f"address:{HIDDEN}") is True
    assert [ban.id for ban in lobby.moderation.bans(0, 10)[1]] == ["person:bert"]


def test_the_operator_may_shorten_a_ban(lobby: Lobby) -> None:
    lobby.moderation.ban("anna", None, NOTHING, "first")
    lobby.moderation.ban("anna", 1000, NOTHING, "second")
    ((ban,),) = [lobby.moderation.bans(0, 10)[1]]
    assert (ban.until, ban.note) == (lobby.now + 1000, "second")
    assert 0 < lobby.pipeline.execute("PTTL", f"{TAG}:ban:person:anna") <= 1000
    assert 0 < lobby.pipeline.execute("PTTL", f"{TAG}:bans") <= 1000 + HOUR_MS


def expiry(lobby: Lobby, key: str) -> int:
    """Return the milliseconds after which a key expires, rounded up to a minute; -1: never, -2: it is gone."""
    left: int = lobby.pipeline.execute("PTTL", TAG + key)
    return left if left < 0 else -(-left // MINUTE_MS) * MINUTE_MS


def test_the_list_of_bans_lasts_an_hour_longer_than_the_longest_of_them(lobby: Lobby) -> None:
    for person, ms in (("anna", 5 * MINUTE_MS), ("bert", 60 * MINUTE_MS), ("carl", 10 * MINUTE_MS)):
        lobby.moderation.ban(person, ms, NOTHING, "")
        assert expiry(lobby, f":ban:person:{person}") == ms
    assert expiry(lobby, ":bans") == 60 * MINUTE_MS + HOUR_MS


@pytest.mark.parametrize("others", [[MINUTE_MS], [MINUTE_MS, 5 * MINUTE_MS]])
@pytest.mark.parametrize("first", [True, False])
def test_the_list_of_bans_lasts_as_long_as_a_permanent_ban(lobby: Lobby, others: list[int], first: bool) -> None:
    """All bans of a lobby share a key, whichever was made first."""
    bans = [("anna", None), *((f"p{ms}", ms) for ms in others)]
    for person, ms in bans if first else reversed(bans):
        lobby.moderation.ban(person, ms, NOTHING, "")
    assert expiry(lobby, ":bans") == expiry(lobby, ":ban:person:anna") == -1
    lobby.moderation.ban("anna", 2 * MINUTE_MS, NOTHING, "")
    assert expiry(lobby, ":bans") == max([2 * MINUTE_MS, *others]) + HOUR_MS, "no permanent ban is left"


@pytest.mark.parametrize("ms", [None, 60 * MINUTE_MS])
def test_a_longer_ban_takes_the_place_of_a_shorter_one_as_a_whole(lobby: Lobby, ms: int | None) -> None:
    """It replaces what the operator sees, too: nothing of the first one's expiry stays."""
    lobby.moderation.ban("anna", MINUTE_MS, Origin(HIDDEN), "first")
    lobby.moderation.ban("anna", ms, Origin(HIDDEN), "second")
    for subject in ("person:anna", f"address:{HIDDEN}"):
        assert expiry(lobby, f":ban:{subject}") == (ms or -1)
    lobby.pass_time(MINUTE_MS)
    assert [ban.note for ban in lobby.moderation.bans(0, 10)[1]] == ["second", "second"]


def test_a_second_shorter_ban_does_not_shorten_an_address_s(lobby: Lobby) -> None:
    """Two people with that address are banned for different times. Connected clients get the longer one."""
    lobby.ear.subscribe(keys.everybody())
    lobby.moderation.ban("anna", 60_000, Origin(HIDDEN), "")
    lobby.moderation.ban("bert", 1000, Origin(HIDDEN), "")
    told = [json.loads(data)[0]["ms"] for channel, data in lobby.ear.messages() if channel == keys.everybody()]
    assert told == [60_000, 60_000]
    lobby.pass_time(59_999)
    assert Person(lobby, "carl").connect(address=HIDDEN).banned_ms == 1
    assert Person(lobby, "bert").connect().state == "idle"
    lobby.pass_time(1)
    assert Person(lobby, "carl").connect(address=HIDDEN).state == "idle"


def test_a_second_longer_ban_makes_an_address_s_longer(lobby: Lobby) -> None:
    lobby.moderation.ban("anna", 1000, Origin(HIDDEN), "")
    lobby.moderation.ban("bert", 60_000, Origin(HIDDEN), "")
    assert Person(lobby, "carl").connect(address=HIDDEN).banned_ms == 60_000
    lobby.moderation.ban("dora", None, Origin(HIDDEN), "")
    assert Person(lobby, "carl").connect(address=HIDDEN).banned_ms is None


@pytest.mark.parametrize("ms", [MINUTE_MS, None])
def test_an_address_is_banned_here_for_as_long_as_the_person_in_another_lobby(lobby: Lobby, ms: int | None) -> None:
    lobby.moderation.ban_elsewhere(Origin(HIDDEN), "anna", "cebu", ms, "why", "report")
    answer = Person(lobby, "carl").connect(address=HIDDEN)
    assert (answer.state, answer.banned_ms) == ("banned", ms)
    until = None if ms is None else lobby.now + ms
    ban = Ban(f"address:{HIDDEN}", "cebu", "anna", lobby.now, until, "operator", "why", "report")
    assert lobby.moderation.bans(0, 10) == (1, [ban])
    assert Person(lobby, "anna").connect().state == "idle", "here this person is another one"


def test_an_address_s_ban_that_is_over_is_replaced(lobby: Lobby) -> None:
    lobby.moderation.ban("anna", 1000, Origin(HIDDEN), "")
    lobby.pass_time(1000)
    lobby.moderation.ban("bert", 500, Origin(HIDDEN), "")
    assert Person(lobby, "carl").connect(address=HIDDEN).banned_ms == 500


def test_of_a_person_s_and_an_address_s_ban_the_longer_one_counts(lobby: Lobby) -> None:
    lobby.moderation.ban("anna", 1000, Origin(HIDDEN), "")
    lobby.moderation.ban("bert", 2000, NOTHING, "")
    assert Person(lobby, "anna").connect(address="another").banned_ms == 1000
    assert Person(lobby, "bert").connect(address=HIDDEN).banned_ms == 2000
    assert Person(lobby, "bert").connect(address="another").banned_ms == 2000
    assert Person(lobby, "carl").connect(address=HIDDEN).banned_ms == 1000


def test_bans_that_are_over_are_cleared_away_and_no_others(lobby: Lobby) -> None:
    for number in range(3):
        lobby.moderation.ban(f"p{number}", MINUTE_MS * (number + 1), NOTHING, "")
    lobby.pass_time(2 * MINUTE_MS)
    assert [ban.person for ban in lobby.moderation.bans(0, 10)[1]] == ["p2"]
    assert set(lobby.sorted_set(":bans")) == {"person:p2"}
    lobby.pass_time(MINUTE_MS - 1)
    lobby.moderation.ban("anna", MINUTE_MS, NOTHING, "")
    assert set(lobby.sorted_set(":bans")) == {"person:p2", "person:anna"}
    lobby.pass_time(1)
    lobby.moderation.ban("bert", MINUTE_MS, NOTHING, "")
    assert set(lobby.sorted_set(":bans")) == {"person:anna", "person:bert"}


def test_a_ban_whose_record_has_expired_is_listed_no_more(lobby: Lobby) -> None:
    """As where the lobby's clock is behind the store's, by which records expire."""
    for person in ("bert", "carl"):
        lobby.moderation.ban(person, MINUTE_MS, NOTHING, "")
    lobby.pipeline.execute("DEL", f"{TAG}:ban:person:bert")
    assert [ban.person for ban in lobby.moderation.bans(0, 10)[1]] == ["carl"]


def test_bans_are_listed_by_their_end_and_in_portions(lobby: Lobby) -> None:
    for person, ms in (("anna", None), ("bert", 3 * MINUTE_MS), ("carl", MINUTE_MS), ("dora", 2 * MINUTE_MS)):
        lobby.moderation.ban(person, ms, NOTHING, "")
    assert [ban.person for ban in lobby.moderation.bans(0, 10)[1]] == ["carl", "dora", "bert", "anna"]
    total, some = lobby.moderation.bans(1, 2)
    assert (total, [ban.person for ban in some]) == (4, ["dora", "bert"])


def test_lifting_a_ban_removes_all_of_it(lobby: Lobby) -> None:
    for subject in ("person:anna", f"address:{HIDDEN}"):
        lobby.moderation.ban("anna", None, Origin(HIDDEN), "")
        assert lobby.moderation.lift(subject)
        left = {ban.id for ban in lobby.moderation.bans(0, 10)[1]}
        assert left == ({"person:anna"} if subject.startswith("address") else set())
        records = {key.decode().removeprefix(f"{TAG}:ban:") for key in lobby.pipeline.execute("KEYS", f"{TAG}:ban:*")}
        assert records == left


def test_a_banned_person_s_record_expires_like_that_of_a_person_who_left(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    version = int(anna.record["v"])
    lobby.moderation.ban("anna", 1000, NOTHING, "")
    assert not {"worker", "conn", "session", "room", "waiting"} & set(anna.record)
    assert int(anna.record["v"]) >= version
    assert expiry(lobby, ":person:anna") == HOUR_MS
    assert lobby.worker.presence.stats()["onlineUsers"] == 1


def test_a_ban_settles_open_reports_only(lobby: Lobby) -> None:
    bert = Person(lobby, "bert")
    rooms = []
    for reporter in lobby.people("anna", "carl", "dora"):
        bert.connect()
        reporter.find()
        bert.find()
        rooms.append(reporter.room or "")
        reporter.report()
        lobby.pass_time(1)
    lobby.moderation.dismiss(rooms[1])
    lobby.moderation.ban("bert", 1000, NOTHING, "")
    assert [lobby.hash(f":report:{room}")["state"] for room in rooms] == ["banned", "dismissed", "banned"]
    assert lobby.sorted_set(":reports") == lobby.sorted_set(":reported:bert") == {}
    assert lobby.moderation.dismiss(rooms[0]) is False


def test_a_ban_does_not_settle_a_report_that_is_too_old(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    room = anna.room
    anna.report()
    lobby.pass_time(REPORT_MS)
    assert lobby.moderation.reports(0, 10) == (0, [])
    lobby.pipeline.execute("DEL", f"{TAG}:report:{room}")  # expired by the store's own clock, too
    lobby.moderation.ban("bert", 1000, NOTHING, "")
    assert lobby.hash(f":report:{room}") == {}, "no field stays without an expiry"


# Automatic suspension


def reported_by(lobby: Lobby, reporter: Person, reported: Person, address: str | None = None) -> None:
    """Report from the reporter's own address, unless one is given; "" for an unknown one."""
    reported.connect()
    reporter.connect(address=f"at {reporter.name}" if address is None else address)
    reporter.find()
    reported.find()
    assert reporter.partner == reported.name
    reporter.report()


def strict(lobby: Lobby) -> None:
    """Suspend after reports by three different people within a day."""
    lobby.moderation = LobbyModeration(lobby.pipeline, 0, 3, clock=lobby.clock)  # type: ignore[arg-type]


def test_enough_reports_by_different_people_within_a_day_suspend_for_an_hour(lobby: Lobby) -> None:
    strict(lobby)
    bert = Person(lobby, "bert")
    for reporter in lobby.people("anna", "carl"):
        reported_by(lobby, reporter, bert)
    assert bert.connect().state == "idle"
    reported_by(lobby, lobby.people("dora")[0], bert)
    assert [n["ms"] for n in bert.heard("banned")] == [HOUR_MS]
    assert bert.connect().banned_ms == HOUR_MS
    assert [(ban.by, ban.note) for ban in lobby.moderation.bans(0, 10)[1]] == [("reports", "3 people")]
    assert lobby.moderation.reports(0, 10)[0] == 3, "they stay open: the operator decides"
    lobby.pass_time(HOUR_MS)
    assert bert.connect().state == "idle"


def test_reports_of_another_day_or_dismissed_or_by_the_same_person_do_not_suspend(lobby: Lobby) -> None:
    strict(lobby)
    bert = Person(lobby, "bert")
    anna, carl, dora, emil = lobby.people("anna", "carl", "dora", "emil")
    reported_by(lobby, anna, bert)
    lobby.pass_time(DAY_MS)
    reported_by(lobby, carl, bert)
    lobby.moderation.dismiss(lobby.moderation.reports(1, 1)[1][0].id)
    reported_by(lobby, dora, bert)
    lobby.pipeline.execute("DEL", f"{TAG}:met:dora", f"{TAG}:met:bert")  # else these two would not meet again
    reported_by(lobby, dora, bert)
    reported_by(lobby, emil, bert)
    assert bert.connect().state == "idle"


@pytest.mark.parametrize("address", [HIDDEN, ""], ids=["one address", "none known"])
def test_reports_from_one_address_count_as_one_persons(lobby: Lobby, address: str) -> None:
    """New people cost nothing. A report from another address is the second, and one from a third address the third."""
    strict(lobby)
    bert = Person(lobby, "bert")
    for reporter in lobby.crowd(5):
        reported_by(lobby, reporter, bert, address)
    reported_by(lobby, lobby.people("anna")[0], bert)
    assert bert.connect().state == "idle"
    reported_by(lobby, lobby.people("carl")[0], bert)
    assert bert.connect().state == "banned"
    assert [ban.note for ban in lobby.moderation.bans(0, 10)[1]] == ["3 people"]


def test_one_report_is_enough_where_the_operator_says_so(lobby: Lobby) -> None:
    lobby.moderation = LobbyModeration(lobby.pipeline, 0, 1, clock=lobby.clock)  # type: ignore[arg-type]
    bert, (anna,) = Person(lobby, "bert"), lobby.people("anna")
    bert.connect()
    anna.find()
    bert.find()
    room = anna.room
    anna.report()
    assert bert.connect().banned_ms == HOUR_MS
    assert [(ban.report, ban.by, ban.note) for ban in lobby.moderation.bans(0, 10)[1]] == [
        (room, "reports", "1 people")
    ]
    (report,) = lobby.moderation.reports(0, 10)[1]
    assert (report.banned, report.banned_until) == (True, lobby.now + HOUR_MS)
    lobby.pass_time(HOUR_MS)
    (report,) = lobby.moderation.reports(0, 10)[1]
    assert (report.banned, report.banned_until) == (False, None)


@pytest.mark.parametrize(("age", "suspended"), [(DAY_MS - 1, True), (DAY_MS, False)])
def test_a_day_is_24_hours(lobby: Lobby, age: int, suspended: bool) -> None:
    strict(lobby)
    bert = Person(lobby, "bert")
    anna, carl, dora = lobby.people("anna", "carl", "dora")
    reported_by(lobby, anna, bert)
    lobby.pass_time(age)
    reported_by(lobby, carl, bert)
    reported_by(lobby, dora, bert)
    assert (bert.connect().state == "banned") is suspended


def test_reports_without_a_stored_address_count_as_one(lobby: Lobby) -> None:
    strict(lobby)
    bert = Person(lobby, "bert")
    for reporter in lobby.people("anna", "carl"):
        reported_by(lobby, reporter, bert)
    for report in lobby.moderation.reports(0, 10)[1]:
        lobby.pipeline.execute("HDEL", f"{TAG}:report:{report.id}", "reporter_address")
    reported_by(lobby, lobby.people("dora")[0], bert)
    assert bert.connect().state == "idle"
    reported_by(lobby, lobby.people("emil")[0], bert)
    assert bert.connect().state == "banned"


def test_a_suspension_does_not_shorten_a_longer_one_and_takes_the_place_of_a_shorter(lobby: Lobby) -> None:
    lobby.moderation = LobbyModeration(lobby.pipeline, 0, 1, clock=lobby.clock)  # type: ignore[arg-type]
    for number, (ms, expected) in enumerate([(HOUR_MS + 1, HOUR_MS + 1), (HOUR_MS - 1, HOUR_MS)]):
        anna, bert = lobby.pair(f"anna{number}", f"bert{number}")
        with lobby.batch() as batch:  # a ban that was decided at the same moment
            batch.zadd(f"{TAG}:bans", {f"person:{bert.name}": lobby.now + ms})
        anna.report()
        assert bert.connect().banned_ms == expected


def test_a_person_who_comes_from_several_addresses_counts_once(lobby: Lobby) -> None:
    """The addresses that this person used do not count for other people, either."""
    strict(lobby)
    bert = Person(lobby, "bert")
    (anna,) = lobby.people("anna")
    for number in range(3):
        reported_by(lobby, anna, bert, f"a{number}")
        lobby.pipeline.execute("DEL", f"{TAG}:met:anna", f"{TAG}:met:bert")
    for number in range(3):
        reported_by(lobby, lobby.people(f"p{number}")[0], bert, f"a{number}")
    assert bert.connect().state == "idle"
    for name in ("carl", "dora"):
        assert bert.connect().state == "idle"
        reported_by(lobby, lobby.people(name)[0], bert)
    assert bert.connect().state == "banned"


def test_a_suspension_does_not_shorten_a_ban(lobby: Lobby) -> None:
    strict(lobby)
    bert = Person(lobby, "bert")
    reporters = lobby.people("anna", "carl", "dora")
    for reporter in reporters[:2]:
        reported_by(lobby, reporter, bert)
    bert.connect()
    reporters[2].find()
    bert.find()
    with lobby.batch() as batch:  # a ban that was decided at the same moment
        batch.zadd(f"{TAG}:bans", {"person:bert": "+inf"})
    reporters[2].report()
    assert bert.connect().banned_ms is None


def test_suspension_is_off_by_default(lobby: Lobby) -> None:
    bert = Person(lobby, "bert")
    for reporter in lobby.crowd(8):
        reported_by(lobby, reporter, bert)
    assert bert.connect().state == "idle"


# Announcing


@pytest.mark.parametrize(("where", "room"), [(None, None), ("cebu", "lobby:cebu")])
def test_an_announcement_is_an_emit_on_the_message_queue(lobby: Lobby, where: str | None, room: str | None) -> None:
    lobby.ear.subscribe("queue")
    Announcements(lobby.pipeline, "queue").announce("Back in 5 minutes – “sorry”", where)
    ((_, data),) = lobby.ear.messages()
    emit = json.loads(data)
    assert emit.pop("host_id")
    assert emit == {
        "method": "emit",
        "event": "announcement",
        "data": [{"text": "Back in 5 minutes – “sorry”"}],
        "binary": False,
        "namespace": "/",
        "room": room,
        "skip_sid": None,
        "callback": None,
        "database": 0,
    }


def test_all_moderation_keys_expire_except_permanent_bans(lobby: Lobby) -> None:
    anna, _ = lobby.pair("anna", "bert")
    anna.report()
    lobby.moderation.ban("carl", 1000, Origin(HIDDEN), "")
    keys_there = [key.decode() for key in lobby.pipeline.execute("KEYS", "*")]
    assert {f"{TAG}:reports", f"{TAG}:reported:bert", f"{TAG}:reporter:anna", f"{TAG}:bans"} < set(keys_there)
    forever = {key for key in keys_there if lobby.pipeline.execute("PTTL", key) == -1}
    assert forever == {f"{TAG}:counters", f"{TAG}:epoch", f"{TAG}:workers", f"{TAG}:actions"} & forever
