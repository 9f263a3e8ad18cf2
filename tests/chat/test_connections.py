"""A worker's connections: one action at a time, limits per person, offsets.

Nothing here needs a store. Time is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from animochat.chat import connections
from animochat.chat.broadcasts import send_online_count
from animochat.chat.connections import MAX_QUEUED, Connection, Connections
from animochat.chat.room import Room
from animochat.chat.tokens import Tokens
from animochat.protocol import offset
from animochat.protocol.packets import Malformed, parse, refused
from animochat.protocol.payloads import latest
from animochat.protocol.room_record import RoomRecord
from animochat.token_bucket import BURST_SECONDS


class Transport:
    """An Engine.IO session, as far as a connection needs one: keeps what it sends."""

    sid, remote_addr, upgraded, owner = "", "192.0.2.1", True, None

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closed = False

    def send(self, packet: str) -> None:
        self.sent.append(packet)

    def send_frame(self, frame: bytes, packet: str) -> None:
        self.sent.append(packet)

    def close(self) -> None:
        self.closed = True


def connection(person: str = "anna", among: Connections | None = None) -> Connection:
    made = Connection(Transport(), "main")  # type: ignore[arg-type]
    made.person, made.registered = person, True
    if among is not None:
        among.by_id[made.id] = made
        among.claim(made)
    return made


def sent(connection: Connection) -> list[str]:
    return connection.transport.sent  # type: ignore[attr-defined, no-any-return]


def room(room_id: str = "ab") -> Room:
    names = {"user_id": "user1", "partner_user_id": "user2", "partner": "bert", "partner_worker": "worker"}
    return Room(RoomRecord(room_id=room_id, slot="a", since=0, **names))


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, to be changed in place."""
    time = [1000.0]
    monkeypatch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: time[0]))
    return time


# Limits


def test_each_kind_of_request_has_a_bucket_of_its_own() -> None:
    buckets = connection().buckets
    kinds = [buckets.messages, buckets.refusals, buckets.searches, buckets.typing]
    assert len({id(bucket) for bucket in kinds}) == 4
    assert connection().buckets is not buckets, "nor does anyone share them with a stranger"


def test_a_person_s_limits_are_those_of_the_connection_before(now: list[float]) -> None:
    here = Connections()
    before = connection("anna", here)
    other, again = connection("bert", here), connection("anna", here)
    assert again.buckets is before.buckets, "while it is here"
    here.remove(before)
    here.remove(again)
    now[0] += BURST_SECONDS - 1
    here.forget_departed()
    later = connection("anna", here)
    assert later.buckets is before.buckets, "and when it has gone"
    assert other.buckets is not before.buckets


def test_only_people_who_left_are_forgotten_once_their_buckets_are_full(now: list[float]) -> None:
    here = Connections()
    first, second = connection("anna", here), connection("bert", here)
    here.remove(first)
    now[0] += BURST_SECONDS / 2
    here.remove(second)
    now[0] += BURST_SECONDS / 2
    here.forget_departed()
    assert list(here._departed) == ["bert"]
    now[0] += BURST_SECONDS
    here.forget_departed()
    assert not here._departed


def test_a_returning_person_is_not_kept_among_those_who_left() -> None:
    here = Connections()
    here.remove(connection("anna", here))
    connection("anna", here)
    assert not here._departed


# The tables of connections


def test_a_connection_that_was_replaced_takes_nothing_with_it_when_it_goes() -> None:
    here = Connections()
    before, after = connection("anna", here), connection("anna", here)
    here.remove(before)
    assert before.closed
    assert list(here) == [after]
    assert here.by_person == {"anna": after}
    here.remove(after)
    assert not here.by_id
    assert not here.by_person
    here.remove(after)  # a second time changes nothing


def test_a_person_is_found_only_in_their_present_room() -> None:
    here = Connections()
    anna = connection("anna", here)
    assert here.in_room("anna", "ab") is None
    anna.enter_room(room("ab"))
    assert here.in_room("anna", "ab") is anna
    assert here.in_room("anna", "cd") is None
    assert here.in_room("bert", "ab") is None


def test_connections_may_go_while_all_are_looked_at() -> None:
    here = Connections()
    all_of_them = [connection(name, here) for name in ("anna", "bert", "carla")]
    for one in here:
        here.remove(one)
    assert all(one.closed for one in all_of_them)
    assert len(here) == 0


def test_a_new_room_has_no_messages() -> None:
    new = room()
    assert (new.last_seq, new.received, new.said, new.missed, new.version) == (0, 0, 0, 0, 0)
    assert (new.partner_away, new.behind, new.late) == (False, False, False)


def test_only_the_room_that_is_over_is_left_and_its_end_is_remembered() -> None:
    here = Connections()
    anna = connection("anna", here)
    anna.enter_room(room("cd"))
    here.leave_room(anna, "ab")
    assert anna.room is not None, "the person is in another one by now"
    here.leave_room(anna, "cd")
    assert anna.room is None
    assert here.ended.latest() == ["ab", "cd"]


def test_a_person_in_a_room_no_longer_waits() -> None:
    anna = connection()
    anna.begin_waiting(("tea",))
    assert (anna.waiting, anna.interests) == (True, ("tea",))
    anna.enter_room(room())
    assert not anna.waiting


def test_the_registration_replaces_the_known_state() -> None:
    anna = connection()
    anna.registered, anna.stale, anna.asking = False, True, True
    anna.apply("waiting", 7, None, ("tea",))
    assert (anna.registered, anna.stale, anna.asking) == (True, False, False)
    assert (anna.waiting, anna.interests, anna.version, anna.room) == (True, ("tea",), 7, None)
    mine = room()
    anna.apply("chatting", 8, mine, ())
    assert (anna.waiting, anna.interests, anna.version, anna.room) == (False, (), 8, mine)


def test_a_version_never_goes_back() -> None:
    anna = connection()
    for version in (3, 5, 4):
        anna.advance(version)
    assert anna.version == 5


# One action at a time


def started(*names: str, done: list[str], gates: dict[str, Any]) -> list[Callable[[], None]]:
    """Actions that note their names, each waiting for its gate where it has one."""

    def action(name: str) -> None:
        done.append(name)
        if name in gates:
            gates[name].wait()
            done.append(f"{name} done")

    return [lambda name=name: action(name) for name in names]  # type: ignore[misc]


def test_actions_of_one_client_run_one_at_a_time_and_in_order() -> None:
    anna, done, gate = connection(), [], gevent.event.Event()  # type: ignore[var-annotated]
    for action in started("first", "second", "third", done=done, gates={"first": gate}):
        anna.perform(action)
    gevent.sleep(0)
    assert done == ["first"]
    assert anna.busy
    gate.set()
    gevent.sleep(0.001)
    assert done == ["first", "first done", "second", "third"]
    assert not anna.busy


def test_a_notice_during_an_action_is_applied_after_it_and_before_the_next() -> None:
    anna, done, gate = connection(), [], gevent.event.Event()  # type: ignore[var-annotated]
    first, second = started("first", "second", done=done, gates={"first": gate})
    anna.perform(first)
    anna.perform(second)
    gevent.sleep(0)
    anna.apply_or_defer(lambda: done.append("news"))
    anna.apply_or_defer(lambda: done.append("later news"))
    assert done == ["first"]
    gate.set()
    gevent.sleep(0.001)
    assert done == ["first", "first done", "news", "later news", "second"]
    anna.apply_or_defer(lambda: done.append("now"))
    assert done[-1] == "now", "nothing is held back once nothing is under way"


def test_notices_are_applied_after_the_action_during_which_they_came() -> None:
    anna, done = connection(), []  # type: ignore[var-annotated]
    gates = {name: gevent.event.Event() for name in ("first", "second")}
    for action in started("first", "second", done=done, gates=gates):
        anna.perform(action)
    gevent.sleep(0)
    gates["first"].set()
    gevent.sleep(0.001)
    anna.apply_or_defer(lambda: done.append("news"))
    assert done[-1] == "second"
    gates["second"].set()
    gevent.sleep(0.001)
    assert done[-2:] == ["second done", "news"]


def test_a_failed_action_loses_neither_notices_nor_later_actions() -> None:
    anna, done = connection(), []  # type: ignore[var-annotated]

    def fail() -> None:
        anna.apply_or_defer(lambda: done.append("news"))
        raise RuntimeError("a mistake")

    anna.perform(fail)
    anna.perform(lambda: done.append("second"))
    gevent.sleep(0.001)
    assert done == ["news", "second"]
    anna.perform(lambda: done.append("third"))
    gevent.sleep(0.001)
    assert done[-1] == "third"


def test_a_client_that_asks_for_too_much_at_once_is_cut_off() -> None:
    anna, gate = connection(), gevent.event.Event()
    anna.perform(gate.wait)
    for _ in range(MAX_QUEUED):
        anna.perform(lambda: None)
    assert not anna.transport.closed  # type: ignore[attr-defined]
    anna.perform(lambda: None)
    assert anna.transport.closed  # type: ignore[attr-defined]
    gate.set()
    gevent.sleep(0.001)


def test_queued_actions_are_dropped_when_the_client_has_gone() -> None:
    anna, done, gate = connection(), [], gevent.event.Event()  # type: ignore[var-annotated]
    first, second = started("first", "second", done=done, gates={"first": gate})
    anna.perform(first)
    anna.perform(second)
    anna.forget_queued()
    anna.perform(lambda: done.append("farewell"))
    gevent.sleep(0)
    gate.set()
    gevent.sleep(0.001)
    assert done == ["first", "first done", "farewell"]


# Offsets


def test_an_offset_describes_the_clients_state() -> None:
    anna = connection()
    assert offset.parse(anna.offset()) == anna.known() == offset.Offset("idle")
    anna.begin_waiting(())
    assert offset.parse(anna.offset()) == anna.known() == offset.Offset("waiting")
    mine = room("ab")
    mine.receive(7)
    anna.enter_room(mine)
    assert offset.parse(anna.offset()) == anna.known() == offset.Offset("chatting", "ab", "a", 7, False)
    mine.lose_partner()
    assert offset.parse(anna.offset()) == anna.known() == offset.Offset("chatting", "ab", "a", 7, True)
    nothing = mine.offset(offset.NOTHING_SAID)
    assert offset.parse(nothing) == offset.Offset("chatting", "ab", "a", -1, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "ii",
        "i ",
        "c.ab.a.1",
        "c.ab.c.1.p",
        "c.ab.a.-2.p",
        "c.ab.a.1.p.",
        "c.xy.a.1.p",
        "c..a.1.p",
        None,
        5,
        f"c.ab.a.{'1' * 16}.p",
        f"c.{'a' * 33}.a.1.p",
        "c.ab.a.\u0663.p",
        "c.ab.a.1.p\n",
    ],
)
def test_a_foreign_offset_is_ignored(text: object) -> None:
    assert offset.parse(text) is None


def test_an_event_has_an_offset_once_its_client_is_registered_and_never_a_volatile_one() -> None:
    anna = connection()
    anna.registered = False
    anna.emit("error", {})
    anna.registered = True
    anna.emit("waiting", {})
    anna.emit("waiting", {}, "w")
    anna.emit_volatile("partner-typing", {})
    assert [parse(packet).data[2:] for packet in sent(anna)] == [[], ["i"], ["w"], []]


# To all of them


def test_a_changed_number_online_is_sent_at_most_once_a_second(now: list[float]) -> None:
    here = Connections()
    anna, new, gone = (connection(name, here) for name in ("anna", "new", "gone"))
    gone.closed = True
    for known in (anna, gone):
        known.online_count, known.online_count_at = 3, now[0] - 1

    def told(online: int) -> list[Any]:
        before = len(sent(anna))
        send_online_count(here, online, lambda text: text.encode())
        return [parse(packet).data[1] for packet in sent(anna)[before:]]

    assert told(4) == [4]
    assert told(4) == []
    now[0] += 0.999
    assert told(5) == []
    now[0] += 0.001
    assert told(5) == [5]
    now[0] += 1
    assert told(5) == [], "it knows that"
    anna.tell_online_count(6)
    assert told(7) == [], "just told"
    now[0] += 1
    assert told(6) == []
    assert told(7) == [7]
    assert not sent(new), "before its session it gets none"
    assert not sent(gone)


@pytest.mark.parametrize(
    ("known", "online", "after", "due"),
    [
        (100, 99, 1, True),
        (100, 101, 1, True),  # exactly 1 %
        (101, 100, 1, True),
        (500, 504, 1, False),
        (500, 505, 1, True),
        (500, 495, 1, True),
        (500, 496, 1, False),
        (500, 505, 0.999, False),
        (500, 501, 4.999, False),
        (500, 501, 5, True),
        (500, 500, 5, False),
    ],
)
def test_of_many_people_a_change_of_a_percent_is_sent_at_once_and_a_smaller_one_after_five_seconds(
    now: list[float], known: int, online: int, after: float, due: bool
) -> None:
    anna = connection()
    anna.tell_online_count(known)
    now[0] += after
    assert anna.take_online_count(online) is due
    assert anna.online_count == (online if due else known)


# Packets


@pytest.mark.parametrize(
    ("text", "ack_id"),
    [
        ("", None),
        ("4[]", None),
        ("2", None),
        ("2[", None),
        ("2{}", None),
        ("2[]", None),
        ("2[5]", None),
        ("25[5]", "5"),
        ("25[", "5"),
        ("2" + "1" * 16 + '["x"]', None),
        ("2" + '1-["x"]', None),
        ('5["x"]', None),
        ('511-["x"]', None),
        ('2["\\ud800"]', None),
        ("2" + "[" * 100_000, None),
    ],
)
def test_a_malformed_packet_keeps_its_acknowledgement_id_where_readable(text: str, ack_id: str | None) -> None:
    with pytest.raises(Malformed) as malformed:
        parse(text)
    assert malformed.value.ack_id == ack_id


def test_a_packet_may_have_each_of_its_parts_up_to_the_longest() -> None:
    assert parse("2" + "1" * 15 + '["x"]').ack_id == "1" * 15
    assert parse('510-["x"]').attachments == 10
    assert parse("0/admin?token=1,").namespace == "/admin"
    assert parse("0").namespace == "/"
    assert refused("/admin", "no") == '4/admin,{"message":"no"}'
    assert refused("/", "no") == '4{"message":"no"}'


def test_the_latest_messages_that_fit_are_kept() -> None:
    messages = [b"1234", b"12", b"123"]
    assert latest(messages, 9) == messages
    assert latest(messages, 8) == messages[1:]
    assert latest(messages, 5) == messages[1:]
    assert latest(messages, 4) == messages[2:]
    assert latest(messages, 2) == []


# Tokens


def test_a_signature_holds_for_one_purpose_and_one_lobby() -> None:
    main, other = Tokens("secret"), Tokens("secret", "games")
    strange = Tokens("another secret")
    token, pid = main.issue("anna"), main.issue_session("anna", "session")
    assert (main.verify(token), main.verify_session(pid)) == ("anna", ("anna", "session"))
    for tokens in (other, strange):
        assert tokens.verify(token) is None
        assert tokens.verify_session(pid) is None
    assert main.verify(pid) is None
    assert main.verify_session(token) is None


def test_signatures_are_the_same_in_every_version() -> None:
    """Otherwise everyone would be a new person after an update."""
    main, games = Tokens("secret"), Tokens("secret", "games")
    assert main.issue("anna") == "anna.wlt4sp4b_2xdbYTEpNhPvpGg7KDzz1UzT1n4_bWTHQE"
    assert games.issue("anna") == "anna.-XkctL-TvTNhw5QP1H8RmT1b07U8mwkSNdW1S3Jd5sA"
    assert main.issue_session("anna", "session") == "anna.session.rt-ycRijJOuHyEtFoxJVkiszmCiLVSZDEnoL_-WjVvM"
    assert main.hide_address("192.0.2.1") == "a850a0dabc050fde7ed18c1023c03cbd"


def test_a_token_longer_than_ours_is_not_verified() -> None:
    tokens = Tokens("secret")
    assert tokens.verify(tokens.issue("a" * 200)) is None
    assert tokens.verify_session(tokens.issue_session("a" * 200, "session")) is None
