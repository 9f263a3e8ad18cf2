"""Presence: which worker holds a person's connection, which workers live, how many people are online."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from animochat.protocol.errors import Unavailable
from animochat.protocol.room_record import PastRoom, RoomRecord, read_interests, read_room
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

#: Records whose expiry one script renews at most: bounds its time to about a millisecond.
TOUCH_PORTION = 200

#: People that one script marks as away at most: bounds its time to about a millisecond.
RELEASE_PORTION = 50

#: Seconds that the shared secret outlives the last worker: people who come back later count as new.
SECRET_LIFE = 30 * 24 * 3600


@dataclass(frozen=True)
class Registration:
    """A connection's person as the store knows it.

    `state`: "idle", "waiting", "chatting", "replaced" or "banned". `recovered`: the requested session continues.
    `ended`: the room that the partner ended since the person last connected, and the reason; ("", "") for none.
    `interests`: the interests of a waiting person. `banned_ms`: the time left of a ban; None: permanent.
    `banned_reason`: one of payloads.REASONS, or "". `device`: the person's.
    `last_room`: the person's last room that has ended, while it may be reported.
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
    banned_reason: str = ""
    last_room: PastRoom | None = None
    device: str = ""


@dataclass(frozen=True)
class Heartbeat:
    """The state of the lobby: see presence/scripts/heartbeat.lua."""

    epoch: str
    known: bool
    online: int
    listeners: int
    workers: int
    dead: list[str]


class Presence:
    """The scripts of this folder for one worker. All methods wait for the store; all raise Unavailable.

    Tests replace the store's clock with `clock` (Unix ms).
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
        address: str = "",
        version: int = 0,
        device: str = "",
        new_device: str = "",
    ) -> Registration:
        """Make `connection` the person's one connection, in the Socket.IO session `session`.

        `again`: the connection exists already, and a newer one wins; `version` is the person's as this worker knows it.
        `recover`: a session to continue instead, while its connection's place is kept. `address`: a
        keyed hash of the client's address. `device`: the one that the client sent, or "" for the person's last one;
        `new_device` is for a person who has none.
        """
        args: list[Any] = [person, self._worker, connection, session, recover, "1" if again else "", address]
        args += [self._now(), version, device, new_device]
        reply = self._pipeline.call(CONNECT, self._lobby, args)
        state = reply[0].decode()
        if state == "replaced":
            return Registration(state)
        if state == "banned":
            return Registration(state, banned_ms=reply[1] if reply[1] >= 0 else None, banned_reason=reply[2].decode())
        _, version, online, recovered, ended, last, known_device, *rest = reply
        room_ended, _, reason = ended.decode().partition(" ")
        past = PastRoom(last.split()[0].decode(), int(last.split()[1])) if last else None
        known = Registration(
            state, version, online, bool(recovered), (room_ended, reason), last_room=past, device=known_device.decode()
        )
        if state == "waiting":
            return replace(known, cooldown_ms=rest[1], interests=read_interests(rest[0]))
        if state == "chatting":
            return replace(known, room=read_room(rest))
        return known

    def disconnect(self, person: str, connection: str, grace_ms: int | None) -> bool:
        """Remove the connection; keep its place for `grace_ms`, or None: end it. Return False if a newer one exists."""
        grace = "" if grace_ms is None else grace_ms
        args = [person, self._worker, connection, grace, self._now()]
        return bool(self._pipeline.call(DISCONNECT, self._lobby, args))

    def heartbeat(self, messages: int) -> Heartbeat:
        """Record a heartbeat, and the number of `messages` stored since the last one."""
        args = [self._worker, secrets.token_hex(8), messages, self._now()]
        epoch, known, online, listeners, workers, dead = self._pipeline.call(HEARTBEAT, self._lobby, args)
        return Heartbeat(epoch.decode(), bool(known), online, listeners, workers, [name.decode() for name in dead])

    def reap(self, worker: str, grace_ms: int) -> None:
        """Mark the people of a dead worker (or, at shutdown, of this one) as away."""
        own = "1" if worker == self._worker else ""
        while self._pipeline.call(REAP_WORKER, self._lobby, [worker, grace_ms, own, self._now()]):
            pass

    def listed(self) -> list[str]:
        """Return the people that the store lists at this worker."""
        return [name.decode() for name in self._pipeline.execute("SMEMBERS", f"{self._lobby[0]}:worker:{self._worker}")]

    def release(self, people: list[str], grace_ms: int) -> None:
        """Mark people as away that the store lists at this worker, although it has no connection of theirs."""
        for start in range(0, len(people), RELEASE_PORTION):
            args = [self._worker, grace_ms, self._now(), *people[start : start + RELEASE_PORTION]]
            self._pipeline.call(RELEASE, self._lobby, args)

    def stopping(self) -> int:
        """Mark this worker as stopping; return how many live workers are not stopping."""
        return int(self._pipeline.call(STOPPING, self._lobby, [self._worker, self._now()]))

    def touch(self, people: list[str]) -> None:
        """Renew the expiry of connected people's records."""
        for start in range(0, len(people), TOUCH_PORTION):
            self._pipeline.call(TOUCH, self._lobby, people[start : start + TOUCH_PORTION])

    def stats(self) -> dict[str, int]:
        """Return the lobby's numbers for `GET /stats`, and the number of live workers."""
        names = ["onlineUsers", "waitingUsers", "activeRooms", "workers", "matchesTotal", "messagesTotal"]
        return dict(zip(names, self._pipeline.call(STATS, self._lobby, [self._now()]), strict=True))

    def identify(self, identity: str) -> list[str]:
        """Record this worker's identity (presence/identity.py), or nothing for ""; return the other live workers'."""
        return [
            other.decode()
            for other in self._pipeline.call(IDENTIFY, self._lobby, [self._worker, identity, self._now()])
        ]

    def check(self) -> None:
        """Try the writes of a join in the lobby's slot: a store that is full or read-only accepts no one."""
        self._pipeline.call(CHECK, self._lobby, [self._worker])


def shared_secret(pipeline: Pipeline, mine: str) -> str:
    """Return the secret that all workers share: the first worker's, kept in the store. A call renews its expiry.

    Waits for the store; raises Unavailable.
    """
    pipeline.execute("SET", keys.SECRET, mine, "NX")
    pipeline.execute("EXPIRE", keys.SECRET, SECRET_LIFE)
    secret = pipeline.execute("GET", keys.SECRET)
    if secret is None:
        raise Unavailable
    return str(secret.decode())
