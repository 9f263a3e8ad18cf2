"""The client's events: one method for each, named as the event is.

`send-message` and `typing` never wait: they may run in the hub, straight from the socket. The others wait for the store
in a greenlet of their client's, one at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import socketio

from animochat import tracing
from animochat.errors import (
    AlreadyInRoom,
    ChatError,
    EmptyMessage,
    InvalidPayload,
    MessageTooLong,
    NotInRoom,
    RateLimited,
    Unavailable,
)
from animochat.matchmaking.service import Matchmaking, Search
from animochat.metrics import METRICS
from animochat.rooms.service import Entry, Rooms
from animochat.settings import Settings
from animochat.sockets import packets
from animochat.sockets.connections import Bucket, Connection, Connections, Room
from animochat.sockets.lifecycle import Lifecycle, message_packet
from animochat.sockets.payloads import (
    SendMessage,
    Typing,
    interests,
    message_body,
    none,
    one,
)

log = logging.getLogger(__name__)

Handler = Callable[[Connection, list[Any], "str | None"], None]


class ChatNamespace(socketio.Namespace):
    """Namespace `/`."""

    def __init__(
        self,
        settings: Settings,
        connections: Connections,
        lifecycle: Lifecycle,
        matchmaking: Matchmaking,
        rooms: Rooms,
        worker: str,
    ) -> None:
        super().__init__("/")
        self._settings = settings
        self._connections = connections
        self._lifecycle = lifecycle
        self._matchmaking = matchmaking
        self._rooms = rooms
        self._worker = worker
        self._handlers: dict[str, Handler] = {
            "find-match": self.on_find_match,
            "cancel-match": self.on_cancel_match,
            "next-match": self.on_next_match,
            "send-message": self.on_send_message,
            "typing": self.on_typing,
            "leave-room": self.on_leave_room,
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
        if search.state == "in-room":
            raise AlreadyInRoom
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
        if not connection.waiting:
            connection.asked_at = time.monotonic()

    def _searching(self, connection: Connection, search: Search, wanted: tuple[str, ...]) -> dict[str, Any]:
        self._check_known(connection, search.state)
        connection.version = max(connection.version, search.version)
        room = connection.room
        if room is not None:
            # The partner ended it. The notice of that is still on its way, and older than this answer.
            connection.room = None
            self._rooms.close(room.room_id, self._settings.reconnect_grace_ms)
            reason = search.ended[1] if search.ended[0] == room.room_id else "disconnected"
            connection.emit("partner-disconnected", {"reason": reason})
        if search.state == "matched":  # `matched` follows: the worker's channel has it, in its place among all news
            return {"state": "matched"}
        if not connection.waiting:  # who waits already goes on as it was
            connection.waiting = True
            connection.interests = wanted
        connection.emit("waiting", {"cooldownMs": search.cooldown_ms})
        return {"state": "waiting", "cooldownMs": search.cooldown_ms}

    def on_cancel_match(self, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        none(args)
        self._perform(connection, "cancel-match", ack_id, self._cancel_match)

    def _cancel_match(self, connection: Connection) -> dict[str, Any]:
        if connection.room is not None:
            raise AlreadyInRoom
        if connection.waiting:
            search = self._matchmaking.cancel_match(connection.person, connection.id)
            if search.state == "in-room":
                raise AlreadyInRoom
            self._check_known(connection, search.state)
            connection.version = max(connection.version, search.version)
            connection.waiting = False
        connection.emit("match-cancelled")
        return {}

    # Rooms

    def on_leave_room(self, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        none(args)
        self._perform(connection, "leave-room", ack_id, self._leave_room)

    def _leave_room(self, connection: Connection) -> dict[str, Any]:
        if connection.room is None:
            raise NotInRoom
        state, version, room_id = self._rooms.leave(connection.person, connection.id)
        self._check_known(connection, state)
        if state == "not-in-room":
            raise NotInRoom
        connection.version = max(connection.version, version)
        self._leave(connection, room_id)
        return {}

    def _leave(self, connection: Connection, room_id: str) -> None:
        self._rooms.close(room_id, self._settings.reconnect_grace_ms)
        if connection.room is not None and connection.room.room_id == room_id:
            connection.room = None

    def on_send_message(self, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        if len(args) == 1 and type(args[0]) is str:
            content, client_id = args[0], None
        else:
            message: SendMessage = one(args, SendMessage)
            content, client_id = message.content, message.clientId
        content = content.strip()
        if not content:
            raise EmptyMessage
        if len(content) > self._settings.max_message_length:
            raise MessageTooLong(f"Message is longer than {self._settings.max_message_length} characters")
        received = self._limit(connection.buckets.messages, self._settings.rate_messages)
        if connection.busy:  # behind what this client asked for before
            connection.perform(partial(self._say_later, connection, content, client_id or "", ack_id, received))
        else:
            self._say(connection, content, client_id or "", ack_id, received)

    def _say_later(
        self, connection: Connection, content: str, client_id: str, ack_id: str | None, received: float
    ) -> None:
        try:
            self._say(connection, content, client_id, ack_id, received)
        except ChatError as exc:
            self._lifecycle.refuse(connection, "send-message", ack_id, exc)

    def _say(self, connection: Connection, content: str, client_id: str, ack_id: str | None, received: float) -> None:
        room = connection.room
        if room is None:
            raise NotInRoom if connection.registered else Unavailable
        body = message_body(room.user_id, content)
        done = partial(self._stored, connection, room, body, ack_id, received)
        self._rooms.append(
            Entry(room.room_id, room.slot, room.partner, room.partner_worker, room.last_seq, client_id, body, done)
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
        outcome: bytes | None,
    ) -> None:
        if outcome is None or outcome == b"lost":
            self._lifecycle.refuse(connection, "send-message", ack_id, Unavailable())
            # The partner, if it is here: the message may be stored all the same, and this worker has to deliver it.
            doubtful = connection if outcome is not None else self._connections.in_room(room.partner, room.room_id)
            if doubtful is not None:
                self._lifecycle.doubt(doubtful)
            return
        if seq > room.last_seq:
            room.last_seq = seq
        # Where no log has it, the partner may not have got what was sent before, and knows it if it has.
        if outcome == b"local" or (outcome == b"again" and self._rooms.memory is not None):
            self.deliver(room.partner, room.room_id, seq, timestamp, body, received)
        elif outcome == b"remote":
            METRICS.delivery_remote.observe(time.monotonic() - received)
        if ack_id is not None:
            connection.transport.send(
                f'{packets.ACK}{ack_id}[{{"ok":true,"id":"{room.room_id}-{seq}","seq":{seq},"timestamp":{timestamp}}}]'
            )

    def deliver(
        self, person: str, room_id: str, seq: int, timestamp: int, body: str, received: float | None = None
    ) -> None:
        """Hand a stored message to its receiver, if the person is here and in that room (or is just coming).

        `received`: when it came in, where that was here (monotonic, in seconds).
        """
        receiver = self._connections.by_person.get(person)
        if receiver is None:
            return
        if receiver.held is not None:
            receiver.held.append(partial(self.deliver, person, room_id, seq, timestamp, body, received))
            return
        room = receiver.room
        if room is None or room.room_id != room_id or seq <= room.received or receiver.stale:
            return
        room.received = seq
        if seq > room.last_seq:
            room.last_seq = seq
        receiver.transport.send(message_packet(room_id, seq, timestamp, body, room.offset(seq)))
        if received is not None:
            METRICS.delivery_local.observe(time.monotonic() - received)

    def on_typing(self, connection: Connection, args: list[Any], ack_id: str | None) -> None:
        is_typing = args[0] if len(args) == 1 and type(args[0]) is bool else one(args, Typing).isTyping
        self._limit(connection.buckets.typing, self._settings.rate_typing)
        room = connection.room
        if room is None:
            raise NotInRoom
        if room.partner in self._connections.by_person:
            self.deliver_typing(room.partner, room.room_id, is_typing)
        elif room.partner_worker not in ("", self._worker):
            self._rooms.publish_typing(room.partner_worker, room.partner, room.room_id, is_typing)
        if ack_id is not None:
            connection.acknowledge(ack_id, {"ok": True})

    def deliver_typing(self, person: str, room_id: str, is_typing: bool) -> None:
        receiver = self._connections.in_room(person, room_id)
        if receiver is not None:
            receiver.emit_volatile("partner-typing", {"isTyping": is_typing})

    # What all of them do

    def _limit(self, bucket: Bucket, rate: float) -> float:
        """Returns when that was (monotonic, in seconds)."""
        now = time.monotonic()
        wait_ms = bucket.take(rate, now)
        if wait_ms:
            raise RateLimited(retry_after_ms=wait_ms)
        return now

    def _check_known(self, connection: Connection, state: str) -> None:
        if state == "unknown":  # the store lost its data, or took this worker for dead
            self._lifecycle.doubt(connection)
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
                    result = action(connection)
            except ChatError as exc:
                self._lifecycle.refuse(connection, event, ack_id, exc)
                if isinstance(exc, Unavailable) and connection.registered:  # it may have been done all the same
                    self._lifecycle.doubt(connection)
                return
            if ack_id is not None:
                connection.acknowledge(ack_id, {"ok": True, **result})

        connection.perform(run)
