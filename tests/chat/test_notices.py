"""A worker applies notices about its people: in order, once, and only to the people that they concern.

A worker's chat in this process, on a real store. The tests hand in the texts that would come over the channel.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest

from animochat.chat.inbound import ChannelHandler
from animochat.chat.worker import Chat
from animochat.protocol.errors import Unavailable
from animochat.rooms.life import CLOSE_ROOMS
from animochat.rooms.service import Rooms
from tests.helpers.local_chat import CLOSED, LocalClient, pair, start_chat
from tests.helpers.store import cooperative, soon

Start = Callable[..., Chat]


@pytest.fixture
def start(store_url: str) -> Start:
    """A factory of chats. Tests stop them, in their hub."""
    return lambda **environment: start_chat(store_url, **environment)


def notify(client: LocalClient, *, newer: int = 1, **fields: Any) -> None:
    """Hand in a notice about the client's person, `newer` versions ahead of the known one."""
    connection = client.connection
    notice = {"p": connection.person, "v": connection.version + newer, **fields}
    client.lobby.listener.on_message(json.dumps([notice]).encode())


def room_of(client: LocalClient) -> str:
    assert client.connection.room is not None
    return client.connection.room.room_id


def say(client: LocalClient, seq: int, text: str, before: int | None = None) -> None:
    """Hand in a message of the partner's, as it comes from another worker; `before`: as in a cluster."""
    room = client.connection.room
    assert room is not None
    body = f'"senderId":"{room.partner_user_id}","content":"{text}","type":"text"'
    chain = "" if before is None else f"{before} "
    line = f"{client.connection.person} {room.room_id} {seq} 1900000000000 {chain}{body}"
    client.lobby.listener.on_message(f"{'chain' if before is not None else 'messages'}\n{line}".encode())


# Notices


@cooperative
@pytest.mark.parametrize("newer", [0, -1])
def test_a_notice_that_is_not_newer_than_what_is_known_changes_nothing(start: Start, newer: int) -> None:
    chat = start()
    anna, _ = pair(chat)
    before = anna.events()
    notify(anna, newer=newer, e="ended", room=room_of(anna), reason="left")
    notify(anna, newer=newer, e="reconnecting", room=room_of(anna), graceMs=1000)
    gevent.sleep(0.01)
    assert anna.events() == before
    assert anna.connection.room is not None
    assert not anna.connection.room.partner_away
    chat.stop(1)


@cooperative
def test_each_notice_counts_the_version_up(start: Start) -> None:
    chat = start()
    anna, _ = pair(chat)
    version = anna.connection.version
    notify(anna, newer=3, e="reconnecting", room=room_of(anna), graceMs=1000)
    assert anna.connection.version == version + 3
    notify(anna, newer=0, e="ended", room=room_of(anna), reason="left")
    gevent.sleep(0.01)
    assert "partner-disconnected" not in anna.events()
    chat.stop(1)


@cooperative
@pytest.mark.parametrize("event", ["ended", "reconnecting", "reconnected"])
def test_a_notice_of_another_room_changes_nothing_in_this_one(start: Start, event: str) -> None:
    chat = start()
    anna, _ = pair(chat)
    before = anna.events()
    notify(anna, e=event, room="another", reason="left", graceMs=1000, worker="elsewhere")
    gevent.sleep(0.01)
    assert anna.events() == before
    room = anna.connection.room
    assert room is not None
    assert (room.partner_away, room.partner_worker) == (False, chat.worker_id)
    chat.stop(1)


@cooperative
def test_the_end_of_an_empty_room_is_remembered(start: Start) -> None:
    """For a store that comes back older than that."""
    chat = start()
    anna = LocalClient(chat).joined()
    notify(anna, e="ended", room="another", reason="left")
    assert "another" in anna.lobby.connections.ended
    chat.stop(1)


@cooperative
def test_the_client_and_its_offset_know_when_the_partner_is_away_and_back(start: Start) -> None:
    chat = start()
    anna, _ = pair(chat)
    notify(anna, e="reconnecting", room=room_of(anna), graceMs=1234)
    assert anna.payload("partner-reconnecting") == {"graceMs": 1234}
    assert json.loads(anna.packets[-1][1:])[-1].endswith(".a")
    notify(anna, e="reconnected", room=room_of(anna), worker="elsewhere")
    assert anna.events()[-1] == "partner-reconnected"
    assert json.loads(anna.packets[-1][1:])[-1].endswith(".p")
    assert anna.connection.room is not None
    assert anna.connection.room.partner_worker == "elsewhere"
    before = anna.events()
    notify(anna, e="reconnected", room=room_of(anna), worker="nearer", quiet=True)
    assert anna.events() == before, "another tab took the chat over: the partner is not notified"
    assert anna.connection.room.partner_worker == "nearer"
    chat.stop(1)


@cooperative
def test_a_ban_and_a_replacement_are_for_the_connection_that_they_name(start: Start) -> None:
    chat = start()
    anna, bert = pair(chat)
    for event in ("banned", "replaced"):
        notify(anna, e=event, conn="an earlier one")
    gevent.sleep(0.01)
    assert not {"error"} & set(anna.events() + bert.events())
    notify(anna, e="replaced", conn=anna.connection.id)
    assert anna.payload("error")["code"] == "replaced"
    notify(bert, e="banned", conn=bert.connection.id, ms=5000)
    error = bert.payload("error")
    assert (error["code"], error["retryAfterMs"]) == ("banned", 5000)
    for client in (anna, bert):
        assert client.packets[-2:] == ["1", CLOSED], "the goodbye by which stock clients stay away, then the end"
        assert client.connection.closed
    chat.stop(1)


@cooperative
def test_an_address_ban_expels_only_that_address(start: Start) -> None:
    chat = start()
    anna = LocalClient(chat, address="203.0.113.1").joined()
    bert = LocalClient(chat, address="203.0.113.2").joined()
    hidden = anna.connection.address
    notice = {"p": "", "e": "banned", "address": hidden, "ms": None}
    anna.lobby.listener.on_message(json.dumps([notice]).encode())
    soon(lambda: anna.gone, "the end")
    error = anna.payload("error")
    assert (error["code"], "retryAfterMs" in error) == ("banned", False)
    assert not bert.gone
    assert bert.call("cancel-match")["ok"]
    chat.stop(1)


@cooperative
def test_of_several_notices_in_one_message_each_is_applied_in_order(start: Start) -> None:
    chat = start()
    anna, bert = pair(chat)
    away = {"e": "reconnecting", "room": room_of(anna), "graceMs": 9}
    back = {"e": "reconnected", "room": room_of(anna), "worker": "w"}
    notices = [
        {"p": anna.connection.person, "v": anna.connection.version + 1, **away},
        {"p": bert.connection.person, "v": bert.connection.version + 1, **away},
        {"p": anna.connection.person, "v": anna.connection.version + 2, **back},
        {"p": "nobody here", "v": 1, **back},
    ]
    anna.lobby.listener.on_message(json.dumps(notices).encode())
    assert anna.events()[-2:] == ["partner-reconnecting", "partner-reconnected"]
    assert bert.events()[-1] == "partner-reconnecting"
    chat.stop(1)


# Messages from another worker


@cooperative
def test_a_message_is_shown_once_and_none_behind_a_later_one(start: Start) -> None:
    chat = start()
    anna, _ = pair(chat)
    for seq, text in [(1, "one"), (1, "one"), (3, "three"), (2, "two"), (3, "three")]:
        say(anna, seq, text)
    assert anna.texts() == ["one", "three"]
    room = anna.connection.room
    assert room is not None
    assert (room.received, room.last_seq) == (3, 3)
    assert json.loads(anna.packets[-1][1:])[-1] == f"c.{room.room_id}.{room.slot}.3.p"
    chat.stop(1)


@cooperative
def test_a_message_of_another_room_or_person_is_ignored(start: Start) -> None:
    chat = start()
    anna, bert = pair(chat)
    for person, room in ((anna.connection.person, "another"), ("nobody", room_of(anna))):
        line = f'{person} {room} 1 1900000000000 "senderId":"x","content":"lost","type":"text"'
        anna.lobby.listener.on_message(f"messages\n{line}".encode())
        anna.lobby.listener.on_message(f'event {person} {room} 2["partner-typing"]'.encode())
    assert anna.texts() + bert.texts() == []
    assert "partner-typing" not in anna.events() + bert.events()
    chat.stop(1)


@cooperative
def test_while_a_connection_may_be_wrong_messages_wait_in_the_log_and_are_shown_in_order(start: Start) -> None:
    chat, other = start(), start()
    anna, bert = pair(chat, other)
    anna.connection.stale = True
    assert bert.call("send-message", "one")["ok"]
    say(anna, 1, "one")
    assert anna.texts() == []
    anna.lobby.arrivals.resync(anna.connection)
    soon(lambda: anna.texts() == ["one"], "the message")
    assert not anna.connection.stale
    assert bert.call("send-message", "two")["ok"]
    soon(lambda: anna.texts() == ["one", "two"], "both messages, once")
    for worker in (chat, other):
        worker.stop(1)


@cooperative
def test_messages_during_an_action_are_shown_after_its_answer(start: Start) -> None:
    chat = start()
    anna, _ = pair(chat)
    room = room_of(anna)
    answer = anna.ask("cancel-match")
    notify(anna, e="reconnecting", room=room, graceMs=1000)
    say(anna, 1, "meanwhile")
    assert anna.texts() == []
    soon(lambda: anna.texts(), "the message")
    assert anna.is_answered(answer)
    assert anna.events()[-3:] == ["ack", "partner-reconnecting", "message"]
    chat.stop(1)


@cooperative
def test_a_message_after_a_gap_waits_until_the_log_is_read(start: Start) -> None:
    chat, other = start(), start()
    anna, bert = pair(chat, other)
    anna.connection.stale = True  # so that the real messages do not come by themselves
    for text in ("one", "two"):
        assert bert.call("send-message", text)["ok"]
    gevent.sleep(0.05)
    anna.connection.stale = False
    say(anna, 2, "two", before=1)
    assert anna.texts() == []
    soon(lambda: anna.texts() == ["one", "two"], "both in order")
    say(anna, 3, "three", before=2)
    assert anna.texts() == ["one", "two", "three"], "nothing is missing"
    for worker in (chat, other):
        worker.stop(1)


@cooperative
def test_a_look_fetches_each_missed_message_once(start: Start) -> None:
    chat, other = start(), start()
    anna, bert = pair(chat, other)
    anna.connection.stale = True
    assert bert.call("send-message", "one")["ok"]
    gevent.sleep(0.05)
    anna.connection.stale = False
    for room in ("another", room_of(anna)):
        anna.lobby.listener.on_message(f"look\n{anna.connection.person} {room}\nnobody {room}".encode())
    soon(lambda: anna.texts() == ["one"], "the message")
    say(anna, 1, "one")
    assert anna.texts() == ["one"]
    for worker in (chat, other):
        worker.stop(1)


@cooperative
def test_typing_reaches_the_partner_on_any_worker(start: Start) -> None:
    chat, other = start(), start()
    for anna, bert in (pair(chat), pair(chat, other)):
        for is_typing in (True, False):
            assert anna.call("typing", is_typing)["ok"]
            soon(lambda bert=bert, is_typing=is_typing: bert.payload("partner-typing") == {"isTyping": is_typing})
        assert anna.payload("partner-typing") is None
    for worker in (chat, other):
        worker.stop(1)


@cooperative
def test_typing_is_not_relayed_while_the_room_may_be_over(start: Start) -> None:
    chat = start()
    anna, bert = pair(chat)
    anna.connection.stale = True
    assert anna.call("typing", True)["error"]["code"] == "unavailable"
    assert bert.payload("partner-typing") is None
    chat.stop(1)


@cooperative
@pytest.mark.parametrize("event", ["leave-room", "next-match"])
def test_leaving_is_not_acknowledged_while_the_partner_can_still_say_something(
    start: Start, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    chat = start()
    anna, bert = pair(chat)
    execute, lost = chat.pipeline.execute, []

    def lose_one(*command: Any) -> Any:
        if command[:2] == ("EVALSHA", CLOSE_ROOMS.sha) and not lost:
            lost.append(command)
            raise Unavailable
        return execute(*command)

    monkeypatch.setattr(chat.pipeline, "execute", lose_one)
    answer = anna.call(event)
    assert answer["error"]["code"] == "unavailable", "its log may be open"
    for person in (anna, bert):
        soon(lambda person=person: person.payload("partner-disconnected"), "the end, from the store")
    assert anna.call("leave-room")["error"]["code"] == "not-in-room"
    chat.stop(1)


@cooperative
def test_a_partner_who_changes_worker_does_not_overtake_earlier_messages(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bytes] = []
    holding = gevent.event.Event()
    receive = ChannelHandler.receive

    def late(handler: ChannelHandler, data: bytes) -> None:
        if holding.is_set() and handler._connections is there.lobbies["main"].connections:
            held.append(data)
        else:
            receive(handler, data)

    monkeypatch.setattr(ChannelHandler, "receive", late)
    here, there = start(), start()
    try:
        anna, bert = pair(here, there)
        holding.set()  # the channel of Bert's worker is slow from now on
        assert anna.call("send-message", "one")["ok"]
        token = anna.payload("session")["token"]
        anna = LocalClient(there, {"token": token}).joined()
        assert anna.call("send-message", "two")["ok"]
        holding.clear()
        for data in held:
            bert.lobby.listener.on_message(data)
        soon(lambda: len(bert.texts()) == 2, "both messages")
        assert bert.texts() == ["one", "two"]
    finally:
        for chat in (here, there):
            chat.stop(2)


@cooperative
def test_messages_stored_by_the_old_worker_are_not_overtaken(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log takes messages of the earlier registration until then, behind the notice that the partner has moved."""
    held: list[bytes] = []
    holding = gevent.event.Event()
    receive, attach = ChannelHandler.receive, Rooms.attach

    def late(handler: ChannelHandler, data: bytes) -> None:
        bert_here = handler._connections is there.lobbies["main"].connections
        if holding.is_set() and (not bert_here or data.startswith(b"messages")):
            held.append(data)
        else:
            receive(handler, data)

    def say_before(rooms: Rooms, room_id: str, person: str, *args: Any, **fields: Any) -> Any:
        if holding.is_set() and person == anna.connection.person and not said:
            said.append(anna.call("send-message", "one"))
        return attach(rooms, room_id, person, *args, **fields)

    said: list[Any] = []
    monkeypatch.setattr(ChannelHandler, "receive", late)
    monkeypatch.setattr(Rooms, "attach", say_before)
    here, there = start(), start()
    try:
        anna, bert = pair(here, there)
        holding.set()  # Anna's worker gets no notice that she is elsewhere, and Bert's gets her messages late
        moved = LocalClient(there, {"token": anna.payload("session")["token"]}).joined()
        assert said[0]["ok"]
        assert moved.call("send-message", "two")["ok"]
        holding.clear()
        for data in held:
            if data.startswith(b"messages"):
                bert.lobby.listener.on_message(data)
        soon(lambda: "two" in bert.texts(), "both messages")
        assert bert.texts() == ["one", "two"]
    finally:
        for chat in (here, there):
            chat.stop(2)


@cooperative
def test_a_look_that_comes_while_someone_registers_is_taken_behind_the_registration(start: Start) -> None:
    here, there = start(), start()
    try:
        anna, bert = pair(here, there)
        connection = bert.connection
        room, connection.room, connection.deferred = connection.room, None, []
        look = f"look\n{connection.person} {room.room_id}".encode()
        assert anna.call("send-message", "one")["ok"]
        bert.lobby.listener.on_message(look)
        assert bert.texts() == []
        waiting = [news for news in connection.deferred if "_look" in repr(news)]
        assert len(waiting) == 1, "it waits for the registration"
        connection.room, connection.deferred = room, None
        waiting[0]()
        soon(lambda: bert.texts() == ["one"], "the message, from the log")
    finally:
        for chat in (here, there):
            chat.stop(2)
