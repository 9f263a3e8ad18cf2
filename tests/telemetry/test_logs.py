"""Log lines: one per event, JSON in production, with ids that connect related lines."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from gevent.event import Event

from animochat.chat.connections import Connection
from animochat.telemetry import logs
from animochat.telemetry.logs import GunicornLogger, HumanFormatter, JsonFormatter, Shortened
from tests.helpers.people import NO_RATES, RawClient
from tests.helpers.servers import Server, eventually


def record(message: str, *arguments: object, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("animochat.chat.worker", logging.WARNING, __file__, 1, message, arguments, None)
    made.__dict__.update(extra)
    return made


def failing() -> Any:
    try:
        raise ValueError("a mistake")
    except ValueError:
        return sys.exc_info()


# A line


@pytest.mark.parametrize(
    "text", ["plain", 'quotes "', "two\nlines", "\r\x1b[2J", "a\u2028b", "Grüße 👋", "\ud800", "nul \0"]
)
def test_an_event_is_always_one_line(text: str) -> None:
    for formatter in (HumanFormatter(), JsonFormatter()):
        line = formatter.format(record("Seen: %s", text))
        assert len(line.splitlines()) == 1
        assert line.encode() is not None
    assert json.loads(line)["message"] == f"Seen: {text}"


def test_a_line_in_production_has_time_logger_and_level() -> None:
    line = json.loads(JsonFormatter().format(record("Full")))
    assert datetime.strptime(line.pop("time"), "%Y-%m-%dT%H:%M:%S.%fZ") is not None
    assert line.pop("pid") > 0
    assert line == {"level": "warning", "logger": "animochat.chat.worker", "message": "Full"}


def test_a_failure_is_one_line_of_json_with_its_traceback() -> None:
    text = JsonFormatter().format(record("Failed", exc_info=failing()))
    assert "\n" not in text
    assert "ValueError: a mistake" in json.loads(text)["exception"]


def test_a_line_about_a_connection_carries_its_id() -> None:
    about = logs.about(SimpleNamespace(owner=SimpleNamespace(id="anna")))
    assert json.loads(JsonFormatter().format(record("Lost", **about)))["connection"] == "anna"
    assert HumanFormatter().format(record("Lost", **about)).endswith("Lost (connection anna)")
    assert "connection" not in json.loads(JsonFormatter().format(record("Lost", **logs.about(object()))))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("", "-"),
        ("anything else", "-"),
    ],
)
def test_addresses_are_shortened(address: str, shown: str) -> None:
    assert str(Shortened(address)) == shown


def test_an_access_log_has_no_query_and_no_whole_address() -> None:
    environ = {
        "REMOTE_ADDR": "203.0.113.77",
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/socket.io/?sid=secret",
        "PATH_INFO": "/socket.io/",
        "QUERY_STRING": "sid=secret",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_REFERER": "https://chat.example/?token=secret#secret",
        "HTTP_AUTHORIZATION": "Basic c2VjcmV0OnNlY3JldA==",
    }
    response = SimpleNamespace(status="200 OK", sent=10, headers=[])
    logger = GunicornLogger.__new__(GunicornLogger)
    atoms = logger.atoms(response, [], environ, timedelta(seconds=1))
    usual = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" %(U)s %(q)s'
    line = usual % atoms
    assert "secret" not in line
    assert line.startswith("203.0.113.0/24 - - [")
    assert '"GET /socket.io/ HTTP/1.1" 200 10 "https://chat.example/" /socket.io/ ' in line


def test_a_failing_greenlet_s_arguments_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Greenlet:
        def __repr__(self) -> str:
            return "<Greenlet: say('my secret')>"

    logs.uncaught(Greenlet(), *failing())
    assert "ValueError: a mistake" in caplog.text
    assert "Uncaught in a Greenlet" in caplog.text
    assert "secret" not in caplog.text


def test_a_failing_request_is_logged_with_its_connection_and_does_not_block_later_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    connection = Connection(SimpleNamespace(), "main")  # type: ignore[arg-type]
    done = Event()
    connection.perform(lambda: [][0])
    connection.perform(done.set)
    assert done.wait(10)
    (line,) = caplog.records
    assert line.message == "A request failed"
    assert line.connection == connection.id


# On a real server


@pytest.fixture
def server(servers: Callable[..., Server]) -> Server:
    everything = {"APP_ENV": "production", "LOG_LEVEL": "debug", "GUNICORN_CMD_ARGS": "--access-logfile -"}
    return servers(env={**NO_RATES, **everything})


def test_in_production_every_line_is_json_and_a_connections_lines_carry_its_id(server: Server) -> None:
    anna, bert = RawClient(server), RawClient(server)
    for client in (anna, bert):
        client.call("no-such-event")
    anna.call("find-match")
    bert.send('42["find-match"]')
    for client in (anna, bert):
        client.wait_event("matched")
    anna.send("41")
    bert.wait_event("partner-disconnected")
    bert.drop()
    request_id = server.get("/nowhere").headers["X-Request-Id"]
    server.expect_errors()

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in server.log().splitlines()]

    eventually(lambda: {"Lost", "Disconnected"} <= {line["message"] for line in lines()}, what="both ends")
    server.stop()
    by_connection: dict[str, list[str]] = {}
    for line in lines():
        if "connection" in line:
            said = by_connection.setdefault(line["connection"], [])
            if line["message"] not in said:  # registered again if the worker's subscription came later
                said.append(line["message"])
    annas, berts = sorted(by_connection.values(), key=lambda messages: "Lost" in messages)
    until_then = ["Connected from 127.0.0.0/24", "Registered: idle", "Refused: invalid-payload", "Matched"]
    assert sorted(annas) == sorted([*until_then, "Disconnected"])
    assert sorted(berts) == sorted([*until_then, "Lost"])
    (asked,) = [line for line in lines() if "/nowhere" in line["message"]]
    assert asked["request"] == request_id
    assert asked["logger"] == "gunicorn.access"


def test_lines_below_the_log_level_are_not_written(servers: Callable[..., Server]) -> None:
    server = servers(env={"LOG_LEVEL": "warning"})
    RawClient(server).drop()
    server.stop()
    assert server.log() == ""
