"""One worker's chat: what it is made of, and the loops that keep it right while it serves.

`Chat` stands in `app.extensions["animochat"]`. Making it opens no connection and starts no greenlet; `start()` does,
which the gunicorn worker calls once it serves.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import gevent
from gevent import Greenlet

from animochat import __version__, tracing
from animochat.errors import Unavailable
from animochat.matchmaking import service as matchmaking
from animochat.metrics import METRICS
from animochat.moderation import service as moderation
from animochat.moderation.words import word_filter
from animochat.presence import service as presence
from animochat.readings import service as readings
from animochat.readings.figures import INTERVAL_MS
from animochat.rooms import service as rooms
from animochat.server.engine import EngineServer, websocket_frame
from animochat.server.monitor import Monitor
from animochat.server.shared_metrics import Totals
from animochat.settings import DEFAULT_REDIS_URL, Settings
from animochat.sockets.connections import Connection, Connections, send_online_count
from animochat.sockets.lifecycle import Lifecycle
from animochat.sockets.namespace import ChatNamespace
from animochat.sockets.news import News
from animochat.store import keys
from animochat.store.pipeline import Pipeline
from animochat.store.subscription import Subscription

log = logging.getLogger(__name__)

#: Seconds between heartbeats; a worker counts as dead after five (presence/scripts/include/workers.lua).
HEARTBEAT = 1.0

#: Seconds between ticks: bounds how late a rest ends.
TICK = 0.25

#: Seconds between the times at which the records of connected people are kept from expiring.
TOUCH = 3600.0

#: Clients a second that a worker which stops sends elsewhere, or more if the time is short. Each costs the worker it
#: comes to some 0.6 ms (docs/performance.md, "connects").
DRAIN_RATE = 500

#: Seconds between two slices of them. So a slice is 50 people, and a worker with fewer is empty at once.
DRAIN_INTERVAL = 0.1

#: Seconds that a worker which stops gives its last spans.
TRACES_TIMEOUT = 1.0

#: Connections that a sample looks at in a row: about a tenth of a millisecond.
PORTION = 500

HOUR_MS = 3_600_000


class Chat:
    """Everything of one worker but the web server. `worker_id` names it in the store and begins its session ids."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.worker_id = secrets.token_hex(4)
        url = settings.redis_url or DEFAULT_REDIS_URL
        scripts = presence.SCRIPTS + matchmaking.SCRIPTS + rooms.SCRIPTS + moderation.SCRIPTS + readings.SCRIPTS
        self.pipeline = Pipeline(url, scripts)
        self.presence = presence.Presence(self.pipeline, self.worker_id)
        self.matchmaking = matchmaking.Matchmaking(
            self.pipeline,
            settings.match_history_hours * HOUR_MS,
            settings.skip_cooldown_ms,
            settings.interest_wait_ms,
        )
        self.rooms = rooms.Rooms(self.pipeline, self.worker_id, storing=settings.store_messages)
        self.moderation = moderation.Moderation(self.pipeline, settings.reports_per_hour, settings.auto_suspend_reports)
        self.readings = readings.Readings(self.pipeline, self.worker_id)
        self.connections = Connections()
        self.lifecycle = Lifecycle(settings, self.connections, self.presence, self.matchmaking, self.rooms)
        self.namespace = ChatNamespace(
            settings,
            self.connections,
            self.lifecycle,
            self.matchmaking,
            self.rooms,
            self.moderation,
            word_filter(settings),
            self.worker_id,
        )
        news = News(settings, self.connections, self.lifecycle, self.namespace, self.rooms)
        channels = [keys.worker_channel(self.worker_id), keys.everybody()]
        self.subscription = Subscription(url, channels, news.receive, self._recheck_all)
        self._monitor = Monitor(self._sample)
        #: This worker's Engine.IO server, set by the factory.
        self.engine: EngineServer
        #: Called with every heartbeat; for what the layer above has to do now and then.
        self.on_heartbeat: Callable[[], None] = lambda: None
        self._secret = settings.secret_key or secrets.token_urlsafe(32)
        self._epoch: str | None = None
        self._touched_at = self._forgot_at = time.monotonic()
        self._started_at = time.monotonic()
        self._loops: list[Greenlet] = []
        if settings.secret_key:
            self.lifecycle.know_secret(settings.secret_key)

    # The worker's life

    def start(self) -> None:
        """Begin to serve. Does not wait for the store: while it can't be reached, clients are told so."""
        self._started_at = time.monotonic()
        tracing.start(os.environ)
        self.pipeline.start()
        self.subscription.start()
        self._monitor.start()
        self._loops = [
            gevent.spawn(self._repeat, HEARTBEAT, self._beat),
            gevent.spawn(self._repeat, TICK, self._tick),
            gevent.spawn(self._repeat, INTERVAL_MS / 1000, self.readings.add),
        ]

    def drain(self, seconds: float, pause: Callable[[float], object] = gevent.sleep) -> None:
        """Send the clients elsewhere in slices, over `seconds` at most: all in one instant would come back in one, too.

        Nobody is registered here any more; who is not sent away yet is served as before. Returns when all are gone,
        which the store may delay. `pause` waits for so many seconds.
        """
        self.lifecycle.admit_nobody()
        slices = drain_slices(list(self.connections), seconds)
        for number, leaving in enumerate(slices, 1):
            for connection in leaving:
                self.lifecycle.send_away(connection)
            if number < len(slices) and self._somebody_stays():
                pause(DRAIN_INTERVAL)
        while len(self.connections):
            pause(0.02)

    def _somebody_stays(self) -> bool:
        """Is there a worker for those whom this one sends away? Else they wait for one to start: the sooner they can
        all go, the sooner it does."""
        try:
            return self.presence.stopping() > 0
        except Unavailable:
            return False

    def stop(self, timeout: float) -> None:
        """Settle everything within `timeout` seconds: people keep their places for the grace time, partners are told.

        Clients who are still here, because there was no time to drain, are closed all at once.
        """
        gevent.killall(self._loops)
        self.lifecycle.admit_nobody()
        for connection in self.connections:
            connection.closed = True  # so that no recheck puts it back
        with gevent.Timeout(timeout, False):
            try:
                self.presence.reap(self.worker_id, self.settings.reconnect_grace_ms)
            except Unavailable:
                log.warning("Stopped without the store: the other workers will notice")
        for connection in self.connections:
            connection.transport.owner = None
            connection.transport.hang_up()
        self.subscription.stop()
        self.pipeline.stop()
        self._monitor.stop()
        with gevent.Timeout(TRACES_TIMEOUT, False):
            tracing.stop()

    def health(self) -> dict[str, Any]:
        """The answer of `GET /health`. Waits for the store; raises Unavailable."""
        self.pipeline.execute("PING")
        uptime = int(time.monotonic() - self._started_at)
        return {"status": "ok", "redis": "ok", "version": __version__, "uptimeSeconds": uptime}

    def stats(self) -> dict[str, int]:
        """The answer of `GET /stats`. Waits for the store; raises Unavailable."""
        return self.presence.stats()

    def metrics(self) -> Totals:
        """What `GET /metrics` shows of this machine's workers. Does not wait for the store."""
        return self._monitor.totals()

    # What goes on all the time

    def _repeat(self, seconds: float, action: Callable[[], float | None]) -> None:
        """Call `action` every so many `seconds`, or after those that it returns."""
        while True:
            pause = None
            try:
                pause = action()
            except Unavailable:
                pass  # said in the log by the pipeline; the next round tries again
            except Exception:  # the outermost loop: without its heartbeat the worker would be taken for dead
                log.exception("%s failed", action.__name__)
            gevent.sleep(seconds if pause is None else pause)

    def _tick(self) -> None:
        while self.matchmaking.tick():
            pass

    def _beat(self) -> None:
        stored, self.rooms.stored = self.rooms.stored, 0
        try:
            beat = self.presence.heartbeat(stored)
        except Unavailable:
            self.rooms.stored += stored
            raise
        if beat.epoch != self._epoch:
            # A store without our data: new, or emptied. Who holds the secret puts it back, so that tokens still hold.
            if not self.settings.secret_key:
                self._secret = self.presence.secret(self._secret)
                self.lifecycle.know_secret(self._secret)
            if self._epoch is not None:
                log.warning("The store lost its data: telling everybody")
                self._recheck_all()
            self._epoch = beat.epoch
        elif not beat.known:
            log.warning("Others took this worker for dead: telling everybody")
            self._recheck_all()
        if not beat.listeners:
            self.subscription.renew()
        for worker in beat.dead:
            log.warning("Worker %s is dead: its people's places are kept for the grace time", worker)
            self.presence.reap(worker, self.settings.reconnect_grace_ms)
        self._recheck_all(lambda connection: (not connection.registered or connection.stale) and not connection.busy)
        self.lifecycle.retry_farewells()
        self.rooms.repeat()
        self.connections.forget_departed()
        self._forget_rooms()
        self.on_heartbeat()
        gevent.spawn(send_online_count, self.connections, beat.online, websocket_frame)
        if time.monotonic() - self._touched_at > TOUCH:
            self._touched_at = time.monotonic()
            self.presence.touch(list(self.connections.by_person))
            if not self.settings.secret_key:
                self.presence.secret(self._secret)

    def _forget_rooms(self) -> None:
        """What was said, where it isn't stored: kept as long as the room has somebody here, and for the grace time."""
        now = time.monotonic()
        if self.rooms.memory is not None and now - self._forgot_at > self.settings.reconnect_grace_ms / 1000:
            self._forgot_at = now
            self.rooms.memory.forget({c.room.room_id for c in self.connections if c.room is not None})

    def _sample(self) -> None:
        """Look how things stand here, a portion at a time: many connections are not to hold up a message."""
        people = {"idle": 0, "waiting": 0, "chatting": 0}
        transports = {"websocket": 0, "polling": 0}
        queued = 0
        for number, session in enumerate(list(self.engine.sockets.values())):
            transports["websocket" if session.upgraded else "polling"] += 1
            queued += session.queued
            if number % PORTION == PORTION - 1:
                gevent.sleep(0)
        for number, connection in enumerate(self.connections):
            people["chatting" if connection.room is not None else "waiting" if connection.waiting else "idle"] += 1
            if number % PORTION == PORTION - 1:
                gevent.sleep(0)
        METRICS.people, METRICS.connections, METRICS.queued_bytes = people, transports, queued
        METRICS.queued_commands, METRICS.queued_messages = self.pipeline.waiting, self.rooms.waiting

    def _recheck_all(self, which: Callable[[Any], bool] = lambda connection: True) -> None:
        for connection in self.connections:
            if which(connection):
                self.lifecycle.recheck(connection)


def drain_slices(connections: Sequence[Connection], seconds: float) -> list[Sequence[Connection]]:
    """Who leaves a worker together, in order, one slice every DRAIN_INTERVAL: DRAIN_RATE people a second, or as many as
    it takes to be done in `seconds`.

    Partners are in one slice where they can be: a conversation is then interrupted once and not twice.
    """
    ordered = sorted(connections, key=lambda c: c.room.room_id if c.room is not None else "")
    most = max(1, int(seconds / DRAIN_INTERVAL))
    size = max(int(DRAIN_RATE * DRAIN_INTERVAL), math.ceil(len(ordered) / most))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
