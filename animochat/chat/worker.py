"""One worker's chat: the lobbies that it serves, their shared parts, and the background loops.

`Chat` stands in `app.extensions["animochat"]`. Making it opens no connection and starts no greenlet; `start()` does,
which the gunicorn worker calls once it serves.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gevent
from gevent import Greenlet

from animochat import __version__
from animochat.chat.agreement import COMPARE, Agreement
from animochat.chat.connections import Connection
from animochat.chat.lobby import Lobby
from animochat.chat.stall import StallDetector
from animochat.matchmaking import service as matchmaking
from animochat.moderation import lobby_moderation as moderation
from animochat.moderation.access import OperatorAccess
from animochat.moderation.alerts import INTERVAL, AlertQueue, AlertSender
from animochat.moderation.announcements import Announcements
from animochat.moderation.lobby_moderation import OpenReports
from animochat.moderation.service import ModerationService
from animochat.moderation.webhooks import alert_transport
from animochat.moderation.words import word_filter
from animochat.presence import service as presence
from animochat.protocol.errors import Unavailable
from animochat.rooms import service as rooms
from animochat.server.engineio.server import EngineServer
from animochat.server.process.monitor import Monitor
from animochat.server.process.shared_metrics import Totals
from animochat.settings import DEFAULT_REDIS_URL, Settings
from animochat.store.cluster import PUBLISH_EVERYWHERE
from animochat.store.gather import gather
from animochat.store.outages import Outages
from animochat.store.pipeline import Pipeline
from animochat.store.subscription import Listener, Subscriptions
from animochat.telemetry import history as readings
from animochat.telemetry import tracing
from animochat.telemetry.aggregates import INTERVAL_MS
from animochat.telemetry.metrics import METRICS
from animochat.time_slice import TimeSlice

log = logging.getLogger(__name__)

#: Seconds between heartbeats; a worker counts as dead after five (presence/scripts/include/workers.lua).
HEARTBEAT = 1.0

#: Seconds without a heartbeat after which a worker counts as dead (presence/scripts/include/workers.lua).
LEASE = 5.0

#: Clients a second that a worker which stops sends elsewhere, or more if the time is short. Each costs the worker it
#: comes to some 0.6 ms (docs/performance.md, "connects").
DRAIN_RATE = 500

#: Seconds between two slices of them. So a slice is 50 people, and a worker with fewer is empty at once.
DRAIN_INTERVAL = 0.1

#: Seconds that `GET /stats` waits for a lobby's numbers: it answers within a second, with those of the other lobbies.
STATS_TIMEOUT = 0.8

#: Seconds that a worker which stops gives its last spans.
TRACES_TIMEOUT = 1.0


#: The status by which a worker makes gunicorn's master stop instead of starting the next one: that of an application
#: that can't be loaded.
EXIT_MISFIT = 4

#: Seconds that `GET /health` waits for the subscription, which a worker that has just started does not have yet.
PROOF = 0.9


class Chat:
    """Everything of one worker but the web server. `worker_id` names it in the store and begins its session ids."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.worker_id = secrets.token_hex(4)
        url = self.store_url = settings.redis_url or DEFAULT_REDIS_URL
        scripts = presence.SCRIPTS + matchmaking.SCRIPTS + rooms.SCRIPTS + moderation.SCRIPTS + readings.SCRIPTS
        outages = Outages()
        self.pipeline = Pipeline(url, scripts, outages, settings.store_wait)
        self._stall = StallDetector(LEASE, self._stood_still)
        self.pipeline.before_replies = self._stall.check
        self.readings = readings.MetricHistory(self.pipeline, self.worker_id)
        words = word_filter(settings)
        #: By name; clients that name no lobby are in the first.
        self.lobbies = {
            name: Lobby(
                name,
                settings,
                self.pipeline,
                self.worker_id,
                words,
                self._share_secret,
                partial(self._renew_subscription, number),
                self._stall.check,
            )
            for number, name in enumerate(settings.lobbies)
        }
        self.operator_access = OperatorAccess(self.pipeline, settings.lobbies[0])
        self.moderation = ModerationService(
            [lobby.moderation for lobby in self.lobbies.values()],
            Announcements(self.pipeline, settings.message_queue_channel),
        )
        send = alert_transport(settings)
        queues = [AlertQueue(self.pipeline, self.worker_id, name) for name in self.lobbies]
        #: One for each lobby, where the operator wants alerts.
        self._alerts = [] if send is None else [AlertSender(queue, send) for queue in queues]
        self.subscriptions = Subscriptions(url, [lobby.listener for lobby in self.lobbies.values()], outages)
        self._monitor = Monitor(self._sample)
        #: This worker's Engine.IO server, set by the factory.
        self.engine: EngineServer
        #: Called with every heartbeat, for periodic work of the layer above.
        self.on_heartbeat: Callable[[], None] = lambda: None
        self._secret = settings.secret_key or secrets.token_urlsafe(32)
        self._started_at = time.monotonic()
        self._loops: list[Greenlet] = []
        self.started = False
        self._agreement = Agreement(settings, self.pipeline, list(self.lobbies.values()))
        if settings.secret_key:
            self._tell_secret()

    # The message queue of Socket.IO

    def queue_sender(self, channel: str) -> Callable[[bytes], None]:
        """Return a function that publishes to the processes that share a message queue, without waiting."""

        def send(message: bytes) -> None:
            self.pipeline.submit((PUBLISH_EVERYWHERE, channel, message), lambda reply: None)

        return send

    def listen_to_queue(self, channel: str, receive: Callable[[bytes], None]) -> None:
        """Have `receive` called with each message of that queue. To be called before `start`."""
        self.subscriptions.add(Listener([channel], receive, lambda: None, everywhere=True))

    # The worker's life

    def start(self) -> None:
        """Begin to serve. While the store can't be reached, clients get `unavailable`.

        Exits where the store has workers whose data are of another schema; this one has changed nothing there by then.
        """
        if self.started:
            return
        self.started = True
        self._started_at = time.monotonic()
        tracing.start(os.environ)
        self.pipeline.start()
        misfit = self._agreement.misfit()
        if misfit:
            log.error("Can't start: %s", misfit)
            sys.exit(EXIT_MISFIT)
        self.subscriptions.start()
        self._monitor.start()
        # Each by itself: a lobby whose node in a cluster is gone delays no other.
        for lobby in self.lobbies.values():
            self._loops += [
                gevent.spawn(self._repeat, HEARTBEAT, lobby.beat),
                gevent.spawn(self._repeat, matchmaking.TICK_INTERVAL, lobby.tick),
            ]
        self._loops += [gevent.spawn(self._repeat, INTERVAL, alerts.run) for alerts in self._alerts]
        self._loops += [
            gevent.spawn(self._repeat, HEARTBEAT, self._stall.check),
            gevent.spawn(self._repeat, HEARTBEAT, self.on_heartbeat),
            gevent.spawn(self._repeat, INTERVAL_MS / 1000, self.readings.add),
            gevent.spawn(self._repeat, COMPARE, self._look_around),
            gevent.spawn(self._repeat, HEARTBEAT, self.moderation.retry_blocks),
        ]

    def drain(self, seconds: float, pause: Callable[[float], object] = gevent.sleep) -> None:
        """Send the clients elsewhere in slices, within `seconds`: all at once would also reconnect at once.

        Register no one from now on; serve clients that are still here as before. Return when all are gone, which the
        store may delay. `pause` waits for a number of seconds.
        """
        self._admit_nobody()
        slices = drain_slices(self._connections(), seconds)
        for number, leaving in enumerate(slices, 1):
            for connection in leaving:
                self.lobbies[connection.lobby].departures.send_elsewhere(connection)
            if number < len(slices) and self._another_stays():
                pause(DRAIN_INTERVAL)
        while any(len(lobby.connections) for lobby in self.lobbies.values()):
            pause(0.02)

    def _another_stays(self) -> bool:
        """Return whether another worker can take our clients. Otherwise they wait for one to start, and the sooner
        they all go, the sooner it starts.
        """
        asked = gather([lobby.presence.stopping for lobby in self.lobbies.values()])
        return any(not isinstance(staying, Unavailable) and staying > 0 for staying in asked)

    def _admit_nobody(self) -> None:
        for lobby in self.lobbies.values():
            lobby.arrivals.admit_nobody()

    def _connections(self) -> list[Connection]:
        return [connection for lobby in self.lobbies.values() for connection in lobby.connections]

    def stop(self, timeout: float) -> None:
        """Settle everything within `timeout` seconds: people keep their places, and partners know it.

        Clients who are still here, because there was no time to drain, are closed all at once.
        """
        gather([alerts.stop for alerts in self._alerts], timeout / 2)
        gevent.killall(self._loops)
        self._admit_nobody()
        for connection in self._connections():
            connection.retire()  # so that no resync puts it back
        farewells = [
            partial(lobby.presence.reap, self.worker_id, self.settings.lost_grace_ms) for lobby in self.lobbies.values()
        ]
        with gevent.Timeout(timeout, False):
            if any(isinstance(outcome, Unavailable) for outcome in gather(farewells)):
                log.warning("Stopped without the store: the other workers will notice")
        for connection in self._connections():
            connection.transport.owner = None
            connection.transport.hang_up()
        self.subscriptions.stop()
        self.pipeline.stop()
        self._monitor.stop()
        with gevent.Timeout(TRACES_TIMEOUT, False):
            tracing.stop()

    def health(self) -> dict[str, Any]:
        """Return the answer of `GET /health`. Waits for the store; raises Unavailable where no one can join."""
        asked = [
            gevent.spawn(gather, [partial(self._check, number, lobby)])
            for number, lobby in enumerate(self.lobbies.values())
        ]
        for done in gevent.iwait(asked):
            (outcome,) = done.get()
            if not isinstance(outcome, Unavailable):
                uptime = int(time.monotonic() - self._started_at)
                return {"status": "ok", "redis": "ok", "version": __version__, "uptimeSeconds": uptime}
        raise Unavailable

    def _check(self, number: int, lobby: Lobby) -> None:
        """Raise Unavailable if no one can join the lobby, or if this worker does not receive its notices."""
        deadline = time.monotonic() + PROOF
        lobby.presence.check()
        while not self.subscriptions.proven(number):
            if time.monotonic() > deadline:
                raise Unavailable
            gevent.sleep(0.02)

    def stats(self) -> dict[str, Any]:
        """Return the answer of `GET /stats`. Waits for the store; raises Unavailable where every lobby is missing."""
        asked = self.lobby_stats(STATS_TIMEOUT)
        lobbies = {name: numbers for name, numbers in asked.items() if not isinstance(numbers, Unavailable)}
        if not lobbies:
            raise Unavailable
        # Each worker serves every lobby, but may have registered in only some of them yet.
        workers = max(numbers.pop("workers") for numbers in lobbies.values())
        sums = {name: sum(numbers[name] for numbers in lobbies.values()) for name in next(iter(lobbies.values()))}
        missing = [name for name in asked if name not in lobbies]
        return {**sums, "workers": workers, "lobbies": lobbies, **({"missing": missing} if missing else {})}

    def lobby_stats(self, timeout: float | None = None) -> dict[str, dict[str, int] | Unavailable]:
        """Return each lobby's numbers, as far as the store sends them within `timeout` seconds. Waits for the store."""
        asked = gather([lobby.presence.stats for lobby in self.lobbies.values()], timeout)
        return dict(zip(self.lobbies, asked, strict=True))

    def open_reports(self, timeout: float | None = None) -> dict[str, OpenReports | Unavailable]:
        """Return each lobby's open reports in numbers, as far as `timeout` seconds allow. Waits for the store."""
        asked = gather([lobby.moderation.open_reports for lobby in self.lobbies.values()], timeout)
        return dict(zip(self.lobbies, asked, strict=True))

    def metrics(self) -> Totals:
        """Return the answer of `GET /metrics` for this machine's workers. Does not wait for the store."""
        return self._monitor.totals()

    # Background loops

    def _repeat(self, seconds: float, action: Callable[[], float | None]) -> None:
        """Call `action` every `seconds`, or after the number of seconds that it returns."""
        while True:
            pause = None
            try:
                pause = action()
            except Unavailable:
                pass  # the pipeline logs it; the next round tries again
            except Exception:  # the outermost loop: without its heartbeat the worker would count as dead
                log.exception("%s failed", action.__name__)
            gevent.sleep(seconds if pause is None else pause)

    # The secret that signs tokens

    def _tell_secret(self) -> None:
        for lobby in self.lobbies.values():
            lobby.arrivals.know_secret(self._secret)

    def _share_secret(self) -> None:
        """Get the secret from the store where the operator set none. Restore it there if the store lost it, so that
        tokens stay valid. Raises Unavailable.
        """
        if not self.settings.secret_key:
            self._secret = presence.shared_secret(self.pipeline, self._secret)
            self._tell_secret()

    def _look_around(self) -> None:
        """Look whether this worker agrees with the others. Raises Unavailable."""
        self._share_secret()
        self._agreement.look(self._secret)

    # State of this worker

    def _stood_still(self, seconds: float) -> None:
        log.warning("This worker stood still for %.1f s: asking the store about everyone", seconds)
        for lobby in self.lobbies.values():
            lobby.mark_all_stale()

    def _renew_subscription(self, number: int) -> None:
        self.subscriptions.renew(number)

    def _sample(self) -> None:
        """Count this worker's connections, in slices: many of them must not delay a message."""
        people = {"idle": 0, "waiting": 0, "chatting": 0}
        transports = {"websocket": 0, "polling": 0}
        queued = 0
        time_slice = TimeSlice()
        for session in list(self.engine.sockets.values()):
            transports["websocket" if session.upgraded else "polling"] += 1
            queued += session.queued
            time_slice.yield_if_due()
        for connection in self._connections():
            people["chatting" if connection.room is not None else "waiting" if connection.waiting else "idle"] += 1
            time_slice.yield_if_due()
        METRICS.people, METRICS.connections, METRICS.queued_bytes = people, transports, queued
        METRICS.queued_commands, METRICS.queued_messages = (
            self.pipeline.waiting,
            sum(lobby.rooms.waiting for lobby in self.lobbies.values()),
        )


def drain_slices(connections: Sequence[Connection], seconds: float) -> list[Sequence[Connection]]:
    """Return the people who leave a worker together, in order, one slice every DRAIN_INTERVAL: DRAIN_RATE people per
    second, or more where `seconds` require it.

    Partners are in one slice where they can be: a conversation is then interrupted once and not twice.
    """
    ordered = sorted(connections, key=lambda c: c.room.room_id if c.room is not None else "")
    most = max(1, int(seconds / DRAIN_INTERVAL))
    size = max(int(DRAIN_RATE * DRAIN_INTERVAL), math.ceil(len(ordered) / most))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
