"""A worker's measurements in an interval, and the aggregates for the charts: of one worker, or of several.

Medians and other quantiles can't be added up, but counts by bucket can: so a worker reports those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from animochat.telemetry.metrics import LATENCIES, WAITS, Metrics

#: Milliseconds of an interval; intervals begin at multiples of it, on the store's clock.
INTERVAL_MS = 10_000

#: Positions of the parts in `counted`.
_WAITS = slice(2, 2 + len(WAITS) + 1)
_DELIVERIES = slice(_WAITS.stop, _WAITS.stop + len(LATENCIES) + 1)

#: Number of values that `counted` returns.
COUNTED = _DELIVERIES.stop


class MetricSample(msgspec.Struct, array_like=True, frozen=True):
    """One worker's report. `online`, `waiting`: people here now; `counts`: as `counted`, since the last report."""

    worker: str
    host: str
    online: int
    waiting: int
    counts: list[int]


class Aggregates(msgspec.Struct, rename="camel", frozen=True):
    """One or all workers in one interval.

    Median and 99th percentile are None without measurements, and the last bucket's bound (600 s for waits, 10 s for
    deliveries) if they exceed it.
    """

    online_users: int
    waiting_users: int
    matches_per_minute: int
    messages_per_minute: int
    wait_median_ms: float | None
    wait_p99_ms: float | None
    delivery_median_ms: float | None
    delivery_p99_ms: float | None


def counted(metrics: Metrics) -> list[int]:
    """Return a worker's counts since its start: matches, messages, waits by bucket, deliveries by bucket."""
    local, remote = metrics.delivery_local.counts, metrics.delivery_remote.counts
    deliveries = [one + other for one, other in zip(local, remote, strict=True)]
    return [metrics.matches, metrics.messages, *metrics.match_wait.counts, *deliveries]


def merged(readings: Iterable[MetricSample]) -> dict[str, MetricSample]:
    """Merge an interval's reports, given in order of time, into one for each worker: a late one and a punctual one may
    fall into the same interval."""
    by_worker: dict[str, MetricSample] = {}
    for reading in readings:
        earlier = by_worker.get(reading.worker)
        if earlier is not None:
            reading = msgspec.structs.replace(reading, counts=_sum([earlier.counts, reading.counts]))
        by_worker[reading.worker] = reading
    return by_worker


def figures(readings: Sequence[MetricSample]) -> Aggregates:
    """Return the aggregates of one or more workers in one interval."""
    counts = _sum([reading.counts for reading in readings])
    matches, messages, waits, deliveries = counts[0], counts[1], counts[_WAITS], counts[_DELIVERIES]
    return Aggregates(
        sum(reading.online for reading in readings),
        sum(reading.waiting for reading in readings),
        matches * 60_000 // INTERVAL_MS,
        messages * 60_000 // INTERVAL_MS,
        _milliseconds(quantile(0.5, WAITS, waits)),
        _milliseconds(quantile(0.99, WAITS, waits)),
        _milliseconds(quantile(0.5, LATENCIES, deliveries)),
        _milliseconds(quantile(0.99, LATENCIES, deliveries)),
    )


def quantile(q: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """Return the value below which the share `q` (above 0, up to 1) of the counts is; None without counts.

    Computed like Prometheus' `histogram_quantile`: evenly spread within a bucket, the first of which begins at 0; the
    last bound for everything beyond it. `counts` has one more entry than `bounds`: the bucket beyond.
    """
    total = sum(counts)
    if not total:
        return None
    rank, below, lower = q * total, 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return lower + (bound - lower) * (rank - below) / count
        below += count
        lower = bound
    return lower


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _sum(lists: Sequence[list[int]]) -> list[int]:
    return lists[0] if len(lists) == 1 else [sum(numbers) for numbers in zip(*lists, strict=True)]
