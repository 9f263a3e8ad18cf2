"""Upgrades from long polling to WebSocket: nothing is lost or reordered, whenever it arrives."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from animochat.server.engineio import session as engine_socket
from tests.helpers.servers import eventually
from tests.server.wire import CLOSE, TEXT, HttpClient, InThread, WebSocketClient, handshake, open_polling, polling


@pytest.fixture
def sid(http: HttpClient) -> str:
    """Return a session on long polling."""
    return open_polling(http)


def upgrading(server: InThread, sid: str) -> WebSocketClient:
    return server.websocket(f"EIO=4&transport=websocket&sid={sid}")


def probe(client: WebSocketClient) -> None:
    client.send(TEXT, b"2probe")
    assert client.message() == "3probe"


def test_in_the_usual_order(server: InThread, http: HttpClient, sid: str) -> None:
    http.request("GET", polling(sid))
    eventually(lambda: server.session(sid)._polling.waiter)
    client = upgrading(server, sid)
    probe(client)
    assert http.response().packets == ["6"]  # so that the client can switch
    client.send(TEXT, b"5")
    client.send(TEXT, b"4hello")
    assert client.message() == "4hello"
    assert server.session(sid).upgraded
    assert server.session(sid)._websocket.timer_slot == -1, "the time for the upgrade still runs"
    assert http.get(polling(sid)).status == 400
    assert server.closed() == []


def test_nothing_is_lost_or_reordered_on_the_way(server: InThread, http: HttpClient, sid: str) -> None:
    session = server.session(sid)
    numbers = iter(range(100))

    def say() -> None:
        session.send(f"n{next(numbers)}")

    client = upgrading(server, sid)
    server.call(say)
    assert http.get(polling(sid)).packets == ["4n0"]
    http.request("GET", polling(sid))
    eventually(lambda: session._polling.waiter)
    probe(client)
    assert http.response().packets == ["6"]
    server.call(say)
    assert http.get(polling(sid)).packets == ["4n1"]  # long polling continues until the client has switched
    server.call(say)
    client.send(TEXT, b"5")
    client.send(TEXT, b"4mark")
    server.call(say)
    got = [client.message() for _ in range(3)]
    assert [message for message in got if message != "4mark"] == ["4n2", "4n3"]


def test_a_packet_that_is_about_to_be_polled_when_the_probe_comes(server: InThread, http: HttpClient, sid: str) -> None:
    session = server.session(sid)
    client = upgrading(server, sid)
    http.request("GET", polling(sid))
    eventually(lambda: session._polling.waiter)

    def both() -> None:
        session.send("just now")
        session.websocket_message(session._upgrade, "2probe")

    server.call(both)
    assert http.response().packets == ["4just now"]
    assert client.message() == "3probe"
    client.send(TEXT, b"5")
    client.send(TEXT, b"4hello")
    assert client.message() == "4hello"


class TestStalled:
    """An upgrade that does not complete, for example behind a proxy that drops frames: long polling continues."""

    @pytest.fixture(autouse=True)
    def no_time_passes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine_socket, "NOOP_INTERVAL", 3600.0)

    def test_a_client_that_goes_on_polling_does_not_spin(self, server: InThread, http: HttpClient, sid: str) -> None:
        client = upgrading(server, sid)
        http.request("GET", polling(sid))
        eventually(lambda: server.session(sid)._polling.waiter)
        probe(client)
        assert http.response().packets == ["6"]
        http.request("GET", polling(sid))
        eventually(lambda: server.session(sid)._polling.waiter)  # for the length of the interval

    def test_packets_do_not_wait_for_it(self, server: InThread, http: HttpClient, sid: str) -> None:
        client, other = upgrading(server, sid), server.http()
        probe(client)
        for number in range(3):
            http.request("GET", polling(sid))
            eventually(lambda: server.session(sid)._polling.waiter)
            other.post(polling(sid), b"4n%d" % number)
            assert http.response().packets == [f"4n{number}"]

    def test_a_poll_that_waits_at_the_end_of_the_upgrade_gets_a_noop_only(
        self, server: InThread, http: HttpClient, sid: str
    ) -> None:
        session = server.session(sid)
        client = upgrading(server, sid)
        probe(client)
        http.request("GET", polling(sid))
        eventually(lambda: session._polling.waiter)

        def both() -> None:  # before the poll's greenlet runs
            session.send("just now")
            session.websocket_message(session._upgrade, "5")

        server.call(both)
        assert http.response().packets == ["6"]
        assert client.message() == "4just now"
        assert server.closed() == []


def test_a_client_gets_another_noop_to_end_its_poll(server: InThread, http: HttpClient, sid: str) -> None:
    client = upgrading(server, sid)
    probe(client)
    assert [http.get(polling(sid)).packets for _ in range(3)] == [["6"]] * 3


def test_a_poll_after_the_upgrade_is_refused_even_if_both_are_read_at_once(
    server: InThread, http: HttpClient, sid: str
) -> None:
    client = upgrading(server, sid)
    probe(client)
    busy, go_on = threading.Event(), threading.Event()

    def be_busy() -> None:
        busy.set()
        go_on.wait()

    thread = threading.Thread(target=server.call, args=(be_busy,))
    thread.start()
    busy.wait()
    client.send(TEXT, b"5")
    http.request("GET", polling(sid))
    go_on.set()
    assert http.response().status == 400
    thread.join()
    assert server.closed() == []


def test_an_abandoned_upgrade_changes_nothing(server: InThread, http: HttpClient, sid: str) -> None:
    client = upgrading(server, sid)
    probe(client)
    server.call(lambda: server.session(sid).send("one"))
    server.call(lambda: server.session(sid).send("two"))
    client.connection.close()
    eventually(lambda: server.session(sid)._upgrade is None)
    assert http.get(polling(sid)).packets == ["4one", "4two"]
    # And the next attempt succeeds.
    client = upgrading(server, sid)
    probe(client)
    client.send(TEXT, b"5")
    client.send(TEXT, b"4hello")
    assert client.message() == "4hello"


@pytest.mark.parametrize("wrong", [b"4hello", b"5", b"2", b"", b"3probe"])
def test_an_upgrade_needs_a_probe(server: InThread, http: HttpClient, sid: str, wrong: bytes) -> None:
    client = upgrading(server, sid)
    client.send(TEXT, wrong)
    assert client.close_code() == 1000
    assert http.post(polling(sid), b"4still here").status == 200
    assert http.get(polling(sid)).packets == ["4still here"]


@pytest.mark.parametrize("wrong", [b"4hello", b"2probe", b"6"])
def test_nothing_but_upgrade_may_follow_the_probe(server: InThread, http: HttpClient, sid: str, wrong: bytes) -> None:
    client = upgrading(server, sid)
    probe(client)
    client.send(TEXT, wrong)
    assert client.close_code() == 1000
    assert http.post(polling(sid), b"4still here").status == 200


def test_an_unfinished_upgrade_is_ended(serve: Callable[..., InThread], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_socket, "UPGRADE_TIMEOUT", 0.1)
    server = serve(ping_interval=0.5)
    http = server.http()
    sid = open_polling(http)
    client = upgrading(server, sid)
    assert client.close_code() == 1000
    assert http.post(polling(sid), b"4still here").status == 200


def test_a_second_upgrade_at_the_same_time_is_closed(server: InThread, http: HttpClient, sid: str) -> None:
    client = upgrading(server, sid)
    assert upgrading(server, sid).close_code() == 1000
    probe(client)


def test_the_end_of_the_session_ends_the_upgrade(server: InThread, http: HttpClient, sid: str) -> None:
    client = upgrading(server, sid)
    probe(client)
    server.call(server.session(sid).close)
    assert client.close_code() == 1000
    client.connection.close()
    assert http.get(polling(sid)).packets == ["1"]
    assert server.closed() == ["server disconnect"]
    eventually(lambda: server.engine.frames.connections == 0)


def test_a_paused_session_stays_paused(server: InThread, http: HttpClient, sid: str) -> None:
    session = server.session(sid)
    got: list[object] = []
    server.engine.on_message = lambda socket, data: got.append(data)
    client = upgrading(server, sid)
    probe(client)
    server.call(session.pause)
    client.send(TEXT, b"5")
    client.send(TEXT, b"4later")
    eventually(lambda: session.upgraded)
    server.call(lambda: session.send("first"))
    assert client.message() == "4first"
    server.call(session.close)
    assert client.message() == "1"
    assert got == []


def test_bytes_in_the_handshake_s_segment_are_read(server: InThread, sid: str) -> None:
    from websockets.frames import Frame

    connection = server.connect()
    frames = b"".join(Frame(TEXT, text).serialize(mask=True) for text in (b"2probe", b"5", b"4hello"))
    connection.sendall(handshake(f"/socket.io/?EIO=4&transport=websocket&sid={sid}") + frames)
    received = b""
    while not received.endswith(b"4hello"):
        received += connection.recv(4096)
    assert b"3probe" in received


class TestHandshake:
    @pytest.mark.parametrize(
        ("request_", "status"),
        [
            (handshake("/socket.io/?EIO=4&transport=websocket", key="short"), 400),
            (handshake("/socket.io/?EIO=4&transport=websocket", key=""), 400),
            (handshake("/socket.io/?EIO=4&transport=websocket", key="ÿ" * 24), 400),
            (handshake("/socket.io/?EIO=4&transport=websocket", key="!" * 24), 400),
            (handshake("/socket.io/?EIO=4&transport=websocket", key="A" * 24), 400),
            (handshake("/socket.io/?EIO=4&transport=websocket", version="12"), 426),
            (handshake("/socket.io/?EIO=4&transport=websocket", version=""), 426),
            (handshake("/socket.io/?EIO=4&transport=websocket", "Content-Length: 5\r\n"), 400),
            (handshake("/socket.io/?EIO=4&transport=websocket").replace(b"GET", b"POST", 1), 400),
            (handshake("/socket.io/?EIO=4&transport=websocket").replace(b", Upgrade", b"", 1), 400),
            (handshake("/socket.io/?EIO=4&transport=websocket").replace(b"1.1", b"1.0", 1), 400),
            (handshake("/socket.io/?EIO=4&transport=websocket&sid=unknown"), 400),
            (handshake("/elsewhere"), 404),
        ],
    )
    def test_a_bad_one_is_refused(self, http: HttpClient, request_: bytes, status: int) -> None:
        http.send(request_)
        assert http.response().status == status

    def test_a_good_one_is_answered_as_in_the_rfc(self, server: InThread) -> None:
        assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in server.websocket().head

    @pytest.mark.parametrize(
        ("offered", "chosen"),
        [([], None), (["x"], "x"), (["b, a"], "b"), (["b", "a"], "b"), (["soap.v1,x"], "soap.v1")],
    )
    def test_the_first_offered_subprotocol_is_chosen(
        self, server: InThread, offered: list[str], chosen: str | None
    ) -> None:
        """They have no meaning here, but browsers fail if none is chosen; Node's server does the same."""
        headers = "".join(f"Sec-WebSocket-Protocol: {names}\r\n" for names in offered)
        head = server.websocket(headers=headers).head.split("\r\n")
        found = [line.partition(": ")[2] for line in head if line.startswith("Sec-WebSocket-Protocol")]
        assert found == ([] if chosen is None else [chosen])

    @pytest.mark.parametrize("offered", ["", "a,,b", "a,a", "a b", "(a)"])
    def test_malformed_subprotocols_are_refused(self, http: HttpClient, offered: str) -> None:
        field = f"Sec-WebSocket-Protocol: {offered}\r\n"
        http.send(handshake("/socket.io/?EIO=4&transport=websocket", field))
        assert http.response().status == 400

    def test_the_connection_is_no_longer_the_http_server_s(self, server: InThread) -> None:
        clients = [server.websocket() for _ in range(3)]
        eventually(lambda: not server.server.busy)
        for client in clients:
            client.send(TEXT, b"4still")
            assert client.message() == "4still"
            client.send(CLOSE)
            assert client.at_end()
