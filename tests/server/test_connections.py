"""WebSocket connections as the event loop runs them: slow readers, pauses, ends of every kind."""

from __future__ import annotations

import gc
import json
import socket
import struct
from collections.abc import Callable

import pytest

from animochat.server.engineio.server import EngineSocket, websocket_frame
from animochat.server.http.handler import RequestHandler
from animochat.server.websocket import connection
from animochat.server.websocket.connection import WebSocket
from tests.helpers.servers import eventually
from tests.server.wire import CLOSE, TEXT, InThread, WebSocketClient, open_polling, polling


def test_bytes_that_the_socket_does_not_accept_wait_and_arrive_in_order(server: InThread) -> None:
    client = WebSocketClient(server.connect(receive_buffer=4096), "EIO=4&transport=websocket")
    sid = json.loads(client.message()[1:])["sid"]
    session = server.session(sid)
    session._websocket._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sent = [f"{n}" + "x" * 30_000 for n in range(30)]
    server.call(lambda: [session.send(packet) for packet in sent])
    assert server.call(lambda: session._websocket._out) is not None
    assert [client.message() for _ in sent] == ["4" + packet for packet in sent]
    eventually(lambda: session._websocket._out is None and session._websocket._writer is None)


def test_a_frame_made_once_goes_to_every_transport(server: InThread) -> None:
    client = server.websocket()
    session = server.session(client.sid)
    server.call(lambda: session.send_frame(websocket_frame('42["news"]'), '2["news"]'))
    assert client.message() == '42["news"]'


def test_a_paused_client_is_not_read(server: InThread) -> None:
    client = server.websocket()
    session = server.session(client.sid)
    got: list[str] = []

    def take(socket_: object, data: str) -> None:
        got.append(data)
        if data == "3":
            session.pause()

    server.engine.on_message = take
    for n in range(10):
        client.send(TEXT, b"4%d" % n)
    eventually(lambda: got == ["0", "1", "2", "3"])
    for n in range(10, 200):
        client.send(TEXT, b"4%d" % n)
    assert got == ["0", "1", "2", "3"]
    server.call(session.close)
    assert client.message() == "1"
    assert got == ["0", "1", "2", "3"]


def test_the_close_frame_follows_all_earlier_frames(server: InThread) -> None:
    client = server.websocket()
    client.send(TEXT, b'42["bye"]')
    assert client.message() == '42["bye"]'
    assert client.message() == "1"
    frame = client.frame()
    assert frame.opcode is CLOSE
    assert struct.unpack("!H", bytes(frame.data[:2])) == (1000,)
    client.send(CLOSE, bytes(frame.data))
    assert client.at_end()
    client.connection.close()
    assert server.call(server.closed) == ["server disconnect"]
    eventually(lambda: server.engine.frames.connections == 0)


def test_late_bytes_of_the_client_do_not_reset_a_closing_connection(server: InThread) -> None:
    client = server.websocket()
    session = server.session(client.sid)
    server.call(lambda: [session.send("x" * 50_000) for _ in range(10)])
    client.send(TEXT, b'42["bye"]')
    eventually(lambda: server.closed() == ["server disconnect"])
    for _ in range(20):
        client.send(TEXT, b"4late")
    assert [client.message() for _ in range(10)] == ["4" + "x" * 50_000] * 10
    assert [client.message(), client.message()] == ['42["bye"]', "1"]


def test_a_client_that_never_closes_its_side_is_cut_off(
    serve: Callable[..., InThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LINGER", 0.1)
    server = serve(ping_interval=0.5)
    client = server.websocket()
    client.send(TEXT, b'42["bye"]')
    eventually(lambda: server.engine.frames.connections == 0)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda client: client.send(TEXT, b"1"), "client disconnect"),
        (lambda client: client.send(CLOSE), "close frame"),
        (lambda client: client.connection.close(), "transport close"),
        (lambda client: client.connection.shutdown(socket.SHUT_WR), "transport close"),
        (lambda client: client.reset(), "transport error"),
        (lambda client: client.send(TEXT, b""), "transport error"),
        (lambda client: client.send(TEXT, b"9"), "transport error"),
        (lambda client: client.send(TEXT, b"0{}"), "transport error"),
        (lambda client: client.send(TEXT, b"2probe"), "transport error"),
    ],
)
def test_every_end_is_reported_once_with_its_reason(
    server: InThread, end: Callable[[WebSocketClient], None], reason: str
) -> None:
    client = server.websocket()
    end(client)
    eventually(server.closed)
    assert server.call(server.closed) == [reason]
    assert server.engine.sockets == {}
    assert server.engine.limits.open == 0


def test_closing_and_sending_after_the_end_have_no_effect(server: InThread) -> None:
    client = server.websocket()
    session = server.session(client.sid)

    def more() -> None:
        session.close()
        session.close()
        session.send("late")
        session.send_frame(websocket_frame("4late"), "late")
        session.pause()

    server.call(more)
    assert client.message() == "1"
    assert client.close_code() == 1000
    assert server.call(server.closed) == ["server disconnect"]


def test_a_failing_handler_does_not_affect_other_connections(
    server: InThread, caplog: pytest.LogCaptureFixture
) -> None:
    client = server.websocket()

    def broken(*_: object) -> None:
        raise RuntimeError("on purpose")

    working = server.engine.on_message
    server.engine.on_message = broken
    client.send(TEXT, b"4boom")
    eventually(lambda: "on purpose" in caplog.text)
    server.engine.on_message = working
    client.send(TEXT, b"4fine")
    assert client.message() == "4fine"


def test_nothing_remains_of_a_connection_that_has_ended(server: InThread) -> None:
    client = server.websocket()
    client.send(TEXT, b"4hello")
    client.message()

    def left() -> set[type]:
        owners = {EngineSocket: ("server", server.engine), WebSocket: ("_frames", server.engine.frames),
                  RequestHandler: ("server", server.server)}  # fmt: skip
        found = ((type(thing), thing) for thing in gc.get_objects() if type(thing) in owners)
        return {kind for kind, thing in found if getattr(thing, owners[kind][0]) is owners[kind][1]}

    gc.collect()
    gc.disable()  # only reference counting
    try:
        assert left() == {EngineSocket, WebSocket}
        client.connection.close()
        eventually(server.closed)
        eventually(lambda: left() == set())
    finally:
        gc.enable()


class TestPings:
    def test_a_client_that_answers_stays(self, serve: Callable[..., InThread]) -> None:
        server = serve(ping_interval=0.05, ping_timeout=0.2)
        client = server.websocket()
        for _ in range(5):
            frame = client.frame()
            assert bytes(frame.data) == b"2"
            client.send(TEXT, b"3")
        assert server.closed() == []

    def test_a_client_that_does_not_answer_is_closed(self, serve: Callable[..., InThread]) -> None:
        server = serve(ping_interval=0.05, ping_timeout=0.1)
        client = server.websocket()
        assert bytes(client.frame().data) == b"2"
        assert bytes(client.frame().data) == b"1"
        assert client.close_code() == 1000
        eventually(lambda: server.closed() == ["ping timeout"])

    def test_polling_clients_are_pinged_too(self, serve: Callable[..., InThread]) -> None:
        server = serve(ping_interval=0.05, ping_timeout=0.1)
        http = server.http()
        sid = open_polling(http)
        assert http.get(polling(sid)).packets == ["2"]
        assert http.post(polling(sid), b"3").status == 200
        assert http.get(polling(sid)).packets == ["2"]
        assert http.get(polling(sid)).packets == ["1"]
        assert server.call(server.closed) == ["ping timeout"]

    def test_a_paused_client_does_not_time_out(self, serve: Callable[..., InThread]) -> None:
        server = serve(ping_interval=0.05, ping_timeout=0.1)
        client, witness = server.websocket(), server.websocket()
        session = server.session(client.sid)
        assert bytes(client.frame().data) == b"2"
        server.call(session.pause)
        assert bytes(witness.frame().data) == b"2"
        assert witness.close_code() == 1000  # its time was over, and so was the paused client's
        assert not session.closed
