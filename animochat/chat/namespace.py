"""The client's events: one method for each, named as the event is.

`send-message` and `typing` never wait: they may run in the hub, straight from the socket. The others, and a reply, wait
for the store in a greenlet of their client's, one at a time.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import socketio

from animochat.chat.connections import Connection, Connections, Room
from animochat.chat.lifecycle import Lifecycle
from animochat.chat.room_events import GREETING, message_packet
from animochat.matchmaking.service import Matchmaking, Search
from animochat.moderation.lobby_moderation import LobbyModeration, Said
from animochat.moderation.words import WordFilter
from animochat.protocol import packets
from animochat.protocol.channel import Delivery, TypingSignal
from animochat.protocol.errors import (
    AlreadyInRoom,
    ChatError,
    EmptyMessage,
    InvalidPayload,
    MessageTooLong,
    NotInRoom,
    RateLimited,
    Unavailable,
)
from animochat.protocol.payloads import (
    MAX_QUOTE,
    PartnerTyping,
    Quote,
    ReportPartner,
    SendMessage,
    Typing,
    Waiting,
    expect_no_argument,
    interests,
    message_body,
    parse_argument,
    read_body,
    reply_body,
)
from animochat.protocol.visible import is_blank
from animochat.rooms.appending import ENDED, LATE, LOCAL, REMOTE, Entry, Outcome
from animochat.rooms.service import Rooms
from animochat.settings import Settings
from animochat.telemetry import tracing
from animochat.telemetry.metrics import METRICS
from animochat.token_bucket import TokenBucket

log = logging.getLogger(__name__)

#: A message's place in its room's order, as it stands at the end of its id.
MESSAGE_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}", re.ASCII)

Handler = Callable[[Connection, list[Any], "str | None"], None]


class ChatNamespace(socketio.Namespace):
    """Namespace `/`, as it is for the clients of one lobby."""

    def __init__(
        self,
        settings: Settings,
        connections: Connections,
        lifecycle: Lifecycle,
        matchmaking: Matchmaking,
        rooms: Rooms,
        moderation: LobbyModeration,
        words: WordFilter | None,
        worker: str,
        check_stall: Callable[[], None],
    ) -> None:
        super().__init__("/")
        self._settings = settings
        self._connections = connections
        self._lifecycle = lifecycle
        self._matchmaking = matchmaking
        self._rooms = rooms
        self._moderation = moderation
        self._words = words
        self._worker = worker
        self._check_stall = check_stall
        self._handlers: dict[str, Handler] = {
            "find-match": self.on_find_match,
            "cancel-match": self.on_cancel_match,
            "next-match": self.on_next_match,
            "send-message": self.on_send_message,
            "typing": self.on_typing,
            "leave-room": self.on_leave_room,
            "block-partner": self.on_block_partner,
            "report-partner": self.on_report_partner,
        }

    def trigger_event(self, event: str, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        """Handle one event of a client. Never blocks and never raises."""
        try:
            handler = self._handlers.get(event)
            if handler is None:
                raise InvalidPayload("Unknown event")
            handler(connection, args, ack_id)
        except ChatError as exc:
            self._lifecycle.refuse(connection, event[:64], ack_id, exc)

    # Matching

    def on_find_match(self, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        find = partial(self._find_match, wanted=interests(args))
        self._limit(connection.buckets.searches, self._settings.rate_searches)
        self._perform(connection, "find-match", ack_id, find)

    def _find_match(self, connection: Connection, wanted: tuple[str, ...]) -> dict[str, Any]:
        self._search_begins(connection)
        search = self._matchmaking.find_match(connection.person, connection.id, wanted)
        return self._searching(connection, search, wanted)

    def on_next_match(self, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        find = partial(self._next_match, wanted=interests(args))
        self._limit(connection.buckets.searches, self._settings.rate_searches)
        self._perform(connection, "next-match", ack_id, find)

    def _next_match(self, connection: Connection, wanted: tuple[str, ...]) -> dict[str, Any]:
        self._search_begins(connection)
        search = self._matchmaking.next_match(connection.person, connection.id, wanted)
        if search.room_left:
            self._leave(connection, search.room_left)
        return self._searching(connection, search, wanted)

    def _search_begins(self, connection: Connection) -> None:
        connection.asking = True
        if not connection.waiting:
            connection.asked_at = time.monotonic()

    def _searching(self, connection: Connection, search: Search, wanted: tuple[str, ...]) -> dict[str, Any]:
        self._follow(connection, search)
        if search.state == "matched":
            return {"state": "matched"}
        if not connection.waiting:  # who waits already goes on as it was
            connection.begin_waiting(wanted)
            connection.asked_at += search.cooldown_ms / 1000
        connection.emit("waiting", Waiting(search.cooldown_ms))
        return {"state": "waiting", "cooldownMs": search.cooldown_ms}

    def _follow(self, connection: Connection, search: Search) -> None:
        """Bring the connection to where the store's answer says that its person is, before the answer is acknowledged.

        The notices of the same are still on their way, and not newer. Raises AlreadyInRoom, the client being told of
        the room.
        """
        self._check_known(connection, search.state)
        if search.state == "in-room" and search.room is None:  # its record is lost
            self._check_known(connection, "unknown")
        room, entered = connection.room, search.room
        if entered is not None and entered.room_id in self._connections.ended:  # the store is older than its end
            self._check_known(connection, "unknown")
        if room is not None and (entered is None or entered.room_id != room.room_id):  # the partner ended it
            reason = search.ended[1] if search.ended[0] == room.room_id else "disconnected"
            self._lifecycle.finish_room(connection, room, reason)
        connection.advance(search.version)
        connection.asking = False
        if entered is not None and connection.room is None:
            self._lifecycle.begin_room(connection, entered)
        if search.state == "in-room":
            raise AlreadyInRoom

    def on_cancel_match(self, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        expect_no_argument(args)
        self._perform(connection, "cancel-match", ack_id, self._cancel_match)

    def _cancel_match(self, connection: Connection) -> dict[str, Any]:
        if connection.room is not None:
            raise AlreadyInRoom
        if connection.waiting:
            self._follow(connection, self._matchmaking.cancel_match(connection.person, connection.id))
            connection.stop_waiting()
        connection.emit("match-cancelled")
        return {}

    # Rooms

    def on_leave_room(self, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        expect_no_argument(args)
        self._perform(connection, "leave-room", ack_id, self._leave_room)

    def _leave_room(self, connection: Connection) -> dict[str, Any]:
        return self._part(connection, self._rooms.leave)

    def on_block_partner(self, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        expect_no_argument(args)
        self._perform(connection, "block-partner", ack_id, self._block_partner)

    def _block_partner(self, connection: Connection) -> dict[str, Any]:
        return self._part(connection, self._moderation.block_partner)

    def on_report_partner(self, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        report: ReportPartner = parse_argument(args, ReportPartner)
        # Who sends these for fun has the log read each time: it counts as a message, whatever becomes of it.
        self._limit(connection.buckets.messages, self._settings.rate_messages)
        self._perform(connection, "report-partner", ack_id, partial(self._report_partner, report))

    def _report_partner(self, report: ReportPartner, connection: Connection) -> dict[str, Any]:
        room = connection.room
        if room is None:
            raise NotInRoom
        # Read first: the log may be at another node than the lobby. Where either fails, nothing was changed.
        evidence = [
            Said("reporter" if entry.slot == room.slot else "reported", entry.timestamp, read_body(entry.body).content)
            for entry in self._rooms.evidence(room.room_id, connection.person, room.slot)
        ]
        details = (report.details or "").strip()
        if is_blank(details):
            details = ""
        file = partial(self._moderation.report_partner, room.room_id, report.reason, details, evidence)
        return self._part(connection, file)

    def _part(self, connection: Connection, leave: Callable[[str, str], tuple[str, int, str]]) -> dict[str, Any]:
        """Have the store end the room, for this person's sake; the partner hears of it from there."""
        if connection.room is None:
            raise NotInRoom
        state, version, room_id = leave(connection.person, connection.id)
        self._check_known(connection, state)
        if state == "not-in-room":
            raise NotInRoom
        connection.advance(version)
        self._leave(connection, room_id)
        return {}

    def _leave(self, connection: Connection, room_id: str) -> None:
        self._rooms.life.close(room_id)
        self._connections.leave_room(connection, room_id)

    def on_send_message(self, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        if len(args) == 1 and type(args[0]) is str:
            content, client_id, reply_to = args[0], None, None
        else:
            message: SendMessage = parse_argument(args, SendMessage)
            content, client_id, reply_to = message.content, message.clientId, message.replyTo
        content = content.strip()
        if len(content) > self._settings.max_message_length:
            raise MessageTooLong(f"Message is longer than {self._settings.max_message_length} characters")
        if is_blank(content):
            raise EmptyMessage
        received = self._limit(connection.buckets.messages, self._settings.rate_messages)
        if self._words is not None:
            content = self._words.apply(content)
        if reply_to is not None:
            say = partial(self._reply, connection, content, client_id or "", reply_to, ack_id, received)
        elif connection.busy:
            say = partial(self._say, connection, content, client_id or "", ack_id, received)
        else:
            self._say(connection, content, client_id or "", ack_id, received)
            return
        meant_for = None
        if connection.registered:
            meant_for = connection.room.room_id if connection.room is not None else ""
        connection.perform(partial(self._say_later, connection, meant_for, ack_id, say))

    def _say_later(
        self, connection: Connection, meant_for: str | None, ack_id: str | None, say: Callable[[], None]
    ) -> None:
        """Say something behind what the client asked for before: in the room that it was in then, or not at all.

        `meant_for`: that room, "" for none; None where the store had yet to say which.
        """
        try:
            if meant_for is not None and (connection.room is None or connection.room.room_id != meant_for):
                raise NotInRoom
            say()
        except ChatError as exc:
            self._lifecycle.refuse(connection, "send-message", ack_id, exc)

    def _reply(
        self,
        connection: Connection,
        content: str,
        client_id: str,
        reply_to: str,
        ack_id: str | None,
        received: float,
    ) -> None:
        """As `_say`, with a look at the original first: only a reply waits for the store before it is stored."""
        quote = None if connection.room is None else self._quote(connection, connection.room, reply_to, client_id)
        self._say(connection, content, client_id, ack_id, received, quote)

    def _quote(self, connection: Connection, room: Room, message_id: str, client_id: str) -> Quote | None:
        """What a reply quotes. None for one that is stored already: what it quoted may be gone from the log by now."""
        room_id, _, number = message_id.rpartition("-")
        if room_id == room.room_id and MESSAGE_NUMBER.fullmatch(number):
            if number == "0":
                return Quote(message_id, "system", GREETING)
            original = self._rooms.message(room_id, connection.person, room.slot, int(number))
            if original is not None:
                said = read_body(original.body)
                return Quote(message_id, said.senderId, said.content[:MAX_QUOTE])
            if client_id and self._rooms.is_stored(room_id, room.slot, client_id):
                return None
        raise InvalidPayload("The message replied to isn't in this room or is no longer kept")

    def _say(
        self,
        connection: Connection,
        content: str,
        client_id: str,
        ack_id: str | None,
        received: float,
        quote: Quote | None = None,
    ) -> None:
        room = connection.room
        if room is None:
            raise NotInRoom if connection.registered else Unavailable
        body = message_body(room.user_id, content) if quote is None else reply_body(room.user_id, content, quote)
        done = partial(self._stored, connection, room, body, ack_id, received)
        self._rooms.append(
            Entry(
                room.room_id,
                room.slot,
                room.partner,
                room.partner_worker,
                room.last_seq,
                connection.version,
                client_id,
                body,
                done,
            )
        )

    def _stored(
        self,
        connection: Connection,
        room: Room,
        body: str,
        ack_id: str | None,
        received: float,
        seq: int,
        timestamp: int,
        outcome: Outcome | None,
        before: int = 0,
    ) -> None:
        if not seq:
            refusal = NotInRoom() if outcome is ENDED else Unavailable()
            self._lifecycle.refuse(connection, "send-message", ack_id, refusal)
            # The partner, if it is here: the message may be stored all the same, and this worker has to deliver it.
            doubtful = connection if outcome is not None else self._connections.in_room(room.partner, room.room_id)
            if doubtful is not None:
                self._lifecycle.mark_stale(doubtful)
            return
        if seq > room.last_seq:
            room.last_seq = seq
        if seq > room.said:
            room.said = seq
        if outcome is LOCAL or outcome is LATE:
            message = Delivery(
                receiver=room.partner,
                room_id=room.room_id,
                seq=seq,
                timestamp=timestamp,
                body=body,
                previous=before,
            )
            self.deliver(message, received, late=outcome is LATE)
        elif outcome is REMOTE:
            METRICS.delivery_remote.observe(time.monotonic() - received)
        if ack_id is not None:
            connection.transport.send(
                f'{packets.ACK}{ack_id}[{{"ok":true,"id":"{room.room_id}-{seq}","seq":{seq},"timestamp":{timestamp}}}]'
            )

    def deliver(self, message: Delivery, received: float | None = None, late: bool = False) -> None:
        """Send a stored message to its receiver, if the person is here and in that room (or is just coming).

        `received`: when it came in, where that was here (monotonic, in seconds). `late`: it may have been sent before,
        and has reached this worker only now.
        """
        receiver = self._connections.by_person.get(message.receiver)
        if receiver is None:
            return
        if receiver.deferred is not None:
            receiver.deferred.append(partial(self.deliver, message, received, late))
            return
        room, seq = receiver.room, message.seq
        if room is None or room.room_id != message.room_id:
            receiver.early = message.room_id
            return
        if late and seq <= min(room.received, room.missed):
            room.late = True
            self._lifecycle.mark_stale(receiver)  # only a new session can show it in its place
            return
        if seq <= room.received or receiver.stale or room.behind:  # what waits in the log comes first
            return
        if message.previous > max(room.received, room.missed) or (received is not None and self._may_overtake(room)):
            self._lifecycle.fetch_missed(receiver)  # which finds this one too
            return
        room.received = seq
        if seq > room.last_seq:
            room.last_seq = seq
        receiver.transport.send(message_packet(room.room_id, seq, message.timestamp, message.body, room.offset(seq)))
        if received is not None:
            METRICS.delivery_local.observe(time.monotonic() - received)

    def _may_overtake(self, room: Room) -> bool:
        """Return whether a message that was stored here may be ahead of an earlier one on its way from elsewhere.

        So it is from when the partner came to this worker until the channel, in its order, says so: then everything
        that the partner said before has come as well. The log has all of it.
        """
        return room.partner_worker != self._worker and self._rooms.log.shared

    def on_typing(self, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        is_typing = args[0] if len(args) == 1 and type(args[0]) is bool else parse_argument(args, Typing).isTyping
        self._limit(connection.buckets.typing, self._settings.rate_typing)
        self._check_stall()
        room = connection.room
        if connection.stale:
            raise Unavailable
        if room is None:
            raise NotInRoom
        signal = TypingSignal(receiver=room.partner, room_id=room.room_id, is_typing=is_typing)
        if room.partner in self._connections.by_person:
            self.deliver_typing(signal)
        elif room.partner_worker not in ("", self._worker):
            self._rooms.publish_typing(room.partner_worker, signal)
        if ack_id is not None:
            connection.acknowledge(ack_id, {"ok": True})

    def deliver_typing(self, signal: TypingSignal) -> None:
        receiver = self._connections.in_room(signal.receiver, signal.room_id)
        if receiver is not None:
            receiver.emit_volatile("partner-typing", PartnerTyping(signal.is_typing))

    # What all of them do

    def _limit(self, bucket: TokenBucket, rate: float) -> float:
        """Returns when that was (monotonic, in seconds)."""
        now = time.monotonic()
        wait_ms = bucket.take(rate, now)
        if wait_ms:
            raise RateLimited(retry_after_ms=wait_ms)
        return now

    def _check_known(self, connection: Connection, state: str) -> None:
        if state == "unknown":  # the store lost its data, or took this worker for dead
            self._lifecycle.mark_stale(connection)
            raise Unavailable

    def _perform(
        self, connection: Connection, event: str, ack_id: str | None, action: Callable[[Connection], dict[str, Any]]
    ) -> None:
        def run() -> None:
            if connection.closed:
                return
            try:
                with tracing.span(event):
                    if not connection.registered:
                        raise Unavailable
                    if connection.room is not None:
                        self._rooms.settle(connection.room.room_id)
                    result = action(connection)
            except ChatError as exc:
                self._lifecycle.refuse(connection, event, ack_id, exc)
                if isinstance(exc, Unavailable) and connection.registered:  # it may have been done all the same
                    self._lifecycle.mark_stale(connection)
                return
            if ack_id is not None:
                connection.acknowledge(ack_id, {"ok": True, **result})

        self._check_stall()
        connection.perform(run)
