"""Workers as the last hour's readings know them, without processes: their numbers and their time are passed in."""

from __future__ import annotations

from animochat.telemetry.aggregates import INTERVAL_MS
from animochat.telemetry.history import MetricHistory, Portion
from animochat.telemetry.metrics import Metrics
from tests.helpers.store import START, DirectPipeline

#: In the middle of an interval, as the workers aim for.
MIDDLE = START // INTERVAL_MS * INTERVAL_MS + INTERVAL_MS // 2


class Workers:
    """Workers that tell what their metrics say, and their clock."""

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
        """The intervals that are listed, as numbers from the first one on."""
        return [(interval.time - MIDDLE) // INTERVAL_MS + 1 for interval in self.portion(since).intervals]
