"""Backlogs of slow clients: a client that reads gets everything, another is cut off, and memory stays bounded."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from functools import partial

import pytest

from animochat.server import backlog
from animochat.server.backlog import MAX_BEHIND, MAX_QUEUED, MIN_TAKEN, PATIENCE, Backlog, Outgoing
from animochat.server.engineio.server import MAX_BACKLOG
from tests.helpers.servers import eventually
from tests.server.wire import TEXT, HttpClient, InThread, WebSocketClient, open_polling, polling

#: Text that compression hardly shortens.
NOISE = "".join(f"{number * 2_654_435_761 % 2**32:08x}" for number in range(250))


class Wheel:
    """A timer wheel whose time passes on request."""

    def __init__(self) -> None:
        self.deadlines: dict[object, float] = {}

    def add(self, entry: object, delay: float) -> None:
        self.deadlines[entry] = delay

    def remove(self, entry: object) -> None:
        self.deadlines.pop(entry, None)

    def over(self) -> None:
        """Let all deadlines pass."""
        due, self.deadlines = self.deadlines, {}
        for entry in due:
            entry.on_timer()  # type: ignore[attr-defined]


class Reader:
    """A client as the backlog sees it."""

    def __init__(self, queued: int) -> None:
        self.queued = queued
        self.taken = 0
        self.is_cut_off = False

    def take(self, count: int) -> None:
        self.queued -= count
        self.taken += count

    def cut_off(self) -> None:
        self.queued = 0
        self.is_cut_off = True


@pytest.fixture
def wheel() -> Wheel:
    return Wheel()


@pytest.fixture
def bounds(wheel: Wheel) -> Backlog:
    return Backlog(wheel, 8 * MAX_QUEUED)  # type: ignore[arg-type]


class TestBounds:
    def test_a_client_that_reads_enough_stays_connected(self, wheel: Wheel, bounds: Backlog) -> None:
        client = Reader(8 * MAX_QUEUED)
        bounds.look_at(client)
        while client.queued > MAX_QUEUED:
            assert set(wheel.deadlines.values()) == {PATIENCE}
            client.take(MIN_TAKEN)
            bounds.look_at(client)
            wheel.over()
        assert not client.is_cut_off
        assert wheel.deadlines == {}

    def test_a_client_that_reads_less_is_cut_off(self, wheel: Wheel, bounds: Backlog) -> None:
        client = Reader(MAX_QUEUED + 10 * MIN_TAKEN)
        bounds.look_at(client)
        client.take(MIN_TAKEN)
        wheel.over()
        assert not client.is_cut_off
        client.take(MIN_TAKEN - 1)
        wheel.over()
        assert client.is_cut_off
        assert wheel.deadlines == {}

    def test_a_client_with_more_than_the_largest_send_waiting_is_cut_off(self, bounds: Backlog) -> None:
        client = Reader(8 * MAX_QUEUED + 1)
        bounds.look_at(client)
        assert client.is_cut_off

    def test_beyond_the_total_bound_the_client_behind_for_longest_is_cut_off(self, bounds: Backlog) -> None:
        clients = [Reader(8 * MAX_QUEUED) for _ in range(MAX_BEHIND // (8 * MAX_QUEUED))]
        for client in clients:
            bounds.look_at(client)
        assert not any(client.is_cut_off for client in clients)
        clients[0].take(8 * MAX_QUEUED)  # no longer behind, and so not counted
        for _ in range(2):
            clients.append(Reader(8 * MAX_QUEUED))
            bounds.look_at(clients[-1])
        assert [client.is_cut_off for client in clients] == [False, True, *[False] * 8]

    def test_a_client_within_the_ordinary_bound_is_never_cut_off(self, wheel: Wheel, bounds: Backlog) -> None:
        bounds.forget(Reader(5))
        client = Reader(MAX_QUEUED + 1)
        bounds.look_at(client)
        client.take(1)
        wheel.over()
        assert not client.is_cut_off
        assert wheel.deadlines == {}


class TestOutgoing:
    @pytest.fixture
    def ends(self) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        return ours, theirs

    @pytest.mark.parametrize("size", [1, 100, 4096, 4097, 70_000])
    def test_frames_arrive_in_order_however_much_the_socket_accepts(
        self, ends: tuple[socket.socket, socket.socket], size: int
    ) -> None:
        ours, theirs = ends
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        frames = [bytes([number % 251]) * (size + number % 3) for number in range(80)]
        out = Outgoing()
        out.add(frames[0], 1)
        for frame in frames[1:]:
            out.add(frame)
        expected = b"".join(frames)[1:]
        assert out.size == len(expected)
        received = bytearray()
        while len(received) < len(expected):
            if out.size:
                size_before = out.size
                assert out.send(ours) == size_before - out.size  # type: ignore[arg-type]
            received += theirs.recv(1_000_000)
        assert received == expected

    def test_small_frames_take_little_more_memory_than_their_bytes(self) -> None:
        out = Outgoing()
        for _ in range(100_000):
            out.add(b"\x8a\x00")
        assert len(out._chunks) < 10

    @pytest.mark.parametrize("size", [10, 10_000])
    def test_an_early_frame_follows_the_frame_under_way(
        self, ends: tuple[socket.socket, socket.socket], size: int
    ) -> None:
        ours, theirs = ends
        out = Outgoing()
        out.add(b"a" * size, 5)
        for letter in b"bcd":
            out.add(bytes([letter]) * 5000)
        out.add_early(b"ping")
        total = out.size
        while out.size:
            out.send(ours)  # type: ignore[arg-type]
        received = b""
        while len(received) < total:
            received += theirs.recv(1_000_000)
        assert received == b"a" * (size - 5) + b"ping" + b"b" * 5000 + b"c" * 5000 + b"d" * 5000


def thin(server: InThread) -> socket.socket:
    """Return a connection with little data under way at a time."""
    return server.connect(receive_buffer=32_768)


def slow_websocket(server: InThread) -> WebSocketClient:
    client = WebSocketClient(thin(server), "EIO=4&transport=websocket")
    client.sid = json.loads(client.message()[1:])["sid"]
    sock = server.session(client.sid)._websocket._sock
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
    return client


class TestWebSocket:
    def test_a_large_session_and_later_packets_reach_a_client_that_reads(self, server: InThread) -> None:
        client = slow_websocket(server)
        session = server.session(client.sid)
        server.call(lambda: session.send("x" * 3_000_000))
        for number in range(100):
            server.call(partial(session.send, f"n{number}"))
        assert client.message() == "4" + "x" * 3_000_000
        assert [client.message() for _ in range(100)] == [f"4n{number}" for number in range(100)]
        assert server.closed() == []

    def test_missed_messages_each_arrive_in_a_frame(self, server: InThread) -> None:
        client = slow_websocket(server)
        session = server.session(client.sid)
        sent = [f"{number}" + "x" * 14_000 for number in range(200)]
        server.call(lambda: [session.send(packet) for packet in sent])
        assert [client.message() for _ in sent] == ["4" + packet for packet in sent]

    def test_a_ping_overtakes_waiting_messages(self, server: InThread) -> None:
        client = slow_websocket(server)
        session = server.session(client.sid)
        server.call(lambda: [session.send("x" * 100_000) for _ in range(20)])
        server.call(session.on_timer)
        got = [bytes(client.frame().data) for _ in range(3)]
        assert b"2" in got
        assert len(got[0]) == 100_001

    def test_a_client_that_reads_a_large_frame_does_not_time_out(self, server: InThread) -> None:
        client = slow_websocket(server)
        session = server.session(client.sid)
        server.call(lambda: session.send("x" * 2_000_000))
        server.call(session.on_timer)
        for _ in range(3):
            before = server.call(lambda: session._websocket.taken)
            while server.call(lambda: session._websocket.taken) < before + MIN_TAKEN:
                client._parser.receive_data(client.connection.recv(65_536))
            server.call(session.on_timer)
        assert server.closed() == []
        server.call(session.on_timer)
        assert server.closed() == ["ping timeout"]

    def test_a_client_that_reads_nothing_is_cut_off_in_time(
        self, serve: Callable[..., InThread], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backlog, "PATIENCE", 0.2)
        server = serve(ping_interval=1)
        client = slow_websocket(server)
        session = server.session(client.sid)
        server.call(lambda: session.send("x" * 2_000_000))
        eventually(lambda: server.closed() == ["transport error"])
        assert client.at_end()

    def test_a_client_that_is_gone_is_not_counted(self, server: InThread) -> None:
        client = slow_websocket(server)
        session = server.session(client.sid)
        server.call(lambda: session.send("x" * 2_000_000))
        assert len(server.engine.backlog._behind) == 1
        client.reset()
        eventually(lambda: server.closed() == ["transport error"])
        assert server.engine.backlog._behind == {}

    def test_a_client_is_cut_off_at_the_bound_without_effect_on_others(self, server: InThread) -> None:
        slow, other = slow_websocket(server), server.websocket()
        payload = '42["broadcast","' + "x" * 60_000 + '"]'
        for _ in range(2 * MAX_BACKLOG // 60_000):
            other.send(TEXT, payload.encode())
            assert other.message() == payload
        assert server.call(server.closed) == ["transport error"]
        assert slow.at_end()
        assert server.engine.backlog._behind == {}


class TestPolling:
    def test_a_large_session_and_later_packets_reach_a_client_that_reads(self, server: InThread) -> None:
        client = HttpClient(thin(server))
        sid = open_polling(client)
        session = server.session(sid)
        server.call(lambda: [session.send("x" * 3_000_000), session.send("next")])
        client.request("GET", polling(sid))
        eventually(lambda: not session._polling.queue)
        server.call(lambda: session.send("later"))
        assert client.response().packets == ["4" + "x" * 3_000_000, "4next"]
        assert client.get(polling(sid)).packets == ["4later"]
        eventually(lambda: session._polling.queued == 0)
        assert server.closed() == []

    @pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
    @pytest.mark.parametrize("text", ["x" * 5000, "x" * 200_000, NOISE], ids=["text", "long", "noise"])
    def test_nothing_waits_after_a_response_was_read_in_any_encoding(
        self, server: InThread, http: HttpClient, encoding: str, text: str
    ) -> None:
        sid = open_polling(http)
        session = server.session(sid)
        for _ in range(3):
            server.call(lambda: session.send(text))
            assert http.get(polling(sid), f"Accept-Encoding: {encoding}\r\n").status == 200
            eventually(lambda: session._polling.queued == 0)

    def test_a_ping_overtakes_waiting_messages(self, server: InThread, http: HttpClient) -> None:
        sid = open_polling(http)
        session = server.session(sid)
        server.call(lambda: [session.send("x" * 20_000) for _ in range(20)])
        server.call(session.on_timer)
        assert http.get(polling(sid)).packets[0] == "2"

    def test_a_client_that_never_polls_is_cut_off_in_time(
        self, serve: Callable[..., InThread], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backlog, "PATIENCE", 0.2)
        server = serve(ping_interval=1)
        session = server.session(open_polling(server.http()))
        server.call(lambda: session.send("x" * 2_000_000))
        eventually(lambda: server.closed() == ["transport error"])

    def test_a_client_that_never_polls_is_cut_off_at_the_bound(self, server: InThread, http: HttpClient) -> None:
        session = server.session(open_polling(http))
        server.call(lambda: [session.send("x" * 100_000) for _ in range(MAX_BACKLOG // 100_000 + 1)])
        eventually(lambda: server.closed() == ["transport error"])

    def test_a_client_that_reads_nothing_of_a_response_is_cut_off_in_time(
        self, serve: Callable[..., InThread], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backlog, "PATIENCE", 0.2)
        server = serve(ping_interval=1, max_backlog=20_000_000)
        client = HttpClient(thin(server))
        sid = open_polling(client)
        session = server.session(sid)
        server.call(lambda: session.send("x" * 15_000_000))
        client.request("GET", polling(sid))
        eventually(lambda: server.closed() == ["transport error"])
        eventually(lambda: not server.server.busy)
        assert session._polling.queued == 0
