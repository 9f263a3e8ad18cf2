"""A lobby on one worker: a separate chat, whose people meet no one of another lobby.

Its slot in a cluster, its people with their history and their bans, its rooms and its counts are its own. A worker
serves every lobby; they have the ways to the store in common, and the secret that signs tokens.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import gevent

from animochat import hooks
from animochat.chat.arrivals import Arrivals
from animochat.chat.broadcasts import send_online_count
from animochat.chat.client_rooms import ClientRooms
from animochat.chat.connections import Connection, Connections
from animochat.chat.delivery import Delivery
from animochat.chat.departures import Departures
from animochat.chat.inbound import ChannelHandler
from animochat.chat.namespace import ChatEvents
from animochat.chat.sync import Sync
from animochat.matchmaking.service import TICK_GAP_MS, Matchmaking, tick_interval
from animochat.moderation.lobby_moderation import LobbyModeration
from animochat.moderation.words import WordFilter
from animochat.presence.service import Presence
from animochat.protocol.errors import Unavailable
from animochat.protocol.payloads import MAX_CLIENT_ID, MAX_DETAILS, MAX_INTEREST_LENGTH, MAX_INTERESTS, Limits
from animochat.rooms.service import Rooms
from animochat.server.engineio.server import websocket_frame
from animochat.settings import Settings
from animochat.store import keys
from animochat.store.pipeline import Pipeline
from animochat.store.subscription import Listener

log = logging.getLogger(__name__)

#: Seconds between the times at which the records of connected people are kept from expiring.
TOUCH = 3600.0

HOUR_MS = 3_600_000
MINUTE_MS = 60_000


def session_limits(settings: Settings) -> Limits:
    """Return the limits that clients get with `session`, and are held to."""
    return Limits(
        maxMessageLength=settings.max_message_length,
        maxClientIdLength=MAX_CLIENT_ID,
        maxInterests=MAX_INTERESTS,
        maxInterestLength=MAX_INTEREST_LENGTH,
        interestWaitMs=settings.interest_wait_ms,
        skipCooldownMs=settings.skip_cooldown_ms,
        reconnectGraceMs=settings.reconnect_grace_ms,
        lostGraceMs=settings.lost_grace_ms,
        maxReportDetailsLength=MAX_DETAILS,
        reportAfterMs=settings.report_window_minutes * MINUTE_MS,
        reportsIncludeMessages=settings.store_messages,
    )


class Lobby:
    """Everything of a lobby on one worker.

    `share_secret` is called when the lobby's data are new or lost, before anyone is registered again: it may wait for
    the store and raise Unavailable. `renew` is called when the worker's channel has no subscription, `check_stall`
    before anything is done by what is remembered here (stall.py).
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        pipeline: Pipeline,
        worker_id: str,
        words: WordFilter | None,
        share_secret: Callable[[], None],
        renew: Callable[[], None],
        check_stall: Callable[[], None],
    ) -> None:
        self.name = name
        self._lost_grace_ms = settings.lost_grace_ms
        self._longest_grace_ms = max(settings.lost_grace_ms, settings.reconnect_grace_ms)
        self._share_secret = share_secret
        self._renew = renew
        self.presence = Presence(pipeline, worker_id, name)
        self.matchmaking = Matchmaking(
            pipeline,
            settings.match_history_hours * HOUR_MS,
            settings.skip_cooldown_ms,
            settings.interest_wait_ms,
            name,
        )
        limits = session_limits(settings)
        self.rooms = Rooms(
            pipeline,
            worker_id,
            name,
            storing=settings.store_messages,
            # Without messages the log only has to refuse what comes late.
            ended_life_ms=max(self._longest_grace_ms, limits.reportAfterMs if settings.store_messages else 0),
            report_window_ms=limits.reportAfterMs,
        )
        self.moderation = LobbyModeration(
            pipeline,
            settings.reports_per_hour,
            settings.auto_suspend_reports,
            name,
            reports_per_address=settings.reports_per_hour_per_address,
            report_window_ms=limits.reportAfterMs,
        )
        self.rooms.life.on_ended = self._rooms_ended
        self.connections = Connections()
        handler = self._assemble(settings, limits, worker_id, words, check_stall)
        channels = [keys.worker_channel(worker_id, name), keys.everybody(name, pipeline.database)]
        self.listener = Listener(channels, handler.receive, self.resync_all)
        #: Whether the store may have come back older than what has happened.
        self._compare = False
        self._epoch: str | None = None
        self._workers = 1
        self._touched_at = self._forgot_at = time.monotonic()

    def _assemble(
        self,
        settings: Settings,
        limits: Limits,
        worker_id: str,
        words: WordFilter | None,
        check_stall: Callable[[], None],
    ) -> ChannelHandler:
        """Make the objects that connect clients and rules. Return the handler of the channel's texts."""
        delivery = Delivery(self.connections, self.rooms, worker_id)
        client_rooms = ClientRooms(self.connections, self.rooms, delivery)
        self.departures = Departures(settings, self.connections, self.presence, self.rooms)
        sync = Sync(
            limits,
            self.name,
            self.connections,
            self.presence,
            self.matchmaking,
            self.rooms,
            client_rooms,
            delivery,
            self.departures,
        )
        self.arrivals = Arrivals(self.name, self.connections, sync, self.departures, check_stall)
        self.namespace = ChatEvents(
            settings,
            limits,
            self.connections,
            self.departures,
            client_rooms,
            delivery,
            self.matchmaking,
            self.rooms,
            self.moderation,
            words,
            check_stall,
        )
        return ChannelHandler(self.connections, self.departures, client_rooms, delivery, self.rooms, check_stall)

    def _rooms_ended(self, room_ids: list[str]) -> None:
        for room_id in room_ids:
            hooks.notify(hooks.room_ended, self.name, room_id=room_id)

    def tick(self) -> float:
        """Do the due work. Return the seconds until the next tick. Raises Unavailable."""
        while self.matchmaking.tick(TICK_GAP_MS):
            pass
        self.rooms.life.close_ended()
        return tick_interval(self._workers)

    def beat(self) -> None:
        """Send a heartbeat, and repair the faults that the answer reports. Raises Unavailable."""
        stored, self.rooms.stored = self.rooms.stored, 0
        try:
            beat = self.presence.heartbeat(stored)
        except Unavailable:
            self.rooms.stored += stored
            raise
        self._workers = beat.workers
        if beat.epoch != self._epoch:
            # A store without our data: new, or emptied.
            self._share_secret()
            if self._epoch is not None:
                log.warning("The store lost its data of lobby %s: resynchronizing everyone", self.name)
                self.resync_all()
            self._epoch = beat.epoch
        elif not beat.known:
            log.warning("Others took this worker for dead in lobby %s: resynchronizing everyone", self.name)
            self.resync_all()
        if not beat.listeners:
            self._renew()
        for worker in beat.dead:
            log.warning(
                "Worker %s is dead: its people's places in lobby %s are kept for the grace time", worker, self.name
            )
            self.presence.reap(worker, self._lost_grace_ms)
        self._resync(lambda connection: (not connection.registered or connection.stale) and not connection.busy)
        self.departures.report_again()
        if self._compare:
            self._make_up()
        self.rooms.repeat()
        self.connections.forget_departed()
        self._forget_rooms()
        gevent.spawn(send_online_count, self.connections, beat.online, websocket_frame)
        if time.monotonic() - self._touched_at > TOUCH:
            self._touched_at = time.monotonic()
            self.presence.touch(list(self.connections.by_person))
            self._share_secret()

    def resync_all(self) -> None:
        """Resynchronize all connections with the store. Does not wait."""
        self._compare = True
        self._resync(lambda connection: True)

    def _make_up(self) -> None:
        self._compare = False
        try:
            if self.departures.make_up():
                log.warning("The store of lobby %s came back older: repeated the ends that it had lost", self.name)
        except Unavailable:
            self._compare = True
            raise

    def _resync(self, which: Callable[[Connection], bool]) -> None:
        for connection in self.connections:
            if which(connection):
                self.arrivals.resync(connection)

    def mark_all_stale(self) -> None:
        """Mark all connections as stale: ask the store before acting on their state. Does not wait."""
        self.arrivals.distrust_arrivals()
        for connection in self.connections:
            connection.mark_stale()

    def _forget_rooms(self) -> None:
        """Forget messages that this worker alone has: kept while the room has someone here, and for the grace time."""
        now = time.monotonic()
        if now - self._forgot_at > self._longest_grace_ms / 1000:
            self._forgot_at = now
            self.rooms.log.forget(lambda: {c.room.room_id for c in self.connections if c.room is not None})
