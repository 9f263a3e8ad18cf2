"""Spans for OpenTelemetry: they cover waits for the store, contain nothing personal, and are off by default."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from animochat.chat.worker import Chat
from animochat.settings import Settings
from animochat.telemetry import tracing
from tests.helpers.people import NO_RATES, RawClient
from tests.helpers.servers import Server
from tests.helpers.store import cooperative

INTEREST = "my-secret-interest"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.stop()


class Session:
    """An Engine.IO session that keeps everything sent to it."""

    sid, remote_addr = "worker-session", "203.0.113.77"

    def __init__(self) -> None:
        self.owner: Any = None
        self.sent: list[str] = []

    def send(self, packet: str) -> None:
        self.sent.append(packet)

    def hang_up(self) -> None:
        pass


def until(done: Callable[[], Any]) -> None:
    with gevent.Timeout(10):
        while not done():
            gevent.sleep(0.005)


def asked(store_url: str) -> tuple[Any, Session]:
    """Return a connection that has searched, and then sent a request that is refused."""
    chat, session = Chat(Settings(redis_url=store_url)), Session()
    chat.engine = SimpleNamespace(sockets={})  # type: ignore[assignment]
    chat.start()
    connection = chat.lobbies["main"].arrivals.open(session, {})  # type: ignore[arg-type]
    until(lambda: connection.registered and not connection.busy)
    for number, (event, arguments) in enumerate([("find-match", [{"interests": [INTEREST]}]), ("leave-room", [])]):
        chat.lobbies["main"].namespace.trigger_event(event, connection, arguments, str(number))
        until(lambda number=number: any(packet.startswith(f"3{number}") for packet in session.sent))
    chat.stop(5)
    return connection, session


@cooperative
def test_a_search_is_a_span_without_personal_data(store_url: str, spans: InMemorySpanExporter) -> None:
    connection, session = asked(store_url)
    finished = {span.name: span for span in spans.get_finished_spans()}
    assert {"connect", "find-match", "leave-room", "store batch"} <= set(finished)
    assert finished["find-match"].status.is_ok
    assert finished["store batch"].attributes["commands"] >= 1
    everything = "".join(span.to_json() for span in finished.values())
    for somebodys in (INTEREST, connection.person, connection.id, connection.sid, session.remote_addr, session.sid):
        assert somebodys not in everything


@cooperative
def test_a_failed_span_has_the_error_code(store_url: str, spans: InMemorySpanExporter) -> None:
    asked(store_url)
    (failed,) = [span for span in spans.get_finished_spans() if span.name == "leave-room"]
    assert not failed.status.is_ok
    assert dict(failed.attributes) == {"error.type": "not-in-room"}
    assert failed.events == ()


def test_an_unexpected_exception_s_text_is_in_no_span(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="secret"), tracing.span("find-match"):
        raise ValueError("my secret")
    (span,) = spans.get_finished_spans()
    assert dict(span.attributes) == {"error.type": "ValueError"}
    assert "secret" not in span.to_json()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "chat"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"},
        {"OTEL_SDK_DISABLED": "TRUE", "OTEL_TRACES_EXPORTER": "console"},
    ],
)
def test_tracing_is_off_by_default(environ: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    tracing.start(environ)
    assert tracing.span("find-match") is tracing.span("store batch", commands=1)
    assert caplog.text == ""


def test_a_missing_opentelemetry_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    tracing.start({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"})
    assert "animochat[otel]" in caplog.text
    assert tracing.span("find-match") is tracing.span("connect")


def test_a_missing_exporter_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tracing.start({"OTEL_TRACES_EXPORTER": "nowhere"})
    assert "'nowhere'" in caplog.text
    assert tracing.span("find-match") is tracing.span("connect")


def test_a_server_sends_all_spans_including_the_last(servers: Callable[..., Server]) -> None:
    server = servers(env={**NO_RATES, "OTEL_TRACES_EXPORTER": "console"})
    anna = RawClient(server)
    anna.call("find-match", {"interests": [INTEREST]})
    server.stop()
    log = server.log()
    for name in ("connect", "find-match", "store batch"):
        assert f'"name": "{name}"' in log
    assert '"service.name": "animochat"' in log
    assert INTEREST not in log
