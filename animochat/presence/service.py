"""Who is here: which worker has a person's connection, which workers live, how many people there are."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from animochat.protocol.errors import Unavailable
from animochat.protocol.room_record import RoomRecord, read_interests, read_room
from animochat.store import keys
from animochat.store.pipeline import Pipeline
from animochat.store.scripts import load

CHECK = load("presence/check")
CONNECT = load("presence/connect")
DISCONNECT = load("presence/disconnect")
HEARTBEAT = load("presence/heartbeat")
IDENTIFY = load("presence/identify")
REAP_WORKER = load("presence/reap_worker")
RELEASE = load("presence/release")
STATS = load("presence/stats")
STOPPING = load("presence/stopping")
TOUCH = load("presence/touch")

SCRIPTS = [CHECK, CONNECT, DISCONNECT, HEARTBEAT, IDENTIFY, REAP_WORKER, RELEASE, STATS, STOPPING, TOUCH]

#: How many records one script keeps from expiring: bounds its time to about a millisecond.
TOUCH_PORTION = 200

#: How many people one script takes as vanished: bounds its time to about a millisecond.
RELEASE_PORTION = 50

#: Seconds that the shared secret outlives the last worker: who comes back later is a new person.
SECRET_LIFE = 30 * 24 * 3600


@dataclass(frozen=True)
class Registration:
    """What the store knows of a connection's person. `state`: "idle", "waiting", "chatting", "replaced" or "banned".

    `recovered`: the session that the connection asked for goes on. `ended`: the room that the partner ended since the
    person last connected, and the reason; ("", "") for none. `interests`: what somebody who waits has named.
    `banned_ms`: for how long; None for good.
    """

    state: str
    version: int = 0
    online: int = 0
    recovered: bool = False
    ended: tuple[str, str] = ("", "")
    cooldown_ms: int = 0
    interests: tuple[str, ...] = ()
    room: RoomRecord | None = None
    banned_ms: int | None = None


@dataclass(frozen=True)
class Heartbeat:
    """How the system is: see presence/scripts/heartbeat.lua."""

    epoch: str
    known: bool
    online: int
    listeners: int
    workers: int
    dead: list[str]


class Presence:
    """The scripts of this folder for one worker. All methods wait for the store; all raise Unavailable.

    `clock` (Unix ms) takes the place of the store's clock, for tests.
    """

    def __init__(
        self, pipeline: Pipeline, worker: str, lobby: str = keys.MAIN_LOBBY, clock: Callable[[], int] | None = None
    ) -> None:
        self._pipeline = pipeline
        self._worker = worker
        self._lobby = [keys.lobby(lobby)]
        self._now: Callable[[], int | str] = clock or (lambda: "")

    def connect(
        self,
        person: str,
        connection: str,
        again: bool = False,
        session: str = "",
        recover: str = "",
        grace_ms: int = 0,
        address: str = "",
        version: int = 0,
    ) -> Registration:
        """Make `connection` the person's one connection, in the Socket.IO session `session`.

        `again`: the connection is there already, and a newer one wins; `version` is the person's as it knows it.
        `recover` names a session to take up instead, if it was there less than `grace_ms` ago. `address`: a keyed hash
        of the one it comes from.
        """
        args = [person, self._worker, connection, session, recover, grace_ms, "1" if again else "", address]
        args += [self._now(), version]
        reply = self._pipeline.call(CONNECT, self._lobby, args)
        state = reply[0].decode()
        if state == "replaced":
            return Registration(state)
        if state == "banned":
            return Registration(state, banned_ms=reply[1] if reply[1] >= 0 else None)
        _, version, online, recovered, ended, *rest = reply
        room_ended, _, reason = ended.decode().partition(" ")
        known = Registration(state, version, online, bool(recovered), (room_ended, reason))
        if state == "waiting":
            return replace(known, cooldown_ms=rest[1], interests=read_interests(rest[0]))
        if state == "chatting":
            return replace(known, room=read_room(rest))
        return known

    def disconnect(self, person: str, connection: str, grace_ms: int | None) -> bool:
        """The connection is gone: for good, or with its place kept for `grace_ms`. False where a newer one is there."""
        grace = "" if grace_ms is None else grace_ms
        args = [person, self._worker, connection, grace, self._now()]
        return bool(self._pipeline.call(DISCONNECT, self._lobby, args))

    def heartbeat(self, messages: int) -> Heartbeat:
        """Say that this worker lives and has stored so many `messages` since the last time."""
        args = [self._worker, secrets.token_hex(8), messages, self._now()]
        epoch, known, online, listeners, workers, dead = self._pipeline.call(HEARTBEAT, self._lobby, args)
        return Heartbeat(epoch.decode(), bool(known), online, listeners, workers, [name.decode() for name in dead])

    def reap(self, worker: str, grace_ms: int) -> None:
        """Take a dead worker's people (or, on the way out, this worker's own) as vanished."""
        own = "1" if worker == self._worker else ""
        while self._pipeline.call(REAP_WORKER, self._lobby, [worker, grace_ms, own, self._now()]):
            pass

    def listed(self) -> list[str]:
        """Return the people whom the store has at this worker."""
        return [name.decode() for name in self._pipeline.execute("SMEMBERS", f"{self._lobby[0]}:worker:{self._worker}")]

    def release(self, people: list[str], grace_ms: int) -> None:
        """Take people as vanished whom the store has at this worker, which has no connection of theirs."""
        for start in range(0, len(people), RELEASE_PORTION):
            args = [self._worker, grace_ms, self._now(), *people[start : start + RELEASE_PORTION]]
            self._pipeline.call(RELEASE, self._lobby, args)

    def stopping(self) -> int:
        """Say that this worker is about to stop; how many live that are not."""
        return int(self._pipeline.call(STOPPING, self._lobby, [self._worker, self._now()]))

    def touch(self, people: list[str]) -> None:
        """Keep the records of connected people from expiring."""
        for start in range(0, len(people), TOUCH_PORTION):
            self._pipeline.call(TOUCH, self._lobby, people[start : start + TOUCH_PORTION])

    def stats(self) -> dict[str, int]:
        """The lobby's numbers in `GET /stats`, and the workers that live."""
        names = ["onlineUsers", "waitingUsers", "activeRooms", "workers", "matchesTotal", "messagesTotal"]
        return dict(zip(names, self._pipeline.call(STATS, self._lobby, [self._now()]), strict=True))

    def identify(self, identity: str) -> list[str]:
        """Record this worker's identity (presence/identity.py); returns those of the other workers that live."""
        return [
            other.decode()
            for other in self._pipeline.call(IDENTIFY, self._lobby, [self._worker, identity, self._now()])
        ]

    def check(self) -> None:
        """Try the writes of a join where the lobby is: a store that is full or takes no writes lets nobody in."""
        self._pipeline.call(CHECK, self._lobby, [self._worker])


def shared_secret(pipeline: Pipeline, mine: str) -> str:
    """The secret that all workers share: the first one's, kept in the store. Asking keeps it from expiring.

    Waits for the store; raises Unavailable.
    """
    pipeline.execute("SET", keys.SECRET, mine, "NX")
    pipeline.execute("EXPIRE", keys.SECRET, SECRET_LIFE)
    secret = pipeline.execute("GET", keys.SECRET)
    if secret is None:
        raise Unavailable
    return str(secret.decode())
