"""Limits on connecting, and the true address of a request."""

from __future__ import annotations

import gc
import json
import socket
import sys
import time
from collections.abc import Callable

import gevent
import pytest
from gevent.event import Event
from gevent.socket import socket as GeventSocket
from websockets.frames import Frame
from websockets.protocol import Protocol, Side

from animochat.server import limits, throttle
from animochat.server.addresses import client_address, comes_through_proxy
from animochat.server.http import admission
from animochat.server.http.reader import RequestReader
from animochat.server.limits import (
    PENALTY,
    TOO_FAST,
    TOO_MANY,
    TOO_MANY_FROM_ADDRESS,
    AddressBuckets,
    ConnectionLimits,
    Pace,
)
from animochat.server.throttle import TURN, ThrottleQueue
from animochat.server.websocket.connection import MAX_DROPPED, RECV_SIZE
from tests.helpers.servers import eventually
from tests.server.wire import (
    CLOSE,
    CONT,
    PATIENCE,
    PING,
    TEXT,
    HttpClient,
    InThread,
    WebSocketClient,
    handshake,
    open_polling,
    polling,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestRate:
    def test_a_burst_of_ten_seconds_then_the_rate(self) -> None:
        clock = Clock()
        limit = ConnectionLimits(rate=2, now=clock)
        assert [limit.admit("a") for _ in range(21)] == [None] * 20 + [TOO_FAST]
        clock.now += 0.5
        assert [limit.admit("a") for _ in range(2)] == [None, TOO_FAST]

    def test_is_counted_for_each_address(self) -> None:
        limit = ConnectionLimits(rate=0.1, now=Clock())
        assert [limit.admit("a"), limit.admit("a"), limit.admit("b")] == [None, TOO_FAST, None]

    def test_the_table_stays_small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "MAX_ADDRESSES", 100)
        clock = Clock()
        limit = ConnectionLimits(rate=1, now=clock)
        for n in range(1000):
            limit.admit(f"10.0.{n // 250}.{n % 250}")
        assert len(limit._connects.by_group) <= 100
        clock.now += 11
        for _ in range(100):
            limit.admit("10.9.9.9")
        assert len(limit._connects.by_group) == 1

    def test_further_tries_do_not_extend_the_wait(self) -> None:
        clock = Clock()
        limit = ConnectionLimits(rate=1, now=clock)
        for _ in range(100):
            limit.admit("a")
        clock.now += 1
        assert limit.admit("a") is None

    def test_time_gives_no_more_than_ten_seconds_worth(self) -> None:
        clock = Clock()
        buckets = AddressBuckets(2, clock)
        buckets.take("a")
        clock.now += 9.9  # the table forgets it later
        assert [buckets.take("a") for _ in range(21)] == [True] * 20 + [False]

    def test_a_customer_with_a_network_of_their_own_is_one_address(self) -> None:
        limit = ConnectionLimits(rate=0.1, now=Clock())
        assert limit.admit("2001:db8:1:2::1") is None
        assert limit.admit("2001:db8:1:2:ffff::9") is TOO_FAST
        assert limit.admit("2001:db8:1:3::1") is None

    def test_connecting_again_on_an_open_connection_counts_at_the_same_address(self) -> None:
        limit = ConnectionLimits(rate=0.2, now=Clock())
        assert limit.admit("2001:db8:1:2::1") is None
        assert limit.connect_again("2001:db8:1:2:ffff::9")
        assert not limit.connect_again("2001:db8:1:2::1")
        assert limit.admit("2001:db8:1:2::1") is TOO_FAST
        assert [limit.connect_again(address) for address in ("2001:db8:1:3::1", "")] == [True, True]


class TestAbuse:
    def test_a_connection_ended_for_abuse_counts_as_several(self) -> None:
        clock = Clock()
        limit = ConnectionLimits(rate=2, now=clock)
        assert limit.admit("a") is None
        limit.penalize("a")
        assert [limit.admit("a") for _ in range(10)] == [None] * 9 + [TOO_FAST]
        assert limit.admit("b") is None
        for _ in range(100):
            limit.penalize("a")
        clock.now += 1
        assert limit.admit("a") is None, "never for longer than a bucket takes to fill"

    def test_an_address_is_penalized_for_a_minute(self) -> None:
        clock = Clock()
        limit = ConnectionLimits(now=clock)
        limit.penalize("2001:db8:1:2::1")
        clock.now += PENALTY - 1
        assert [limit.is_penalized(address) for address in ("2001:db8:1:2:ffff::9", "b", "")] == [True, False, False]
        clock.now += 1
        assert not limit.is_penalized("2001:db8:1:2::1")

    def test_the_table_of_penalties_stays_small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "MAX_ADDRESSES", 2)
        limit = ConnectionLimits(now=Clock())
        for address in "abac":
            limit.penalize(address)
        assert [limit.is_penalized(address) for address in "abc"] == [True, False, True]

    @pytest.mark.parametrize(
        "sent", [b"\xf1\x80\0\0\0\0", Frame(PING, b"").serialize(mask=True) * 30], ids=["broken", "flood"]
    )
    def test_protocol_errors_and_floods_are_penalized(self, serve: Callable[..., InThread], sent: bytes) -> None:
        server = serve(rate_connects=2, rate_frames=2)
        server.websocket().connection.sendall(sent)
        eventually(server.closed)
        assert server.engine.limits._connects.by_group["127.0.0.1"].left < 10

    def test_an_ordinary_end_is_not_penalized(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_connects=2)
        for end in (WebSocketClient.reset, lambda client: client.send(CLOSE)):
            end(server.websocket())
        eventually(lambda: len(server.closed()) == 2)
        assert server.engine.limits._connects.by_group["127.0.0.1"].left > 17


class TestCount:
    def test_per_address(self) -> None:
        limit = ConnectionLimits(per_address=2)
        assert [limit.admit("a") for _ in range(3)] == [None, None, TOO_MANY_FROM_ADDRESS]
        assert limit.admit("b") is None
        limit.release("a")
        assert limit.admit("a") is None

    def test_in_total(self) -> None:
        limit = ConnectionLimits(total=2)
        assert [limit.admit(name) for name in "abc"] == [None, None, TOO_MANY]
        limit.release("a")
        assert limit.admit("c") is None

    def test_nothing_remains_of_ended_connections(self) -> None:
        limit = ConnectionLimits(per_address=5)
        for n in range(100):
            limit.admit(str(n))
            limit.release(str(n))
        assert limit.open == 0
        assert not limit._open_by_address

    def test_a_customer_with_a_network_of_their_own_is_one_address(self) -> None:
        limit = ConnectionLimits(per_address=1)
        assert limit.admit("2001:db8:1:2::1") is None
        assert limit.admit("2001:db8:1:2:ffff::9") is TOO_MANY_FROM_ADDRESS
        assert limit.admit("2001:db8:1:3::1") is None
        limit.release("2001:db8:1:2:ffff::9")
        assert limit.admit("2001:db8:1:2::2") is None

    def test_zero_is_no_limit(self) -> None:
        limit = ConnectionLimits()
        assert [limit.admit("a") for _ in range(500)] == [None] * 500

    def test_clients_of_a_unix_socket_are_not_counted_by_address(self) -> None:
        limit = ConnectionLimits(rate=0.1, per_address=1)
        assert [limit.admit("") for _ in range(5)] == [None] * 5


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("10.0.0.1", None, 0, "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1", 0, "10.0.0.1"),
        ("10.0.0.1", None, 1, "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1", 1, "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", 2, "1.1.1.1"),
        ("10.0.0.1", "1.1.1.1", 2, "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6,1.1.1.1:4711", 1, "1.1.1.1"),
        ("10.0.0.1", "[2001:db8::1]:443", 1, "2001:db8::1"),
        ("10.0.0.1", "2001:DB8::1", 1, "2001:db8::1"),
        ("10.0.0.1", "1.1.1.1, <script>", 1, "10.0.0.1"),
        ("10.0.0.1", "", 1, "10.0.0.1"),
        ("::ffff:1.2.3.4", None, 0, "1.2.3.4"),
        ("fe80::1%eth0", None, 0, "fe80::1"),
        (None, None, 0, ""),
        (None, "1.1.1.1", 1, "1.1.1.1"),
    ],
)
def test_only_entries_of_trusted_proxies_are_used(
    peer: str | None, forwarded: str | None, trusted: int, address: str
) -> None:
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}
    assert client_address({name: value for name, value in environ.items() if value is not None}, trusted) == address


@pytest.mark.parametrize(
    ("peer", "forwarded", "noticed"),
    [
        ("10.0.0.1", "1.2.3.4", True),
        ("172.17.0.1", "1.2.3.4, 10.0.0.9", True),
        ("127.0.0.1", "1.2.3.4", True),
        ("::1", "1.2.3.4", True),
        ("fd00::1", "1.2.3.4", True),
        ("::ffff:192.168.1.1", "1.2.3.4", True),
        ("", "1.2.3.4", True),  # a Unix socket
        ("10.0.0.1", None, False),
        ("10.0.0.1", "", False),
        ("8.8.8.8", "1.2.3.4", False),  # anyone can send the header
        ("2001:4860::1", "1.2.3.4", False),
    ],
)
def test_an_untrusted_proxy_of_the_operator_s_network_is_noticed(
    peer: str, forwarded: str | None, noticed: bool
) -> None:
    environ = {"REMOTE_ADDR": peer, **({} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded})}
    assert comes_through_proxy(environ) is noticed


@pytest.mark.parametrize("trusted", [0, 1])
def test_an_untrusted_proxy_is_logged_once(
    serve: Callable[..., InThread], caplog: pytest.LogCaptureFixture, trusted: int
) -> None:
    server = serve(trusted_proxies=trusted)
    for _ in range(3):
        assert server.http().get(polling()).status == 200
    assert "TRUSTED_PROXIES" not in caplog.text
    for _ in range(3):
        assert server.http().get(polling(), "X-Forwarded-For: 1.2.3.4\r\n").status == 200
        server.websocket(headers="X-Forwarded-For: 1.2.3.4\r\n")
    assert caplog.text.count("TRUSTED_PROXIES") == (not trusted)
    assert "1.2.3.4" not in caplog.text


class TestOnTheWire:
    def test_too_fast(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_connects=0.2)
        http = server.http()
        assert [http.get(polling()).status for _ in range(3)] == [200, 200, 429]
        response = http.get(polling())
        assert int(response.headers["retry-after"]) > 0
        http.send(handshake("/socket.io/?EIO=4&transport=websocket"))
        assert http.response().status == 429

    def test_too_many_from_one_address(self, serve: Callable[..., InThread]) -> None:
        server = serve(max_connections_per_address=2)
        http = server.http()
        client = server.websocket()
        sid = open_polling(http)
        assert http.get(polling()).status == 503
        client.connection.close()
        eventually(server.closed)
        assert http.get(polling()).status == 200
        assert http.post(polling(sid), b"4requests of open sessions are not limited").status == 200

    def test_too_many_for_the_worker(self, serve: Callable[..., InThread]) -> None:
        server = serve(max_connections=1)
        client = server.websocket()
        http = server.http()
        http.send(handshake("/socket.io/?EIO=4&transport=websocket"))
        response = http.response()
        assert (response.status, response.headers["retry-after"]) == (503, "5")
        client.connection.close()

    def test_addresses_are_those_behind_the_proxy(self, serve: Callable[..., InThread]) -> None:
        server = serve(max_connections_per_address=1, trusted_proxies=1)
        http = server.http()
        assert http.get(polling(), "X-Forwarded-For: 1.1.1.1\r\n").status == 200
        assert http.get(polling(), "X-Forwarded-For: 2.2.2.2\r\n").status == 200
        assert http.get(polling(), "X-Forwarded-For: 3.3.3.3, 1.1.1.1\r\n").status == 503
        assert {session.remote_addr for session in server.engine.sockets.values()} == {"1.1.1.1", "2.2.2.2"}

    def test_a_handshake_that_fails_is_not_counted(self, serve: Callable[..., InThread]) -> None:
        server = serve(max_connections=1)
        http = server.http()
        http.send(handshake("/socket.io/?EIO=4&transport=websocket", key="bad"))
        assert http.response().status == 400
        assert server.engine.limits.open == 0


class TestRequests:
    """HTTP requests of every kind count for the address that they come from."""

    def test_an_eighth_of_a_burst_is_free_the_rest_waits_and_more_is_refused(self) -> None:
        clock = Clock()
        limit = ConnectionLimits(rate_requests=8, now=clock)
        paces = [limit.request("a") for _ in range(90)]
        assert paces == [Pace.FREE] * 10 + [Pace.THROTTLED] * 70 + [Pace.REFUSED] * 10
        assert limit.request("b") is Pace.FREE
        clock.now += 1
        assert [limit.request("a") for _ in range(9)] == [Pace.FREE] + [Pace.THROTTLED] * 7 + [Pace.REFUSED]
        clock.now += 10
        assert [limit.request("a") for _ in range(11)] == [Pace.FREE] * 10 + [Pace.THROTTLED]

    def test_a_network_of_ones_own_is_one_address(self) -> None:
        limit = ConnectionLimits(rate_requests=0.1, now=Clock())
        assert limit.request("2001:db8:1:2::1") is not Pace.REFUSED
        assert limit.request("2001:db8:1:2:ffff::9") is Pace.REFUSED
        assert limit.request("2001:db8:1:3::1") is not Pace.REFUSED
        probes = [limit.probe(f"2001:db8:1:2::{number}") for number in range(21)]
        assert probes == [True] * 20 + [False]
        assert limit.probe("2001:db8:1:3::1")

    def test_an_address_has_one_place_in_the_throttle_queue(self) -> None:
        """A worker's throttle queue is fair to addresses, not to connections."""
        throttle_queue = ThrottleQueue()
        admission_ = admission.Admission(ConnectionLimits(), throttle_queue, (), "own", 0)
        with GeventSocket() as unused:
            reader = RequestReader(unused, b"GET / HTTP/1.1\r\n\r\n")
            peers = ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"]
            waiting = [gevent.spawn(admission_.head_read, (peer, 1), reader, pipelined=True) for peer in peers]
            gevent.idle()
            assert (throttle_queue.waiting, len(throttle_queue.queues)) == (3, 2)
            gevent.joinall(waiting, raise_error=True, timeout=PATIENCE)

    def test_zero_is_no_limit_and_a_unix_socket_has_no_address(self) -> None:
        assert {ConnectionLimits().request("a") for _ in range(500)} == {Pace.FREE}
        limit = ConnectionLimits(rate_requests=0.1, now=Clock())
        assert {limit.request("") for _ in range(500)} == {Pace.FREE}

    def test_a_penalized_address_waits_with_every_request(self) -> None:
        limit = ConnectionLimits(rate_requests=100, now=Clock())
        limit.penalize("a")
        assert limit.request("a") is Pace.THROTTLED

    @pytest.mark.parametrize("target", ["/pid", "/nowhere", "/socket.io/", polling(), polling("OWN-x"), polling("x")])
    def test_beyond_the_burst_all_are_refused(self, serve: Callable[..., InThread], target: str) -> None:
        server = serve(rate_requests=0.2)
        assert [server.http().get("/pid").status for _ in range(2)] == [200, 200]
        http = server.http()
        refused = http.get(target.replace("OWN", server.engine.worker_id))
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert json.loads(refused.body)["error"]["code"] == "too-many-requests"
        assert http.at_end()

    def test_a_handshake_counts_as_a_request(self, serve: Callable[..., InThread]) -> None:
        http = serve(rate_requests=0.1).http()
        assert http.get("/pid").status == 200
        http.send(handshake("/socket.io/?EIO=4&transport=websocket"))
        assert http.response().status == 429

    def test_a_refused_head_counts_as_a_request(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_requests=0.1)
        http = server.http()
        http.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000)
        assert http.response().status == 431
        assert server.http().get("/pid").status == 429

    def test_requests_of_an_open_session_are_not_refused(self, serve: Callable[..., InThread]) -> None:
        """It has its own limits, and others at its address can't end it."""
        server = serve(rate_requests=0.2)
        http = server.http()
        sid = open_polling(http)
        assert server.http().get("/pid").status == 200
        assert server.http().get("/pid").status == 429
        for number in range(5):
            assert http.post(polling(sid), b"4n%d" % number).status == 200
            assert http.get(polling(sid)).packets == [f"4n{number}"]
        assert http.get(polling(sid[:-1])).status == 429

    def test_requests_for_another_worker_s_session_are_left_to_that_worker(
        self, serve: Callable[..., InThread]
    ) -> None:
        server = serve(rate_requests=0.1)
        assert server.http().get("/pid").status == 200
        assert server.http().get(polling("other-session")).status == 400  # this server has no other worker

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("target", ["/health", "/health/live", "/health?x"])
    def test_a_load_balancer_s_probes_are_answered(
        self, serve: Callable[..., InThread], target: str, method: str
    ) -> None:
        """It would remove the server. Some of its probes per second don't even wait."""
        server = serve(rate_requests=0.1)
        assert server.http().get("/pid").status == 200
        throttle_queue, release = fill_queue(server)
        for _ in range(20):
            http = server.http()
            http.request(method, target)
            assert http.response().status == 404  # the echo server's answer
        many, other = server.http(), server.http()
        many.request(method, target)
        other.request("GET", "/healthy")
        eventually(lambda: throttle_queue.waiting == 2)
        release()
        assert [many.response().status, other.response().status] == [404, 429]

    def test_addresses_are_those_behind_the_proxy(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_requests=0.1, trusted_proxies=1)
        http = server.http()
        assert http.get("/pid", "X-Forwarded-For: 1.1.1.1\r\n").status == 200
        assert http.get("/pid", "X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for:2.2.2.2\r\n").status == 200
        assert http.get("/pid", "X-Forwarded-For: 2.2.2.2, 1.1.1.1\r\n").status == 429

    def test_a_pipelined_request_waits_in_the_throttle_queue(self, serve: Callable[..., InThread]) -> None:
        server = serve()
        throttle_queue, release = fill_queue(server)
        hasty, other = server.http(), server.http()
        for _ in range(50):
            hasty.request("GET", "/pid")
        assert hasty.response().status == 200
        eventually(lambda: throttle_queue._waiting)
        assert other.get("/pid").status == 200
        release()
        assert [hasty.response().status for _ in range(49)] == [200] * 49

    def test_connections_beyond_the_throttle_queue_s_bound_are_closed(
        self, serve: Callable[..., InThread], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(admission, "MAX_WAITING", 2)
        server = serve(rate_requests=0.1)
        assert server.http().get("/pid").status == 200
        throttle_queue, release = fill_queue(server)
        waiting = [server.http() for _ in range(2)]
        for number, http in enumerate(waiting, 1):
            http.request("GET", "/pid")
            eventually(lambda number=number: throttle_queue.waiting == number)
        last = server.http()
        last.request("GET", "/pid")
        assert last.at_end()
        release()
        assert [http.response().status for http in waiting] == [429, 429]


class TestPostedPackets:
    """Posted packets count like frames."""

    @pytest.mark.parametrize("packet", [b"3", b"6", b"4x", b"4" + b"x" * 50])
    def test_a_flood_ends_only_its_session(self, serve: Callable[..., InThread], packet: bytes) -> None:
        server = serve(rate_frames=2, rate_connects=5)
        http, other = server.http(), server.http()
        sid, other_sid = open_polling(http), open_polling(other)
        assert http.post(polling(sid), b"\x1e".join([packet] * 10)).status == 200
        assert http.post(polling(sid), b"\x1e".join([packet] * 15)).status == 400
        assert server.closed() == ["transport error"]
        assert server.engine.limits.is_penalized("127.0.0.1")
        assert server.engine.limits._connects.by_group["127.0.0.1"].left < 40
        assert other.post(polling(other_sid), b"4unharmed").status == 200

    def test_none_of_too_many_packets_is_accepted(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_frames=2)
        http = server.http()
        sid = open_polling(http)
        session = server.session(sid)
        assert http.post(polling(sid), b"\x1e".join([b"4x"] * 30)).status == 400
        assert "4x" not in session._polling.queue

    def test_a_long_packet_counts_by_its_length(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_frames=2)
        http = server.http()
        assert http.post(polling(open_polling(http)), b"4" + b"x" * 99_000).status == 400

    def test_empty_requests_count_too(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_frames=2)
        http = server.http()
        sid = open_polling(http)
        statuses = [200]
        while statuses[-1] == 200 and len(statuses) < 100:  # a slow machine allows some more
            statuses.append(http.post(polling(sid), b"6").status)
        assert statuses[-1] == 400
        assert len(statuses) > 20

    def test_the_same_number_of_packets_may_be_posted_over_time(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_frames=2)
        http = server.http()
        sid = open_polling(http)
        polling_ = server.session(sid)._polling
        for _ in range(100):
            assert http.post(polling(sid), b"6").status == 200
            polling_._counted_at -= 0.51  # as if this time had passed

    def test_time_gives_no_more_than_ten_seconds_worth(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_frames=2)
        http = server.http()
        sid = open_polling(http)
        server.session(sid)._polling._counted_at -= 1_000  # as if this time had passed
        assert http.post(polling(sid), b"\x1e".join([b"4x"] * 21)).status == 400

    def test_a_throttled_session_waits_in_the_throttle_queue(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_frames=10)
        hasty, other = server.http(), server.http()
        sid, other_sid = open_polling(hasty), open_polling(other)
        throttle_queue, release = fill_queue(server)
        hasty.request("POST", polling(sid), b"\x1e".join(b"4n%d" % number for number in range(90)))
        eventually(lambda: throttle_queue._waiting)
        assert other.post(polling(other_sid), b"4hello").status == 200
        assert other.get(polling(other_sid)).packets == ["4hello"]
        release()
        assert hasty.response().status == 200
        packets = [packet for _ in range(6) for packet in hasty.get(polling(sid)).packets]
        assert packets == [f"4n{number}" for number in range(90)]


class TestFrames:
    """The number of frames that a connection may send, whatever they contain."""

    RATE = 2  # so a burst is 20

    @pytest.mark.parametrize("frame", [Frame(TEXT, b"4x"), Frame(PING, b""), Frame(CONT, b"")])
    def test_a_flood_ends_only_its_connection(self, serve: Callable[..., InThread], frame: Frame) -> None:
        server = serve(rate_frames=self.RATE)
        flooder, other = server.websocket(), server.websocket()
        start = Frame(TEXT, b"4", fin=False) if frame.opcode is CONT else frame
        frame.fin = frame.opcode is not CONT
        for one in [start] + [frame] * 10 * self.RATE:
            flooder.connection.sendall(one.serialize(mask=True))
        assert flooder.close_code() == 1008
        eventually(lambda: server.closed() == ["transport error"])
        other.send(TEXT, b"4unharmed")
        assert other.message() == "4unharmed"

    def test_nothing_remains_of_a_flood_that_was_cut_off(self, serve: Callable[..., InThread]) -> None:
        """This includes the parser that connections share."""
        server = serve(rate_frames=self.RATE)
        other = server.websocket()
        for rest in (b"\x81", b"\x81\xfe\x01\x00\x00\x00\x00\x00xyz", b"\x01\x80\x00\x00\x00\x00"):
            flooder = server.websocket()
            flooder.connection.sendall(Frame(PING, b"x").serialize(mask=True) * 30 + rest)
            assert flooder.close_code() == 1008
            other.send(TEXT, b"4" + b"long" * 100)
            assert other.message() == "4" + "long" * 100

    def test_time_gives_no_more_than_ten_seconds_worth(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_frames=self.RATE)
        client = server.websocket()
        websocket = server.session(client.sid)._websocket
        websocket._counted_at -= 1_000  # as if this time had passed
        client.connection.sendall(Frame(TEXT, b"4x").serialize(mask=True) * 200)
        assert client.close_code() == 1008  # however many of them one read gets

    def test_a_message_in_endless_pieces_is_a_flood(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_frames=self.RATE)
        flooder = server.websocket()
        flooder.connection.sendall(Frame(TEXT, b"4" + b"x" * 99_000).serialize(mask=True))
        assert flooder.close_code() == 1008

    def test_the_same_number_of_frames_may_be_sent_over_time(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_frames=self.RATE)
        client = server.websocket()
        websocket = server.session(client.sid)._websocket
        for number in range(5 * 10 * self.RATE):
            client.send(TEXT, b"4n%d" % number)
            assert client.message() == f"4n{number}"
            websocket._counted_at -= 1.01 / self.RATE  # as if this time had passed


def test_no_parser_waits_for_the_garbage_collector(serve: Callable[..., InThread]) -> None:
    def parsers() -> int:
        return sum(isinstance(one, Protocol) and one.side is Side.SERVER for one in gc.get_objects())

    server = serve()
    talker = server.websocket()
    gc.collect()
    before = parsers()
    gc.disable()
    try:
        for number in range(10):
            talker.send(TEXT, b"4" + b"long" * 5_000)
            assert len(talker.message()) > 20_000
            breaker, goer, loser = (server.websocket() for _ in range(3))
            breaker.connection.sendall(b"\xf1\x80\0\0\0\0")
            goer.send(CLOSE)
            loser.connection.sendall(Frame(TEXT, b"4" + b"x" * 5_000).serialize(mask=True)[:-1])
            loser.reset()
            eventually(lambda number=number: len(server.closed()) == 3 * (number + 1))
        assert parsers() == before
    finally:
        gc.enable()


class Entry:
    """An entry of a throttle queue that records when it is served."""

    def __init__(self, name: str, turns: list[str], again: Callable[[Entry], object] = lambda entry: None) -> None:
        self.name = name
        self._turns = turns
        self._again = again

    def on_slot(self) -> None:
        self._turns.append(self.name)
        self._again(self)


def fill_queue(server: InThread) -> tuple[ThrottleQueue, Callable[[], object]]:
    """Stop the server's throttle queue, as if it were full; call the second result to start it again."""
    throttle_queue, run = server.engine.throttle_queue, server.engine.throttle_queue._run
    throttle_queue._run = lambda: None  # type: ignore[method-assign]

    def release() -> None:
        throttle_queue._run = run  # type: ignore[method-assign]
        server.call(lambda: throttle_queue._timer.start(run))

    return throttle_queue, release


class TestThrottleQueue:
    FRAME = Frame(TEXT, b"4hello").serialize(mask=True)
    #: frames per read
    READ = RECV_SIZE // len(FRAME) + 1

    def test_entries_are_served_in_order(self) -> None:
        throttle_queue, turns, ended = ThrottleQueue(), list[str](), Event()
        for name in "abc":
            throttle_queue.add(Entry(name, turns))
        throttle_queue.add(gone := Entry("gone", turns))
        throttle_queue.add(first := Entry("first", turns), first=True)
        throttle_queue.add(first)
        throttle_queue.remove(gone)
        throttle_queue.add(Entry("last", turns, lambda _: ended.set()))
        assert ended.wait(PATIENCE)
        assert turns == ["first", "a", "b", "c", "last"]

    def test_an_entry_that_adds_itself_again_waits_behind_the_others(self) -> None:
        throttle_queue, turns, ended = ThrottleQueue(), list[str](), Event()
        throttle_queue.add(
            Entry("hasty", turns, lambda entry: ended.set() if turns.count("hasty") > 1 else throttle_queue.add(entry))
        )
        throttle_queue.add(Entry("other", turns))
        assert ended.wait(PATIENCE)
        assert turns == ["hasty", "other", "hasty"]

    def test_a_round_ends_when_its_time_is_used_up(self) -> None:
        throttle_queue, turns = ThrottleQueue(), list[str]()
        for name in "abc":
            throttle_queue.add(Entry(name, turns, lambda _: time.sleep(2 * TURN)))
        throttle_queue._run()
        assert turns == ["a"]
        throttle_queue.stop()

    def test_a_group_has_one_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(throttle, "PERIOD", 3600)  # the test starts rounds below
        throttle_queue, turns = ThrottleQueue(), list[str]()

        def wait(name: str, group: str | None) -> None:
            throttle_queue.wait(group)
            turns.append(name)

        waiting = [gevent.spawn(wait, f"flood {number}", "flood") for number in range(50)]
        others = [gevent.spawn(wait, name, name) for name in ("anna", "bert")] + [gevent.spawn(wait, "carl", None)]
        gone = gevent.spawn(wait, "gone", "gone")
        gevent.idle()
        assert (throttle_queue.waiting, len(throttle_queue.queues)) == (54, 5)
        gevent.kill(waiting.pop())
        gevent.kill(gone)
        gevent.idle()
        assert "gone" not in throttle_queue.queues
        while throttle_queue.waiting:
            gevent.get_hub().loop.run_callback(throttle_queue._run)
            gevent.idle()
        gevent.joinall(waiting + others, raise_error=True, timeout=PATIENCE)
        assert turns[:5] == ["flood 0", "anna", "bert", "carl", "flood 1"]
        assert turns[5:] == [f"flood {number}" for number in range(2, 49)]
        assert (throttle_queue.waiting, throttle_queue.queues) == (0, {})

    def test_a_flood_waits_while_others_are_answered(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_frames=1000)
        flooder, other = server.websocket(), server.websocket()
        throttle_queue, release = fill_queue(server)
        flooder.connection.sendall(self.FRAME * 200)
        eventually(lambda: server.session(flooder.sid)._websocket in throttle_queue)
        for number in range(3):
            other.send(TEXT, b"4n%d" % number)
            assert other.message() == f"4n{number}"
        assert len(flooder.connection.recv(65536, socket.MSG_PEEK)) <= self.READ * len("\x81\x064hello")
        release()
        assert [flooder.message() for _ in range(200)] == ["4hello"] * 200

    @pytest.mark.skipif(sys.platform != "linux", reason="has one loopback address")
    def test_a_penalized_address_is_not_read_before_its_turn(self, serve: Callable[..., InThread]) -> None:
        server = serve()
        throttle_queue, release = fill_queue(server)
        server.engine.limits.penalize("127.0.0.2")
        suspected = HttpClient(server.connect("127.0.0.2"))
        eventually(lambda: throttle_queue._waiting)
        assert server.http().get(polling()).status == 200
        release()
        assert suspected.get(polling()).status == 200

    def test_a_penalized_address_waits_behind_a_proxy_too(self, serve: Callable[..., InThread]) -> None:
        server = serve(trusted_proxies=1)
        throttle_queue, release = fill_queue(server)
        server.engine.limits.penalize("6.6.6.6")
        suspected, other = server.http(), server.http()
        suspected.request("GET", polling(), headers="X-Forwarded-For: 6.6.6.6\r\n")
        eventually(lambda: throttle_queue._waiting)
        assert other.get(polling(), "X-Forwarded-For: 1.1.1.1\r\n").status == 200
        assert [session.remote_addr for session in server.engine.sockets.values()] == ["1.1.1.1"]
        release()
        assert suspected.response().status == 200

    def test_a_throttled_client_gets_every_answer_in_order(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_frames=100)
        client = server.websocket()
        texts = [f"4n{'x' * (number % 7 * 300)}{number}" for number in range(500)]
        client.connection.sendall(b"".join(Frame(TEXT, text.encode()).serialize(mask=True) for text in texts))
        assert [client.message() for _ in texts] == texts

    def test_frames_sent_with_the_handshake_count_towards_a_flood(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_frames=1000)
        client = WebSocketClient(server.connect(), "EIO=4&transport=websocket", behind=self.FRAME * 100)
        client.message()  # the new session's packet
        assert [client.message() for _ in range(100)] == ["4hello"] * 100

    def test_a_client_that_was_cut_off_is_not_read(self, serve: Callable[..., InThread]) -> None:
        server = serve(rate_frames=2)
        flooder = server.websocket()
        websocket = server.session(flooder.sid)._websocket
        flooder.connection.sendall(self.FRAME * 30)
        eventually(server.closed)
        assert not websocket._reader.active
        server.call(websocket.on_timer)
        flooder.connection.settimeout(PATIENCE)
        assert flooder.at_end()

    def test_a_client_that_keeps_sending_after_closing_is_cut_off(self, serve: Callable[..., InThread]) -> None:
        client = serve().websocket()
        client.send(CLOSE)
        with pytest.raises(ConnectionError):
            client.connection.sendall(b"x" * (MAX_DROPPED + 32 * 1024 * 1024))
