"""Packets of strangers for an extension's own handlers, and their bounds. No store, no sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from flask import Flask
from flask_socketio import Namespace

from animochat import create_app
from animochat.app import socketio
from animochat.chat.application import MAX_NAMESPACES, MAX_QUEUED
from animochat.server.engineio.kept_environ import keep, rebuild
from animochat.settings import Settings
from tests.helpers.store import soon


class Session:
    """An Engine.IO session, as far as handlers need one; keeps what it sends."""

    owner = application = None
    remote_addr = "192.0.2.1"

    def __init__(self, server: Any, sid: str) -> None:
        self.sid = sid
        self.server = server
        self.sent: list[str | bytes] = []
        self.closed = False
        self.penalized = False
        server.eio.sockets[sid] = self
        server._on_open(self, {"REQUEST_METHOD": "GET", "HTTP_USER_AGENT": "test", "QUERY_STRING": "a=b"})

    def take(self, *packets: str | bytes) -> Session:
        for packet in packets:
            self.server._on_message(self, packet)
        gevent.sleep(0.001)
        return self

    def send(self, packet: str) -> None:
        self.sent.append("4" + packet)

    def send_engine(self, packet: str | bytes) -> None:
        self.sent.append(packet)

    def penalize(self) -> None:
        self.penalized = True

    def close(self) -> None:
        self.closed = True
        self.server.eio.sockets.pop(self.sid, None)
        self.server._on_close(self, "server disconnect")


Connect = Callable[..., Session]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.setattr(socketio, "handlers", [])
    return create_app(Settings(redis_url="redis://localhost:1", rate_events=5, log_level="info"))


@pytest.fixture
def calls(app: Flask) -> list[Any]:
    """Return the calls of the handlers of `/own`."""
    called: list[Any] = []
    socketio.server.on("event", lambda sid, *args: called.append(args), namespace="/own")
    socketio.server.on("connect", lambda sid, environ, auth: called.append("connect"), namespace="/own")
    socketio.server.on("disconnect", lambda sid, reason: called.append(reason), namespace="/own")
    return called


@pytest.fixture
def session(app: Flask, calls: list[Any]) -> Session:
    """A client of `/own`."""
    made = Session(socketio.server, "first").take("0/own,")
    assert made.sent[0].startswith('40/own,{"sid":')  # type: ignore[union-attr]
    assert calls == ["connect"]
    calls.clear()
    return made


def test_packets_come_in_their_order_and_the_end_is_the_last(session: Session, calls: list[Any]) -> None:
    session.take('2/own,["event",1]', '2/own,["event",2]')
    session.close()
    soon(lambda: len(calls) == 3, "all calls")
    assert calls == [(1,), (2,), "server disconnect"]
    assert session.server.environ == {}
    assert session.server.manager.rooms == {}


def test_a_flood_is_cut_off(session: Session, calls: list[Any]) -> None:
    session.take(*['2/own,["event"]'] * 60)
    assert session.closed
    assert session.penalized
    assert len(calls) <= 51


def test_handlers_that_wait_are_bounded(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.server, "rate_events", 0)
    forever = gevent.event.Event()
    session.server.on("wait", lambda sid: forever.wait(), namespace="/own")
    session.take(*['2/own,["wait"]'] * MAX_QUEUED)
    assert not session.closed
    session.take('2/own,["wait"]')
    assert session.closed
    forever.set()


@pytest.mark.parametrize("name", ["connect", "disconnect"])
def test_no_client_calls_the_handlers_of_a_connection(session: Session, calls: list[Any], name: str) -> None:
    session.take(f'2/own,["{name}","a","b"]', f'2/own,1["{name}"]')
    assert calls == []
    assert not session.closed


def test_an_attachment_takes_its_place(session: Session, calls: list[Any]) -> None:
    session.take('51-/own,["event",{"_placeholder":true,"num":0}]', b"bytes")
    assert calls == [(b"bytes",)]


@pytest.mark.parametrize(
    "packets",
    [
        (b"unannounced",),
        ('51-/own,["event",{"_placeholder":true,"num":7}]', b"x"),
        ('51-/own,["event",{"_placeholder":true,"num":"0"}]', b"x"),
        ('51-/own,["event"]', '2/own,["event"]'),
        ('52-/own,["event"]', b"x" * 60_000, b"x" * 60_000),
        ("2/own,[",),
        ('511-/own,["event"]',),
    ],
)
def test_a_malformed_packet_ends_the_connection_and_calls_nothing(
    session: Session, calls: list[Any], packets: tuple[str | bytes, ...]
) -> None:
    session.take(*packets)
    assert session.closed
    soon(lambda: calls == ["server disconnect"], "the end")


def test_nothing_is_called_before_connect_or_elsewhere(app: Flask, calls: list[Any]) -> None:
    session = Session(socketio.server, "second")
    session.take('2/own,["event"]', '2/else,["event"]', "3/own,1[]", "1/own,", '51-/else,["event"]', b"dropped")
    assert calls == []
    assert not session.closed


def test_the_namespaces_of_a_client_are_bounded(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socketio.server, "namespaces", "*")
    session = Session(socketio.server, "third").take(*[f"0/n{number}," for number in range(MAX_NAMESPACES + 5)])
    assert sum(str(packet).startswith("40/") for packet in session.sent) <= MAX_NAMESPACES + 1
    assert sum(str(packet).startswith("44/") for packet in session.sent) >= 4


def test_the_chat_s_own_events_and_namespace_stay_the_chat_s(app: Flask) -> None:
    with pytest.raises(ValueError, match="send-message"):
        socketio.on("send-message")(lambda data: None)
    with pytest.raises(ValueError, match="namespace"):
        socketio.on_namespace(Namespace("/"))


def test_without_an_extension_nothing_is_kept_of_a_connection(app: Flask) -> None:
    session = Session(socketio.server, "fourth")
    assert socketio.server._kept == {}
    assert session.application is None


def test_values_that_clients_share_are_kept_once() -> None:
    environ = {"REQUEST_METHOD": "GET", "HTTP_USER_AGENT": "A browser", "HTTP_COOKIE": "a=b", "wsgi.input": object()}
    one, two = keep(dict(environ), "192.0.2.1"), keep({**environ, "HTTP_COOKIE": "c=d"}, "192.0.2.1")
    assert one[0] is two[0]
    assert one[1][1] is two[1][1]
    assert rebuild(two)["HTTP_COOKIE"] == "c=d"
    assert rebuild(one)["REMOTE_ADDR"] == "192.0.2.1"
