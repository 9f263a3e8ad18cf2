"""`GET /metrics`: correct over all workers; and the dashboard and alerts that use it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import prometheus_client
import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from animochat import web
from animochat.chat.connections import Connection
from animochat.chat.namespace import Request
from animochat.chat.worker import Chat
from animochat.matchmaking.service import Search
from animochat.moderation.lobby_moderation import OpenReports
from animochat.protocol.errors import Unavailable
from animochat.server.process import shared_metrics
from animochat.server.process.run_directory import RunDirectory
from animochat.server.process.shared_metrics import SharedMetrics, Totals
from animochat.settings import Settings
from animochat.telemetry.aggregates import INTERVAL_MS
from animochat.telemetry.history import MetricHistory
from animochat.telemetry.metrics import COUNTER, GAUGE, SIZE, TABLE, Histogram, Metrics
from animochat.web.metrics import SYSTEM, families
from tests.helpers.people import NO_RATES, meet, say
from tests.helpers.servers import ROOT, Client, Server, eventually
from tests.helpers.store import DirectPipeline

TOKEN = "a token of at least sixteen characters"

STATS: dict[str, Any] = {"main": {key: 0 for key, _, _ in SYSTEM}}
REPORTS: dict[str, Any] = {"main": OpenReports({}, 0)}


# One worker's counters


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 1.0000001, 2.0, 1000.0])
def test_a_histogram_has_prometheus_buckets(value: float) -> None:
    ours, registry = Histogram((0.5, 1.0, 2.0)), prometheus_client.CollectorRegistry()
    theirs = prometheus_client.Histogram("h", "h", buckets=(0.5, 1.0, 2.0), registry=registry)
    ours.observe(value)
    theirs.observe(value)
    (family,) = registry.collect()
    cumulative = [sample.value for sample in family.samples if sample.name == "h_bucket"]
    assert [sum(ours.counts[: n + 1]) for n in range(4)] == cumulative
    assert ours.sum == value


def test_the_table_lists_all_fields_of_metrics() -> None:
    metrics = Metrics()
    assert len(metrics.numbers()) == SIZE
    for metric in TABLE:
        field = getattr(metrics, metric.field)
        assert (tuple(field) if isinstance(field, dict) else ()) == metric.values
        for part in field.values() if isinstance(field, dict) else [field]:
            assert getattr(part, "bounds", ()) == metric.bounds
        assert (metric.kind == COUNTER) == metric.name.endswith("_total")


# Over all workers


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    return RunDirectory(str(path))


def numbers(messages: float = 0, waiting: float = 0) -> list[float]:
    """Return the numbers with one counter and one gauge set."""
    metrics = Metrics()
    metrics.messages = messages  # type: ignore[assignment]
    metrics.people["waiting"] = waiting  # type: ignore[assignment]
    return metrics.numbers()


def shown(totals: Totals) -> tuple[float, float, int, int]:
    """Return messages, people waiting, live workers, ended workers."""
    values = {family.name: family for family in families(totals, {})}
    waiting = next(s for s in values["animochat_people"].samples if s.labels == {"state": "waiting"})
    return values["animochat_messages"].samples[0].value, waiting.value, totals.workers, totals.ended


def test_every_worker_shows_the_numbers_of_all(directory: RunDirectory) -> None:
    one, two = SharedMetrics.join(directory), SharedMetrics.join(directory)
    one.write(numbers(3, 1))
    two.write(numbers(4, 2))
    assert shown(one.totals()) == shown(two.totals()) == (7, 3, 2, 0)
    one.write(numbers(5, 0))
    assert shown(one.totals()) == shown(two.totals()) == (9, 2, 2, 0)


def test_without_a_run_directory_a_worker_shows_itself() -> None:
    alone = SharedMetrics(None)
    alone.write(numbers(3, 1))
    assert shown(alone.totals()) == (3, 1, 1, 0)


def test_counters_outlive_their_worker_and_gauges_do_not(directory: RunDirectory) -> None:
    one, two = SharedMetrics.join(directory), SharedMetrics.join(directory)
    one.write(numbers(3, 1))
    two.write(numbers(4, 2))
    two.close()
    assert shown(one.totals()) == (7, 1, 1, 1)


def test_no_counter_goes_backwards_however_often_workers_are_replaced(directory: RunDirectory) -> None:
    stays = SharedMetrics.join(directory)
    stays.write(numbers(1, 1))
    for generation in range(1, 6):
        worker = SharedMetrics.join(directory)
        assert shown(stays.totals()) == (1 + 10 * (generation - 1), 1, 2, generation - 1)
        worker.write(numbers(10, 5))
        assert shown(stays.totals()) == (1 + 10 * generation, 6, 2, generation - 1)
        worker.close()
        assert shown(stays.totals()) == (1 + 10 * generation, 1, 1, generation)
    SharedMetrics.join(directory)
    assert len(list(Path(directory.path_of("")).iterdir())) == 3, "the living, and one file of the dead"


def test_a_lock_that_is_held_for_long_blocks_no_one(directory: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_metrics, "_PATIENCE", 0.02)
    one, two = SharedMetrics.join(directory), SharedMetrics.join(directory)
    one.write(numbers(3, 1))
    two.write(numbers(4, 2))
    two.close()
    (dead,) = Path(directory.path_of("")).glob(".metrics-of-the-dead-*")
    with dead.open("r+b") as file:
        shared_metrics.fcntl.flock(file, shared_metrics.fcntl.LOCK_EX)
        assert shown(one.totals()) == (7, 1, 1, 1)
        three = SharedMetrics.join(directory)
        assert shown(three.totals()) == (7, 1, 2, 1)


def test_live_workers_create_removed_files_again(directory: RunDirectory) -> None:
    one, two = SharedMetrics.join(directory), SharedMetrics.join(directory)
    shutil.rmtree(directory.path)
    one.write(numbers(3, 1))
    two.write(numbers(4, 2))
    assert shown(one.totals()) == shown(two.totals()) == (7, 3, 2, 0)


def test_numbers_of_another_version_are_ignored(directory: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shared_metrics, "_PREFIX", ".metrics-another-")
        other = SharedMetrics.join(directory)
        other.write(numbers(3, 1))
    one = SharedMetrics.join(directory)
    assert shown(one.totals()) == (0, 0, 1, 0)
    other.close()


# The route


def app_with(settings: Settings, stats: dict[str, Any] = STATS) -> Any:
    app = Flask("animochat", static_folder=None)
    metrics = Totals([0.0] * SIZE, 1, 0)
    reports = {lobby: told if isinstance(told, Unavailable) else REPORTS["main"] for lobby, told in stats.items()}
    chat = SimpleNamespace(
        settings=settings,
        lobby_stats=lambda timeout: stats,
        open_reports=lambda timeout: reports,
        metrics=lambda: metrics,
    )
    app.extensions["animochat"] = chat
    web.register(app)
    return app.test_client()


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"}]
)
def test_with_a_metrics_token_requests_need_it(headers: dict[str, str]) -> None:
    client = app_with(Settings(metrics_token=TOKEN))
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].lower().startswith("bearer")
    assert answer.json["error"]["code"] == "unauthorized"
    assert b"animochat_" not in answer.data
    assert TOKEN not in answer.text


def test_metrics_are_shown_with_the_token_or_if_none_is_set() -> None:
    answer = app_with(Settings(metrics_token=TOKEN)).get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert TOKEN not in answer.text
    answer = app_with(Settings()).get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_openmetrics_is_served_on_request() -> None:
    answer = app_with(Settings()).get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_metrics_show_that_the_store_is_down() -> None:
    answer = app_with(Settings(), {"main": Unavailable()}).get("/metrics")
    assert answer.status_code == 200
    assert "animochat_store_up 0.0" in answer.text
    assert "animochat_system_" not in answer.text
    assert "animochat_store_up 1.0" in app_with(Settings()).get("/metrics").text


def test_a_lobby_without_a_node_does_not_hide_the_others() -> None:
    text = app_with(Settings(), {**STATS, "campus": Unavailable()}).get("/metrics").text
    assert "animochat_store_up 0.0" in text
    assert 'animochat_system_people_online{lobby="main"} 0.0' in text
    assert "campus" not in text


# Documents, dashboard and alerts


def exported() -> dict[str, tuple[str, dict[str, set[str]]]]:
    """Return all exported metrics: name -> type, labels with their values."""
    found = {}
    for family in families(Totals([0.0] * SIZE, 1, 0), STATS, REPORTS):
        labels: dict[str, set[str]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label != "le":
                    labels.setdefault(label, set()).add(value)
        found[family.name + ("_total" if family.type == "counter" else "")] = (family.type, labels)
    return found


def series() -> set[str]:
    """Return every name that a query may use."""
    names = set()
    for name, (kind, _) in exported().items():
        names |= {name + suffix for suffix in (["_bucket", "_count", "_sum"] if kind == "histogram" else [""])}
    return names


def test_the_document_lists_exactly_the_exported_metrics() -> None:
    rows = re.findall(r"^\| `(animochat_\w+)` \| (\w+) \| (.*?)\| ", (ROOT / "docs/metrics.md").read_text(), re.M)
    documented = {}
    for name, kind, label in rows:
        labels = [re.findall(r"`([^`]+)`", part) for part in label.split(";") if "`" in part]
        documented[name] = (kind, {names[0]: set(names[1:]) or {prometheus_version()} for names in labels})
    assert documented == exported()


def prometheus_version() -> str:
    """Return the one label value that is not listed: the version."""
    return next(iter(exported()["animochat_build_info"][1]["version"]))


def queries(name: str) -> list[str]:
    text = (ROOT / "deploy" / name).read_text()
    if name.endswith(".json"):
        found: list[str] = []

        def walk(node: Any) -> None:
            if isinstance(node, dict):
                found.extend(value for key, value in node.items() if key == "expr")
                node = list(node.values())
            if isinstance(node, list):
                for child in node:
                    walk(child)

        walk(json.loads(text))
        return found
    return re.findall(r"^ +expr: (.+)$", text, re.M)


@pytest.mark.parametrize("name", ["grafana.json", "alerts.yml"])
def test_every_queried_metric_exists(name: str) -> None:
    asked = queries(name)
    assert len(asked) >= 8
    for query in asked:
        names = re.findall(r"\banimochat_\w+", query)
        assert names, query
        assert set(names) <= series(), query
        for label, value in re.findall(r'\{(\w+)="([^"$]+)"\}', query):
            assert any(value in labels.get(label, ()) for _, labels in exported().values()), query


def test_the_dashboard_shows_every_metric() -> None:
    text = "\n".join(queries("grafana.json"))
    missing = [name for name in exported() if name not in text]
    assert missing == ["animochat_build_info"] or missing == []


@pytest.mark.may_skip
def test_prometheus_accepts_the_alert_rules_and_the_dashboards_queries(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    # As rules, with Grafana's variables filled in: the check of rules also checks queries.
    asked = [query.replace("$__rate_interval", "1m").replace("$instance", ".*") for query in queries("grafana.json")]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(asked)]
    of_dashboard = tmp_path / "dashboard.yml"
    of_dashboard.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    command = [promtool, "check", "rules", str(ROOT / "deploy/alerts.yml"), str(of_dashboard)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


# On a real server


@pytest.fixture(scope="module")
def pair(module_servers: Any) -> Server:
    """Return one server with two workers."""
    server: Server = module_servers(workers=2, env={**NO_RATES, "METRICS_TOKEN": TOKEN})
    return server


def scrape(server: Server) -> dict[str, float]:
    """Return `name{label}` -> value, as a scraper reads it."""
    answer = server.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            label = next((value for key, value in sample.labels.items() if key != "le"), "")
            if "le" not in sample.labels:
                found[sample.name + (f"{{{label}}}" if label else "")] = sample.value
    return found


def both(now: dict[str, float], name: str, *labels: str) -> float:
    return sum(now[f"{name}{{{label}}}"] for label in labels)


def readings(server: Server) -> dict[str, str]:
    """Return the workers in the last hour's readings, and their hosts, as if the current interval were over."""
    pipeline = DirectPipeline(server.redis_url)
    try:
        later = int(time.time() * 1000) + INTERVAL_MS
        return MetricHistory(pipeline, "", clock=lambda: later).portion(0).workers  # type: ignore[arg-type]
    finally:
        pipeline.close()


@pytest.fixture
def meeting(pair: Server, connect: Callable[..., Client]) -> tuple[Client, Client]:
    anna, bert = connect(pair, transports=["websocket"]), connect(pair)
    for client in (anna, bert):
        client.wait("session")
    meet(anna, bert)
    return anna, bert


def test_every_worker_reports_the_numbers_of_all(
    pair: Server, meeting: tuple[Client, Client], connect: Callable[..., Client]
) -> None:
    anna, bert = meeting
    for number in range(5):
        say(anna, bert, f"{number}")
        say(bert, anna, f"answer {number}")
    anna.call("send-message", "")
    anna.call("find-match")

    expected = {
        "animochat_workers": 2,
        "animochat_people{chatting}": 2,
        "animochat_matches_total": 1,
        "animochat_system_matches_total{main}": 1,
        "animochat_match_wait_seconds_count": 2,
        "animochat_messages_total": 10,
        "animochat_store_batch_messages_sum": 10,
        "animochat_connects_total": 2,
        "animochat_rejected_total{empty-message}": 1,
        "animochat_rejected_total{already-in-room}": 1,
        "animochat_store_up": 1,
        "animochat_system_people_online{main}": 2,
    }

    def told() -> dict[str, float] | None:
        now = scrape(pair)
        return now if {name: now[name] for name in expected} == expected else None

    for _ in range(6):  # each request may reach either worker, and each worker writes its numbers once per second
        now = eventually(told, what="all that happened")
    assert both(now, "animochat_delivery_seconds_count", "local", "remote") == 10
    assert both(now, "animochat_connections", "websocket", "polling") == 2
    assert now["animochat_event_loop_lag_seconds_count"] > 0
    assert now["animochat_cpu_seconds_total"] > 0
    assert now["animochat_resident_memory_bytes"] > 10_000_000


def test_each_worker_adds_its_readings_to_those_of_the_last_hour(pair: Server) -> None:
    hosts = eventually(lambda: len(found := readings(pair)) == 2 and found, what="readings of both workers")
    assert set(hosts.values()) == {socket.gethostname()}


def test_the_cooldown_does_not_count_as_waiting() -> None:
    lobby = Chat(Settings()).lobbies["main"]
    connection = Connection(SimpleNamespace(sid="", send=lambda packet: None), "main")  # type: ignore[arg-type]
    request = Request(connection, "find-match", SimpleNamespace(interests=[]), None, 0.0)
    begun, asked_at = time.monotonic(), []
    for _ in range(2):  # the second time the person waits already
        lobby.namespace._search(request, lambda *_: Search("waiting", cooldown_ms=5_000))
        asked_at.append(connection.asked_at)
    assert asked_at[0] == asked_at[1] >= begun + 5


def test_a_recovered_session_is_counted(pair: Server, connect: Callable[..., Client]) -> None:
    name = "animochat_recoveries_total{recovered}"
    before = scrape(pair)[name]
    node = connect(pair, "node", transports=["websocket"], reconnect=True, reconnectionDelay=50)
    node.wait("session")
    node.drop()
    eventually(lambda: scrape(pair)[name] == before + 1, what="a session taken up again")


def test_requests_for_the_other_workers_sessions_are_counted(pair: Server, connect: Callable[..., Client]) -> None:
    before = scrape(pair)["animochat_handovers_total{taken}"]

    def handed_over() -> bool:
        connect(pair, transports=["polling"]).disconnect()
        return scrape(pair)["animochat_handovers_total{taken}"] > before

    eventually(handed_over, what="a hand-over")


def test_killing_a_worker_decreases_no_counter(pair: Server, meeting: tuple[Client, Client]) -> None:
    anna, bert = meeting
    say(anna, bert, "hello")
    # A worker's counts of the last second may be lost, but none that was shown.
    before = eventually(lambda: (now := scrape(pair))["animochat_messages_total"] >= 1 and now, what="the message")
    told = set(readings(pair))
    victims = pair.worker_pids()
    pair.expect_errors()
    os.kill(victims[0], signal.SIGKILL)
    eventually(lambda: len(set(pair.worker_pids()) - {victims[0]}) == 2, what="a new worker")
    eventually(lambda: scrape(pair)["animochat_workers"] == 2, what="the new worker's metrics")
    after = scrape(pair)
    assert after["animochat_worker_restarts_total"] == before["animochat_worker_restarts_total"] + 1
    eventually(lambda: len(set(readings(pair)) - told) == 1, what="the new worker's readings")
    assert set(readings(pair)) > told, "those of the dead one stay"
    gauges = {f"animochat_{metric.name}" for metric in TABLE if metric.kind == GAUGE}
    for name, value in before.items():
        if name.partition("{")[0] not in gauges and not name.startswith("animochat_system_"):
            assert after[name] >= value, name
