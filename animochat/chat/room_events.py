"""Events of a room for one of its two clients: its beginning and the partner's messages. One path for each."""

from __future__ import annotations

import logging

from animochat.chat.connections import Connection, Room
from animochat.protocol import offset, packets
from animochat.protocol.payloads import Matched, Message, message_json
from animochat.protocol.room_record import RoomRecord
from animochat.rooms.log import LoggedMessage

log = logging.getLogger(__name__)

GREETING = "You are now chatting with a stranger. Say hi!"


def tell_beginning(connection: Connection, record: RoomRecord) -> None:
    """Send `matched`, and the system message that the room begins with. The connection is in the room already."""
    room = connection.room
    assert room is not None  # the offset says so
    log.debug("Matched", extra={"connection": connection.id})
    payload = Matched(room.room_id, room.partner_user_id, room.user_id, record.interests)
    connection.emit("matched", payload, room.offset(offset.NOTHING_SAID))
    greet(connection, room, record.since)


def greet(connection: Connection, room: Room, since: int) -> None:
    """Send the system message that a room begins with. `since`: Unix ms."""
    connection.emit("message", greeting(room.room_id, since), room.offset(0))


def send_messages(connection: Connection, room: Room, messages: list[LoggedMessage]) -> None:
    """Send the partner's messages among those of the log."""
    for entry in messages:
        if entry.slot != room.slot:
            place = room.offset(entry.seq)
            connection.transport.send(message_packet(room.room_id, entry.seq, entry.timestamp, entry.body, place))


def greeting(room_id: str, since: int) -> Message:
    """Return the system message that a room begins with. `since`: Unix ms."""
    return Message(f"{room_id}-0", room_id, 0, "system", GREETING, since, "system")


def message_packet(room_id: str, seq: int, timestamp: int, body: str, place: str) -> str:
    """Return the `message` event, around a body from the log; `place` is the offset that it takes its receiver to."""
    return f'{packets.EVENT}["message",{message_json(room_id, seq, timestamp, body)},"{place}"]'
