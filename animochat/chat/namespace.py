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

from animochat import hooks
from animochat.chat.client_rooms import GREETING, ClientRooms
from animochat.chat.connections import Connection, Connections
from animochat.chat.delivery import Delivery
from animochat.chat.departures import Departures
from animochat.chat.room import Room
from animochat.matchmaking.service import Matchmaking, Search
from animochat.moderation.lobby_moderation import LobbyModeration, Said
from animochat.moderation.words import WordFilter
from animochat.protocol import packets
from animochat.protocol.channel import RelayedMessage
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
from animochat.rooms.appending import ENDED, LATE, LOCAL, REMOTE, NewMessage, Outcome
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


class ChatEvents(socketio.Namespace):
    """Namespace `/`, as it is for the clients of one lobby."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        connections: Connections,
        departures: Departures,
        client_rooms: ClientRooms,
        delivery: Delivery,
        matchmaking: Matchmaking,
        rooms: Rooms,
        moderation: LobbyModeration,
        words: WordFilter | None,
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
        self._departures = departures
        self._client_rooms = client_rooms
        self._delivery = delivery
        self._matchmaking = matchmaking
        self._rooms = rooms
        self._moderation = moderation
        self._words = words
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
            self._departures.refuse(connection, event[:64], ack_id, exc)

    # Matching

    def on_find_match(self, request: Request) -> dict[str, Any]:
        return self._search(request, self._matchmaking.find_match)

    def on_next_match(self, request: Request) -> dict[str, Any]:
        return self._search(request, self._matchmaking.next_match)

    def _search(self, request: Request, ask: Callable[[str, str, tuple[str, ...]], Search]) -> dict[str, Any]:
        connection, wanted = request.connection, tuple(request.argument.interests)
        connection.begin_search()
        search = ask(connection.person, connection.id, wanted)
        if search.room_left:
            self._client_rooms.leave(connection, search.room_left)
        self._follow(connection, search)
        if search.state == "matched":
            return {"state": "matched"}
        connection.begin_waiting(wanted, search.cooldown_ms)
        connection.emit("waiting", Waiting(search.cooldown_ms))
        return {"state": "waiting", "cooldownMs": search.cooldown_ms}

    def _follow(self, connection: Connection, search: Search) -> None:
        """Apply the store's answer to the connection before the answer is acknowledged.

        The notices of the same change are still on their way, and not newer. Raises AlreadyInRoom, and sends the
        client the room.
        """
        self._check_known(connection, search.state)
        if search.state == "in-room" and search.room is None:  # its record is lost
            self._check_known(connection, "unknown")
        room, entered = connection.room, search.room
        if entered is not None and entered.room_id in self._connections.ended:  # the store is older than its end
            self._check_known(connection, "unknown")
        if room is not None and (entered is None or entered.room_id != room.room_id):  # the partner ended it
            reason = search.ended[1] if search.ended[0] == room.room_id else "disconnected"
            self._client_rooms.finish(connection, room, reason)
        connection.end_request(search.version)
        if entered is not None and connection.room is None:
            self._client_rooms.begin(connection, entered)
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
        answer = self._part(
            connection,
            self._moderation.report_partner(room_id, report.reason, report.details, evidence, person, connection.id),
        )
        hooks.notify(hooks.reported, connection.lobby, room_id=room_id, reason=report.reason)
        return answer

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
            self._client_rooms.leave(connection, parting.room_id)
        return {}

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
        """Store a message after the client's earlier requests: in the room of that time, or not at all.

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
            self._departures.refuse(connection, request.event, request.ack_id, exc)

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
            NewMessage(
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
            self._departures.refuse(connection, request.event, ack_id, refusal)
            # The partner, if it is here: the message may be stored all the same, and this worker has to deliver it.
            doubtful = connection if outcome is not None else self._connections.in_room(room.partner, room.room_id)
            if doubtful is not None:
                doubtful.mark_stale()
            return
        room.store(seq)
        if outcome is LOCAL or outcome is LATE:
            message = RelayedMessage(
                receiver=room.partner,
                room_id=room.room_id,
                seq=seq,
                timestamp=timestamp,
                body=body,
                previous=before,
            )
            self._delivery.deliver(message, received, late=outcome is LATE)
        elif outcome is REMOTE:
            METRICS.delivery_remote.observe(time.monotonic() - received)
        if ack_id is not None:
            connection.transport.send(
                f'{packets.ACK}{ack_id}[{{"ok":true,"id":"{room.room_id}-{seq}","seq":{seq},"timestamp":{timestamp}}}]'
            )

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
        self._delivery.relay(room, packets.event(event, payload))

    # Shared by all handlers

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
            connection.mark_stale()
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
                self._departures.refuse(connection, request.event, request.ack_id, exc)
                if isinstance(exc, Unavailable) and connection.registered:  # it may have been done all the same
                    connection.mark_stale()
                return
            _answer(request, answer)

        self._check_stall()
        connection.perform(run)


def _answer(request: Request, answer: dict[str, Any] | None) -> None:
    if request.ack_id is not None and answer is not None:
        request.connection.acknowledge(request.ack_id, {"ok": True, **answer})
