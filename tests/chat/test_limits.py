"""Clients that ignore refusals are disconnected; the connections of a worker are bounded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import websocket

from animochat.app import create_app
from animochat.chat import server as sockets_server
from animochat.server.engineio.server import EngineSocket
from animochat.settings import Settings
from tests.helpers.people import RawClient, running, status, wait_until_empty
from tests.helpers.servers import PATIENCE, Server, eventually

#: The bounds of this module's server. A bucket holds ten seconds' worth.
RATE_REFUSALS, MAX_CONNECTIONS = 2, 20


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(
        tmp_path_factory.mktemp("limits"),
        RATE_MESSAGES="1",
        RATE_TYPING="1",
        RATE_REFUSALS=str(RATE_REFUSALS),
        MAX_CONNECTIONS=str(MAX_CONNECTIONS),
    ) as (server,):
        yield server


@pytest.fixture
def server(module_server: Server) -> Server:
    wait_until_empty(module_server)
    return module_server


def chat(server: Server) -> tuple[RawClient, RawClient]:
    anna, bert = RawClient(server), RawClient(server)
    anna.call("find-match")
    bert.call("find-match")  # `matched` comes before the acknowledgement
    anna.wait_event("matched")
    return anna, bert


def refused(frame: str) -> bool:
    return '"rate-limited"' in frame or '"invalid-payload"' in frame


@pytest.mark.parametrize("packet", ['42["send-message","again"]', '42["no-such-event"]', "42{", '42["typing",5]'])
def test_ignoring_refusals_disconnects_the_client(server: Server, packet: str) -> None:
    flooder, partner = chat(server)
    for _ in range(10 + 20 * RATE_REFUSALS):
        flooder.send(packet)
    flooder.wait_end()
    frames = [frame for frame in flooder.frames if frame]
    refusals = [frame for frame in frames if refused(frame)]
    assert 10 * RATE_REFUSALS <= len(refusals) <= 10 * RATE_REFUSALS + 5, "as many as the bucket holds, and a last word"
    assert frames[-2:] == ["41", "1"], "the goodbye by which stock clients stay away"
    # The partner loses nothing: the flooder's place is kept, as after any other lost connection.
    partner.wait_event("partner-reconnecting")
    again = RawClient(server, auth={"token": flooder.session["token"]})
    assert again.session["state"] == "chatting"
    partner.wait_event("partner-reconnected")
    # A new connection makes no new person: a client that goes on is disconnected again at once.
    for _ in range(10):
        again.send('42["no-such-event"]')
    again.wait_end()
    for client in (partner, again):
        client.send("41")
        client.drop()


def test_an_occasional_refusal_does_not_disconnect(server: Server) -> None:
    client = RawClient(server)
    for _ in range(10 * RATE_REFUSALS):
        assert client.call("no-such-event")["error"]["code"] == "invalid-payload"
    assert client.call("cancel-match")["ok"] is True
    client.drop()


def test_typing_has_a_rate_of_its_own(server: Server) -> None:
    anna, bert = chat(server)
    answers = [anna.call("typing", True) for _ in range(20)]  # ten seconds' worth are 10
    assert all(answer["ok"] for answer in answers[:10])
    assert answers[-1]["error"]["code"] == "rate-limited"
    for client in (anna, bert):
        client.send("41")
        client.drop()


def test_leaving_and_coming_on_one_connection_counts_as_connecting(tmp_path: Path) -> None:
    """It costs the store as much."""
    with running(tmp_path, RATE_CONNECTS="0.3") as (server,):
        client = RawClient(server)
        for _ in range(2):
            client.send("41")
            client.send("40")
            client.wait_event("session")
        client.send("41")
        client.wait_end()
        assert [frame for frame in client.frames if frame][-1] == "1"


def test_connections_beyond_the_limit_get_503(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.callback(RawClient(server).drop)
        answer = server.get("/socket.io/?EIO=4&transport=polling")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
            RawClient(server)
        assert refusal.value.status_code == 503
        assert status(server, "/health") == 200, "who is there is served"
    eventually(lambda: requests.get(f"{server.url}/socket.io/?EIO=4&transport=polling", timeout=PATIENCE).ok)


def test_a_session_without_connect_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    server = create_app(Settings()).extensions["socketio"].server
    silent, connected = (EngineSocket(server.eio, name, "127.0.0.1") for name in ("silent", "connected"))
    for session in (silent, connected):
        session.open_polling()
        server.eio.sockets[session.sid] = session
    monkeypatch.setattr(sockets_server, "CONNECT_TIMEOUT", -1.0)  # it is over already
    for session in (silent, connected):
        server.eio.on_open(session, {})
    connected.owner = server  # any owner stands for a client that has sent it
    server.close_silent()
    assert (silent.closed, connected.closed) == (True, False)
    server.eio.shutdown()
