"""HTTP requests on the wire: bounds of time and size, and requests that a proxy and we could read differently."""

from __future__ import annotations

import json
import socket
import struct

import pytest

from animochat.server.http import handler, headers, reader
from animochat.server.http.body import MAX_CHUNKED
from animochat.server.http.headers import Headers
from animochat.server.http.reader import RequestReader
from tests.helpers.servers import eventually
from tests.server.wire import PATIENCE, HttpClient, InThread, open_polling, polling


def test_a_connection_carries_many_requests(http: HttpClient) -> None:
    assert [http.get("/pid").status for _ in range(5)] == [200] * 5


def test_requests_may_be_pipelined_and_split(http: HttpClient) -> None:
    requests = (
        b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\r\nGET /pid HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    for start in range(0, len(requests), 7):
        http.send(requests[start : start + 7])
    assert http.response().body == b"5"
    assert http.response().status == 200


def test_head_and_body_are_one_segment(http: HttpClient) -> None:
    http.request("GET", "/pid")
    assert http.connection.recv(65536).endswith(b"}")


def test_http_1_0_closes(http: HttpClient) -> None:
    http.send(b"GET /pid HTTP/1.0\r\n\r\n")
    assert http.response().status == 200
    assert http.at_end()


def test_chunked_bodies_are_read(http: HttpClient) -> None:
    http.send(b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert http.response().body == b"5"
    assert http.get("/pid").status == 200


def test_a_small_unread_body_does_not_close_the_connection(http: HttpClient) -> None:
    assert http.post("/pid", b"x" * 1000).status == 200
    assert http.get("/pid").status == 200


def test_a_large_unread_body_closes_the_connection(http: HttpClient) -> None:
    http.request("POST", "/pid", headers="Content-Length: 5000000000\r\n")
    assert http.response().headers["connection"] == "close"
    assert http.at_end()


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense",
        b"GET /pid HTTP/x.y",
        b"GET /pid HTTP/1",
        b"GET /pid HTTP/2.0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /pid HTTP/1.1\r\nno colon",
        b"GET /pid HTTP/1.1\r\nOrigin: http://x\r\n folded: yes",
        b"GET /pid HTTP/1.1\r\nOrigin: a\rb",
        b"GET /pid HTTP/1.1\r\nOrigin: a\x01b",
        b"GET /pid HTTP/1.1\r\nOrigin: a\x7fb",
        b"GET /pid HTTP/1.1\r\nOrigin : a",
        b"GET /pid HTTP/1.1" + b"\r\nA: b" * 150,
        b"GET http:///pid HTTP/1.1",
        b"GET http://a@b/pid HTTP/1.1",
        b"GET http://a,b/pid HTTP/1.1",
        b"POST /body HTTP/1.1\r\nContent-Length: -5",
        b"POST /body HTTP/1.1\r\nContent-Length: +5",
        b"POST /body HTTP/1.1\r\nContent-Length: 1_0",
        b"POST /body HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6",
        b"POST /body HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5",
        b"POST /body HTTP/1.1\r\nContent-Length: 99999999999999999999999",
        b"POST /body HTTP/1.1\r\nTransfer-Encoding: gzip, chunked",
        b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x",
        b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
        b"POST /body HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        b"GET /pid HTTP/1.1\r\nHost: x",  # a second one
        b"GET /pid HTTP/1.0\r\nHost: y",
    ],
)
def test_malformed_requests_are_refused_and_the_connection_closed(http: HttpClient, head: bytes) -> None:
    # Host and body are valid, so that only the malformed part can be the reason.
    http.send(head + b"\r\nHost: x\r\n\r\n0\r\n\r\n")
    assert http.response().status == 400
    assert http.at_end()


def test_a_malformed_chunk_is_refused_and_the_connection_closed(http: HttpClient) -> None:
    http.send(b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert http.response().status == 400
    assert http.at_end()


@pytest.mark.parametrize("host", ["", "x", "X.example:80", "[::1]:3001", "127.0.0.1", "a_b.example."])
def test_valid_hosts_are_accepted(http: HttpClient, host: str) -> None:
    http.send(f"GET /pid HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert http.response().status == 200


@pytest.mark.parametrize("host", [None, "a b", "a/b", "a@b", "a:b", "a, b"])
def test_missing_and_ambiguous_hosts_are_refused(http: HttpClient, host: str | None) -> None:
    field = f"Host: {host}\r\n" if host is not None else ""
    http.send(f"GET /pid HTTP/1.1\r\n{field}\r\n".encode())
    assert http.response().status == 400
    assert http.at_end()


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        ("/where?a", "/where", "field"),
        ("http://target.example/where?a=http://b/", "/where", "target.example"),
        ("HTTPS://Target.example:81/where", "/where", "Target.example:81"),
        ("http://target.example", "/", "target.example"),
        ("http://target.example?/where", "/", "target.example"),
    ],
)
def test_a_target_may_be_a_whole_url(http: HttpClient, target: str, path: str, host: str) -> None:
    """RFC 9112 section 3.2.2: the URL's host is used, whatever the Host field says."""
    http.send(f"GET {target} HTTP/1.1\r\nHost: field\r\nX-Show: where\r\n\r\n".encode())
    assert json.loads(http.response().body) == [path, host]


@pytest.mark.parametrize(
    ("version", "fields", "closes"),
    [
        ("1.1", ["close"], True),
        ("1.1", ["foo, close"], True),
        ("1.1", ["Close ,foo"], True),
        ("1.1", ["foo", "close"], True),
        ("1.1", ["foo"], False),
        ("1.1", ["closed"], False),
        ("1.1", [], False),
        ("1.0", ["foo, Keep-Alive"], False),
        ("1.0", ["keep-alive, close"], True),
        ("1.0", [], True),
    ],
)
def test_the_client_decides_whether_the_connection_stays_open(
    http: HttpClient, version: str, fields: list[str], closes: bool
) -> None:
    head = "".join(f"Connection: {field}\r\n" for field in fields)
    http.send(f"GET /pid HTTP/{version}\r\nHost: x\r\n{head}\r\n".encode())
    assert http.response().status == 200
    if closes:
        assert http.at_end()
    else:
        assert http.get("/pid").status == 200


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["without an end", "with an end"])
def test_an_endless_head_is_refused(http: HttpClient, end: bytes) -> None:
    http.send(b"GET /pid HTTP/1.1\r\nX: " + b"x" * 40_000 + end)
    assert http.response().status == 431
    assert http.at_end()


def test_an_endless_head_of_empty_lines_is_refused(http: HttpClient) -> None:
    http.send(b"\r\n" * 20_000)
    assert http.response().status == 431
    assert http.at_end()


def test_parsing_a_field_takes_linear_time() -> None:
    """A million spaces precede an invalid character: quadratic matching would take hours."""
    with socket.socket() as unused, pytest.raises(ValueError, match="malformed"):
        Headers(RequestReader(unused, b"X:" + b" " * 1_000_000 + b"\0\r\n\r\n"))


def test_an_endless_request_line_is_refused(http: HttpClient) -> None:
    http.send(b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n\r\n")
    assert http.response().status == 414


@pytest.mark.parametrize("name", sorted(headers.IGNORED_BEYOND))
@pytest.mark.parametrize("fields", [1, 30], ids=["in one field", "in many"])
def test_an_expensive_field_is_left_out_beyond_its_bound(http: HttpClient, name: str, fields: int) -> None:
    most = headers.IGNORED_BEYOND[name]
    title = name.replace("-", " ").title().replace(" ", "-")
    one = f"{title}: {'a' * (most // fields)}\r\n"
    variable = "CONTENT_TYPE" if name == "content-type" else f"HTTP_{name.upper().replace('-', '_')}"
    assert variable in http.get("/environ", one * fields).body.decode().split()
    assert variable not in http.get("/environ", one * fields + f"{name}: {'a' * fields}\r\n").body.decode().split()


@pytest.mark.parametrize("name", sorted(headers.REFUSED_BEYOND))
def test_a_required_field_is_refused_beyond_its_bound(http: HttpClient, name: str) -> None:
    http.send(f"GET /pid HTTP/1.1\r\n{name}: {'a,' * (headers.REFUSED_BEYOND[name] // 2)}a\r\n\r\n".encode())
    assert http.response().status == 431
    assert http.at_end()


def test_unparsed_fields_may_be_as_long_as_a_head(http: HttpClient) -> None:
    """Proxies add long fields of their own."""
    assert (
        http.get("/pid", f"X-Amzn-Oidc-Data: {'x' * 20_000}\r\nAuthorization: Bearer {'y' * 8_000}\r\n").status == 200
    )


@pytest.mark.parametrize("target", ["/" + "x" * 2_040, "/?" + "a=b&" * 510, "/" * 2_041])
def test_a_target_has_a_bound(http: HttpClient, target: str) -> None:
    assert http.get(target[:2_030]).status == 404
    http.request("GET", target)
    assert http.response().status == 414
    assert http.at_end()


def test_a_head_in_slow_drops_is_refused(server: InThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "HEAD_TIMEOUT", 0.1)
    http = server.http()
    http.send(b"GET /pid HTTP/1.1\r\n")
    assert http.response().status == 408
    assert http.at_end()


def drip(http: HttpClient, drop: bytes) -> None:
    """Send one drop after another until the server has answered or closed."""
    http.connection.settimeout(0.02)
    try:
        while True:
            try:
                http.connection.sendall(drop)
                http.connection.recv(1, socket.MSG_PEEK)
                return
            except TimeoutError:
                pass
            except OSError:
                return
    finally:
        http.connection.settimeout(PATIENCE)


CHUNKED = "Transfer-Encoding: chunked\r\n"
LONG = "Content-Length: 60000\r\n"


class TestSlowBodies:
    """A body has one deadline, whichever part of the server waits for it. Occasional drops do not extend it."""

    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reader, "BODY_TIMEOUT", 0.2)

    @pytest.mark.parametrize(("headers", "drop"), [(LONG, b"a"), (CHUNKED, b"1\r\na\r\n"), (CHUNKED, b"f")])
    def test_a_body_that_the_application_reads(self, http: HttpClient, headers: str, drop: bytes) -> None:
        http.request("POST", "/body", headers=headers)
        drip(http, drop)
        assert http.response().status == 408
        assert http.at_end()

    @pytest.mark.parametrize(("headers", "drop"), [(LONG, b"a"), (CHUNKED, b"1\r\na\r\n")])
    @pytest.mark.parametrize("upgrade", ["", "Connection: upgrade\r\n"])
    def test_an_unread_body(self, http: HttpClient, headers: str, drop: bytes, upgrade: str) -> None:
        http.request("POST", "/pid", headers=headers + upgrade)
        assert http.response().status == 200
        drip(http, drop)
        assert http.at_end()

    def test_a_body_that_engine_io_reads(self, server: InThread, http: HttpClient) -> None:
        sid = open_polling(http)
        http.request("POST", polling(sid), headers=LONG)
        drip(http, b"a")
        assert http.response().status == 400
        assert http.at_end()
        assert server.closed() == ["transport close"]

    def test_each_request_has_its_own_deadline(self, http: HttpClient) -> None:
        for _ in range(3):
            http.request("POST", "/body", headers="Content-Length: 5\r\n")
            http.send(b"hello")
            assert http.response().body == b"5"


def test_beyond_the_bound_of_waiting_bodies_the_oldest_is_given_up(
    server: InThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "MAX_BODIES", 2)
    slow = []
    for number in range(2):
        slow.append(server.http())
        slow[-1].request("POST", "/body", headers=LONG)
        eventually(lambda number=number: len(server.server.bodies) == number + 1)
    honest = server.http()
    honest.request("POST", "/body", headers="Content-Length: 5\r\n")
    assert slow[0].response().status == 400
    assert slow[0].at_end()
    honest.send(b"hello")
    assert honest.response().body == b"5"
    slow[1].send(b"x" * 60_000)
    assert slow[1].response().body == b"60000"
    assert not server.server.bodies


@pytest.mark.parametrize(
    ("chunks", "length"),
    [
        (b"0\r\n\r\n", 0),
        (b"5;name=value\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", 5),
        (b"00A\r\n0123456789\r\n0;x\r\n\r\n", 10),
        (b"4000\r\n" + b"x" * 0x4000 + b"\r\n4000\r\n" + b"y" * 0x4000 + b"\r\n0\r\n\r\n", 0x8000),
    ],
)
def test_chunks_end_at_their_announced_size(http: HttpClient, chunks: bytes, length: int) -> None:
    for start in range(0, len(chunks), 1 if len(chunks) < 100 else 5000):
        if not start:
            http.request("POST", "/body", headers=CHUNKED)
        http.send(chunks[start : start + (1 if len(chunks) < 100 else 5000)])
    assert http.response().body == b"%d" % length
    assert http.get("/pid").status == 200


@pytest.mark.parametrize(
    "chunks",
    [
        b"\r\n", b"-1\r\n", b"0x5\r\nhello\r\n", b" 5\r\nhello\r\n", b"5\nhello\n0\n\n", b"123456789\r\n",
        b"3\r\nhello\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n", b"0;" + b"x" * 255 + b"\r\n\r\n", b"5;" + b"x" * 2_000 + b"\r\nhello\r\n",
        b"1\r\na\r\n" * 10_000, b"0\r\n" + b"A: b\r\n" * 10_000,
    ],
)  # fmt: skip
def test_malformed_and_wasteful_chunks_are_refused(http: HttpClient, chunks: bytes) -> None:
    http.request("POST", "/body", headers=CHUNKED)
    http.send(chunks)
    assert http.response().status == 400
    assert http.at_end()


def test_wsgi_has_each_field_once_under_its_own_name(http: HttpClient) -> None:
    """A name with an underscore would pass for the one with a dash that a proxy has set."""
    fields = "X-Forwarded_For: a\r\nContent_Length: 5\r\nContent-Type: text/plain\r\n"
    names = http.post("/environ", b"abc", fields).body.decode().split()
    assert not {"HTTP_X_FORWARDED_FOR", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"} & set(names)
    assert {"CONTENT_LENGTH", "CONTENT_TYPE"} <= set(names)


def test_a_request_has_a_hundred_fields_at_most(http: HttpClient) -> None:
    assert http.get("/pid", "A: b\r\n" * 99).status == 200  # Host is one
    http.request("GET", "/pid", headers="A: b\r\n" * 100)
    assert http.response().status == 400


def test_every_parsed_field_has_a_bound() -> None:
    assert set(headers.IGNORED_BEYOND) == {
        "accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "content-type", "cookie",
        "forwarded", "if-modified-since", "if-none-match", "if-range", "pragma", "range", "x-forwarded-host",
        "x-forwarded-proto",
    }  # fmt: skip
    assert set(headers.REFUSED_BEYOND) == {
        "connection", "content-length", "expect", "host", "if-match", "if-unmodified-since", "origin",
        "sec-websocket-extensions", "sec-websocket-key", "sec-websocket-protocol", "sec-websocket-version", "te",
        "transfer-encoding", "upgrade",
    }  # fmt: skip
    assert {name for name, most in (headers.IGNORED_BEYOND | headers.REFUSED_BEYOND).items() if most > 1024} == {
        "cookie"
    }


def test_a_body_in_chunks_has_at_most_twenty_trailer_fields(http: HttpClient) -> None:
    http.request("POST", "/body", headers=CHUNKED)
    http.send(b"0\r\n" + b"A: b\r\n" * 20 + b"\r\n")
    assert http.response().body == b"0"
    http.request("POST", "/body", headers=CHUNKED)
    http.send(b"0\r\n" + b"A: b\r\n" * 21 + b"\r\n")
    assert http.response().status == 400


def test_a_body_in_chunks_may_be_as_long_as_its_bound(http: HttpClient) -> None:
    half = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    http.request("POST", "/body", headers=CHUNKED)
    http.send(half + half + b"0\r\n\r\n")
    assert http.response().body == b"%d" % MAX_CHUNKED
    http.request("POST", "/body", headers=CHUNKED)
    http.send(half + half + b"1\r\nx\r\n0\r\n\r\n")
    assert http.response().status == 400


@pytest.mark.parametrize("headers", ["Content-Length: 10\r\n", CHUNKED], ids=["by length", "in chunks"])
def test_a_body_read_in_pieces_ends_at_its_announced_length(http: HttpClient, headers: str) -> None:
    body = b"0123456789" if headers != CHUNKED else b"6\r\n012345\r\n4\r\n6789\r\n0\r\n\r\n"
    http.request("POST", "/pieces", headers=headers)
    http.send(body + b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
    assert http.response().body == b"[4, 4, 2]"
    assert http.response().status == 200


@pytest.mark.parametrize("headers", ["Content-Length: 8\r\n", CHUNKED], ids=["by length", "in chunks"])
def test_a_body_read_by_lines_ends_at_its_announced_length(http: HttpClient, headers: str) -> None:
    body = b"one\ntwo\n" if headers != CHUNKED else b"8\r\none\ntwo\n\r\n0\r\n\r\n"
    http.request("POST", "/lines", headers=headers)
    http.send(body + b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
    assert json.loads(http.response().body) == ["one\n", "two\n"]
    assert http.response().status == 200


def test_a_line_of_a_body_that_breaks_off_is_an_error(http: HttpClient) -> None:
    http.request("POST", "/lines", headers="Content-Length: 50\r\n")
    http.send(b"one\ntw")
    http.connection.shutdown(socket.SHUT_WR)
    assert http.response().status == 400
    assert http.at_end()


def test_100_continue_is_sent_once(http: HttpClient) -> None:
    http.request("POST", "/pieces", headers="Expect: 100-continue\r\nContent-Length: 10\r\n")
    assert http.response().status == 100
    http.send(b"0123456789")
    assert http.response().body == b"[4, 4, 2]"


def test_a_broken_off_body_is_not_parsed_as_a_request(http: HttpClient) -> None:
    http.request("POST", "/body", headers="Content-Length: 50\r\n")
    http.send(b"GET /pid HTTP/1.1\r\n\r\n")
    http.connection.shutdown(socket.SHUT_WR)
    assert http.response().status == 400
    assert http.at_end()


def test_a_client_that_expects_100_continue_gets_it_or_the_response(http: HttpClient) -> None:
    http.request("POST", "/body", headers="Expect: 100-continue\r\nContent-Length: 5\r\n")
    assert http.response().status == 100
    http.send(b"hello")
    assert http.response().body == b"5"
    http.request("POST", "/pid", headers="Expect: 100-continue\r\nContent-Length: 5\r\n")
    assert http.response().headers["connection"] == "close"
    assert http.at_end()


def test_beyond_the_bound_of_idle_connections_the_oldest_is_closed(
    server: InThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of slow senders only compete with each other."""
    monkeypatch.setattr(handler, "MAX_IDLE", 3)
    slow = []
    for number in range(3):
        slow.append(server.http())
        slow[-1].send(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nX: ")
        eventually(lambda number=number: len(server.server.idle) == number + 1)
    honest = server.http()
    assert slow[0].at_end()
    assert honest.get(polling()).status == 200
    slow[1].send(b"y\r\nHost: test\r\n\r\n")
    assert slow[1].response().status == 200


def test_a_silent_connection_is_closed(server: InThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "HEAD_TIMEOUT", 0.1)
    assert server.http().at_end()


def test_an_idle_connection_is_closed_after_the_keep_alive_time(server: InThread) -> None:
    server.server.keep_alive = 0.1
    http = server.http()
    assert http.get("/pid").status == 200
    assert http.at_end()


def test_a_stopping_server_ends_idle_connections_at_once_and_busy_ones_after_their_response(server: InThread) -> None:
    idle, busy = server.http(), server.http()
    assert idle.get("/pid").status == 200
    busy.request("POST", "/body", headers="Content-Length: 5\r\n")
    waiting = [idle.connection.getsockname()]
    eventually(lambda: [handler.client_address for handler in list(server.server.idle)] == waiting)
    server.call(server.server.close_idle)
    assert idle.at_end()
    busy.send(b"hello")
    response = busy.response()
    assert (response.body, response.headers["connection"]) == (b"5", "close")
    assert busy.at_end()


def test_nothing_remains_of_a_client_that_resets(server: InThread) -> None:
    for sent in (b"", b"GET /p", b"POST /body HTTP/1.1\r\nContent-Length: 50\r\n\r\nabc"):
        client = server.connect()
        client.sendall(sent)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    eventually(lambda: not server.server.busy)


def test_accepted_connections_do_not_wait_for_acknowledgements(server: InThread) -> None:
    client = server.websocket()
    native = server.session(client.sid)._websocket._sock
    assert native.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
