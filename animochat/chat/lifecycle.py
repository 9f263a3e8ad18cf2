"""A connection's life: registered with the store, told where its person stands, kept right, and taken leave of.

Registering is one round trip (and one more for somebody who is in a room). While the store can't be reached,
connections stay: they are told `unavailable`, and are registered when it is back.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import msgspec
from gevent.event import Event

from animochat.chat.connections import Connection, Connections, Room, Transport
from animochat.chat.room_events import greet, greeting, message_packet, send_messages, tell_beginning
from animochat.chat.tokens import Tokens, new_person
from animochat.matchmaking.service import Matchmaking
from animochat.presence.service import Presence, Registration
from animochat.protocol import offset, packets
from animochat.protocol.errors import Banned, ChatError, RateLimited, Replaced, Unavailable
from animochat.protocol.offset import Offset
from animochat.protocol.payloads import (
    LastRoom,
    Limits,
    PartnerDisconnected,
    PartnerReconnecting,
    Session,
    SessionRoom,
    Waiting,
    encode,
    latest,
    message_json,
)
from animochat.protocol.room_record import RoomRecord
from animochat.rooms.log import Attached, LoggedMessage
from animochat.rooms.service import Rooms
from animochat.settings import Settings
from animochat.telemetry import tracing
from animochat.telemetry.logs import Shortened
from animochat.telemetry.metrics import METRICS
from animochat.time_slice import TimeSlice

log = logging.getLogger(__name__)

#: Seconds that a client waits for a worker which has just started to learn the secret.
SECRET_TIMEOUT = 2.0

#: Seconds after this worker stood still in which whoever connects is sent away: what comes then may have waited for it.
WARY = 1.0

#: Seconds that a client has to fetch why it is turned out, and to close by itself, before the server does.
LINGER = 3.0


class Lifecycle:
    """Owns what happens to a lobby's connections that no client event asks for."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        lobby: str,
        connections: Connections,
        presence: Presence,
        matchmaking: Matchmaking,
        rooms: Rooms,
    ) -> None:
        self._lobby = lobby
        self._connections = connections
        self._presence = presence
        self._matchmaking = matchmaking
        self._rooms = rooms
        self.grace_ms = settings.reconnect_grace_ms
        self._rate_refusals = settings.rate_refusals
        self._limits = limits
        self._tokens: Tokens | None = None
        self._secret_known = Event()
        self._stopping = False
        #: Until when nobody is let in (monotonic, in seconds), and what notices a stall; set by the lobby.
        self._wary_until = 0.0
        self.check_stall: Callable[[], None] = lambda: None
        #: Asked before a CONNECT is answered: the data of the application's refusal, or None.
        self.on_connect: Callable[[Connection], dict[str, Any] | None] = lambda connection: None
        #: Connections that are gone, while the store couldn't be told.
        self._farewells: list[tuple[Connection, int | None]] = []
        #: People who have gone, and of whom the store may not know it yet.
        self._leaving: set[str] = set()

    def admit_nobody(self) -> None:
        """Send whoever comes from now on elsewhere: this worker is about to stop."""
        self._stopping = True

    def distrust_arrivals(self) -> None:
        """Send whoever connects now away, to connect again: this worker stood still, and the client may have given up
        long ago and be elsewhere. The newest connection wins, and this one would not be it.
        """
        self._wary_until = time.monotonic() + WARY

    @property
    def _admits(self) -> bool:
        return not self._stopping and time.monotonic() >= self._wary_until

    # A client comes

    def open(self, transport: Transport, auth: dict[str, Any]) -> Connection:
        """Accept a Socket.IO connection. Does not wait: `session` follows when the store has answered."""
        connection = Connection(transport, self._lobby)
        self._connections.by_id[connection.id] = connection
        transport.owner = connection
        _note(connection, "Connected from %s", Shortened(transport.remote_addr))
        self.check_stall()
        if not self._admits:
            transport.hang_up()
        else:
            connection.perform(partial(self._admit, connection, auth))
        return connection

    def know_secret(self, secret: str) -> None:
        """Nobody can be registered before the secret is known that all workers share."""
        self._tokens = Tokens(secret, self._lobby)
        self._secret_known.set()

    @tracing.traced("connect")
    def _admit(self, connection: Connection, auth: dict[str, Any]) -> None:
        self._secret_known.wait(SECRET_TIMEOUT)
        if self._tokens is None and isinstance(auth.get("pid"), str):
            connection.transport.hang_up()  # upon which the client tries again; a new session would cost it the old one
            return
        session = self._tokens.verify_session(auth.get("pid")) if self._tokens is not None else None
        known = offset.parse(auth.get("offset"))
        if session is not None and known is not None:
            # Only the store can say whether the session goes on, and the answer to CONNECT has to.
            connection.person = session[0]
            self._recover(connection, session[1], known)
            return
        if session is not None:  # a client that got nothing yet, not even its session
            connection.person = session[0]
        else:
            connection.token = auth.get("token")
        if self._tokens is not None:
            self._identify(connection, self._tokens)
        if self._accept(connection):
            self._register(connection)

    def _turned_away(self, connection: Connection) -> bool:
        if self._admits:
            return False
        connection.transport.hang_up()  # so that the client connects again, to a worker that stays
        return True

    def _identify(self, connection: Connection, tokens: Tokens) -> None:
        if not connection.person:
            connection.person = tokens.verify(connection.token) or new_person()
            connection.token = None

    def _accept(self, connection: Connection) -> bool:
        """Answer CONNECT. Return whether the client is in: it may be gone, or the application may refuse it."""
        if connection.closed:
            return False
        self._connections.accept(connection)
        refusal = self.on_connect(connection)
        if connection.closed:
            return False
        if refusal is not None:
            _note(connection, "Refused by the application")
            del self._connections.by_sid[connection.sid]
            connection.transport.send(packets.refused("/", refusal["message"], refusal.get("data")))
            connection.transport.owner = None
            self._close(connection, None)
            return False
        pid = self._tokens.issue_session(connection.person, connection.sid) if self._tokens is not None else None
        connection.transport.send(packets.connected(connection.sid, pid))
        return True

    def _register(self, connection: Connection) -> None:
        if connection.closed or self._turned_away(connection):
            return
        try:
            if self._tokens is None:
                raise Unavailable
            self._identify(connection, self._tokens)
            # From here on this connection hears what is said of the person, held back until the answer is there.
            self._connections.claim(connection)
            registration = self._connect(connection)
            room, entered = self._enter(connection.person, registration)
        except Unavailable as exc:
            connection.emit("error", exc.payload())
            return
        if registration.state == "banned":
            self.ban(connection, registration.banned_ms)
            return
        if self._settle(connection, registration, room):
            self._send_session(connection, registration, entered.messages)

    def _connect(self, connection: Connection, again: bool = False, recover: str = "") -> Registration:
        """Have the store know the connection, see Presence.connect. Raises Unavailable."""
        registration = self._presence.connect(
            connection.person,
            connection.id,
            again=again,
            session=connection.sid,
            recover=recover,
            grace_ms=self.grace_ms,
            address=self.hidden_address(connection),
            version=connection.version,
        )
        room = registration.room
        if room is not None and room.room_id in self._connections.ended:  # the store is older than its end
            self._rooms.end_again([room.room_id])
            return self._connect(connection, again, recover)
        return registration

    def _connect_again(self, connection: Connection) -> Registration:
        """As `_connect`, for a connection that is there; it gets into no state that its client did not ask for.

        A store that comes back older than what has happened (a replica that was behind, a snapshot) would put people
        into rooms that they have left, or among those who wait. Raises Unavailable.
        """
        registration = self._connect(connection, again=True)
        room, before = registration.room, connection.room
        if connection.asking or (connection.waiting and before is None):
            return registration
        if room is not None and (before is None or room.room_id != before.room_id):
            self._rooms.end_again([room.room_id])
        elif registration.state == "waiting":
            self._matchmaking.cancel_match(connection.person, connection.id)
        else:
            return registration
        return self._connect(connection, again=True)

    def hidden_address(self, connection: Connection) -> str:
        """What stands for the connection's address in the store: Tokens.hide_address."""
        return self._tokens.hide_address(connection.transport.remote_addr) if self._tokens is not None else ""

    def _settle(self, connection: Connection, registration: Registration, room: Room | None) -> bool:
        """Take over what the store says. False where the client has gone meanwhile; its farewell comes behind this."""
        connection.apply(registration.state, registration.version, room, registration.interests)
        _note(connection, "Registered: %s", registration.state)
        return not connection.closed

    def _enter(
        self, person: str, registration: Registration, after: int = 0, before: Room | None = None
    ) -> tuple[Room | None, Attached]:
        """The room that the store names, with what was said in it after `after`. Raises Unavailable.

        `before`: the room as this worker knows it, where it is the same.
        """
        record = registration.room
        if record is None:
            return None, Attached(0, [])
        room = Room.of(record)
        room.version = registration.version
        if before is not None:
            room.last_seq, room.said, room.missed = before.last_seq, before.said, before.missed
        after = max(after, 0)
        entered = self._attach(person, room, after)
        # The partner, if connected here: messages of this member may still be on their way from another worker, and
        # the log accepts no more of them from now on. Those that are stored here next must not overtake them.
        self.look(room.partner, room.room_id)
        theirs = (entry.seq for entry in entered.messages if entry.slot != room.slot)
        mine = (entry.seq for entry in entered.messages if entry.slot == room.slot)
        room.last_seq = entered.last_seq
        room.received = max(theirs, default=min(after, room.last_seq))
        room.said = max(mine, default=room.said)
        if not entered.complete:
            room.missed = entered.last_seq
            room.received = max(room.received, entered.gone)
        room.partner_away = record.grace_ms is not None
        return room, entered

    def _attach(self, person: str, room: Room, after: int) -> Attached:
        return self._rooms.attach(
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

    # A match is made

    def begin_room(self, connection: Connection, record: RoomRecord) -> None:
        """Bring a connection into the room of a match that has just been made, count the match, and tell the client.

        The one way in, whether the answer to a search has the match or a notice does. Does not wait.
        """
        METRICS.matches += record.slot == "a"  # there is one of each match in all
        if connection.asked_at:
            METRICS.match_wait.observe(max(0.0, time.monotonic() - connection.asked_at))
        room = Room.of(record)
        room.version = connection.version
        connection.enter_room(room)
        self._rooms.life.open(record.room_id, record.slot, connection.version)
        tell_beginning(connection, record)
        if connection.early == record.room_id:
            self.fetch_missed(connection)

    # A room ends

    def end_room(self, connection: Connection, room: Room, reason: str) -> None:
        """The partner, or the store, has ended the room. Does not wait."""
        connection.perform(partial(self._end_room, connection, room, reason))

    def _end_room(self, connection: Connection, room: Room, reason: str) -> None:
        # Where the connection is in doubt, the resync that follows tells of the end.
        if connection.room is room and not connection.stale and not connection.closed:
            try:
                self.finish_room(connection, room, reason)
            except Unavailable:
                self.mark_stale(connection)

    def finish_room(self, connection: Connection, room: Room, reason: str) -> None:
        """Send what is in the log and not with the client yet, then the end. Waits for the store.

        Raises Unavailable, nothing being told, also where some of it is lost: only a new session can say so, which the
        next resync sends.
        """
        known = room.known()
        rest = self._rest(connection.person, known)
        if not rest.complete:
            raise Unavailable
        self._tell_end(connection, known, rest.messages, reason)

    def _rest(self, person: str, known: Offset) -> Attached:
        """Return what was still said in a room that is over. Nothing can be said there any more. Raises Unavailable.

        The partner's last words may be stored, and the answer that says so on its way, or waiting in the log for a
        recheck. The answer to this comes behind it.
        """
        self._rooms.life.begin_to_close(known.room_id, lambda: None)
        return self._rooms.history(known.room_id, person, known.slot, known.received)

    def _tell_end(self, connection: Connection, known: Offset, messages: list[LoggedMessage], reason: str) -> None:
        """Send what was still said in a room that is over, and how it ended: the one way out that nobody asked for."""
        for entry in messages:
            if entry.slot != known.slot:
                place = offset.chatting(known.room_id, known.slot, entry.seq)
                connection.transport.send(message_packet(known.room_id, entry.seq, entry.timestamp, entry.body, place))
        self._connections.leave_room(connection, known.room_id)
        connection.emit("partner-disconnected", PartnerDisconnected(reason), offset.IDLE)

    # A client comes back

    def _recover(self, connection: Connection, session: str, known: Offset) -> None:
        """Take a session up again: the client gets what it missed, from what it knows to how it stands."""
        if connection.closed or self._turned_away(connection):
            return
        self._connections.claim(connection)
        try:
            registration = self._connect(connection, recover=session)
            same, ended = _compare(registration, known)
            after = known.received if same and registration.recovered else 0
            room, entered = self._enter(connection.person, registration, after)
            rest = self._rest(connection.person, known) if ended else Attached(0, [])
            # A room that the client itself left, without hearing that it had: only a new session can say so. Nor can
            # anything else say that messages were missed which aren't to be had any more.
            lost = bool(known.room_id) and not same and not ended and registration.state == "idle"
            lost = lost or not entered.complete or not rest.complete
            recovered = registration.recovered and not lost
            if registration.recovered and lost:
                # The store knows the old session, and has to know the new one, for the next time.
                registration = self._connect(connection)
            said = self._to_show(connection.person, room, entered)
        except Unavailable:
            METRICS.recoveries["unavailable"] += 1
            connection.transport.hang_up()  # upon which the client tries again, with the same session
            return
        METRICS.recoveries["recovered" if recovered else "new-session"] += 1
        _note(connection, "Came back: recovered" if recovered else "Came back: a new session")
        if recovered:
            connection.sid = session
        accepted = self._accept(connection)
        if registration.state == "banned":
            if accepted:
                self.ban(connection, registration.banned_ms)
            return
        if not self._settle(connection, registration, room) or not accepted:
            return
        if not recovered:
            self._send_session(connection, registration, said)
            return
        if ended:
            self._tell_end(connection, known, rest.messages, registration.ended[1])
        self._send_missed(connection, registration, known, said)
        connection.tell_online_count(registration.online)

    def _to_show(self, person: str, room: Room | None, entered: Attached, late: bool = False) -> list[LoggedMessage]:
        """Return what the client has to be shown: what was asked for, or, in a new session, all that there is.

        Waits for the store; raises Unavailable.
        """
        if room is None or (entered.complete and not late):
            return entered.messages
        messages = self._rooms.history(room.room_id, person, room.slot, 0).messages
        for entry in messages:
            if entry.slot != room.slot:
                room.received = max(room.received, entry.seq)
        return messages

    def _send_missed(
        self, connection: Connection, registration: Registration, known: Offset, messages: list[LoggedMessage]
    ) -> None:
        """What the client doesn't know of how it stands now."""
        room, record = connection.room, registration.room
        if room is not None and record is not None:
            if room.room_id != known.room_id:
                tell_beginning(connection, record)
            elif known.received == offset.NOTHING_SAID:
                greet(connection, room, record.since)
            send_messages(connection, room, messages)
            if record.grace_ms is not None:
                connection.emit("partner-reconnecting", PartnerReconnecting(record.grace_ms))
            elif known.partner_away and room.room_id == known.room_id:
                connection.emit("partner-reconnected")
        elif registration.state == "waiting" and known.state != "waiting":
            connection.emit("waiting", Waiting(registration.cooldown_ms))
        elif registration.state == "idle" and known.state == "waiting":
            connection.emit("match-cancelled")

    def _send_session(self, connection: Connection, registration: Registration, messages: list[LoggedMessage]) -> None:
        assert self._tokens is not None  # nobody is registered without
        token = self._tokens.issue(connection.person)
        session = Session(token, False, registration.state, self._lobby, self._limits)
        last = registration.last_room
        if last is not None and self._limits.reportAfterMs:
            session.lastRoom = LastRoom(last.room_id, last.ended_at)
        room, record = connection.room, registration.room
        if room is not None and record is not None:
            said = [message_json(room.room_id, m.seq, m.timestamp, m.body).encode() for m in messages]
            history = [encode(greeting(room.room_id, record.since)), *latest(said)]
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

    # The store may have forgotten, or this worker may have missed something

    def resync(self, connection: Connection) -> None:
        """Bring a connection and the store together again. Does not wait."""
        connection.perform(partial(self._resync, connection))

    def mark_stale(self, connection: Connection) -> None:
        """An answer of the store's was lost, so that this connection may not be as it is known here. Does not wait.

        Until that is cleared up, messages wait in the log: their order may have a gap here.
        """
        if not connection.stale:
            connection.stale = True
            self.resync(connection)

    def _resync(self, connection: Connection) -> None:
        if not connection.registered:  # by now: it may have been on its way when the recheck was asked for
            self._register(connection)
            return
        if connection.closed:
            return
        before, known = connection.room, connection.known()
        try:
            registration = self._connect_again(connection)
            if registration.state == "replaced":
                self.replace(connection)
                return
            if registration.state == "banned":
                self.ban(connection, registration.banned_ms)
                return
            same, ended = _compare(registration, known)
            over = before is not None and not same
            after = known.received if same else 0
            room, entered = self._enter(connection.person, registration, after, before if same else None)
            late = before is not None and same and before.late
            said = self._to_show(connection.person, room, entered, late)
            rest = self._rest(connection.person, known) if over else Attached(0, [])
            if registration.state == "idle" and connection.waiting:
                # The store forgot that this person is waiting; the person didn't.
                search = self._matchmaking.find_match(connection.person, connection.id, connection.interests)
                if search.state == "unknown":
                    raise Unavailable  # another connection came in between; the notice of that follows
                connection.apply("waiting", search.version, None, connection.interests)
                if search.room is not None:
                    self.begin_room(connection, search.room)
                return
        except Unavailable:
            connection.stale = True  # the next heartbeat that comes through asks again
            return
        self._settle(connection, registration, room)
        if over:
            self._tell_end(connection, known, rest.messages, registration.ended[1] if ended else "disconnected")
        if (over and not ended) or late or not entered.complete or not rest.complete:
            self._send_session(connection, registration, said)
            return
        self._send_missed(connection, registration, known, said)

    def look(self, person: str, room_id: str) -> None:
        """Fetch what someone who is connected here may have missed in a room. Does not wait."""
        connection = self._connections.by_person.get(person)
        if connection is not None:  # one that is registering looks once it is in the room
            connection.apply_or_defer(partial(self._look, person, room_id))

    def _look(self, person: str, room_id: str) -> None:
        connection = self._connections.in_room(person, room_id)
        if connection is not None:
            self.fetch_missed(connection)

    def fetch_missed(self, connection: Connection) -> None:
        """Hand over what the partner has said and this worker may not have been told of. Does not wait."""
        room = connection.room
        if room is not None and not room.behind:
            room.behind = True
            connection.perform(partial(self._fetch_missed, connection, room))

    def _fetch_missed(self, connection: Connection, room: Room) -> None:
        room.behind = False
        if connection.room is not room or connection.closed or connection.stale:
            return
        try:
            said = self._attach(connection.person, room, room.received)
        except Unavailable:
            self.mark_stale(connection)
            return
        if not said.complete:
            self.mark_stale(connection)  # only a new session can say that something is lost
            return
        for entry in said.messages:
            if entry.slot != room.slot:
                room.received = entry.seq
        room.last_seq = max(room.last_seq, said.last_seq)
        send_messages(connection, room, said.messages)

    # A client goes

    def replace(self, connection: Connection) -> None:
        """The person connected elsewhere."""
        self._turn_out(connection, Replaced())

    def refuse(self, connection: Connection, event: str | None, ack_id: str | None, error: ChatError) -> None:
        """Tell the client of a failure: the callback alone, where there is one.

        Who goes on all the same, request after request that is too much or malformed, is disconnected.
        """
        METRICS.rejected[error.code] += 1
        _note(connection, "Refused: %s", error.code)
        if ack_id is not None:
            connection.acknowledge(ack_id, {"ok": False, "error": error.payload()})
        else:
            connection.emit("error", {**error.payload(), "event": event} if event is not None else error.payload())
        if isinstance(error, Unavailable) or connection.closed:
            return
        if connection.buckets.refusals.take(self._rate_refusals, time.monotonic()):
            connection.transport.penalize()
            self._turn_out(connection, RateLimited("Disconnected: too many requests after refusals"))
            self.drop(connection)

    def ban(self, connection: Connection, ms: int | None) -> None:
        """The person, or the address, is banned: for so many milliseconds, or for good (None). Does not wait."""
        self._turn_out(connection, Banned(retry_after_ms=ms))
        connection.forget_queued()
        # A person's ban has ended everything in the store already; an address's has not.
        self._leave(connection, None)

    def ban_address(self, hidden: str, ms: int | None) -> None:
        """Ban whoever is here from that address (Tokens.hide_address), in portions."""
        time_slice = TimeSlice()
        for connection in self._connections:
            if not connection.closed and self.hidden_address(connection) == hidden:
                connection.apply_or_defer(partial(self.ban, connection, ms))
            time_slice.yield_if_due()

    def _turn_out(self, connection: Connection, why: ChatError) -> None:
        """Close a connection. The DISCONNECT packet keeps the client from coming back by itself."""
        transport = connection.transport
        _note(connection, "Turned out: %s", why.code)
        self._connections.remove(connection)
        connection.emit("error", why.payload())
        transport.owner = None
        transport.send(packets.DISCONNECT)
        if transport.upgraded and connection.registered:
            transport.close()
        else:
            # On long polling, or while the client is still busy with connecting, an end would overtake what was sent.
            # A stock client closes by itself, upon DISCONNECT.
            gevent.spawn_later(LINGER, _close_abandoned, transport)

    def send_away(self, connection: Connection) -> None:
        """Have the client connect again, elsewhere; its place is kept for the grace time. Does not wait.

        It is read no further, so that nothing of it is stored that it does not hear of; what it asked for before is
        done, and answered, before it goes.
        """
        _note(connection, "Sent elsewhere")
        connection.transport.pause()
        connection.perform(partial(self._send_away, connection))

    def _send_away(self, connection: Connection) -> None:
        if connection.closed:
            return
        if connection.person:
            # Without the store the others take our people as vanished when our heartbeat is missing.
            with contextlib.suppress(Unavailable):
                self._presence.disconnect(connection.person, connection.id, self.grace_ms)
        if not connection.closed:
            self._connections.remove(connection)
            connection.transport.owner = None
            connection.transport.hang_up()

    def goodbye(self, connection: Connection) -> None:
        """The client said that it goes: its room and its search end at once. Does not wait."""
        _note(connection, "Said goodbye")
        self._close(connection, None)

    def drop(self, connection: Connection) -> None:
        """The client vanished: its place is kept for the grace time. Does not wait."""
        _note(connection, "Lost")
        self._close(connection, self.grace_ms)

    def _close(self, connection: Connection, grace_ms: int | None) -> None:
        self._connections.remove(connection)
        connection.forget_queued()
        self._leave(connection, grace_ms)

    def _leave(self, connection: Connection, grace_ms: int | None) -> None:
        if connection.person:
            self._leaving.add(connection.person)
        connection.perform(partial(self._farewell, connection, grace_ms))

    def _farewell(self, connection: Connection, grace_ms: int | None) -> None:
        if not connection.person:
            return
        room = connection.room
        try:
            if grace_ms is None and room is not None:
                self._rooms.settle(room.room_id)
            gone = self._presence.disconnect(connection.person, connection.id, grace_ms)
            self._leaving.discard(connection.person)
            if gone and grace_ms is None and room is not None:
                self._rooms.life.close(room.room_id)
                self._connections.leave_room(connection, room.room_id)
        except Unavailable:
            self._farewells.append((connection, grace_ms))

    def make_up(self) -> bool:
        """End for the store what is over here: it may have come back older than that. Raises Unavailable.

        That is, rooms that this worker saw end, and connections of people who are not here any more. Returns whether
        there was anything.
        """
        revived = self._rooms.end_again(self._connections.ended.latest())
        here = self._connections.by_person
        gone = [p for p in self._presence.listed() if p not in here and p not in self._leaving]
        self._presence.release(gone, self.grace_ms)
        return bool(revived or gone)

    def retry_farewells(self) -> None:
        """Tell the store of those who went while it couldn't be reached. Waits for it."""
        farewells, self._farewells = self._farewells, []
        for connection, grace_ms in farewells:
            self._farewell(connection, grace_ms)


def _close_abandoned(transport: Transport) -> None:
    if transport.owner is None:
        transport.close()


def _note(connection: Connection, line: str, *arguments: object) -> None:
    """One of the lines that LOG_LEVEL=debug shows of each connection."""
    log.debug(line, *arguments, extra={"connection": connection.id})


def _compare(registration: Registration, known: Offset) -> tuple[bool, bool]:
    """Is the room that is known to a client still its room? Or did its partner end it, as far as the store knows?

    Without either, nothing of that room may be shown: it is a client's word that it was ever there.
    """
    same = registration.room is not None and registration.room.room_id == known.room_id
    return same, bool(known.room_id) and not same and registration.ended[0] == known.room_id
