"""The connections to this worker: one small object each, which owns its state, and the tables to find it by.

Redis is the truth; this is a cache of it. Others read a connection's state, and change it by its methods only.
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
from animochat.chat.room import Room
from animochat.protocol import offset, packets
from animochat.protocol.offset import Offset
from animochat.token_bucket import BURST_SECONDS, TokenBucket

log = logging.getLogger(__name__)

#: Seconds between two `online-count`s to a client, at least; and at most, where a change of less than 1 % is due.
MIN_COUNT_SECONDS, MAX_COUNT_SECONDS = 1.0, 5.0

#: With more people online than this, a change of less than 1 % waits for MAX_COUNT_SECONDS.
MANY = 100

#: Events of one client that may wait for one of its own that is being handled. A client that sends more is cut off.
MAX_QUEUED = 100


class Transport(Protocol):
    """The parts of an Engine.IO session (server/engineio/server.py) that a connection uses."""

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


class PersonBuckets:
    """A person's token buckets, one for each kind of limit."""

    __slots__ = ("messages", "refusals", "searches", "typing")

    def __init__(self) -> None:
        self.messages = TokenBucket()
        self.refusals = TokenBucket()
        self.searches = TokenBucket()
        self.typing = TokenBucket()


class Connection:
    """One client: its Engine.IO session, its lobby, its person, and what this worker knows of that person.

    `id` is this connection's alone; `sid` is the Socket.IO session id, which a client that returns may recover.
    `address`: a keyed hash of the address that it comes from, once it is known. `version` is the person's version that
    this worker has seen; `registered`: the store knows of this connection; `stale`: the store may know better than this
    worker, and has to be asked. `online_count` is the number last sent, at `online_count_at`. `interests`: what the
    person named when it began to wait. `asked_at`: when its present or last search began, at the end of the cooldown
    where there is one (monotonic); 0 where it never did. `asking`: the client has asked for a partner, and the answer
    is not here (it may be lost). `early`: the room of a message that came before the notice of the match did.
    `resync` asks the store about it again, without waiting.
    """

    __slots__ = (
        "_busy",
        "_queue",
        "_resync",
        "address",
        "asked_at",
        "asking",
        "buckets",
        "closed",
        "deferred",
        "device",
        "device_token",
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

    def __init__(
        self, transport: Transport, lobby: str, resync: Callable[[Connection], None] = lambda connection: None
    ) -> None:
        self.lobby = lobby
        self._resync = resync
        self.id = secrets.token_urlsafe(9)
        self.sid = secrets.token_urlsafe(15)
        self.transport = transport
        self.token: Any = None  # as the client sent it, until the person is known
        self.person = ""
        self.address = ""
        self.device_token: Any = None  # as the client sent it, until the device is known
        self.device = ""
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
        self.buckets = PersonBuckets()
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
        """Send an event that is never repeated."""
        self.transport.send(packets.event(name, payload))

    def offset(self) -> str:
        """Return the offset that describes this client's state now (protocol/offset.py)."""
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

    def take_online_count(self, online: int) -> bool:
        """Record the number where it is due, and return whether it is. The first one comes with the session."""
        known, now = self.online_count, time.monotonic()
        if known in (online, -1) or self.closed or now - self.online_count_at < MIN_COUNT_SECONDS:
            return False
        small = online > MANY and abs(online - known) < known / 100
        if small and now - self.online_count_at < MAX_COUNT_SECONDS:
            return False
        self.online_count, self.online_count_at = online, now
        return True

    def note(self, line: str, *arguments: object) -> None:
        """Log one of the lines that LOG_LEVEL=debug shows of each connection."""
        log.debug(line, *arguments, extra={"connection": self.id})

    # The person's state, as this worker knows it: only these methods change it.

    def advance(self, version: int) -> bool:
        """Record a version of the person. Return False if the same or a later one is known already."""
        if version <= self.version:
            return False
        self.version = version
        return True

    def apply(self, state: str, version: int, room: Room | None, interests: tuple[str, ...]) -> None:
        """Apply the store's registration: it knows the connection. `state`: as in a Registration."""
        self.registered, self.stale, self.asking = True, False, False
        self.version, self.room = version, room
        self.waiting, self.interests = state == "waiting", interests

    def mark_stale(self) -> None:
        """Ask the store again, without waiting: one of its answers was lost.

        Until it answers, messages wait in the log, because their order may have a gap here.
        """
        if not self.stale:
            self.stale = True
            self._resync(self)

    def remain_stale(self) -> None:
        """Stay stale: the store could not be asked; the next successful heartbeat asks it."""
        self.stale = True

    def begin_search(self) -> None:
        """Record that the client asks for a partner."""
        self.asking = True
        if not self.waiting:
            self.asked_at = time.monotonic()

    def end_request(self, version: int) -> None:
        """Record that the store has answered the client's request, with that version."""
        self.advance(version)
        self.asking = False

    def begin_waiting(self, interests: tuple[str, ...], cooldown_ms: int = 0) -> None:
        """Record that the person waits, from the end of the cooldown. `interests`: as the person named them."""
        if not self.waiting:  # a search that goes on is as it was
            self.waiting, self.interests = True, interests
            self.asked_at += cooldown_ms / 1000

    def stop_waiting(self) -> None:
        """Record that the person no longer waits, without a partner."""
        self.waiting = False

    def note_early(self, room_id: str) -> None:
        """Record a message from a room before the notice of its match."""
        self.early = room_id

    def enter_room(self, room: Room) -> None:
        """Record that the person is in a room, and no longer waits."""
        self.room, self.waiting = room, False

    def leave_room(self, room_id: str) -> None:
        """Record the end of that room for the person, who may be in another one by now."""
        if self.room is not None and self.room.room_id == room_id:
            self.room = None

    def retire(self) -> None:
        """Mark the client as gone: nothing more is done for it."""
        self.closed = True

    # Its actions

    @property
    def busy(self) -> bool:
        """Return whether an action of this client's is running."""
        return self._busy

    def perform(self, action: Callable[[], None]) -> None:
        """Run `action`, which may wait for the store, in a greenlet of its own: this client's one at a time, in order.

        Notices about the person are deferred until the action is over, so that the client sees the answer to its
        request before what follows from it.
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
        """Drop the actions that have not begun: the client is gone."""
        self._queue = None

    def apply_or_defer(self, notice: Callable[[], None]) -> None:
        """Apply a notice about this person, now or when the present action is over."""
        if self.deferred is None:
            notice()
        else:
            self.deferred.append(notice)

    def _run(self, action: Callable[[], None]) -> None:
        try:
            while True:
                try:
                    action()
                except Exception:  # a request that fails must not cost the client those behind it
                    log.exception("A request failed", extra={"connection": self.id})
                finally:
                    deferred, self.deferred = self.deferred, None
                    for notice in deferred or ():
                        notice()
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
        #: The buckets of people who left lately, and when they left: a reload fills no bucket.
        self._departed: dict[str, tuple[float, PersonBuckets]] = {}

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[Connection]:
        """Iterate over a copy: connections may come and go meanwhile."""
        return iter(list(self.by_id.values()))

    def in_room(self, person: str, room_id: str) -> Connection | None:
        """The person's connection, if it is here and the person is in that room."""
        connection = self.by_person.get(person)
        if connection is not None and connection.room is not None and connection.room.room_id == room_id:
            return connection
        return None

    def claim(self, connection: Connection) -> None:
        """Make it the person's connection: it gets the notices about the person, and has the person's limits."""
        before = self.by_person.get(connection.person)
        if before is not None:
            connection.buckets = before.buckets
        elif connection.person in self._departed:
            connection.buckets = self._departed.pop(connection.person)[1]
        self.by_person[connection.person] = connection

    def leave_room(self, connection: Connection, room_id: str) -> None:
        """Record the end of a room for its member who is connected here."""
        connection.leave_room(room_id)
        self.ended.add(room_id)

    def accept(self, connection: Connection) -> None:
        """Let a connection be found by its Socket.IO session: its CONNECT is about to be answered."""
        before = self.by_sid.get(connection.sid)
        if before is not None:
            self.on_gone(before)
        self.by_sid[connection.sid] = connection

    def remove(self, connection: Connection) -> None:
        """Forget a connection whose client is gone."""
        connection.retire()
        if self.by_sid.get(connection.sid) is connection:
            del self.by_sid[connection.sid]
            self.on_gone(connection)
        self.by_id.pop(connection.id, None)
        if self.by_person.get(connection.person) is connection:
            del self.by_person[connection.person]
            self._departed[connection.person] = (time.monotonic(), connection.buckets)

    def forget_departed(self) -> None:
        """Forget the people whose buckets are full again. Call it periodically."""
        full = time.monotonic() - BURST_SECONDS
        while self._departed:
            person, (left, _) = next(iter(self._departed.items()))
            if left > full:
                break
            del self._departed[person]
