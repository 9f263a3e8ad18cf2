"""The life of a connection, in the worker and in the store: its client's events, and its end.

A worker's chat in this process, on a real store.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from animochat.chat import departures
from animochat.chat.worker import Chat
from animochat.store import keys
from tests.helpers.local_chat import CLOSED, HUNG_UP, LocalClient, pair, start_chat
from tests.helpers.store import Relay, cooperative, soon

Start = Callable[..., Chat]


@pytest.fixture
def start(store_url: str) -> Start:
    """A factory of chats. Tests stop them, in their hub."""
    return lambda **environment: start_chat(store_url, **environment)


def code(answer: Any) -> str:
    return str(answer["error"]["code"])


# Events


@cooperative
def test_searches_and_reports_and_typing_are_limited_each_by_its_own_rate(start: Start) -> None:
    chat = start(RATE_SEARCHES="1", RATE_MESSAGES="1", RATE_TYPING="1", RATE_REFUSALS="0")
    anna = LocalClient(chat).joined()
    for number in range(10):
        assert anna.call(("find-match", "next-match")[number % 2])["ok"]
    for event in ("find-match", "next-match"):
        assert code(anna.call(event)) == "rate-limited"
    assert anna.call("cancel-match")["ok"]
    for number in range(10):
        event, argument = [("send-message", "hi"), ("report-partner", {"reason": "spam"})][number % 2]
        assert code(anna.call(event, argument)) == "not-in-room"
    for event, argument in [("send-message", "hi"), ("report-partner", {"reason": "spam"})]:  # type: ignore[list-item]
        assert code(anna.call(event, argument)) == "rate-limited"
    for _ in range(10):
        assert code(anna.call("typing", True)) == "not-in-room"
    assert code(anna.call("typing", True)) == "rate-limited"
    chat.stop(1)


@cooperative
def test_a_search_is_remembered_with_its_interests_until_it_is_over(start: Start) -> None:
    """If the store forgets the search, the worker repeats it."""
    chat = start()
    anna = LocalClient(chat).joined()
    assert anna.call("find-match", {"interests": ["tea"]})["state"] == "waiting"
    connection = anna.connection
    assert (connection.waiting, connection.interests, connection.asking) == (True, ("tea",), False)
    version = connection.version
    assert anna.call("find-match", {"interests": ["coffee"]})["state"] == "waiting"
    assert connection.interests == ("tea",), "who waits goes on as it was"
    assert anna.call("cancel-match")["ok"]
    assert not connection.waiting
    assert connection.version > version
    assert json.loads(anna.packets[-2][1:])[-1] == "i"
    chat.stop(1)


@cooperative
@pytest.mark.parametrize("event", ["leave-room", "block-partner", "next-match"])
def test_ending_a_room_removes_the_person_and_closes_its_log(start: Start, event: str) -> None:
    chat = start()
    anna, bert = pair(chat)
    assert anna.connection.room is not None
    room, version = anna.connection.room.room_id, anna.connection.version
    assert bert.call("send-message", "hi")["ok"]
    assert anna.call(event)["ok"]
    assert anna.connection.room is None
    assert anna.connection.version > version
    assert room in anna.lobby.connections.ended
    assert chat.pipeline.execute("HGET", keys.room(room) + ":meta", "va") == b"inf"
    soon(lambda: bert.connection.room is None, "the end")
    assert bert.payload("partner-disconnected")["reason"] in ("left", "skipped")
    assert "partner-disconnected" not in anna.events()
    for client, asked in ((anna, "send-message"), (bert, "send-message")):
        assert code(client.call(asked, "still there?")) == "not-in-room"
    chat.stop(1)


@cooperative
def test_a_message_after_the_end_of_its_room_goes_to_no_other_room(start: Start) -> None:
    chat = start()
    anna, bert = pair(chat)
    carla = LocalClient(chat).joined()
    carla.call("find-match")
    left = anna.ask("leave-room")
    sought = anna.ask("find-match")
    said = anna.ask("send-message", "for Bert alone")
    soon(lambda: anna.is_answered(said), "the answer")
    assert anna.is_answered(left)
    assert anna.is_answered(sought)
    (answer,) = [packet for packet in anna.packets if packet.startswith(said)]
    assert '"not-in-room"' in answer
    soon(lambda: carla.payload("matched"), "a match")
    assert carla.texts() + bert.texts() == []
    chat.stop(1)


@cooperative
def test_a_message_is_trimmed_bounded_and_never_blank(start: Start) -> None:
    chat = start(MAX_MESSAGE_LENGTH="5")
    anna, bert = pair(chat)
    assert anna.call("send-message", "  12345\n")["ok"]
    assert code(anna.call("send-message", "123456")) == "message-too-long"
    for blank in ("", "  ", "\u3164", "\u200b\u2800"):
        assert code(anna.call("send-message", blank)) == "empty-message"
    assert bert.texts() == ["12345"]
    chat.stop(1)


@cooperative
def test_a_search_inside_a_room_is_refused_and_the_room_stays(start: Start) -> None:
    chat = start()
    anna, bert = pair(chat)
    for event in ("find-match", "cancel-match"):
        assert code(anna.call(event)) == "already-in-room"
    assert anna.call("send-message", "here")["ok"]
    assert bert.texts() == ["here"]
    chat.stop(1)


@cooperative
def test_a_reply_quotes_only_messages_of_this_room(start: Start) -> None:
    chat = start()
    anna, bert = pair(chat)
    said = anna.call("send-message", "x" * 250)
    assert bert.call("send-message", {"content": "yes", "replyTo": said["id"]})["ok"]
    assert anna.payload("message")["replyTo"]["content"] == "x" * 200
    number = said["id"].rpartition("-")[2]
    for other in (f"another-{number}", said["id"] + "0", "", f"-{number}"):
        assert code(bert.call("send-message", {"content": "yes", "replyTo": other})) == "invalid-payload"
    chat.stop(1)


@cooperative
def test_a_worker_knows_the_rooms_highest_place_and_each_members_last_message(start: Start) -> None:
    """For a store that has lost the end of a log."""
    chat = start()
    anna, bert = pair(chat)
    for client in (anna, anna, bert):
        assert client.call("send-message", "hi")["ok"]
    for client, said, received in ((anna, 2, 3), (bert, 3, 2)):
        room = client.connection.room
        assert room is not None
        assert (room.last_seq, room.said, room.received) == (3, said, received)
    chat.stop(1)


# Going


@cooperative
def test_a_goodbye_ends_everything_at_once_and_a_lost_connection_keeps_its_place(start: Start) -> None:
    chat = start()
    for ends in (True, False):
        anna, bert = pair(chat)
        life = anna.lobby.departures
        (life.disconnect if ends else life.lose)(anna.connection)
        assert anna.connection.closed
        assert anna.connection.id not in anna.lobby.connections.by_id
        event = "partner-disconnected" if ends else "partner-reconnecting"
        soon(lambda bert=bert, event=event: event in bert.events(), event)
        soon(lambda life=life: not life._leaving, "the store knows it")
        assert ("partner-disconnected" in bert.events()) == ends
    chat.stop(1)


@cooperative
def test_queued_requests_of_a_gone_client_are_not_handled(start: Start) -> None:
    chat = start()
    anna, _ = pair(chat)
    anna.ask("leave-room")
    anna.ask("find-match")
    anna.lobby.departures.lose(anna.connection)
    soon(lambda: not anna.lobby.departures._leaving, "the store knows it")
    assert chat.stats()["waitingUsers"] == 0
    chat.stop(1)


@cooperative
def test_an_end_during_a_store_outage_is_reported_afterwards(store_url: str) -> None:
    relay = Relay(store_url)
    chat = start_chat(relay.url)
    anna = LocalClient(chat).joined()
    life = anna.lobby.departures
    relay.close()
    life.disconnect(anna.connection)
    soon(lambda: life._unreported, "it could not be told")
    assert life._leaving == {anna.connection.person}
    relay.reopen()
    soon(lambda: not life._unreported and not life._leaving, "it is reported")
    assert chat.stats()["onlineUsers"] == 0
    chat.stop(1)
    relay.close()


@cooperative
def test_a_failed_store_call_is_unavailable_and_resyncs_the_connection(store_url: str) -> None:
    relay = Relay(store_url)
    chat = start_chat(relay.url)
    anna, bert = pair(chat)
    relay.close()
    assert code(anna.call("send-message", "hi")) == "unavailable"
    assert code(anna.call("leave-room")) == "unavailable"
    assert anna.connection.stale, "it may have been done all the same"
    relay.reopen()
    soon(lambda: not anna.connection.stale and not bert.connection.stale, "the store was asked")
    assert anna.call("send-message", "hi")["ok"]
    soon(lambda: bert.texts() == ["hi"], "the message")
    chat.stop(1)
    relay.close()


@cooperative
def test_ignoring_refusals_expels_the_client_and_penalizes_its_address(start: Start) -> None:
    chat = start(RATE_REFUSALS="1")
    anna = LocalClient(chat).joined()
    for _ in range(11):
        anna.ask("no-such-event" + "x" * 100)
    assert anna.penalized == 1
    assert anna.packets[-2:] == ["1", CLOSED]
    assert anna.connection.id not in anna.lobby.connections.by_id
    assert len(anna.payload("error")["message"]) < 100
    chat.stop(1)


@cooperative
def test_an_expelled_client_on_long_polling_has_time_to_fetch_the_reason(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departures, "LINGER", 0.05)
    chat = start()
    anna = LocalClient(chat, upgraded=False).joined()
    anna.lobby.departures.replace(anna.connection)
    assert anna.packets[-1] == "1"
    assert not anna.gone
    soon(lambda: anna.packets[-1] == CLOSED, "the end")
    again = LocalClient(chat, upgraded=False).joined()
    again.lobby.departures.replace(again.connection)
    again.owner = object()  # it has connected again, over the same session
    gevent.sleep(0.1)
    assert not again.gone
    chat.stop(1)


@cooperative
def test_after_a_stall_a_worker_admits_no_one_for_a_moment(start: Start) -> None:
    chat = start()
    anna = LocalClient(chat).joined()
    anna.lobby.mark_all_stale()
    assert anna.connection.stale
    assert LocalClient(chat).packets == [HUNG_UP]
    soon(lambda: not anna.connection.stale, "the store was asked")
    chat.stop(1)


@cooperative
def test_the_store_knows_only_the_hash_of_an_address(start: Start) -> None:
    chat = start()
    anna = LocalClient(chat, address="203.0.113.77").joined()
    hidden = anna.connection.address
    record = f"{keys.lobby()}:person:{anna.connection.person}"
    assert chat.pipeline.execute("HGET", record, "address") == hidden.encode()
    assert "203.0.113.77" not in hidden
    chat.stop(1)
