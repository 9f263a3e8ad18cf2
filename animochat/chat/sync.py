"""Synchronize connections with the store: `reconcile` asks the store, and `bring` sends the client the difference.

There are three cases: the first registration of a client; a client that returns with its offset (recovery); a
connection whose state may be stale (resync). They differ only in the client's knowledge, in the question to the store,
and in the handling of a store that can't be reached.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from animochat.chat.client_rooms import ClientRooms, greeting, send_beginning, send_greeting
from animochat.chat.connections import Connection, Connections
from animochat.chat.delivery import Delivery, send_messages
from animochat.chat.departures import Departures
from animochat.chat.room import Room
from animochat.chat.tokens import Tokens, new_person
from animochat.matchmaking.service import Matchmaking
from animochat.presence.service import Presence, Registration
from animochat.protocol import offset
from animochat.protocol.channel import Look
from animochat.protocol.errors import Unavailable
from animochat.protocol.offset import Offset
from animochat.protocol.payloads import (
    LastRoom,
    Limits,
    PartnerReconnecting,
    Session,
    SessionRoom,
    Waiting,
    encode,
    latest,
    message_json,
)
from animochat.rooms.log import LoggedMessage, LogPart
from animochat.rooms.service import Rooms

#: The knowledge of a client that gets a new session.
NOTHING = Offset("idle")

NO_MESSAGES = LogPart(0, [])


@dataclass(frozen=True)
class Standing:
    """A person's state in the store, and the update that the client needs.

    `end`: the last messages of the room that the client knows, and the reason why it is over; None where it is not, or
    where a new session says so. `session`: the client gets a new session, with `messages`; else only what it missed.
    """

    registration: Registration
    room: Room | None
    messages: list[LoggedMessage]
    end: tuple[LogPart, str] | None
    session: bool


@dataclass(eq=False)
class Sync:
    """Ask the store about one lobby's connections, and bring their clients up to date."""

    limits: Limits
    lobby: str
    connections: Connections
    presence: Presence
    matchmaking: Matchmaking
    rooms: Rooms
    client_rooms: ClientRooms
    delivery: Delivery
    departures: Departures
    #: None until this worker knows the secret that all workers share; no one is registered before.
    tokens: Tokens | None = None

    # The three reasons

    def register(self, connection: Connection) -> None:
        """Register a client that knows nothing. Where that fails, the heartbeat tries again."""
        try:
            if self.tokens is None:
                raise Unavailable
            # From here on the connection gets the notices about the person, deferred until the answer is there.
            self.connections.claim(connection)
            standing = self.reconcile(connection, NOTHING)
        except Unavailable as exc:
            connection.emit("error", exc.payload())
            return
        self.bring(connection, NOTHING, standing)

    def resync(self, connection: Connection) -> None:
        """Ask the store about a connection that is registered. Where that fails, the heartbeat tries again."""
        known = connection.known()
        try:
            standing = self.reconcile(connection, known, again=True)
            if standing.registration.state == "idle" and connection.waiting:
                self._wait_again(connection)
                return
        except Unavailable:
            connection.remain_stale()
            return
        self.bring(connection, known, standing)

    # Shared by all three

    def reconcile(self, connection: Connection, known: Offset, *, recover: str = "", again: bool = False) -> Standing:
        """Register the connection in the store; return its state there, compared with the client's knowledge.

        `recover`: the session that the client comes back with. `again`: the connection is here already. Otherwise it is
        new, and gets a session. Waits for the store; raises Unavailable, with nothing changed here.
        """
        registration = self._connect_again(connection) if again else self._connect(connection, recover=recover)
        if registration.state in ("banned", "replaced"):
            return Standing(registration, None, [], None, session=True)
        before = connection.room
        # Without being the same, or ended by the partner, nothing of that room may be shown: it is a client's word that
        # it was ever there.
        same = registration.room is not None and registration.room.room_id == known.room_id
        ended = bool(known.room_id) and not same and registration.ended[0] == known.room_id
        continues = again or registration.recovered
        over = ended or (again and bool(known.room_id) and not same)
        room, log = self._attach(connection, registration, known.received if same and continues else 0, same)
        rest = self.client_rooms.remaining(connection.person, known) if over else NO_MESSAGES
        late = before is not None and same and before.late
        # A room that is gone, and did not end by the partner: only a new session can say so. Nor can anything else say
        # that messages were missed that can't be read any more.
        gone = bool(known.room_id) and not same and not ended and (again or registration.state == "idle")
        session = not continues or gone or late or not log.complete or not rest.complete
        if recover and registration.recovered and session:
            # The store knows the old session, and has to know the new one, for the next time.
            registration = self._connect(connection)
        messages = log.messages
        if room is not None and (late or not log.complete):
            messages = self.rooms.history(room.room_id, connection.person, room.slot, 0).messages
            room.show(messages)
        end = (rest, registration.ended[1] if ended else "disconnected") if over and (again or not session) else None
        return Standing(registration, room, messages, end, session)

    def bring(self, connection: Connection, known: Offset, standing: Standing) -> None:
        """Apply the store's answer to the connection, and send its client the difference to what it knows."""
        registration = standing.registration
        if registration.state in ("banned", "replaced"):
            if registration.state == "banned" and not connection.closed:
                self.departures.ban(connection, registration.banned_ms, registration.banned_reason)
            elif not connection.closed:
                self.departures.replace(connection)
            return
        connection.apply(registration.state, registration.version, standing.room, registration.interests)
        connection.note("Registered: %s", registration.state)
        if connection.closed:
            return  # the report of its end comes behind this
        if standing.end is not None:
            self.client_rooms.send_end(connection, known, *standing.end)
        if standing.session:
            self._send_session(connection, standing)
        else:
            self._send_missed(connection, known, standing)
        if connection.online_count < 0:
            connection.tell_online_count(registration.online)

    # The store

    def _connect(self, connection: Connection, again: bool = False, recover: str = "") -> Registration:
        """Have the store know the connection, see Presence.connect. Raises Unavailable."""
        if self.tokens is not None:
            connection.address = self.tokens.hide_address(connection.transport.remote_addr)
        registration = self.presence.connect(
            connection.person,
            connection.id,
            again=again,
            session=connection.sid,
            recover=recover,
            address=connection.address,
            version=connection.version,
            device=connection.device,
            new_device=new_person(),
        )
        connection.device = registration.device or connection.device
        room = registration.room
        if room is not None and room.room_id in self.connections.ended:  # the store is older than its end
            self.rooms.end_again([room.room_id])
            return self._connect(connection, again, recover)
        return registration

    def _connect_again(self, connection: Connection) -> Registration:
        """As `_connect`, for a connection that is here; it gets into no state that its client did not ask for.

        A store that comes back older than what has happened (a replica that was behind, a snapshot) would put people
        into rooms that they have left, or among those who wait. Raises Unavailable.
        """
        registration = self._connect(connection, again=True)
        room, before = registration.room, connection.room
        if connection.asking or (connection.waiting and before is None):
            return registration
        if room is not None and (before is None or room.room_id != before.room_id):
            self.rooms.end_again([room.room_id])
        elif registration.state == "waiting":
            self.matchmaking.cancel_match(connection.person, connection.id)
        else:
            return registration
        return self._connect(connection, again=True)

    def _attach(
        self, connection: Connection, registration: Registration, after: int, same: bool
    ) -> tuple[Room | None, LogPart]:
        """Return the room that the store names, attached here, and its messages after `after`. Raises Unavailable.

        `same`: it is the one that the client knows.
        """
        if registration.room is None:
            return None, NO_MESSAGES
        room = Room(registration.room, registration.version)
        if same and connection.room is not None:
            room.continue_from(connection.room)
        log = self.delivery.attach(connection.person, room, max(after, 0))
        # The partner, if connected here: messages of this member may still be on their way from another worker, and
        # the log accepts no more of them from now on. Those that are stored here next must not overtake them.
        self.delivery.look(Look(person=room.partner, room_id=room.room_id))
        room.attach(log, max(after, 0))
        return room, log

    def _wait_again(self, connection: Connection) -> None:
        """The store forgot that this person is waiting; the person didn't. Raises Unavailable."""
        search = self.matchmaking.find_match(connection.person, connection.id, connection.interests)
        if search.state == "unknown":
            raise Unavailable  # another connection came in between; the notice of that follows
        connection.apply("waiting", search.version, None, connection.interests)
        if search.room is not None:
            self.client_rooms.begin(connection, search.room)

    # The client

    def _send_missed(self, connection: Connection, known: Offset, standing: Standing) -> None:
        """Send the client the changes that it missed."""
        room, registration = connection.room, standing.registration
        record = registration.room
        if room is not None and record is not None:
            if room.room_id != known.room_id:
                send_beginning(connection, record)
            elif known.received == offset.NOTHING_SAID:
                send_greeting(connection, room, record.since)
            send_messages(connection, room, standing.messages)
            if record.grace_ms is not None:
                connection.emit("partner-reconnecting", PartnerReconnecting(record.grace_ms))
            elif known.partner_away and room.room_id == known.room_id:
                connection.emit("partner-reconnected")
        elif registration.state == "waiting" and known.state != "waiting":
            connection.emit("waiting", Waiting(registration.cooldown_ms))
        elif registration.state == "idle" and known.state == "waiting":
            connection.emit("match-cancelled")

    def _send_session(self, connection: Connection, standing: Standing) -> None:
        assert self.tokens is not None  # no one is registered without
        registration = standing.registration
        token = self.tokens.issue(connection.person)
        device = self.tokens.issue_device(connection.device)
        session = Session(token, device, False, registration.state, self.lobby, self.limits)
        last = registration.last_room
        if last is not None and self.limits.reportAfterMs:
            session.lastRoom = LastRoom(last.room_id, last.ended_at)
        room, record = connection.room, registration.room
        if room is not None and record is not None:
            messages = [message_json(room.room_id, m.seq, m.timestamp, m.body).encode() for m in standing.messages]
            history = [encode(greeting(room.room_id, record.since)), *latest(messages)]
            session.room = SessionRoom(
                room.room_id,
                room.user_id,
                room.partner_user_id,
                record.interests,
                [msgspec.Raw(m) for m in history],
            )
        connection.emit("session", session)
        if registration.state == "waiting":
            connection.emit("waiting", Waiting(registration.cooldown_ms))
        if record is not None and record.grace_ms is not None:
            connection.emit("partner-reconnecting", PartnerReconnecting(record.grace_ms))
        connection.tell_online_count(registration.online)
