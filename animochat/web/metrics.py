"""`GET /metrics` in Prometheus' format: counters of this machine's workers, and the store's numbers of the whole
system.

Every worker answers for all of them. docs/metrics.md lists the metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, cast

import gevent
from flask import Blueprint, Response, current_app, request
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from animochat import __version__
from animochat.moderation.lobby_moderation import OpenReports
from animochat.protocol.errors import Unavailable
from animochat.protocol.payloads import REASONS
from animochat.server.process.shared_metrics import Totals
from animochat.telemetry import metrics
from animochat.web.health import STORE_TIMEOUT
from animochat.web.operator import is_secret

blueprint = Blueprint("metrics", __name__)

#: Each lobby's numbers of `GET /stats` as Prometheus metrics: (key, name, help). Counters end in _total.
SYSTEM = (
    ("onlineUsers", "system_people_online", "People online in the lobby, on all servers."),
    ("waitingUsers", "system_people_waiting", "People waiting for a partner in the lobby, on all servers."),
    ("activeRooms", "system_rooms", "Rooms in the lobby, on all servers."),
    ("workers", "system_workers", "Live workers on all servers, as recorded in the lobby."),
    ("matchesTotal", "system_matches_total", "Matches in the lobby, since its data was created."),
    ("messagesTotal", "system_messages_total", "Messages in the lobby, since its data was created."),
)


@blueprint.get("/metrics")
def show() -> Response:
    """200 whatever the store does; 401 where METRICS_TOKEN is set and not shown as a bearer token."""
    chat = current_app.extensions["animochat"]
    _check_token(chat.settings.metrics_token)
    asked = [gevent.spawn(question, STORE_TIMEOUT) for question in (chat.lobby_stats, chat.open_reports)]
    stats, reports = (greenlet.get() for greenlet in asked)
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(_Families(families(chat.metrics(), stats, reports))), content_type=content_type)


def _check_token(token: str | None) -> None:
    if token is None:
        return
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not is_secret(shown.strip().encode("latin-1"), token):  # the bytes that were sent
        raise Unauthorized("METRICS_TOKEN is required", www_authenticate=WWWAuthenticate("bearer"))


class _Families:
    """The part of a registry that prometheus_client's encoders use."""

    def __init__(self, collected: Iterable[Metric]) -> None:
        self._collected = collected

    def collect(self) -> Iterable[Metric]:
        return self._collected


def families(
    totals: Totals,
    stats: Mapping[str, dict[str, int] | Unavailable],
    reports: Mapping[str, OpenReports | Unavailable] | None = None,
) -> Iterator[Metric]:
    """Return all Prometheus metrics. `stats`, `reports`: each lobby's, or that the store did not answer."""
    numbers = iter(totals.numbers)
    for metric in metrics.TABLE:
        yield _family(metric, numbers)
    yield _plain("workers", "Live workers of this server.", totals.workers)
    yield _plain("worker_restarts_total", "Workers that have exited since the master started.", totals.ended)
    answered = {lobby: told for lobby, told in stats.items() if not isinstance(told, Unavailable)}
    up = int(len(answered) == len(stats))
    yield _plain("store_up", "Whether the store answers for every lobby: 1 or 0.", up)
    for key, name, text in SYSTEM if answered else ():
        family: Any = _kind(name)(metrics.PREFIX + name, text, labels=["lobby"])
        for lobby, told in answered.items():
            family.add_metric([lobby], told[key])
        yield family
    yield from _reports({lobby: told for lobby, told in (reports or {}).items() if not isinstance(told, Unavailable)})
    info = GaugeMetricFamily(metrics.PREFIX + "build_info", "The version that answers.", labels=["version"])
    info.add_metric([__version__], 1)
    yield info


def _reports(open_reports: Mapping[str, OpenReports]) -> Iterator[Metric]:
    """Return nothing if no lobby's store answers, so that a failure does not look like an empty list."""
    if not open_reports:
        return
    name, text = metrics.PREFIX + "system_open_reports", "Open reports in the lobby, by reason."
    numbers = GaugeMetricFamily(name, text, labels=["lobby", "reason"])
    name, text = metrics.PREFIX + "system_oldest_report_seconds", "Age of the oldest open report in the lobby."
    ages = GaugeMetricFamily(name, text, labels=["lobby"])
    for lobby, told in open_reports.items():
        for reason in REASONS:
            numbers.add_metric([lobby, reason], told.by_reason.get(reason, 0))
        ages.add_metric([lobby], told.oldest_ms / 1000)
    yield numbers
    yield ages


def _plain(name: str, text: str, value: float) -> Metric:
    return _kind(name)(metrics.PREFIX + name, text, value=value)


def _kind(name: str) -> type[CounterMetricFamily] | type[GaugeMetricFamily]:
    return CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily


def _family(metric: metrics.Metric, numbers: Iterator[float]) -> Metric:
    kind = {
        metrics.COUNTER: CounterMetricFamily,
        metrics.GAUGE: GaugeMetricFamily,
        metrics.HISTOGRAM: HistogramMetricFamily,
    }[metric.kind]
    family: Any = kind(metrics.PREFIX + metric.name, metric.help, labels=[metric.label] if metric.label else [])
    for value in metric.values or ("",):
        labels = [value] if metric.label else []
        if metric.kind == metrics.HISTOGRAM:
            bounds = [f"{bound:g}" for bound in metric.bounds] + ["+Inf"]
            counts = accumulate(next(numbers) for _ in bounds)
            family.add_metric(labels, list(zip(bounds, counts, strict=True)), next(numbers))
        else:
            family.add_metric(labels, next(numbers))
    return cast("Metric", family)
