"""Workers that report to the metric history, without processes: tests set their numbers and their time."""

from __future__ import annotations

from animochat.telemetry.aggregates import INTERVAL_MS
from animochat.telemetry.history import MetricHistory, Portion
from animochat.telemetry.metrics import Metrics
from tests.helpers.store import START, DirectPipeline

#: The middle of an interval, at which workers report.
MIDDLE = START // INTERVAL_MS * INTERVAL_MS + INTERVAL_MS // 2


class Workers:
    """Workers that report their metrics, and their clock."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now = MIDDLE
        self.pipeline = DirectPipeline(url)
        self.metrics: dict[str, Metrics] = {}
        self.readings: dict[str, MetricHistory] = {}

    def clock(self) -> int:
        return self.now

    def add(self, *names: str) -> None:
        for name in names:
            metrics = self.metrics[name] = Metrics()
            host = f"host of {name}"
            self.readings[name] = MetricHistory(self.pipeline, name, metrics, host, self.clock)  # type: ignore[arg-type]

    def tell(self, *names: str) -> None:
        for name in names or self.readings:
            self.readings[name].add()

    def pass_time(self, intervals: int = 1) -> None:
        self.now += intervals * INTERVAL_MS

    def portion(self, since: int = 0) -> Portion:
        return next(iter(self.readings.values())).portion(since)

    def times(self, since: int = 0) -> list[int]:
        """Return the listed intervals, numbered from the first one."""
        return [(interval.time - MIDDLE) // INTERVAL_MS + 1 for interval in self.portion(since).intervals]
