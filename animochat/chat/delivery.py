"""A message on its way to its receiver: from the store's answer or the channel, or out of the room's log."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from animochat.chat.connections import Connection, Connections
from animochat.chat.room import Room
from animochat.protocol import packets
from animochat.protocol.channel import Look, RelayedEvent, RelayedMessage
from animochat.protocol.errors import Unavailable
from animochat.protocol.payloads import message_json
from animochat.rooms.log import LoggedMessage, LogPart
from animochat.rooms.service import Rooms
from animochat.telemetry.metrics import METRICS


@dataclass(eq=False)
class Delivery:
    """Sends one lobby's people their partners' messages, in order and each once."""

    connections: Connections
    rooms: Rooms
    worker: str

    def deliver(self, message: RelayedMessage, received: float | None = None, late: bool = False) -> None:
        """Send a stored message to its receiver, if the person is here and in that room (or is just coming).

        `received`: when it came in, where that was here (monotonic, in seconds). `late`: it may have been sent before,
        and has reached this worker only now. Does not wait.
        """
        receiver = self.connections.by_person.get(message.receiver)
        if receiver is None:
            return
        if receiver.deferred is not None:
            receiver.deferred.append(partial(self.deliver, message, received, late))
            return
        room, seq = receiver.room, message.seq
        if room is None or room.room_id != message.room_id:
            receiver.note_early(message.room_id)
            return
        if late and seq <= min(room.received, room.missed):
            room.late = True
            receiver.mark_stale()  # only a new session can show it in its place
            return
        if seq <= room.received or receiver.stale or room.behind:  # messages in the log come first
            return
        if message.previous > max(room.received, room.missed):
            self.fetch_missed(receiver)  # which finds this one too
            return
        room.receive(seq)
        receiver.transport.send(message_packet(room.room_id, seq, message.timestamp, message.body, room.offset(seq)))
        if received is not None:
            METRICS.delivery_local.observe(time.monotonic() - received)

    def deliver_event(self, event: RelayedEvent) -> None:
        """Send an event of the partner's that is not stored, if the person is here and in that room."""
        receiver = self.connections.in_room(event.receiver, event.room_id)
        if receiver is not None:
            receiver.transport.send(event.packet)

    def relay(self, room: Room, packet: str) -> None:
        """Send an event to the partner, on whichever worker. It is neither stored nor repeated. Does not wait."""
        event = RelayedEvent(receiver=room.partner, room_id=room.room_id, packet=packet)
        if room.partner in self.connections.by_person:
            self.deliver_event(event)
        elif room.partner_worker not in ("", self.worker):
            self.rooms.publish_event(room.partner_worker, event)

    def look(self, look: Look) -> None:
        """Fetch what someone who is connected here may have missed in a room. Does not wait."""
        connection = self.connections.by_person.get(look.person)
        if connection is not None:  # one that is registering looks once it is in the room
            connection.apply_or_defer(partial(self._look, look))

    def _look(self, look: Look) -> None:
        connection = self.connections.in_room(look.person, look.room_id)
        if connection is not None:
            self.fetch_missed(connection)

    def fetch_missed(self, connection: Connection) -> None:
        """Send the messages of the partner's that may not have reached this worker. Does not wait."""
        room = connection.room
        if room is not None and not room.behind:
            room.behind = True
            connection.perform(partial(self._fetch_missed, connection, room))

    def _fetch_missed(self, connection: Connection, room: Room) -> None:
        room.behind = False
        if connection.room is not room or connection.closed or connection.stale:
            return
        try:
            log = self.attach(connection.person, room, room.received)
        except Unavailable:
            connection.mark_stale()
            return
        if not log.complete:
            connection.mark_stale()  # only a new session can say that something is lost
            return
        room.attach(log, room.received)
        send_messages(connection, room, log.messages)

    def attach(self, person: str, room: Room, after: int) -> LogPart:
        """Have the room's messages sent here; return those after `after`. Waits for the store; raises Unavailable."""
        return self.rooms.attach(
            room.room_id,
            person,
            room.slot,
            room.version,
            after=after,
            known=room.last_seq,
            said=room.said,
            partner=room.partner,
            partner_worker=room.partner_worker,
        )


def send_messages(connection: Connection, room: Room, messages: list[LoggedMessage]) -> None:
    """Send the partner's messages among those of the log."""
    for entry in messages:
        if entry.slot != room.slot:
            place = room.offset(entry.seq)
            connection.transport.send(message_packet(room.room_id, entry.seq, entry.timestamp, entry.body, place))


def message_packet(room_id: str, seq: int, timestamp: int, body: str, place: str) -> str:
    """Return the `message` event, around a body from the log; `place` is the offset that it takes its receiver to."""
    return f'{packets.EVENT}["message",{message_json(room_id, seq, timestamp, body)},"{place}"]'
