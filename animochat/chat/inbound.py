"""Texts on a worker's channel: decisions of scripts about its people, and messages of partners elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gevent

from animochat.chat.client_rooms import ClientRooms
from animochat.chat.connections import Connection, Connections
from animochat.chat.delivery import Delivery
from animochat.chat.departures import Departures
from animochat.protocol import channel
from animochat.protocol.payloads import PartnerReconnecting
from animochat.rooms.service import Rooms


class ChannelHandler:
    """Applies the channel's texts (protocol/channel.py) to this worker's connections. Nothing here waits."""

    def __init__(
        self,
        connections: Connections,
        departures: Departures,
        client_rooms: ClientRooms,
        delivery: Delivery,
        rooms: Rooms,
        check_stall: Callable[[], None],
    ) -> None:
        self._connections = connections
        self._departures = departures
        self._client_rooms = client_rooms
        self._delivery = delivery
        self._rooms = rooms
        self._check_stall = check_stall
        self._handlers: dict[type, Callable[[Any], None]] = {
            channel.RelayedMessage: self._deliver,
            channel.RelayedEvent: delivery.deliver_event,
            channel.Look: delivery.look,
            channel.Replaced: self._replace,
            channel.Banned: self._ban,
            channel.Matched: self._defer,
            channel.Ended: self._defer,
            channel.Reconnecting: self._defer,
            channel.Reconnected: self._defer,
        }

    def receive(self, data: bytes) -> None:
        """Handle one text of the channel."""
        self._check_stall()
        for item in channel.decode(data):
            self._handlers[type(item)](item)

    def _deliver(self, message: channel.RelayedMessage) -> None:
        new = self._rooms.log.keep(message.room_id, message.seq, message.receiver, message.timestamp, message.body)
        self._delivery.deliver(message, late=new)

    # Notices for one connection, or for all connections

    def _replace(self, notice: channel.Replaced) -> None:
        connection = self._connections.by_id.get(notice.connection_id)
        if connection is not None:
            self._departures.replace(connection)

    def _ban(self, notice: channel.Banned) -> None:
        if notice.address or notice.device:
            gevent.spawn(self._departures.ban_origin, notice.address, notice.device, notice.ms, notice.reason)
            return
        connection = self._connections.by_id.get(notice.connection_id)
        if connection is not None:
            connection.apply_or_defer(partial(self._departures.ban, connection, notice.ms, notice.reason))

    # Changes of a person's state

    def _defer(self, notice: channel.RoomNotice) -> None:
        connection = self._connections.by_person.get(notice.person)
        if connection is not None:
            connection.apply_or_defer(partial(self._apply, connection, notice))

    def _apply(self, connection: Connection, notice: channel.RoomNotice) -> None:
        if not connection.advance(notice.version):
            return  # a later answer of the store includes it
        room = connection.room
        if isinstance(notice, channel.Ended):
            self._connections.ended.add(notice.room_id)
        if isinstance(notice, channel.Matched):
            self._client_rooms.begin(connection, notice.record())
        elif room is None or room.room_id != notice.room_id:
            return
        elif isinstance(notice, channel.Ended):
            self._client_rooms.end(connection, room, notice.reason)
        elif isinstance(notice, channel.Reconnecting):
            room.lose_partner()
            connection.emit("partner-reconnecting", PartnerReconnecting(notice.grace_ms))
            self._look_into_log(connection)
        elif isinstance(notice, channel.Reconnected):
            room.regain_partner(notice.worker)
            if not notice.quiet:
                connection.emit("partner-reconnected")
            self._look_into_log(connection)

    def _look_into_log(self, connection: Connection) -> None:
        """In a cluster the partner's worker may have died between storing a message and publishing it."""
        if self._rooms.log_may_be_ahead:
            self._delivery.fetch_missed(connection)
