"""The data of the charts: the last hour, for each worker and for all, on a real store with the test's own time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import redis
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from animochat.moderation.lobby_moderation import LobbyModeration
from animochat.store import keys
from animochat.telemetry import history
from animochat.telemetry.aggregates import INTERVAL_MS, Aggregates, MetricSample, figures, quantile
from animochat.telemetry.history import ADD_READING, KEPT_MS
from animochat.telemetry.metrics import LATENCIES, WAITS, Metrics
from tests.helpers.metric_history import MIDDLE, Workers
from tests.helpers.operator_app import operator_app
from tests.helpers.store import START

TOKEN = "correct horse battery staple"


@pytest.fixture
def workers(redis_url: str) -> Iterator[Workers]:
    workers = Workers(redis_url)
    yield workers
    workers.pipeline.close()


# Quantiles of buckets

BOUNDS = (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("q", "counts", "value"),
    [
        (0.5, [0, 0, 0, 0], None),
        (0.5, [4, 0, 0, 0], 0.5),
        (1.0, [4, 0, 0, 0], 1.0),
        (0.5, [0, 2, 0, 0], 1.5),
        (0.25, [1, 0, 0, 1], 0.5),
        (0.5, [1, 0, 1, 0], 1.0),
        (0.75, [1, 0, 1, 0], 3.0),
        (0.99, [0, 0, 0, 5], 4.0),
        (0.99, [98, 0, 0, 2], 4.0),
    ],
)
def test_a_quantile_lies_where_it_would_if_buckets_were_evenly_filled(
    q: float, counts: list[int], value: float | None
) -> None:
    assert quantile(q, BOUNDS, counts) == value


@given(st.lists(st.floats(0, 15), min_size=1, max_size=50), st.sampled_from([0.01, 0.5, 0.99, 1.0]))
def test_a_quantile_is_in_the_bucket_of_the_value_that_it_stands_for(values: list[float], q: float) -> None:
    counts = [0] * (len(LATENCIES) + 1)
    for value in values:
        counts[bisect_left(LATENCIES, value)] += 1
    exact = next(value for n, value in enumerate(sorted(values), 1) if n >= q * len(values))
    told = quantile(q, LATENCIES, counts)
    assert told is not None
    bucket = bisect_left(LATENCIES, exact)
    lower = LATENCIES[bucket - 1] if bucket else 0.0
    upper = LATENCIES[bucket] if bucket < len(LATENCIES) else lower
    assert lower <= told <= upper


# Measurements


def test_each_worker_is_shown_and_all_together(workers: Workers) -> None:
    workers.add("one", "two")
    one, two = workers.metrics["one"], workers.metrics["two"]
    one.people = {"idle": 1, "waiting": 2, "chatting": 4}
    two.people = {"idle": 0, "waiting": 1, "chatting": 2}
    one.matches, one.messages = 2, 5
    two.messages = 7
    for _ in range(3):
        one.match_wait.observe(0.05)  # between 0.025 and 0.1
        two.match_wait.observe(700)  # beyond the last bound
    one.delivery_local.observe(0.0004)
    one.delivery_remote.observe(0.0004)
    workers.tell()
    workers.pass_time()
    (interval,) = workers.portion().intervals
    assert interval.time == MIDDLE - INTERVAL_MS // 2
    assert interval.workers == {
        "one": Aggregates(7, 2, 12, 30, 62.5, 99.25, 0.25, 0.49),
        "two": Aggregates(3, 1, 0, 42, 600_000, 600_000, None, None),
    }
    assert interval.all == Aggregates(10, 3, 12, 72, 100, 600_000, 0.25, 0.49)
    assert workers.portion().workers == {"one": "host of one", "two": "host of two"}


def test_counts_are_reported_once(workers: Workers) -> None:
    workers.add("one")
    for messages in (5, 5, 8):
        workers.metrics["one"].messages = messages
        workers.tell()
        workers.pass_time()
    assert [interval.all.messages_per_minute for interval in workers.portion().intervals] == [30, 0, 18]


def test_two_readings_of_one_worker_in_one_interval_are_one(workers: Workers) -> None:
    workers.add("one")
    metrics = workers.metrics["one"]
    metrics.messages, metrics.people = 5, {"idle": 3, "waiting": 0, "chatting": 0}
    workers.tell()
    workers.now += 1
    metrics.messages, metrics.people = 6, {"idle": 1, "waiting": 0, "chatting": 0}
    workers.tell()
    workers.pass_time()
    (interval,) = workers.portion().intervals
    assert (interval.all.messages_per_minute, interval.all.online_users) == (36, 1)


def test_readings_that_the_store_refused_leave_a_gap(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    workers.add("one")
    metrics = workers.metrics["one"]

    def refuse(*_: Any) -> None:
        raise redis.ConnectionError

    for messages, lost in ((1, False), (50, True), (53, False)):
        metrics.messages = messages
        with monkeypatch.context() as patch:
            if lost:
                patch.setattr(workers.pipeline, "call", refuse)
                with pytest.raises(redis.ConnectionError):
                    workers.tell()
            else:
                workers.tell()
        workers.pass_time()
    assert workers.times() == [0, 2]
    assert [interval.all.messages_per_minute for interval in workers.portion().intervals] == [6, 18]


def test_an_ended_worker_stays_in_the_chart(workers: Workers) -> None:
    workers.add("one", "two")
    workers.tell()
    workers.pass_time()
    workers.tell("one")
    workers.pass_time()
    assert [set(interval.workers) for interval in workers.portion().intervals] == [{"one", "two"}, {"one"}]


@pytest.mark.parametrize("early", [0, 1, INTERVAL_MS // 2, INTERVAL_MS - 1])
def test_the_next_reading_is_taken_in_the_middle_of_the_next_interval(workers: Workers, early: int) -> None:
    workers.add("one")
    workers.now = START // INTERVAL_MS * INTERVAL_MS + early
    seconds = workers.readings["one"].add()
    assert workers.now + seconds * 1000 == MIDDLE + INTERVAL_MS


@pytest.mark.parametrize("counts", [[1, 2, 3], [0] * 100])
def test_readings_of_another_version_are_left_out(workers: Workers, counts: list[int]) -> None:
    workers.add("one")
    workers.tell()
    other = msgspec.json.encode(MetricSample("two", "host", 1, 1, counts))
    for reading in (other, b"{}", b"?"):
        workers.pipeline.call(ADD_READING, [keys.READINGS], [reading, KEPT_MS, 100, workers.now])
    workers.pass_time()
    assert set(workers.portion().workers) == {"one"}


# The last hour


def test_an_interval_is_shown_when_it_is_over(workers: Workers) -> None:
    workers.add("one")
    workers.tell()
    workers.now = MIDDLE + INTERVAL_MS // 2 - 1
    assert workers.times() == []
    workers.now += 1
    assert workers.times() == [0]


def test_an_hour_is_kept_and_no_more(workers: Workers) -> None:
    workers.add("one")
    for _ in range(365):
        workers.tell()
        workers.pass_time()
    assert workers.times() == list(range(5, 365))
    assert workers.pipeline.execute("ZCARD", keys.READINGS) <= 362
    life = workers.pipeline.execute("PTTL", keys.READINGS)
    assert 0 < life <= KEPT_MS
    workers.pass_time(360)
    assert workers.times() == [], "they still exist, but they are old"


def test_the_number_of_readings_is_bounded_over_all_workers(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_READINGS", 6)
    workers.add("one", "two", "three")
    for _ in range(4):
        workers.tell()
        workers.pass_time()
    assert workers.pipeline.execute("ZCARD", keys.READINGS) == 6
    assert workers.times() == [2, 3]


def test_a_request_with_a_time_returns_later_intervals(workers: Workers) -> None:
    workers.add("one")
    for _ in range(4):
        workers.tell()
        workers.pass_time()
    known = workers.portion().intervals[1].time
    assert workers.times(since=known) == [2, 3]
    assert workers.times(since=known - 1) == [1, 2, 3]
    assert workers.times(since=2**53) == []


def test_a_portion_ends_with_a_whole_interval(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PORTION", 5)
    workers.add("one", "two")
    for _ in range(5):
        workers.tell()
        workers.pass_time()
    found, since = [], 0
    while True:
        portion = workers.portion(since)
        assert all(set(interval.workers) == {"one", "two"} for interval in portion.intervals)
        found.append(len(portion.intervals))
        if not portion.more:
            break
        since = portion.until
    assert found == [2, 2, 1]


def test_readings_of_another_version_hide_none_of_ours(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PORTION", 2)
    workers.add("one")
    for number in range(5):
        workers.pipeline.call(ADD_READING, [keys.READINGS], [f"[{number}]", KEPT_MS, 100, workers.now])
        workers.pass_time()
    workers.tell()
    workers.pass_time()
    since, portion = 0, workers.portion()
    while portion.more:
        assert portion.until > since
        since = portion.until
        portion = workers.portion(since)
    assert set(portion.workers) == {"one"}


# The route


@pytest.fixture
def client(workers: Workers) -> FlaskClient:
    workers.add("one")
    moderation = LobbyModeration(workers.pipeline, 0, 0)  # type: ignore[arg-type]
    return operator_app(workers.pipeline, moderation, workers.readings["one"], admin_token=TOKEN).test_client()


def ask(client: FlaskClient, since: str = "", token: str = TOKEN) -> Any:
    query = {"since": since} if since else {}
    return client.get("/admin/api/readings", query_string=query, headers={"Authorization": f"Bearer {token}"})


def test_the_operator_gets_them_as_json(client: FlaskClient, workers: Workers) -> None:
    assert ask(client).json == {
        "intervalMs": INTERVAL_MS,
        "until": 0,
        "more": False,
        "workers": {},
        "intervals": [],
    }
    workers.tell()
    workers.pass_time()
    nothing: dict[str, Any] = {
        "onlineUsers": 0,
        "waitingUsers": 0,
        "matchesPerMinute": 0,
        "messagesPerMinute": 0,
        "waitMedianMs": None,
        "waitP99Ms": None,
        "deliveryMedianMs": None,
        "deliveryP99Ms": None,
    }
    time = MIDDLE - INTERVAL_MS // 2
    assert ask(client).json == {
        "intervalMs": INTERVAL_MS,
        "until": time,
        "more": False,
        "workers": {"one": "host of one"},
        "intervals": [{"time": time, "all": nothing, "workers": {"one": nothing}}],
    }
    assert ask(client, since=str(time)).json["intervals"] == []


def test_readings_need_the_operator_s_token(client: FlaskClient) -> None:
    assert ask(client, token="wrong").status_code == 401
    assert client.get("/admin/api/readings").status_code == 401


@pytest.mark.parametrize("since", ["-1", str(2**53 + 1)])
def test_a_malformed_time_is_refused(client: FlaskClient, since: str) -> None:
    assert ask(client, since=since).status_code == 400


def test_readings_fit_the_metrics_bounds() -> None:
    """The slices of `counted` fit the histograms' bounds."""
    metrics = Metrics()
    metrics.match_wait.observe(WAITS[-1])
    metrics.delivery_local.observe(LATENCIES[0])
    shown = figures([MetricSample("one", "host", 0, 0, history.counted(metrics))])
    assert shown.wait_p99_ms == pytest.approx(0.99 * (WAITS[-1] - WAITS[-2]) * 1000 + WAITS[-2] * 1000)
    assert shown.delivery_p99_ms == pytest.approx(0.99 * LATENCIES[0] * 1000, abs=0.01)
