"""Who is connected to this worker: one small object a connection, and the tables to find it by.

Redis is the truth; what stands here is a cache that this worker alone writes.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import gevent
from msgspec import UNSET

from animochat.chat.ended_rooms import EndedRooms
from animochat.protocol import offset, packets
from animochat.protocol.offset import Offset
from animochat.protocol.room_record import RoomRecord
from animochat.time_slice import TimeSlice
from animochat.token_bucket import BURST_SECONDS, TokenBucket

log = logging.getLogger(__name__)

#: Events of one client that may wait for one of its own that is being handled. A client that sends more is cut off.
MAX_QUEUED = 100


class Transport(Protocol):
    """What a connection needs of its Engine.IO session (server/engineio/server.py)."""

    sid: str
    remote_addr: str
    upgraded: bool
    owner: Any

    def send(self, packet: str) -> None: ...
    def send_frame(self, frame: bytes, packet: str) -> None: ...
    def penalize(self) -> None: ...
    def pause(self) -> None: ...
    def close(self) -> None: ...
    def hang_up(self) -> None: ...


class Room:
    """The room that a connection's person is in, as this worker knows it.

    `last_seq` is the highest place in the room's order that is known here, `said` the highest of this member's own,
    `received` the highest of the partner's that was handed to this connection; `version` that by which the log knows
    this member's connection; `partner_away` says whether the client was told so; `behind`, that the log is about
    to be looked into for what was not; `missed`, that what the partner said up to there is not to be had, and the
    client knows; `late`, that some of it was said again and has to be shown.
    """

    __slots__ = (
        "behind", "last_seq", "late", "missed", "partner", "partner_away", "partner_user_id", "partner_worker",
        "received", "room_id", "said", "slot", "user_id", "version",
    )  # fmt: skip

    def __init__(self, room_id: str, slot: str, user_id: str, partner_user_id: str, partner: str, worker: str) -> None:
        self.room_id = room_id
        self.slot = slot
        self.user_id = user_id
        self.partner_user_id = partner_user_id
        self.partner = partner
        self.partner_worker = worker
        self.last_seq = 0
        self.received = 0
        self.said = 0
        self.version = 0
        self.partner_away = False
        self.behind = False
        self.missed = 0
        self.late = False

    @classmethod
    def of(cls, record: RoomRecord) -> Room:
        """Return the room of a script's answer, with nothing said in it yet."""
        names = record.user_id, record.partner_user_id
        return cls(record.room_id, record.slot, *names, record.partner, record.partner_worker)

    def offset(self, received: int) -> str:
        """The offset of a member who has got the partner's messages up to the one with that seq."""
        return offset.chatting(self.room_id, self.slot, received, self.partner_away)

    def known(self) -> Offset:
        """Return what the client knows of the room."""
        return Offset("chatting", self.room_id, self.slot, self.received, self.partner_away)


class Buckets:
    """What one person may do, by kind."""

    __slots__ = ("messages", "refusals", "searches", "typing")

    def __init__(self) -> None:
        self.messages = TokenBucket()
        self.refusals = TokenBucket()
        self.searches = TokenBucket()
        self.typing = TokenBucket()


class Connection:
    """One client: its Engine.IO session, its lobby, its person, and what is known of that person here.

    `id` is this connection's alone; `sid` is the Socket.IO session id, which a client that returns may take up again.
    `version` is the person's version that this worker has seen; `registered` says whether the store knows of this
    connection; `stale` that it may not be as it is known here, and that the store has to be asked. `online_count` is
    the number last sent, at `online_count_at`. `interests`: what the person named when it began to wait. `asked_at`:
    when its present or last search began, at the end of the rest where there is one (monotonic); 0 where it never did.
    `asking`: the client has asked for a partner, and the answer is not here (it may be lost). `early`: the room of a
    message that came before the notice of the match did.
    """

    __slots__ = (
        "_busy",
        "_queue",
        "asked_at",
        "asking",
        "buckets",
        "closed",
        "deferred",
        "early",
        "id",
        "interests",
        "lobby",
        "online_count",
        "online_count_at",
        "person",
        "registered",
        "room",
        "sid",
        "stale",
        "token",
        "transport",
        "version",
        "waiting",
    )  # fmt: skip

    def __init__(self, transport: Transport, lobby: str) -> None:
        self.lobby = lobby
        self.id = secrets.token_urlsafe(9)
        self.sid = secrets.token_urlsafe(15)
        self.transport = transport
        self.token: Any = None  # as the client sent it, until the person is known
        self.person = ""
        self.registered = False
        self.stale = False
        self.closed = False
        self.version = 0
        self.room: Room | None = None
        self.early = ""
        self.asking = False
        self.waiting = False
        self.asked_at = 0.0
        self.interests: tuple[str, ...] = ()
        self.deferred: list[Callable[[], None]] | None = None
        self.online_count = -1
        self.online_count_at = 0.0
        self.buckets = Buckets()
        self._busy = False
        self._queue: deque[Callable[[], None]] | None = None

    def emit(self, name: str, payload: Any = UNSET, place: str | None = None) -> None:
        """Send an event that a client which missed it gets later. Change the connection's state first: the offset
        says how it is now, unless `place` says how it is after this event. Never blocks; to a connection that is gone
        it does nothing.
        """
        self.transport.send(packets.event(name, payload, (place or self.offset()) if self.registered else None))

    def emit_offset(self) -> None:
        """Send the offset alone, behind an event of an application's that ends in a string.

        Stock clients take a string at the end of any event for the offset.
        """
        if self.registered:
            self.transport.send(packets.event("offset", offset=self.offset()))

    def emit_volatile(self, name: str, payload: Any) -> None:
        """Send an event that nobody gets later."""
        self.transport.send(packets.event(name, payload))

    def offset(self) -> str:
        """How things stand for the client (protocol/offset.py)."""
        if self.room is not None:
            return self.room.offset(self.room.received)
        return offset.WAITING if self.waiting else offset.IDLE

    def known(self) -> Offset:
        """Return the same as the client's next connection would."""
        return self.room.known() if self.room is not None else Offset("waiting" if self.waiting else "idle")

    def acknowledge(self, ack_id: str, payload: Any) -> None:
        """Answer the client's acknowledgement callback."""
        self.transport.send(packets.acknowledgement(ack_id, payload))

    def tell_online_count(self, online: int) -> None:
        """Send `online-count`."""
        self.online_count, self.online_count_at = online, time.monotonic()
        self.emit_volatile("online-count", online)

    # How things stand for the person, as this worker knows it: changed here and nowhere else.

    def advance(self, version: int) -> None:
        """Note a version of the person that an answer of the store's names: older notices change nothing any more."""
        self.version = max(self.version, version)

    def apply(self, state: str, version: int, room: Room | None, interests: tuple[str, ...]) -> None:
        """Take over what the store says of the person, whom it knows to be here. `state`: as in a Registration."""
        self.registered, self.stale, self.asking = True, False, False
        self.version, self.room = version, room
        self.waiting, self.interests = state == "waiting", interests

    def enter_room(self, room: Room) -> None:
        """The person is in a room from now on, and waits no more."""
        self.room, self.waiting = room, False

    def leave_room(self, room_id: str) -> None:
        """That room is over for the person, who may be in another one by now."""
        if self.room is not None and self.room.room_id == room_id:
            self.room = None

    def begin_waiting(self, interests: tuple[str, ...]) -> None:
        """The person waits for a partner. `interests`: as the person named them."""
        self.waiting, self.interests = True, interests

    def stop_waiting(self) -> None:
        """The person waits no more, and has found nobody."""
        self.waiting = False

    @property
    def busy(self) -> bool:
        """Is something of this client's being handled that waits for the store?"""
        return self._busy

    def perform(self, action: Callable[[], None]) -> None:
        """Run `action`, which may wait for the store, in a greenlet of its own: this client's one at a time, in order.

        What the other workers say of this person meanwhile is held back until the action is over, so that the client
        sees the answer to its request before what follows from it.
        """
        if self._busy:
            if self._queue is None:
                self._queue = deque()
            if len(self._queue) >= MAX_QUEUED:
                self.transport.close()
                return
            self._queue.append(action)
            return
        self._busy = True
        self.deferred = []
        gevent.spawn(self._run, action)

    def forget_queued(self) -> None:
        """Drop what the client asked for and what has not begun: it is gone."""
        self._queue = None

    def apply_or_defer(self, news: Callable[[], None]) -> None:
        """Apply what is said of this person, now or when the present action is over."""
        if self.deferred is None:
            news()
        else:
            self.deferred.append(news)

    def _run(self, action: Callable[[], None]) -> None:
        try:
            while True:
                try:
                    action()
                except Exception:  # one request's mistake must not cost the client those behind it
                    log.exception("A request failed", extra={"connection": self.id})
                finally:
                    held, self.deferred = self.deferred, None
                    for news in held or ():
                        news()
                if not self._queue:
                    return
                action = self._queue.popleft()
                self.deferred = []
        finally:
            self._busy = False


class Connections:
    """All connections of this worker in one lobby."""

    def __init__(self) -> None:
        self.by_id: dict[str, Connection] = {}
        self.by_person: dict[str, Connection] = {}
        #: those whose CONNECT was answered, by Socket.IO session; and what is called when one of them is gone
        self.by_sid: dict[str, Connection] = {}
        self.on_gone: Callable[[Connection], None] = lambda connection: None
        self.ended = EndedRooms()
        #: What people who left lately had used up, and when they left: a reload fills no bucket.
        self._departed: dict[str, tuple[float, Buckets]] = {}

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[Connection]:
        """Over a copy: connections may come and go meanwhile."""
        return iter(list(self.by_id.values()))

    def in_room(self, person: str, room_id: str) -> Connection | None:
        """The person's connection, if it is here and the person is in that room."""
        connection = self.by_person.get(person)
        if connection is not None and connection.room is not None and connection.room.room_id == room_id:
            return connection
        return None

    def claim(self, connection: Connection) -> None:
        """From here on what is said of the connection's person is for it, and the person's limits are its limits."""
        before = self.by_person.get(connection.person)
        if before is not None:
            connection.buckets = before.buckets
        elif connection.person in self._departed:
            connection.buckets = self._departed.pop(connection.person)[1]
        self.by_person[connection.person] = connection

    def leave_room(self, connection: Connection, room_id: str) -> None:
        """A room is over for its member who is connected here: the one way out."""
        connection.leave_room(room_id)
        self.ended.add(room_id)

    def accept(self, connection: Connection) -> None:
        """Let a connection be found by its Socket.IO session: its CONNECT is about to be answered."""
        before = self.by_sid.get(connection.sid)
        if before is not None:
            self.on_gone(before)
        self.by_sid[connection.sid] = connection

    def remove(self, connection: Connection) -> None:
        connection.closed = True
        if self.by_sid.get(connection.sid) is connection:
            del self.by_sid[connection.sid]
            self.on_gone(connection)
        self.by_id.pop(connection.id, None)
        if self.by_person.get(connection.person) is connection:
            del self.by_person[connection.person]
            self._departed[connection.person] = (time.monotonic(), connection.buckets)

    def forget_departed(self) -> None:
        """Forget whose buckets are full again. To be called now and then."""
        full = time.monotonic() - BURST_SECONDS
        while self._departed:
            person, (left, _) = next(iter(self._departed.items()))
            if left > full:
                break
            del self._departed[person]


def send_online_count(connections: Connections, online: int, frame: Callable[[str], bytes]) -> None:
    """Send `online-count` to whoever doesn't know it yet, at most once a second each, in portions."""
    packet = packets.event("online-count", online)
    prepared = frame("4" + packet)
    time_slice = TimeSlice()
    for connection in connections:
        now = time.monotonic()
        if connection.online_count in (online, -1) or connection.closed or now - connection.online_count_at < 1:
            continue
        connection.online_count, connection.online_count_at = online, now
        connection.transport.send_frame(prepared, packet)
        time_slice.yield_if_due()
