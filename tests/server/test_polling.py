"""Long polling: payloads, valid and invalid, and the ends of sessions."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from animochat.server.engineio import packets
from animochat.server.engineio import session as engine_socket
from tests.helpers.servers import eventually
from tests.server.wire import PATIENCE, HttpClient, InThread, Response, handshake, open_polling, polling

UNKNOWN_SESSION = {"code": 1, "message": "Session ID unknown"}


def test_the_handshake_contains_the_values_that_clients_need(server: InThread, http: HttpClient) -> None:
    response = http.get(polling())
    announced = json.loads(response.packets[0][1:])
    assert announced.pop("sid").startswith(server.chat.worker_id + "-")
    assert announced == {
        "upgrades": ["websocket"], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 100_000
    }  # fmt: skip


def test_messages_come_back_in_order(http: HttpClient) -> None:
    sid = open_polling(http)
    assert http.post(polling(sid), "4one\x1e4zwei ß\x1e4三".encode()).body == b"ok"
    assert http.get(polling(sid)).packets == ["4one", "4zwei ß", "4三"]


def test_binary_messages_come_back(http: HttpClient) -> None:
    sid = open_polling(http)
    packet = "b" + base64.b64encode(b"\0\xff").decode()
    http.post(polling(sid), packet.encode())
    assert http.get(polling(sid)).packets == [packet]


def test_a_poll_waits_for_a_packet(server: InThread, http: HttpClient) -> None:
    sid = open_polling(http)
    http.request("GET", polling(sid))
    eventually(lambda: server.session(sid)._polling.waiter)
    other = server.http()
    other.post(polling(sid), b"4at last")
    assert http.response().packets == ["4at last"]
    assert server.session(sid)._polling.waiter is None


def test_a_response_has_no_more_packets_than_python_clients_accept(http: HttpClient) -> None:
    sid = open_polling(http)
    http.post(polling(sid), "\x1e".join(f"4n{n}" for n in range(40)).encode())
    answers = [http.get(polling(sid)).packets for _ in range(3)]
    assert [len(answer) for answer in answers] == [16, 16, 8]
    assert [packet for answer in answers for packet in answer] == [f"4n{n}" for n in range(40)]


def test_large_responses_are_compressed_if_the_client_accepts_it(http: HttpClient) -> None:
    sid = open_polling(http)
    http.post(polling(sid), b"4" + b"x" * 5000)
    response = http.get(polling(sid), "Accept-Encoding: gzip\r\n")
    assert response.headers["content-encoding"] == "gzip"
    assert gzip.decompress(response.body) == b"4" + b"x" * 5000


@pytest.mark.parametrize(
    ("size", "compressed"), [(1023, False), (1024, True), (64 * 1024, True), (64 * 1024 + 1, False)]
)
def test_only_responses_of_medium_size_are_compressed(http: HttpClient, size: int, compressed: bool) -> None:
    sid = open_polling(http)
    http.post(polling(sid), b"4" + b"x" * (size - 1))
    assert ("content-encoding" in http.get(polling(sid), "Accept-Encoding: deflate, gzip\r\n").headers) is compressed


def test_polling_responses_are_not_cached(http: HttpClient) -> None:
    sid = open_polling(http)
    http.post(polling(sid), b"4hello")
    assert http.get(polling(sid)).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\x1e", b"4ok\x1e", b"\x1e4ok", b"\xff\xfe", b"4\xed\xa0\x80", b"b!!!", b"bQQ", b"b\xc3\xa9", b"d=",
        b"d=%", b"d=&", b"9", b"0{}", b"2probe", b"x", b"4x\x1e" * 2000 + b"4",
    ],
)  # fmt: skip
def test_a_malformed_payload_ends_the_session(server: InThread, http: HttpClient, body: bytes) -> None:
    sid = open_polling(http)
    assert http.post(polling(sid), body).status == 400
    assert server.closed() == ["transport error"]
    assert server.engine.sockets == {}
    # The connection can still be used.
    assert open_polling(http)


def test_nothing_of_a_malformed_payload_is_delivered(server: InThread, http: HttpClient) -> None:
    got: list[object] = []
    server.engine.on_message = lambda socket, data: got.append(data)
    http.post(polling(open_polling(http)), b"4first\x1e\xff")
    assert got == []


def test_the_body_of_an_oversized_request_is_not_read(server: InThread, http: HttpClient) -> None:
    sid = open_polling(http)
    http.request("POST", polling(sid), headers="Content-Length: 10000000000\r\n")
    response = http.response()
    assert response.status in (400, 413)
    assert response.headers["connection"] == "close"
    assert http.at_end()
    assert server.closed() == ["transport error"]


def test_the_announced_payload_fits(http: HttpClient) -> None:
    sid = open_polling(http)
    assert http.post(polling(sid), b"4" + b"x" * 99_999).status == 200
    assert len(http.get(polling(sid)).body) == 100_000
    assert http.post(polling(sid), b"4" + b"x" * 100_000).status == 400


def test_a_request_that_is_never_finished_ends_the_session(server: InThread, http: HttpClient) -> None:
    sid = open_polling(http)
    http.request("POST", polling(sid), headers="Content-Length: 100\r\n")
    http.send(b"4half")
    http.close()
    eventually(lambda: server.closed() == ["transport close"])


def test_two_polls_at_once_end_the_session(server: InThread, http: HttpClient) -> None:
    sid = open_polling(http)
    http.request("GET", polling(sid))
    eventually(lambda: server.session(sid)._polling.waiter)
    assert server.http().get(polling(sid)).status == 400
    assert http.response().packets in (["1"], ["6"])
    assert server.closed() == ["transport error"]


def test_two_requests_at_once_end_the_session(server: InThread, http: HttpClient) -> None:
    sid = open_polling(http)
    http.request("POST", polling(sid), headers="Content-Length: 5\r\n")
    eventually(lambda: server.session(sid)._polling.posting)
    assert server.http().post(polling(sid), b"4x").status == 400
    assert server.closed() == ["transport error"]


def test_closing_the_connection_of_a_poll_ends_the_session(server: InThread, http: HttpClient) -> None:
    sid = open_polling(http)
    http.request("GET", polling(sid))
    eventually(lambda: server.session(sid)._polling.waiter)
    http.close()
    eventually(lambda: server.closed() == ["transport close"])


def test_a_pipelined_request_does_not_end_the_session(server: InThread, http: HttpClient) -> None:
    sid = open_polling(http)
    http.request("GET", polling(sid))
    eventually(lambda: server.session(sid)._polling.waiter)
    http.request("GET", "/pid")
    server.call(lambda: server.session(sid).send("here"))
    assert http.response().packets == ["4here"]
    assert http.response().status == 200
    assert server.closed() == []


def test_a_close_packet_in_a_request_ends_the_session(server: InThread, http: HttpClient) -> None:
    sid = open_polling(http)
    other = server.http()
    other.request("GET", polling(sid))
    eventually(lambda: server.session(sid)._polling.waiter)
    assert http.post(polling(sid), b"1").status == 200
    assert other.response().status == 200
    assert server.closed() == ["client disconnect"]


def test_packets_after_a_close_packet_are_ignored(server: InThread, http: HttpClient) -> None:
    taken: list[str | bytes] = []
    server.engine.on_message = lambda _, data: taken.append(data)
    sid = open_polling(http)
    assert http.post(polling(sid), b"4before\x1e1\x1e4behind").status == 200
    assert taken == ["before"]
    assert server.closed() == ["client disconnect"]


def test_a_poll_before_a_close_packet_is_answered_even_if_both_are_read_at_once(
    server: InThread, http: HttpClient
) -> None:
    sid = open_polling(http)
    other = server.http()
    assert other.get("/pid").status == 200
    busy, go_on = threading.Event(), threading.Event()

    def be_busy() -> None:
        busy.set()
        go_on.wait()

    thread = threading.Thread(target=server.call, args=(be_busy,))
    thread.start()
    busy.wait()
    http.request("GET", polling(sid))
    other.request("POST", polling(sid), b"1")
    go_on.set()
    assert http.response().packets == ["6"]
    assert other.response().status == 200
    thread.join()
    assert json.loads(http.get(polling(sid)).body) == UNKNOWN_SESSION


def test_packets_sent_before_the_end_can_still_be_polled(server: InThread, http: HttpClient) -> None:
    sid = open_polling(http)
    session = server.session(sid)

    def end() -> None:
        for n in range(20):
            session.send(f"n{n}")
        session.close()

    server.call(end)
    assert server.engine.sockets == {}
    assert http.post(polling(sid), b"4late").status == 400
    assert http.get(polling(sid)).packets == [f"4n{n}" for n in range(16)]
    assert http.get(polling(sid)).packets == ["4n16", "4n17", "4n18", "4n19", "1"]
    assert json.loads(http.get(polling(sid)).body) == UNKNOWN_SESSION
    assert server.engine.closing == {}
    assert server.engine.limits.open == 0


ENDS: dict[str, tuple[Callable[[InThread, Any], object], str, list[str]]] = {
    "close": (lambda server, session: session.close(), "server disconnect", ["1"]),
    "hang_up": (lambda server, session: session.hang_up(), "server shutdown", ["6"]),
    "all hang up": (lambda server, session: server.engine.hang_up(), "server shutdown", ["6"]),
    "no pong": (lambda server, session: [session.on_timer(), session.on_timer()], "ping timeout", ["2", "1"]),
    "too much waits": (lambda server, session: session._end("transport error"), "transport error", ["1"]),
}


@pytest.mark.parametrize("end", ENDS)
class TestEnds:
    """Every end of a session sends the last packets once, then "unknown", at once, and leaves nothing behind."""

    def test_the_waiting_poll_is_answered_and_the_next_is_refused(
        self, server: InThread, http: HttpClient, end: str
    ) -> None:
        action, reason, last = ENDS[end]
        sid = open_polling(http)
        session = server.session(sid)
        http.request("GET", polling(sid))
        eventually(lambda: session._polling.waiter)
        server.call(lambda: action(server, session))
        assert http.response().packets == last
        self.nothing_is_left(server, http, sid, reason)

    def test_the_last_response_contains_the_packets_sent_before(
        self, server: InThread, http: HttpClient, end: str
    ) -> None:
        action, reason, last = ENDS[end]
        sid = open_polling(http)
        session = server.session(sid)
        http.request("GET", polling(sid))
        eventually(lambda: session._polling.waiter)
        server.call(lambda: [session.send("said"), action(server, session)])
        assert sorted(http.response().packets) == sorted(["4said", *last])
        self.nothing_is_left(server, http, sid, reason)

    def test_without_a_waiting_poll_the_next_poll_gets_the_last_packets(
        self, server: InThread, http: HttpClient, end: str
    ) -> None:
        action, reason, last = ENDS[end]
        sid = open_polling(http)
        session = server.session(sid)
        server.call(lambda: [session.send("said"), action(server, session)])
        if end not in ("no pong", "too much waits"):
            assert server.http().post(polling(sid), b"4late").status == 400
            assert http.get(polling(sid)).packets == ["4said", *last]
        self.nothing_is_left(server, http, sid, reason)

    def nothing_is_left(self, server: InThread, http: HttpClient, sid: str, reason: str) -> None:
        assert json.loads(http.get(polling(sid)).body) == UNKNOWN_SESSION
        assert json.loads(http.post(polling(sid), b"4x").body) == UNKNOWN_SESSION
        assert server.closed() == [reason]
        assert (server.engine.sockets, server.engine.closing, server.engine.limits.open) == ({}, {}, 0)
        assert server.call(lambda: sum(map(len, server.engine.timers._slots))) == 0
        http.close()
        eventually(lambda: not server.server.busy)


def test_hanging_up_a_session_without_packets_leaves_nothing(server: InThread, http: HttpClient) -> None:
    sid = open_polling(http)
    server.call(server.engine.hang_up)
    assert json.loads(http.get(polling(sid)).body) == UNKNOWN_SESSION


def test_last_packets_are_dropped_if_no_poll_comes(
    serve: Callable[..., InThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_socket, "DRAIN_TIMEOUT", 0.1)
    server = serve(ping_interval=0.5)
    sid = open_polling(server.http())
    server.call(server.session(sid).close)
    eventually(lambda: server.engine.closing == {})
    assert server.engine.limits.open == 0


def test_a_client_that_leaves_at_the_end_of_its_session_leaves_nothing_behind(
    server: InThread, http: HttpClient
) -> None:
    sid = open_polling(http)
    session = server.session(sid)
    http.request("GET", polling(sid))
    eventually(lambda: session._polling.waiter)
    http.close()
    server.call(session.close)
    eventually(lambda: (server.engine.sockets, server.engine.closing, server.server.busy) == ({}, {}, False))


def test_a_paused_session_handles_no_request(server: InThread, http: HttpClient) -> None:
    sid = open_polling(http)
    session = server.session(sid)
    got: list[object] = []
    server.engine.on_message = lambda socket, data: got.append(data)
    server.call(session.pause)
    http.request("POST", polling(sid), b"4one\x1e4two")
    eventually(lambda: session._polling.paused)
    server.call(session.close)
    assert http.response().status == 200
    assert got == []


@pytest.mark.parametrize("index", ["0", "x", "", "1;alert(1)"])
def test_jsonp_is_refused(server: InThread, http: HttpClient, index: str) -> None:
    """Any page may load a script: JSONP would open sessions and read answers without a check of origins."""
    assert http.get(polling(extra=f"&j={index}") + "&").status == (400 if index else 200)
    if index:
        sid = open_polling(http)
        assert http.get(polling(sid, f"&j={index}")).status == 400
        assert http.post(polling(sid, f"&j={index}"), b"d=4a").status == 400
        assert http.post(polling(sid), b"4still here").status == 200
        assert server.closed() == []


class TestRefused:
    @pytest.mark.parametrize(
        ("target", "code"),
        [
            ("/socket.io/?EIO=3&transport=polling", 5),
            ("/socket.io/?transport=polling", 5),
            ("/socket.io/?EIO=4&transport=carrier-pigeon", 0),
            ("/socket.io/?EIO=4&transport=websocket", 3),
            ("/socket.io/?EIO=4&transport=polling&sid=unknown", 1),
            ("/socket.io/?EIO=4&transport=polling&sid=" + "x" * 1000, 1),
            ("/socket.io/?EIO=4&transport=polling&sid=%00%ff", 1),
        ],
    )
    def test_with_engine_io_s_code(self, http: HttpClient, target: str, code: int) -> None:
        response = http.get(target)
        assert response.status == 400
        assert json.loads(response.body)["code"] == code

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "TRACE", "BREW"])
    def test_methods(self, http: HttpClient, method: str) -> None:
        sid = open_polling(http)
        http.request(method, polling(sid))
        assert http._file.readline().split()[1] == b"400"

    def test_a_request_for_an_unknown_session(self, http: HttpClient) -> None:
        assert json.loads(http.post(polling("unknown"), b"4x").body) == UNKNOWN_SESSION

    def test_refusals_are_not_logged(self, http: HttpClient, caplog: pytest.LogCaptureFixture) -> None:
        for target in ("/socket.io/", "/socket.io/?EIO=4&transport=x", polling("unknown")):
            http.get(target)
        assert [record for record in caplog.records if record.levelname not in ("DEBUG", "INFO")] == []


class TestOrigins:
    @pytest.fixture
    def server(self, serve: Callable[..., InThread]) -> InThread:
        return serve(cors_allowed_origins=lambda origin, environ: origin == "https://good.example")

    def test_an_allowed_origin_may_read_the_response(self, http: HttpClient) -> None:
        response = http.get(polling(), "Origin: https://good.example\r\n")
        assert response.status == 200
        assert response.headers["access-control-allow-origin"] == "https://good.example"

    def test_requests_without_an_origin_are_allowed(self, http: HttpClient) -> None:
        assert http.get(polling()).status == 200

    def test_other_origins_are_refused_on_both_transports(self, server: InThread, http: HttpClient) -> None:
        origin = "Origin: https://evil.example\r\n"
        assert http.get(polling(), origin).status == 400
        http.send(handshake("/socket.io/?EIO=4&transport=websocket", origin))
        assert http.response().status == 400
        assert server.engine.sockets == {}

    def test_upgrades_are_checked_too(self, server: InThread, http: HttpClient) -> None:
        sid = open_polling(http)
        http.send(handshake(f"/socket.io/?EIO=4&transport=websocket&sid={sid}", "Origin: https://evil.example\r\n"))
        assert http.response().status == 400
        assert http.post(polling(sid), b"4still there").status == 200

    @pytest.mark.parametrize(
        "query", ["EIO=4&transport=carrier-pigeon", "EIO=3&transport=polling", "EIO=4&transport=polling&sid=x-y"]
    )
    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
    def test_an_allowed_origin_may_read_a_refusal(self, http: HttpClient, method: str, query: str) -> None:
        http.request(method, "/socket.io/?" + query, b"", "Origin: https://good.example\r\n")
        response = http.response()
        assert response.headers["access-control-allow-origin"] == "https://good.example"
        assert response.headers["vary"] == "Origin"
        assert 400 <= response.status < 500

    @pytest.mark.parametrize("options", [{"max_connections": 1}, {"rate_connects": 0.1}])
    def test_an_allowed_origin_may_read_a_refusal_by_a_limit(
        self, serve: Callable[..., InThread], options: dict[str, float]
    ) -> None:
        server = serve(cors_allowed_origins=["https://good.example"], **options)
        assert server.http().get(polling()).status == 200
        for origin, allowed in [("https://good.example", "https://good.example"), ("https://evil.example", None)]:
            response = server.http().get(polling(), f"Origin: {origin}\r\n")
            assert response.status in ((429, 503) if allowed else (400,))
            assert response.headers.get("access-control-allow-origin") == allowed

    def test_an_allowed_origin_may_read_that_the_worker_stops(self, server: InThread, http: HttpClient) -> None:
        server.engine.stopping = True
        response = http.get(polling(), "Origin: https://good.example\r\n")
        assert response.status == 503
        assert response.headers["access-control-allow-origin"] == "https://good.example"

    def test_other_origins_can_not_read_responses(self, http: HttpClient) -> None:
        for target in (polling(), polling("x-y"), "/socket.io/?EIO=3"):
            headers = http.get(target, "Origin: https://evil.example\r\n").headers
            assert not [name for name in headers if name.startswith("access-control")]

    def test_preflight(self, http: HttpClient) -> None:
        http.request("OPTIONS", polling(), headers="Origin: https://good.example\r\n")
        response = http.response()
        assert response.status == 200
        assert "POST" in response.headers["access-control-allow-methods"]


def chunked(body: bytes, size: int = 7) -> bytes:
    """Return a body encoded as `Transfer-Encoding: chunked`."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def post_chunked(http: HttpClient, sid: str, body: bytes, size: int = 7) -> Response:
    http.request("POST", polling(sid), headers="Transfer-Encoding: chunked\r\n")
    http.send(chunked(body, size))
    return http.response()


def test_a_body_may_come_in_chunks(http: HttpClient) -> None:
    sid = open_polling(http)
    assert post_chunked(http, sid, b"4hello\x1e4world").body == b"ok"
    assert http.get(polling(sid)).packets == ["4hello", "4world"]
    assert post_chunked(http, sid, b"4" + b"x" * 99_999, 50_000).body == b"ok"
    assert http.get(polling(sid)).packets == ["4" + "x" * 99_999]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"ffffffff\r\n", id="too large, known from its size"),
        pytest.param(b"fffff\r\n" + b"4" * 100_001, id="too large"),
        pytest.param(b"1\r\n4\r\n" * 1_000, id="too many chunks"),
        pytest.param(b"1;" + b"x" * 300, id="a long extension"),
        pytest.param(b"1\r\n4\r\n0\r\n" + b"A: b\r\n" * 30, id="too many trailers"),
        pytest.param(b"x\r\n", id="no number"),
        pytest.param(b"-1\r\n", id="a negative number"),
        pytest.param(b"+1\r\n4\r\n0\r\n\r\n", id="a sign"),
        pytest.param(b"0x1\r\n4\r\n0\r\n\r\n", id="a prefix"),
        pytest.param(b"1\n4\n0\n\n", id="bare line feeds"),
        pytest.param(b"1;a\rb\r\n4\r\n0\r\n\r\n", id="a bare carriage return"),
        pytest.param(b"3\r\n4abc\r\n0\r\n\r\n", id="longer than it says"),
        pytest.param(b"3\r\n4\r\n0\r\n\r\n", id="shorter than it says"),
    ],
)
@pytest.mark.parametrize("connection", ["keep-alive", "upgrade"])
def test_chunks_beyond_the_bounds_or_malformed_end_the_session(
    server: InThread, http: HttpClient, body: bytes, connection: str
) -> None:
    sid = open_polling(http)
    http.request("POST", polling(sid), headers=f"Transfer-Encoding: chunked\r\nConnection: {connection}\r\n")
    http.send(body)
    assert http.response().status == 400
    assert http.at_end()
    assert sid not in server.engine.sockets


def test_an_oversized_body_in_chunks_ends_the_session(server: InThread, http: HttpClient) -> None:
    sid = open_polling(http)
    assert post_chunked(http, sid, b"4" * 100_001, 50_000).status == 400
    assert sid not in server.engine.sockets


def test_what_follows_a_body_in_chunks_is_the_next_request(http: HttpClient) -> None:
    """This holds whatever headers the request has: else another client's request could be hidden in it."""
    for headers in ("", "Connection: upgrade\r\n", "Expect: 100-continue\r\n"):
        sid = open_polling(http)
        http.request("POST", polling(sid), headers=f"Transfer-Encoding: chunked\r\n{headers}")
        if "Expect" in headers:
            assert http.response().status == 100
        http.send(b"2;x=y\r\n4a\r\n0\r\nTrailer: x\r\n\r\nGET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
        assert http.response().body == b"ok"
        assert b'"pid"' in http.response().body


def test_payloads_survive_encoding_and_decoding() -> None:
    for sent in (["4a"], ["4a", b"\0\1", "4\U0001f418\u2028"], ["2"]):
        assert packets.decode_payload(packets.encode_payload(sent)) == sent


def test_many_clients_at_once(server: InThread) -> None:
    done = []

    def client(name: int) -> None:
        http = server.http()
        http.connection.settimeout(PATIENCE)
        sid = open_polling(http)
        for n in range(10):
            http.post(polling(sid), f"4{name}.{n}".encode())
        got: list[str] = []
        while len(got) < 10:
            got += http.get(polling(sid)).packets
        done.append(got == [f"4{name}.{n}" for n in range(10)])

    threads = [threading.Thread(target=client, args=(name + 1,)) for name in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 20
