"""The time for which a place is kept: of a closed connection, and of a lost one.

The grace times are long here, and differ: `partner-reconnecting` shows which of them applies.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from animochat.app import create_app
from tests.helpers.people import NO_RATES, Poller, RawClient
from tests.helpers.servers import Server

CLOSED_MS, LOST_MS = 40_000, 50_000

ENV = {
    **NO_RATES,
    "RECONNECT_GRACE_MS": str(CLOSED_MS),
    "LOST_GRACE_MS": str(LOST_MS),
    "SKIP_COOLDOWN_MS": "30000",
    "MATCH_HISTORY_HOURS": "0",
}


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., Server]) -> Server:
    return module_servers(env=ENV)


def close_frame(client: RawClient) -> None:
    client.socket.close()


def close_packet(client: RawClient) -> None:
    client.send("1")


def end_of_stream(client: RawClient) -> None:
    client.drop()


def reset(client: RawClient) -> None:
    client.socket.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.sock.close()


@pytest.fixture
def bert(server: Server) -> Iterator[RawClient]:
    client = RawClient(server)
    yield client
    client.drop()


def search(client: RawClient) -> None:
    assert client.call("find-match")["ok"]


@pytest.mark.parametrize(
    ("end", "grace_ms"),
    [(close_frame, CLOSED_MS), (close_packet, CLOSED_MS), (end_of_stream, LOST_MS), (reset, LOST_MS)],
)
def test_on_websocket_a_connection_is_closed_by_a_close_and_lost_otherwise(
    server: Server, bert: RawClient, end: Callable[[RawClient], None], grace_ms: int
) -> None:
    anna = RawClient(server)
    search(anna)
    search(bert)
    bert.wait_event("matched")
    end(anna)
    assert bert.wait_event("partner-reconnecting") == {"graceMs": grace_ms}
    assert bert.call("next-match") == {"ok": True, "state": "waiting", "cooldownMs": 0}, "no one was skipped"
    assert bert.call("cancel-match")["ok"]


@pytest.mark.parametrize(("closes", "grace_ms"), [(True, CLOSED_MS), (False, LOST_MS)])
def test_on_long_polling_a_connection_is_closed_by_a_close_and_lost_otherwise(
    server: Server, bert: RawClient, closes: bool, grace_ms: int
) -> None:
    anna = Poller(server)
    anna.send("40")
    anna.wait('42["session"')
    anna.send('420["find-match"]')
    anna.wait("430")
    search(bert)
    anna.wait('42["matched"')
    if closes:
        anna.send("1")
    else:
        lose_poll(server, anna)
    assert bert.wait_event("partner-reconnecting") == {"graceMs": grace_ms}
    assert bert.call("leave-room")["ok"]
    anna.drop()


def lose_poll(server: Server, client: Poller) -> None:
    """Let a poll wait, and its connection end."""
    target = client._url.removeprefix(server.url)
    with socket.create_connection(("127.0.0.1", server.port)) as poll:
        for _ in range(2):  # fetch the waiting packets first
            poll.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            poll.settimeout(0.5)
            try:
                while poll.recv(65536):
                    pass
            except TimeoutError:
                pass


def test_a_worker_that_dies_loses_its_connections(server: Server, module_servers: Any, bert: RawClient) -> None:
    doomed = module_servers(env=ENV)
    doomed.expect_errors()
    anna = RawClient(doomed)
    search(anna)
    search(bert)
    bert.wait_event("matched")
    doomed.kill()
    assert bert.wait_event("partner-reconnecting") == {"graceMs": LOST_MS}
    assert bert.call("leave-room")["ok"]


def test_a_client_is_sent_both_grace_times(bert: RawClient) -> None:
    assert bert.session["limits"]["reconnectGraceMs"] == CLOSED_MS
    assert bert.session["limits"]["lostGraceMs"] == LOST_MS


@pytest.mark.parametrize(
    ("reason", "verb"),
    [
        ("client disconnect", "close"),
        ("close frame", "close"),
        ("transport close", "lose"),
        ("transport error", "lose"),
        ("ping timeout", "lose"),
        ("server disconnect", "lose"),
        ("server shutdown", "lose"),
    ],
)
def test_each_end_of_a_session_has_its_verb(reason: str, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app()
    departures = app.extensions["animochat"].lobbies["main"].departures
    ended: list[str] = []
    for name in ("close", "lose", "disconnect"):
        monkeypatch.setattr(departures, name, lambda connection, name=name: ended.append(name))
    session = SimpleNamespace(owner=SimpleNamespace(lobby="main"), application=None, sid="")
    app.extensions["socketio"].server._on_close(session, reason)
    assert ended == [verb]
    app.extensions["socketio"].server._on_close(session, reason)
    assert ended == [verb], "a session without a connection ends nothing"
