"""The client's events: one method for each, named as the event is (protocol/events.py).

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

import msgspec
import socketio

from animochat.chat.connections import Connection, Connections, Room
from animochat.chat.lifecycle import Lifecycle
from animochat.chat.room_events import GREETING, message_packet
from animochat.matchmaking.service import Matchmaking, Search
from animochat.moderation.lobby_moderation import LobbyModeration, Said
from animochat.moderation.words import WordFilter
from animochat.protocol import packets
from animochat.protocol.channel import Delivery, RelayedEvent
from animochat.protocol.errors import AlreadyInRoom, ChatError, InvalidPayload, NotInRoom, RateLimited, Unavailable
from animochat.protocol.events import CLIENT_EVENTS, Rate
from animochat.protocol.payloads import (
    MAX_QUOTE,
    Limits,
    PartnerTyping,
    Quote,
    Waiting,
    message_body,
    read_body,
    reply_body,
)
from animochat.protocol.room_record import Departure, Parting
from animochat.rooms.appending import ENDED, LATE, LOCAL, REMOTE, Entry, Outcome
from animochat.rooms.service import Rooms
from animochat.settings import Settings
from animochat.telemetry import tracing
from animochat.telemetry.metrics import METRICS

log = logging.getLogger(__name__)

#: A message's place in its room's order, as it stands at the end of its id.
MESSAGE_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}", re.ASCII)


class Request(msgspec.Struct, frozen=True):
    """An event of a client, checked: `argument` is of the event's type. `received`: monotonic, in seconds."""

    connection: Connection
    event: str
    argument: Any
    ack_id: str | None
    received: float


#: Returns what the acknowledgement has beside `ok`; None where it is sent later.
Handler = Callable[[Request], "dict[str, Any] | None"]


class ChatNamespace(socketio.Namespace):
    """Namespace `/`, as it is for the clients of one lobby."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
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
        self._limits = limits
        self._rates: dict[Rate, float] = {
            "messages": settings.rate_messages,
            "searches": settings.rate_searches,
            "typing": settings.rate_typing,
        }
        self._connections = connections
        self._lifecycle = lifecycle
        self._matchmaking = matchmaking
        self._rooms = rooms
        self._moderation = moderation
        self._words = words
        self._worker = worker
        self._check_stall = check_stall
        self._events = {event.name: (event, getattr(self, event.handler)) for event in CLIENT_EVENTS}

    def trigger_event(self, event: str, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        """Handle one event of a client. Never blocks and never raises."""
        try:
            known = self._events.get(event)
            if known is None:
                raise InvalidPayload("Unknown event")
            described, handle = known
            argument = described.parse(args, self._limits)
            request = Request(connection, event, argument, ack_id, self._take(connection, described.rate))
            if described.waits:
                self._perform(request, handle)
            else:
                _answer(request, handle(request))
        except ChatError as exc:
            self._lifecycle.refuse(connection, event[:64], ack_id, exc)

    # Matching

    def on_find_match(self, request: Request) -> dict[str, Any]:
        return self._search(request, self._matchmaking.find_match)

    def on_next_match(self, request: Request) -> dict[str, Any]:
        return self._search(request, self._matchmaking.next_match)

    def _search(self, request: Request, ask: Callable[[str, str, tuple[str, ...]], Search]) -> dict[str, Any]:
        connection, wanted = request.connection, tuple(request.argument.interests)
        connection.asking = True
        if not connection.waiting:
            connection.asked_at = time.monotonic()
        search = ask(connection.person, connection.id, wanted)
        if search.room_left:
            self._leave(connection, search.room_left)
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

    def on_cancel_match(self, request: Request) -> dict[str, Any]:
        connection = request.connection
        if connection.room is not None:
            raise AlreadyInRoom
        if connection.waiting:
            self._follow(connection, self._matchmaking.cancel_match(connection.person, connection.id))
            connection.stop_waiting()
        connection.emit("match-cancelled")
        return {}

    # Rooms

    def on_leave_room(self, request: Request) -> dict[str, Any]:
        connection = request.connection
        if connection.room is None:
            raise NotInRoom
        return self._part(connection, self._rooms.leave(connection.person, connection.id))

    def on_block_partner(self, request: Request) -> dict[str, Any]:
        connection = request.connection
        room_id, _ = self._room_of(connection, request.argument.roomId)
        return self._part(connection, self._moderation.block_partner(connection.person, connection.id, room_id))

    def on_report_partner(self, request: Request) -> dict[str, Any]:
        connection, report = request.connection, request.argument
        person = connection.person
        room_id, slot = self._room_of(connection, report.roomId)
        # Read first: the log may be at another node than the lobby. Where either fails, nothing was changed.
        evidence = [
            Said("reporter" if entry.slot == slot else "reported", entry.timestamp, read_body(entry.body).content)
            for entry in self._rooms.evidence(room_id, person, slot)
        ]
        return self._part(
            connection,
            self._moderation.report_partner(room_id, report.reason, report.details, evidence, person, connection.id),
        )

    def _room_of(self, connection: Connection, named: str | None) -> tuple[str, str]:
        """Return the room that a client means, and the client's slot there: the present one, or one that has ended.

        `named`: None where the client named none. Raises NotInRoom.
        """
        room = connection.room
        if room is not None and named in (None, room.room_id):
            return room.room_id, room.slot
        slot = self._moderation.past_slot(named, connection.person) if named is not None else None
        if named is None or slot is None:
            raise NotInRoom
        return named, slot

    def _part(self, connection: Connection, parting: Parting) -> dict[str, Any]:
        """Bring the connection out of a room that the store has ended on the person's request."""
        self._check_known(connection, parting.state)
        if parting.state is Departure.NOT_IN_ROOM:
            raise NotInRoom
        if parting.state is Departure.LEFT:
            connection.advance(parting.version)
            self._leave(connection, parting.room_id)
        return {}

    def _leave(self, connection: Connection, room_id: str) -> None:
        self._rooms.life.close(room_id)
        self._connections.leave_room(connection, room_id)

    def on_send_message(self, request: Request) -> None:
        connection, message = request.connection, request.argument
        if self._words is not None:
            message.content = self._words.apply(message.content)
        if message.replyTo is None and not connection.busy:
            self._say(request)
            return
        meant_for = None
        if connection.registered:
            meant_for = connection.room.room_id if connection.room is not None else ""
        connection.perform(partial(self._say_later, request, meant_for))

    def _say_later(self, request: Request, meant_for: str | None) -> None:
        """Store a message behind what the client asked for before: in the room that it was in then, or not at all.

        `meant_for`: that room, "" for none; None where the store had yet to say which.
        """
        connection = request.connection
        try:
            if meant_for is not None and (connection.room is None or connection.room.room_id != meant_for):
                raise NotInRoom
            room, quote = connection.room, None
            if room is not None and request.argument.replyTo is not None:
                quote = self._quote(request, room)
            self._say(request, quote)
        except ChatError as exc:
            self._lifecycle.refuse(connection, request.event, request.ack_id, exc)

    def _quote(self, request: Request, room: Room) -> Quote | None:
        """Return the quote of a reply; None for one that is stored already, whose original may be gone by now.

        Waits for the store: only a reply does before it is stored.
        """
        message = request.argument
        room_id, _, number = message.replyTo.rpartition("-")
        if room_id == room.room_id and MESSAGE_NUMBER.fullmatch(number):
            if number == "0":
                return Quote(message.replyTo, "system", GREETING)
            original = self._rooms.message(room_id, request.connection.person, room.slot, int(number))
            if original is not None:
                said = read_body(original.body)
                return Quote(message.replyTo, said.senderId, said.content[:MAX_QUOTE])
            if message.clientId and self._rooms.is_stored(room_id, room.slot, message.clientId):
                return None
        raise InvalidPayload("The message replied to isn't in this room or is no longer kept")

    def _say(self, request: Request, quote: Quote | None = None) -> None:
        connection, message = request.connection, request.argument
        room = connection.room
        if room is None:
            raise NotInRoom if connection.registered else Unavailable
        if quote is None:
            body = message_body(room.user_id, message.content)
        else:
            body = reply_body(room.user_id, message.content, quote)
        self._rooms.append(
            Entry(
                room.room_id,
                room.slot,
                room.partner,
                room.partner_worker,
                room.last_seq,
                connection.version,
                message.clientId or "",
                body,
                partial(self._stored, request, room, body),
            )
        )

    def _stored(
        self,
        request: Request,
        room: Room,
        body: str,
        seq: int,
        timestamp: int,
        outcome: Outcome | None,
        before: int = 0,
    ) -> None:
        connection, ack_id, received = request.connection, request.ack_id, request.received
        if not seq:
            refusal = NotInRoom() if outcome is ENDED else Unavailable()
            self._lifecycle.refuse(connection, request.event, ack_id, refusal)
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
        if message.previous > max(room.received, room.missed):
            self._lifecycle.fetch_missed(receiver)  # which finds this one too
            return
        room.received = seq
        if seq > room.last_seq:
            room.last_seq = seq
        receiver.transport.send(message_packet(room.room_id, seq, message.timestamp, message.body, room.offset(seq)))
        if received is not None:
            METRICS.delivery_local.observe(time.monotonic() - received)

    def on_typing(self, request: Request) -> dict[str, Any]:
        self.relay(request.connection, "partner-typing", PartnerTyping(request.argument.isTyping))
        return {}

    def relay(self, connection: Connection, event: str, payload: Any = msgspec.UNSET) -> None:
        """Send an event to the partner, wherever that is. It is neither stored nor repeated.

        Does not wait. Raises NotInRoom, or Unavailable where the store has to be asked first.
        """
        self._check_stall()
        room = connection.room
        if connection.stale:
            raise Unavailable
        if room is None:
            raise NotInRoom
        relayed = RelayedEvent(receiver=room.partner, room_id=room.room_id, packet=packets.event(event, payload))
        if room.partner in self._connections.by_person:
            self.deliver_event(relayed)
        elif room.partner_worker not in ("", self._worker):
            self._rooms.publish_event(room.partner_worker, relayed)

    def deliver_event(self, event: RelayedEvent) -> None:
        receiver = self._connections.in_room(event.receiver, event.room_id)
        if receiver is not None:
            receiver.transport.send(event.packet)

    # What all of them do

    def _take(self, connection: Connection, rate: Rate | None) -> float:
        """Count an event against its limit. Returns the time (monotonic, in seconds); raises RateLimited."""
        now = time.monotonic()
        if rate is not None:
            wait_ms = getattr(connection.buckets, rate).take(self._rates[rate], now)
            if wait_ms:
                raise RateLimited(retry_after_ms=wait_ms)
        return now

    def _check_known(self, connection: Connection, state: str) -> None:
        if state == "unknown":  # the store lost its data, or took this worker for dead
            self._lifecycle.mark_stale(connection)
            raise Unavailable

    def _perform(self, request: Request, handle: Handler) -> None:
        connection = request.connection

        def run() -> None:
            if connection.closed:
                return
            try:
                with tracing.span(request.event):
                    if not connection.registered:
                        raise Unavailable
                    if connection.room is not None:
                        self._rooms.settle(connection.room.room_id)
                    answer = handle(request)
            except ChatError as exc:
                self._lifecycle.refuse(connection, request.event, request.ack_id, exc)
                if isinstance(exc, Unavailable) and connection.registered:  # it may have been done all the same
                    self._lifecycle.mark_stale(connection)
                return
            _answer(request, answer)

        self._check_stall()
        connection.perform(run)


def _answer(request: Request, answer: dict[str, Any] | None) -> None:
    if request.ack_id is not None and answer is not None:
        request.connection.acknowledge(request.ack_id, {"ok": True, **answer})
