"""A worker's own counters, as cheap as possible: plain numbers, which `GET /metrics` exposes in Prometheus' format.

    METRICS.messages += 1
    METRICS.rejected["rate-limited"] += 1
    METRICS.match_wait.observe(0.25)

One table, `TABLE`, lists them; docs/metrics.md describes each. Nothing here grows: a label has only the values that the
table lists.
"""

from __future__ import annotations

import gc
import time
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from animochat.protocol.errors import ChatError

#: Prefix of every name.
PREFIX = "animochat_"

#: Upper bounds of the buckets, in seconds: for latencies of milliseconds, for pauses, and for waits of people.
LATENCIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WAITS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)

#: Upper bounds, in items per batch.
BATCHES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


class Metric(NamedTuple):
    """A metric, or a family of them if there is a `label` with several `values`. `field`: its field in `Metrics`."""

    field: str
    name: str
    kind: str
    help: str
    label: str = ""
    values: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        """Return how many numbers it has: for a histogram the buckets, the one beyond the last bound, and the sum."""
        return (len(self.bounds) + 2 if self.bounds else 1) * (len(self.values) or 1)


#: The error codes of refused requests.
CODES = tuple(sorted({ChatError.code} | {kind.code for kind in ChatError.__subclasses__()}))

TABLE = (
    Metric(
        "connections",
        "connections",
        GAUGE,
        "Open Engine.IO sessions, by transport.",
        "transport",
        ("websocket", "polling"),
    ),
    Metric("connects", "connects_total", COUNTER, "Engine.IO sessions opened."),
    Metric(
        "connects_refused",
        "connects_refused_total",
        COUNTER,
        "Engine.IO handshakes refused, by reason.",
        "reason",
        ("too-fast", "too-many-from-address", "too-many", "stopping"),
    ),
    Metric("requests_refused", "requests_refused_total", COUNTER, "HTTP requests refused by RATE_REQUESTS."),
    Metric("slow_clients", "slow_clients_total", COUNTER, "Clients disconnected because they read too slowly."),
    Metric(
        "people",
        "people",
        GAUGE,
        "People connected to this machine, by state.",
        "state",
        ("idle", "waiting", "chatting"),
    ),
    Metric("matches", "matches_total", COUNTER, "Rooms created, each counted by one worker."),
    Metric(
        "match_wait",
        "match_wait_seconds",
        HISTOGRAM,
        "Time from a search, or from the end of the skip cooldown, to the match.",
        bounds=WAITS,
    ),
    Metric("messages", "messages_total", COUNTER, "Messages stored."),
    Metric(
        "delivery",
        "delivery_seconds",
        HISTOGRAM,
        "Time from receiving a message to writing it to the partner's socket (local) or publishing it (remote).",
        "partner",
        ("local", "remote"),
        LATENCIES,
    ),
    Metric(
        "recoveries",
        "recoveries_total",
        COUNTER,
        "Session recovery attempts, by outcome.",
        "outcome",
        ("recovered", "new-session", "unavailable"),
    ),
    Metric(
        "rejected", "rejected_total", COUNTER, "Client events and connections refused, by error code.", "code", CODES
    ),
    Metric(
        "round_trip",
        "store_round_trip_seconds",
        HISTOGRAM,
        "Round trip of a batch of store commands.",
        bounds=LATENCIES,
    ),
    Metric("batch_commands", "store_batch_commands", HISTOGRAM, "Commands per batch.", bounds=BATCHES),
    Metric("batch_messages", "store_batch_messages", HISTOGRAM, "Messages stored per script call.", bounds=BATCHES),
    Metric(
        "store_failures",
        "store_failures_total",
        COUNTER,
        "Failed batches and refused commands, by reason.",
        "reason",
        ("unreachable", "refused", "unconfirmed"),
    ),
    Metric("queued_commands", "store_queue_commands", GAUGE, "Commands waiting for the next batch."),
    Metric("queued_messages", "store_queue_messages", GAUGE, "Messages waiting for the next batch."),
    Metric("queued_bytes", "client_queue_bytes", GAUGE, "Bytes queued for slow clients."),
    Metric(
        "alerts",
        "alerts_total",
        COUNTER,
        "Tries to send an alert to the operator, by outcome.",
        "outcome",
        ("sent", "failed", "given-up"),
    ),
    Metric(
        "handovers",
        "handovers_total",
        COUNTER,
        "HTTP connections handed to another worker, by outcome.",
        "outcome",
        ("taken", "gone", "late"),
    ),
    Metric(
        "loop_lag",
        "event_loop_lag_seconds",
        HISTOGRAM,
        "Delay of a 0.1 s timer: how long the event loop was busy.",
        bounds=LATENCIES,
    ),
    Metric(
        "gc_pause",
        "gc_pause_seconds",
        HISTOGRAM,
        "Pauses of Python's garbage collector, by generation.",
        "generation",
        ("0", "1", "2"),
        LATENCIES,
    ),
    Metric("cpu", "cpu_seconds_total", COUNTER, "CPU time used by the workers."),
    Metric("resident", "resident_memory_bytes", GAUGE, "Resident memory of the workers."),
)

#: How many numbers all metrics of a worker have.
SIZE = sum(metric.size for metric in TABLE)


class Histogram:
    """Counts by bucket. Not cumulative; the last bucket counts values beyond all bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        # A value equal to a bound belongs to that bound's bucket, as Prometheus' `le` says.
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Metrics:
    """The numbers of one worker, a field for each entry of TABLE. With a label: a dict by its values."""

    def __init__(self) -> None:
        self.connections = {"websocket": 0, "polling": 0}
        self.connects = 0
        self.connects_refused = {"too-fast": 0, "too-many-from-address": 0, "too-many": 0, "stopping": 0}
        self.requests_refused = 0
        self.slow_clients = 0
        self.people = {"idle": 0, "waiting": 0, "chatting": 0}
        self.matches = 0
        self.match_wait = Histogram(WAITS)
        self.messages = 0
        self.delivery = {"local": Histogram(LATENCIES), "remote": Histogram(LATENCIES)}
        #: The same two, for code in which every nanosecond counts.
        self.delivery_local, self.delivery_remote = self.delivery["local"], self.delivery["remote"]
        self.recoveries = {"recovered": 0, "new-session": 0, "unavailable": 0}
        self.rejected = dict.fromkeys(CODES, 0)
        self.round_trip = Histogram(LATENCIES)
        self.batch_commands = Histogram(BATCHES)
        self.batch_messages = Histogram(BATCHES)
        self.store_failures = {"unreachable": 0, "refused": 0, "unconfirmed": 0}
        self.queued_commands = 0
        self.queued_messages = 0
        self.queued_bytes = 0
        self.alerts = {"sent": 0, "failed": 0, "given-up": 0}
        self.handovers = {"taken": 0, "gone": 0, "late": 0}
        self.loop_lag = Histogram(LATENCIES)
        self.gc_pause = {"0": Histogram(LATENCIES), "1": Histogram(LATENCIES), "2": Histogram(LATENCIES)}
        self.cpu = 0.0
        self.resident = 0
        self._gc_began = 0.0

    def numbers(self) -> list[float]:
        """Return all of them, in the order of TABLE."""
        return [number for metric in TABLE for number in self._numbers_of(metric)]

    def _numbers_of(self, metric: Metric) -> Iterator[float]:
        field = getattr(self, metric.field)
        for part in [field[value] for value in metric.values] if metric.label else [field]:
            if isinstance(part, Histogram):
                yield from part.counts
                yield part.sum
            else:
                yield part

    def watch_garbage_collector(self) -> None:
        """Measure the garbage collector's pauses from now on."""
        if self._collected not in gc.callbacks:
            gc.callbacks.append(self._collected)

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._gc_began = time.perf_counter()
        else:
            self.gc_pause[str(info["generation"])].observe(time.perf_counter() - self._gc_began)


#: The numbers of this process, and so of this worker.
METRICS = Metrics()
