"""Alerts for the operator: one lobby's queue of them, and the loop that sends due ones.

The scripts of this folder queue an alert in the same step as the event that it reports (scripts/include/alert.lua).
Workers look for due alerts; one worker at a time has an alert, with a lease that it renews while it sends. If it dies,
it loses the lease, and another worker sends the alert, under the same id. Refused alerts are retried, with growing
delays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import gevent
import msgspec
from gevent import Greenlet
from gevent.event import Event

from animochat.protocol.errors import Unavailable
from animochat.store import keys
from animochat.store.pipeline import Pipeline
from animochat.store.scripts import load
from animochat.telemetry.metrics import METRICS

log = logging.getLogger(__name__)

TAKE_ALERT = load("moderation/take_alert")
SETTLE_ALERT = load("moderation/settle_alert")

#: Milliseconds for which a worker has an alert, and seconds after which it renews the lease while it sends.
LEASE_MS = 2000
RENEW = 0.5

#: Seconds between two looks for due alerts.
INTERVAL = 0.5

#: Milliseconds until the next try, after each failed one; after the last one the alert is given up: within a day.
DELAYS_MS = tuple(1000 * s for s in (0.5, 1, 5, 30, 120, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600))

#: Seconds that a stopping worker gives an alert that it is sending.
FINISH = 3.0


class DeliveryFailed(Exception):
    """An alert was not accepted. The text is the reason, without the receiver's address or any secret."""


class Alert(msgspec.Struct, frozen=True):
    """An alert, in a worker's hands for a lease. `id` is the same for each try; `at`: time of the event, Unix ms.

    `details` and `evidence` (JSON) are those of the report concerned, or "".
    """

    entry: str
    id: str
    tries: int
    type: str
    at: int
    lobby: str
    fields: dict[str, str]
    details: str = ""
    evidence: bytes = b""

    def payload(self, with_words: bool) -> dict[str, Any]:
        """Return the receiver's form. `with_words`: include people's texts, if they are known."""
        data: dict[str, Any] = {"lobby": self.lobby, **self.fields}
        for name in ("until", "reports"):
            if name in data:
                data[name] = int(data[name]) if data[name] else None
        if "address" in data:
            data["address"] = data["address"] == "1"
        if with_words and self.type == "report.filed":
            data["details"] = self.details
            data["evidence"] = msgspec.json.decode(self.evidence or b"[]")
        moment = datetime.fromtimestamp(self.at / 1000, timezone.utc)
        return {"type": self.type, "timestamp": moment.isoformat(timespec="milliseconds"), "data": data}


class AlertQueue:
    """The alerts of one lobby, for one worker. All methods wait for the store; all raise Unavailable.

    Tests replace the store's clock with `clock` (Unix ms).
    """

    def __init__(
        self,
        pipeline: Pipeline,
        worker: str,
        lobby: str = keys.MAIN_LOBBY,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.lobby = lobby
        self._pipeline = pipeline
        self._worker = worker
        self._tag = [keys.lobby(lobby)]
        self._now: Callable[[], int | str] = clock or (lambda: "")

    def take(self) -> Alert | int | None:
        """Return a due alert, or the milliseconds until one is due, or None if none waits."""
        reply = self._pipeline.call(TAKE_ALERT, self._tag, [self._worker, LEASE_MS, self._now()])
        if len(reply) == 1:
            return None if reply[0] < 0 else int(reply[0])
        _, entry, tries, flat, details, evidence = reply
        values = iter(flat)
        fields = {name.decode(): value.decode() for name, value in zip(values, values, strict=True)}
        name = entry.decode()
        kind, at = fields.pop("type"), int(fields.pop("at"))
        identity = f"msg_{self.lobby}_{name}"
        return Alert(name, identity, tries, kind, at, self.lobby, fields, details.decode(), evidence)

    def postpone(self, alert: Alert, ms: float) -> bool:
        """Let any worker take the alert after `ms`, and none before. Return False if another worker has it by now."""
        return self._settle(alert, int(ms))

    def remove(self, alert: Alert) -> bool:
        """Forget a sent or given-up alert. Return False if another worker has it by now."""
        return self._settle(alert, "")

    def _settle(self, alert: Alert, ms: int | str) -> bool:
        args = [self._worker, alert.entry, alert.tries, ms, self._now()]
        return bool(self._pipeline.call(SETTLE_ALERT, self._tag, args))


class AlertSender:
    """Sends the alerts of one queue, one at a time. `send` raises DeliveryFailed."""

    def __init__(self, queue: AlertQueue, send: Callable[[Alert], None]) -> None:
        self._queue = queue
        self._send = send
        #: finished alerts that the store does not know to be finished yet
        self._over: list[Alert] = []
        self._failing = False
        self._stopping = False
        self._idle = Event()
        self._idle.set()

    def run(self) -> float:
        """Send all due alerts. Return the seconds until the next look. Raises Unavailable."""
        while not self._stopping:
            self._settle()
            taken = self._queue.take()
            if not isinstance(taken, Alert):
                return INTERVAL if taken is None else min(INTERVAL, taken / 1000)
            self._idle.clear()
            try:
                self._deliver(taken)
            finally:
                self._idle.set()
        return INTERVAL

    def stop(self) -> None:
        """Take no more alerts, and wait for the one being sent, for FINISH seconds at most."""
        self._stopping = True
        self._idle.wait(FINISH)

    def _deliver(self, alert: Alert) -> None:
        sending = gevent.spawn(self._try, alert)
        try:
            while not sending.ready():
                sending.join(RENEW)
                if not sending.ready() and not self._renew(alert):
                    return  # this worker stood still, and another one has sent it or is sending it
        finally:
            sending.kill()
        self._conclude(alert, sending)

    def _try(self, alert: Alert) -> str | None:
        """Return why the alert was not accepted, or None."""
        try:
            self._send(alert)
        except DeliveryFailed as error:
            return str(error)
        return None

    def _renew(self, alert: Alert) -> bool:
        try:
            return self._queue.postpone(alert, LEASE_MS)
        except Unavailable:
            return True  # no other worker can get it either

    def _conclude(self, alert: Alert, sending: Greenlet) -> None:
        if not sending.successful():  # a bug of ours, logged by gevent: treated like an unavailable receiver
            problem: str | None = type(sending.exception).__name__
        else:
            problem = sending.value
        if problem is None:
            METRICS.alerts["sent"] += 1
            if self._failing:
                log.info("Alerts of lobby %s are accepted again", alert.lobby)
            self._failing = False
        elif alert.tries <= len(DELAYS_MS):
            METRICS.alerts["failed"] += 1
            if not self._failing:
                log.warning("An alert of lobby %s was not accepted: %s; it is sent again", alert.lobby, problem)
            self._failing = True
            self._queue.postpone(alert, DELAYS_MS[alert.tries - 1])
            return
        else:
            METRICS.alerts["given-up"] += 1
            log.error("An alert (%s) of lobby %s is given up: %s", alert.type, alert.lobby, problem)
        self._over.append(alert)
        self._settle()

    def _settle(self) -> None:
        while self._over:
            self._queue.remove(self._over[0])
            self._over.pop(0)
