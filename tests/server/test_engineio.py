"""Engine.IO v4's behaviours one by one, over both transports, modelled on its authors' test suite."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest

from tests.helpers.servers import eventually
from tests.server.wire import BINARY, TEXT, HttpClient, InThread, WebSocketClient, handshake, open_polling, polling

UNKNOWN_SESSION = {"code": 1, "message": "Session ID unknown"}


def refused(http: HttpClient, method: str, target: str) -> int:
    """Send a request that must be refused with 400; return Engine.IO's code."""
    http.request(method, target, b"" if method in ("POST", "PUT") else None)
    response = http.response()
    assert response.status == 400
    code: int = json.loads(response.body)["code"]
    return code


def is_unknown(server: InThread, sid: str) -> bool:
    """Return whether requests for the session are refused at once, of either kind and on either transport."""
    http = server.http()
    answers = [http.get(polling(sid)), http.post(polling(sid), b"4x")]
    http.send(handshake(f"/socket.io/?EIO=4&transport=websocket&sid={sid}"))
    answers.append(http.response())
    http.close()
    return all(answer.status == 400 and json.loads(answer.body) == UNKNOWN_SESSION for answer in answers)


def poll_and_wait(server: InThread, http: HttpClient, sid: str) -> None:
    """Send a poll and wait until it waits."""
    http.request("GET", polling(sid))
    eventually(lambda: server.session(sid)._polling.waiter)


class TestHandshake:
    def test_long_polling_opens_a_session(self, http: HttpClient) -> None:
        response = http.get(polling())
        assert response.status == 200
        (packet,) = response.packets
        assert packet[0] == "0"
        opened = json.loads(packet[1:])
        assert set(opened) == {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
        assert opened["upgrades"] == ["websocket"]

    def test_websocket_opens_a_session(self, server: InThread) -> None:
        client = WebSocketClient(server.connect(), "EIO=4&transport=websocket")
        packet = client.message()
        assert packet[0] == "0"
        opened = json.loads(packet[1:])
        assert set(opened) == {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
        assert opened["upgrades"] == []

    @pytest.mark.parametrize("transport", ["polling", "websocket"])
    @pytest.mark.parametrize("version", ["", "EIO=abc&", "EIO=3&", "EIO=&", "EIO=4&EIO=4&"])
    def test_a_missing_or_unsupported_version_is_refused(self, http: HttpClient, version: str, transport: str) -> None:
        target = f"/socket.io/?{version}transport={transport}"
        assert refused(http, "GET", target) == 5
        http.send(handshake(target))
        assert http.response().status == 400

    @pytest.mark.parametrize("transport", ["", "&transport=", "&transport=abc", "&transport=webtransport"])
    def test_a_missing_or_unknown_transport_is_refused(self, http: HttpClient, transport: str) -> None:
        target = f"/socket.io/?EIO=4{transport}"
        assert refused(http, "GET", target) == 0
        http.send(handshake(target))
        assert http.response().status == 400

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "BREW"])
    def test_any_method_but_get_is_refused(self, http: HttpClient, method: str) -> None:
        assert refused(http, method, polling()) == 2


class TestMessages:
    @pytest.mark.parametrize("payload", ["4hello", "4one\x1e4two\x1e4three", "4hello\x1ebAQIDBA=="])
    def test_polling_carries_one_packet_several_and_binary_ones(self, http: HttpClient, payload: str) -> None:
        sid = open_polling(http)
        response = http.post(polling(sid), payload.encode())
        assert (response.status, response.body) == (200, b"ok")
        assert http.get(polling(sid)).body.decode() == payload

    @pytest.mark.parametrize("payload", [b"abc", b"", b"4a\x1e", b"4\xff", b"b@"])
    def test_an_invalid_payload_ends_the_session(self, server: InThread, http: HttpClient, payload: bytes) -> None:
        sid = open_polling(http)
        assert http.post(polling(sid), payload).status == 400
        assert is_unknown(server, sid)
        assert server.closed() == ["transport error"]

    def test_two_polls_at_once_end_the_session(self, server: InThread, http: HttpClient) -> None:
        sid = open_polling(http)
        poll_and_wait(server, http, sid)
        assert server.http().get(polling(sid)).status == 400
        assert http.response().packets == ["1"]
        assert is_unknown(server, sid)

    def test_two_posts_at_once_end_the_session(self, server: InThread, http: HttpClient) -> None:
        sid = open_polling(http)
        http.request("POST", polling(sid), headers="Content-Length: 5\r\n")
        eventually(lambda: server.session(sid)._polling.posting)
        assert server.http().post(polling(sid), b"4x").status == 400
        assert is_unknown(server, sid)

    def test_an_unknown_session_is_refused(self, server: InThread) -> None:
        assert is_unknown(server, "unknown")

    def test_websocket_carries_text(self, server: InThread) -> None:
        client = server.websocket()
        client.send(TEXT, b"4hello")
        assert client.message() == "4hello"

    def test_websocket_carries_binary(self, server: InThread) -> None:
        client = server.websocket()
        client.send(BINARY, b"\1\2\3\4")
        frame = client.frame()
        assert (frame.opcode, bytes(frame.data)) == (BINARY, b"\1\2\3\4")

    @pytest.mark.parametrize("packet", [b"abc", b"", b"0", b"2", b"9"])
    def test_an_invalid_packet_closes_the_websocket_with_a_close_frame(self, server: InThread, packet: bytes) -> None:
        client = server.websocket()
        client.send(TEXT, packet)
        assert client.close_code() == 1002
        assert server.call(server.closed) == ["transport error"]


class TestHeartbeat:
    @pytest.fixture
    def server(self, serve: Callable[..., InThread]) -> InThread:
        return serve(ping_interval=0.1, ping_timeout=0.2)

    def test_polling_clients_answer_pings(self, server: InThread, http: HttpClient) -> None:
        sid = open_polling(http)
        for _ in range(3):
            assert http.get(polling(sid)).packets == ["2"]
            assert http.post(polling(sid), b"3").status == 200
        assert server.closed() == []

    def test_websocket_clients_answer_pings(self, server: InThread) -> None:
        client = server.websocket()
        for _ in range(3):
            assert bytes(client.frame().data) == b"2"
            client.send(TEXT, b"3")
        assert server.closed() == []

    def test_a_poll_after_a_ping_timeout_is_refused(self, server: InThread, http: HttpClient) -> None:
        sid = open_polling(http)
        eventually(lambda: server.closed() == ["ping timeout"])
        assert is_unknown(server, sid)

    def test_a_poll_that_waits_at_a_ping_timeout_is_answered(self, server: InThread, http: HttpClient) -> None:
        sid = open_polling(http)
        assert http.get(polling(sid)).packets == ["2"]
        assert http.get(polling(sid)).packets == ["1"]
        assert server.call(server.closed) == ["ping timeout"]
        assert is_unknown(server, sid)

    def test_a_websocket_is_closed_after_a_ping_timeout(self, server: InThread) -> None:
        client = server.websocket()
        assert [bytes(client.frame().data) for _ in range(2)] == [b"2", b"1"]
        assert client.close_code() == 1000


class TestClose:
    def test_a_polling_client_ends_its_session(self, server: InThread, http: HttpClient) -> None:
        sid = open_polling(http)
        poll_and_wait(server, http, sid)
        assert server.http().post(polling(sid), b"1").body == b"ok"
        assert http.response().packets == ["6"]
        assert is_unknown(server, sid)
        assert server.closed() == ["client disconnect"]

    def test_a_websocket_client_ends_its_session(self, server: InThread) -> None:
        client = server.websocket()
        client.send(TEXT, b"1")
        assert client.close_code() == 1000
        assert server.call(server.closed) == ["client disconnect"]


class TestUpgrade:
    @pytest.fixture
    def sid(self, http: HttpClient) -> str:
        return open_polling(http)

    @pytest.fixture
    def target(self, sid: str) -> str:
        return f"EIO=4&transport=websocket&sid={sid}"

    def test_long_polling_becomes_websocket(self, server: InThread, http: HttpClient, sid: str, target: str) -> None:
        client = server.websocket(target)
        client.send(TEXT, b"2probe")
        assert client.message() == "3probe"
        assert http.get(polling(sid)).packets == ["6"]
        client.send(TEXT, b"5")
        client.send(TEXT, b"4hello")
        assert client.message() == "4hello"

    def test_polling_requests_are_refused_after_it(
        self, server: InThread, http: HttpClient, sid: str, target: str
    ) -> None:
        client = server.websocket(target)
        client.send(TEXT, b"2probe")
        client.send(TEXT, b"5")
        assert client.message() == "3probe"
        eventually(lambda: server.session(sid).upgraded)
        assert http.get(polling(sid)).status == 400
        assert http.post(polling(sid), b"4" + base64.b64encode(b"x")).status == 400
        client.send(TEXT, b"4hello")
        assert client.message() == "4hello"

    def test_another_websocket_is_opened_and_closed_after_it(self, server: InThread, sid: str, target: str) -> None:
        client = server.websocket(target)
        client.send(TEXT, b"2probe")
        client.send(TEXT, b"5")
        assert client.message() == "3probe"
        eventually(lambda: server.session(sid).upgraded)
        assert server.websocket(target).close_code() == 1000
        client.send(TEXT, b"4hello")
        assert client.message() == "4hello"
