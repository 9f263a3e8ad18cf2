"""Every way in which a connection ends. docs/glossary.md, "Ends", has a verb for each; a method here is named by it.

While the store can't be reached, the ends that it has to know are kept, and reported when it is back.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial

import gevent

from animochat.chat.connections import Connection, Connections, Transport
from animochat.presence.service import Presence
from animochat.protocol import packets
from animochat.protocol.errors import Banned, ChatError, RateLimited, Replaced, Unavailable
from animochat.rooms.service import Rooms
from animochat.settings import Settings
from animochat.telemetry.metrics import METRICS
from animochat.time_slice import TimeSlice

#: Seconds in which an expelled client can fetch the reason and close by itself, before the server closes.
LINGER = 3.0


class Departures:
    """Ends one lobby's connections, in this worker and in the store."""

    def __init__(self, settings: Settings, connections: Connections, presence: Presence, rooms: Rooms) -> None:
        self._connections = connections
        self._presence = presence
        self._rooms = rooms
        self._closed_grace_ms = settings.reconnect_grace_ms
        self._lost_grace_ms = settings.lost_grace_ms
        self._rate_refusals = settings.rate_refusals
        self._appeal_url = settings.appeal_url or ""
        #: Connections that have ended while the store could not be reached.
        self._unreported: list[tuple[Connection, int | None]] = []
        #: People who have gone, while the store may not know it yet.
        self._leaving: set[str] = set()

    # The client goes

    def disconnect(self, connection: Connection) -> None:
        """The client disconnects on purpose: its room and its search end at once. Does not wait."""
        connection.note("Disconnected")
        self._end(connection, None)

    def close(self, connection: Connection) -> None:
        """The client closed the connection, as a reload does: its place is kept for the grace time. Does not wait."""
        connection.note("Closed")
        self._end(connection, self._closed_grace_ms)

    def lose(self, connection: Connection) -> None:
        """The connection is lost, and its client may not know it: its place is kept for longer. Does not wait."""
        connection.note("Lost")
        self._end(connection, self._lost_grace_ms)

    def send_elsewhere(self, connection: Connection) -> None:
        """Make the client connect again, to another worker; its place is kept as a lost one's. Does not wait.

        Stop reading from it, so that it gets an answer to everything that is stored; requests before that are handled
        and answered first.
        """
        connection.note("Sent elsewhere")
        connection.transport.pause()
        connection.perform(partial(self._send_elsewhere, connection))

    def _send_elsewhere(self, connection: Connection) -> None:
        if connection.closed:
            return
        self._report_now(connection, self._lost_grace_ms)
        if not connection.closed:
            self._connections.remove(connection)
            connection.transport.owner = None
            connection.transport.hang_up()

    # The server expels it

    def replace(self, connection: Connection) -> None:
        """The person connected elsewhere. Does not wait."""
        self._expel(connection, Replaced())

    def ban(self, connection: Connection, ms: int | None, reason: str = "") -> None:
        """The person, or the address, is banned, for that many milliseconds or without end (None). Does not wait.

        `reason`: one of payloads.REASONS, or "".
        """
        self._expel(connection, Banned(ms, reason, self._appeal_url))
        connection.forget_queued()
        # A person's ban has ended everything in the store already; an address's has not.
        self._report(connection, None)

    def ban_origin(self, address: str, device: str, ms: int | None, reason: str = "") -> None:
        """Ban everyone who is connected from an address (a keyed hash) or a device, "" for none, in slices."""
        time_slice = TimeSlice()
        for connection in self._connections:
            there = (address and connection.address == address) or (device and connection.device == device)
            if there and not connection.closed:
                connection.apply_or_defer(partial(self.ban, connection, ms, reason))
            time_slice.yield_if_due()

    def refuse(self, connection: Connection, event: str | None, ack_id: str | None, error: ChatError) -> None:
        """Send the client a failure: to the callback alone, where there is one.

        A client that continues all the same, with requests that are too many or malformed, is expelled.
        """
        METRICS.rejected[error.code] += 1
        connection.note("Refused: %s", error.code)
        if ack_id is not None:
            connection.acknowledge(ack_id, {"ok": False, "error": error.payload()})
        else:
            connection.emit("error", {**error.payload(), "event": event} if event is not None else error.payload())
        if isinstance(error, Unavailable) or connection.closed:
            return
        if connection.buckets.refusals.take(self._rate_refusals, time.monotonic()):
            connection.transport.penalize()
            self._expel(connection, RateLimited("Disconnected: too many requests after refusals"))
            self.close(connection)

    def _expel(self, connection: Connection, why: ChatError) -> None:
        """Close a connection. The DISCONNECT packet keeps the client from coming back by itself."""
        transport = connection.transport
        connection.note("Expelled: %s", why.code)
        self._connections.remove(connection)
        connection.emit("error", why.payload())
        transport.owner = None
        transport.send(packets.DISCONNECT)
        if transport.upgraded and connection.registered:
            transport.close()
        else:
            # On long polling, or while the client is still busy with connecting, an end would overtake what was sent.
            # A stock client closes by itself when it gets DISCONNECT.
            gevent.spawn_later(LINGER, _close_abandoned, transport)

    # Reports to the store

    def _end(self, connection: Connection, grace_ms: int | None) -> None:
        self._connections.remove(connection)
        connection.forget_queued()
        self._report(connection, grace_ms)

    def _report(self, connection: Connection, grace_ms: int | None) -> None:
        """Report the end to the store, behind what runs for the client. `grace_ms`: None for no grace time."""
        if connection.person:
            self._leaving.add(connection.person)
        connection.perform(partial(self._report_now, connection, grace_ms))

    def _report_now(self, connection: Connection, grace_ms: int | None) -> None:
        if not connection.person:
            return
        room = connection.room
        try:
            if grace_ms is None and room is not None:
                self._rooms.settle(room.room_id)
            gone = self._presence.disconnect(connection.person, connection.id, grace_ms)
            self._leaving.discard(connection.person)
            if gone and grace_ms is None and room is not None:
                with contextlib.suppress(Unavailable):  # no one waits for the answer, and the agenda has the room
                    self._rooms.life.close(room.room_id)
                self._connections.leave_room(connection, room.room_id)
        except Unavailable:
            self._unreported.append((connection, grace_ms))

    def report_again(self) -> None:
        """Report the ends that could not be reported before. Waits for the store."""
        unreported, self._unreported = self._unreported, []
        for connection, grace_ms in unreported:
            self._report_now(connection, grace_ms)

    def make_up(self) -> bool:
        """End rooms and connections in the store that have ended here: it may have come back older. Raises
        Unavailable.

        These are rooms that this worker saw end, and connections of people who are not here any more. Return whether
        there were any.
        """
        revived = self._rooms.end_again(self._connections.ended.latest())
        here = self._connections.by_person
        gone = [p for p in self._presence.listed() if p not in here and p not in self._leaving]
        self._presence.release(gone, self._lost_grace_ms)
        return bool(revived or gone)


def _close_abandoned(transport: Transport) -> None:
    if transport.owner is None:
        transport.close()
