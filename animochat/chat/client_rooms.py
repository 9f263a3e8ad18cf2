"""The beginning and the end of a room for a client that is connected here.

`begin`: a match was made. `end`, `finish`: the partner, or the store, has ended the room. `leave`: the client has.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from animochat import hooks
from animochat.chat.connections import Connection, Connections
from animochat.chat.delivery import Delivery, message_packet
from animochat.chat.room import Room
from animochat.protocol import offset
from animochat.protocol.errors import Unavailable
from animochat.protocol.offset import Offset
from animochat.protocol.payloads import Matched, Message, PartnerDisconnected, PartnerReconnecting
from animochat.protocol.room_record import RoomRecord
from animochat.rooms.log import LogPart
from animochat.rooms.service import Rooms
from animochat.telemetry.metrics import METRICS

GREETING = "You are now chatting with a stranger. Say hi!"


@dataclass(eq=False)
class ClientRooms:
    """Brings one lobby's connections into rooms and out of them."""

    connections: Connections
    rooms: Rooms
    delivery: Delivery

    def begin(self, connection: Connection, record: RoomRecord) -> None:
        """Bring a connection into the room of a match that has just been made, count the match, and send it.

        The one way in, whether the answer to a search has the match or a notice does. Does not wait.
        """
        if record.slot == "a":  # there is one of each match in all
            METRICS.matches += 1
            details = {"room_id": record.room_id, "interests": record.interests, "since": record.since}
            hooks.notify(hooks.matched, connection.lobby, **details)
        if connection.asked_at:
            METRICS.match_wait.observe(max(0.0, time.monotonic() - connection.asked_at))
        connection.enter_room(Room(record, connection.version))
        self.rooms.life.open(record.room_id, record.slot, connection.version)
        send_beginning(connection, record)
        if record.grace_ms is not None:
            connection.emit("partner-reconnecting", PartnerReconnecting(record.grace_ms))
        if connection.early == record.room_id:
            self.delivery.fetch_missed(connection)

    def end(self, connection: Connection, room: Room, reason: str) -> None:
        """Finish a room that the partner, or the store, has ended. Does not wait."""
        connection.perform(partial(self._end, connection, room, reason))

    def _end(self, connection: Connection, room: Room, reason: str) -> None:
        # A stale connection's resync, which follows, finds the end.
        if connection.room is room and not connection.stale and not connection.closed:
            try:
                self.finish(connection, room, reason)
            except Unavailable:
                connection.mark_stale()

    def finish(self, connection: Connection, room: Room, reason: str) -> None:
        """Send the messages of the log that the client has not got yet, then the end. Waits for the store.

        Raises Unavailable, nothing being sent, also where some of it is lost: only a new session can say so, which the
        next resync sends.
        """
        known = room.known()
        log = self.remaining(connection.person, known)
        if not log.complete:
            raise Unavailable
        self.send_end(connection, known, log, reason)

    def remaining(self, person: str, known: Offset) -> LogPart:
        """Close the log of a room that is over, and return the messages that the client has not got. Raises
        Unavailable.

        The partner's last messages may be stored, and the answer that says so on its way, or waiting in the log for a
        resync. The answer to this comes behind it.
        """
        self.rooms.life.begin_to_close(known.room_id, lambda: None)
        return self.rooms.history(known.room_id, person, known.slot, known.received)

    def send_end(self, connection: Connection, known: Offset, log: LogPart, reason: str) -> None:
        """Send the remaining messages of a room that is over, and its end: the one way out for a client that stays."""
        for entry in log.messages:
            if entry.slot != known.slot:
                place = offset.chatting(known.room_id, known.slot, entry.seq)
                connection.transport.send(message_packet(known.room_id, entry.seq, entry.timestamp, entry.body, place))
        self.connections.leave_room(connection, known.room_id)
        connection.emit("partner-disconnected", PartnerDisconnected(reason), offset.IDLE)

    def leave(self, connection: Connection, room_id: str) -> None:
        """Close the log of a room that the client itself has left: the one way out for it. Waits for the store.

        Raises Unavailable where the log may be open: the partner may still say something there, so leaving may not be
        acknowledged. In a cluster the log's node may be gone for longer, and does not keep anyone in the room.
        """
        try:
            self.rooms.life.close(room_id)
        except Unavailable:
            if not self.rooms.logs_elsewhere:
                raise
        self.connections.leave_room(connection, room_id)


def send_beginning(connection: Connection, record: RoomRecord) -> None:
    """Send `matched`, and the system message that the room begins with. The connection is in the room already."""
    room = connection.room
    assert room is not None  # the offset says so
    connection.note("Matched")
    payload = Matched(room.room_id, room.partner_user_id, room.user_id, record.interests)
    connection.emit("matched", payload, room.offset(offset.NOTHING_SAID))
    send_greeting(connection, room, record.since)


def send_greeting(connection: Connection, room: Room, since: int) -> None:
    """Send the system message that a room begins with. `since`: Unix ms."""
    connection.emit("message", greeting(room.room_id, since), room.offset(0))


def greeting(room_id: str, since: int) -> Message:
    """Return the system message that a room begins with. `since`: Unix ms."""
    return Message(f"{room_id}-0", room_id, 0, "system", GREETING, since, "system")
