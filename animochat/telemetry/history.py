"""The metric history of the last hour: each worker adds a reading every few seconds, any worker can list all."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from itertools import groupby

import msgspec

from animochat.store import keys
from animochat.store.pipeline import Pipeline
from animochat.store.scripts import load
from animochat.telemetry.aggregates import COUNTED, INTERVAL_MS, Aggregates, MetricSample, counted, figures, merged
from animochat.telemetry.metrics import METRICS, Metrics
from animochat.time_slice import TimeSlice

ADD_READING = load("telemetry/add_sample")
LIST_READINGS = load("telemetry/list_samples")

SCRIPTS = [ADD_READING, LIST_READINGS]

#: Milliseconds for which readings are kept: an hour, and the interval that is not over yet.
KEPT_MS = 3600 * 1000 + INTERVAL_MS

#: Maximal number of kept readings: an hour of 200 workers, some 14 MB. With more workers it is less than an hour.
MAX_READINGS = 200 * KEPT_MS // INTERVAL_MS

#: Readings that are listed at a time: bounds the cost of a response for its worker.
PORTION = 1000


class Interval(msgspec.Struct):
    """The measurements of the interval that begins at `time` (Unix ms): of `all` workers, and of each by its id.

    Workers that reported nothing are missing, as are intervals in which no worker reported.
    """

    time: int
    all: Aggregates
    workers: dict[str, Aggregates]


class Portion(msgspec.Struct, rename="camel"):
    """Intervals in order of time. `until`: the last one examined. `more`: whether there are later ones.

    `workers`: the host of each worker that reported, by worker id.
    """

    interval_ms: int
    until: int
    more: bool
    workers: dict[str, str]
    intervals: list[Interval]


class MetricHistory:
    """The scripts of this folder for one worker. Both methods wait for the store; both raise Unavailable.

    `metrics`: the worker's counters. Tests replace the store's clock with `clock` (Unix ms).
    """

    def __init__(
        self,
        pipeline: Pipeline,
        worker: str,
        metrics: Metrics = METRICS,
        host: str = "",
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._worker = worker
        self._metrics = metrics
        self._host = host or socket.gethostname()
        self._counted = counted(metrics)
        self._now: Callable[[], int | str] = clock or (lambda: "")

    def add(self) -> float:
        """Report the measurements since the last time. Return the seconds until the next report.

        Measurements that can't be reported now are lost: it is unknown whether the store has added them.
        """
        now_counted = counted(self._metrics)
        counts = [now - then for now, then in zip(now_counted, self._counted, strict=True)]
        self._counted = now_counted
        people = self._metrics.people
        reading = MetricSample(self._worker, self._host, sum(people.values()), people["waiting"], counts)
        args = [msgspec.json.encode(reading), KEPT_MS, MAX_READINGS, self._now()]
        now = int(self._pipeline.call(ADD_READING, [keys.READINGS], args))
        # Aim for the middle of the next interval: so each interval has one, even with differing clocks and delays.
        return (INTERVAL_MS - now % INTERVAL_MS + INTERVAL_MS // 2) / 1000

    def portion(self, since: int) -> Portion:
        """Return a portion of the intervals that begin after `since` (Unix ms), and that are over."""
        args = [since // INTERVAL_MS * INTERVAL_MS + INTERVAL_MS, PORTION, INTERVAL_MS, KEPT_MS, self._now()]
        found = self._pipeline.call(LIST_READINGS, [keys.READINGS], args)
        by_interval = [
            (time, list(told)) for time, told in groupby(found, lambda entry: _time_of(entry) // INTERVAL_MS)
        ]
        more = len(found) == PORTION
        if more and len(by_interval) > 1:
            by_interval.pop()  # its remaining readings would be in the next portion
        until = by_interval[-1][0] * INTERVAL_MS if by_interval else since
        hosts: dict[str, str] = {}
        intervals = []
        time_slice = TimeSlice()  # a reading takes 30 µs
        for time, told in by_interval:
            time_slice.yield_if_due()
            by_worker = merged(_decoded(told))
            if by_worker:
                hosts.update((worker, reading.host) for worker, reading in by_worker.items())
                each = {worker: figures([reading]) for worker, reading in by_worker.items()}
                intervals.append(Interval(time * INTERVAL_MS, figures(list(by_worker.values())), each))
        return Portion(INTERVAL_MS, until, more, hosts, intervals)


def _time_of(entry: bytes) -> int:
    return int(entry[: entry.index(b" ")])


def _decoded(entries: list[bytes]) -> Iterator[MetricSample]:
    """Yield all readings except those of another version's workers, which may count other things."""
    for entry in entries:
        try:
            reading = msgspec.json.decode(entry[entry.index(b" ") :], type=MetricSample)
        except msgspec.DecodeError:  # includes ValidationError
            continue
        if len(reading.counts) == COUNTED:
            yield reading
