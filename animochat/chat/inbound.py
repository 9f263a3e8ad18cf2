"""What reaches a worker over its channel: what scripts decided about its people, and what partners elsewhere say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gevent

from animochat.chat.connections import Connection, Connections, announce
from animochat.chat.lifecycle import Lifecycle
from animochat.chat.namespace import ChatNamespace
from animochat.protocol.payloads import Notice, PartnerReconnecting, decode_notices
from animochat.protocol.room_record import RoomRecord
from animochat.rooms.memory import RememberedMessage
from animochat.rooms.service import Rooms


class ChannelHandler:
    """Applies the channel's messages to this worker's connections. Nothing here waits."""

    def __init__(
        self,
        connections: Connections,
        lifecycle: Lifecycle,
        namespace: ChatNamespace,
        rooms: Rooms,
        check_stall: Callable[[], None],
    ) -> None:
        self._connections = connections
        self._lifecycle = lifecycle
        self._namespace = namespace
        self._rooms = rooms
        self._check_stall = check_stall

    def receive(self, data: bytes) -> None:
        """Take one message of the channel: a JSON list of notices, or lines of messages, or a `typing` line.

        In a cluster messages come as a `chain` (rooms/outbox.py), and `look` names those who may have missed one.
        """
        self._check_stall()
        if data.startswith(b"["):
            for notice in decode_notices(data):
                self._notice(notice)
            return
        memory = self._rooms.memory
        kind, *lines = data.decode().split("\n")
        if kind == "look":
            for line in lines:
                person, room_id = line.split(" ")
                connection = self._connections.by_person.get(person)
                if connection is not None:  # one that just registers looks once it is in the room
                    connection.apply_or_defer(partial(self._look, person, room_id))
            return
        for line in lines:
            person, room_id, seq, timestamp, body = line.split(" ", 4)
            before = "0"
            if kind == "chain":
                before, body = body.split(" ", 1)
            new = memory is not None and memory.keep(room_id, int(seq), RememberedMessage(person, int(timestamp), body))
            self._namespace.deliver(person, room_id, int(seq), int(timestamp), body, int(before), late=new)
        if not lines:
            _, person, room_id, is_typing = kind.split(" ")
            self._namespace.deliver_typing(person, room_id, is_typing == "1")

    def _notice(self, notice: Notice) -> None:
        if not notice.p:
            self._for_everybody(notice)
            return
        if notice.e == "banned":
            banned = self._connections.by_id.get(notice.conn)
            if banned is not None:
                banned.apply_or_defer(partial(self._lifecycle.ban, banned, notice.ms))
            return
        if notice.e == "replaced":
            replaced = self._connections.by_id.get(notice.conn)
            if replaced is not None:
                self._lifecycle.replace(replaced)
            return
        connection = self._connections.by_person.get(notice.p)
        if connection is not None:
            connection.apply_or_defer(partial(self._apply, connection, notice))

    def _for_everybody(self, notice: Notice) -> None:
        if notice.e == "banned":
            gevent.spawn(self._lifecycle.ban_address, notice.address, notice.ms)
        elif notice.e == "announced":
            gevent.spawn(announce, self._connections, notice.text)

    def _apply(self, connection: Connection, notice: Notice) -> None:
        if notice.v <= connection.version:
            return  # what the store answered since says the same, or more
        connection.version = notice.v
        room = connection.room
        if notice.e == "ended":
            self._connections.ended.add(notice.room)
        if notice.e == "matched":
            names = notice.room, notice.slot, notice.user, notice.partner, notice.mate, notice.worker
            self._lifecycle.begin_room(connection, RoomRecord(*names, notice.since, interests=notice.interests))
        elif room is None or room.room_id != notice.room:
            return
        elif notice.e == "ended":
            self._lifecycle.end_room(connection, room, notice.reason)
        elif notice.e == "reconnecting":
            room.partner_away = True
            connection.emit("partner-reconnecting", PartnerReconnecting(notice.graceMs))
            self._look_into_log(connection)
        elif notice.e == "reconnected":
            room.partner_worker = notice.worker
            room.partner_away = False
            if not notice.quiet:
                connection.emit("partner-reconnected")
            self._look_into_log(connection)

    def _look(self, person: str, room_id: str) -> None:
        """Fetch what someone may have missed in a room."""
        connection = self._connections.in_room(person, room_id)
        if connection is not None:
            self._lifecycle.fetch_missed(connection)

    def _look_into_log(self, connection: Connection) -> None:
        """In a cluster the worker where the partner was may have died between storing a message and telling of it."""
        if self._rooms.log_may_be_ahead:
            self._lifecycle.fetch_missed(connection)
