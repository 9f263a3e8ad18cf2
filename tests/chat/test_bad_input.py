"""Every input of a client is answered or cuts it off, and no one else notices."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.helpers.people import RawClient, meet, resident_kilobytes, running, say, texts, wait_until_empty
from tests.helpers.servers import Client, Server, eventually

EVENTS = ["find-match", "cancel-match", "next-match", "send-message", "typing", "leave-room", "block-partner"]
EVENTS += ["report-partner"]


def nested(depth: int) -> Any:
    value: Any = "core"
    for _ in range(depth):
        value = [value]
    return value


def nested_objects(depth: int) -> Any:
    value: Any = {"content": "core"}
    for _ in range(depth):
        value = {"content": value}
    return value


#: Wrong for every event.
ALWAYS_WRONG: dict[str, list[Any]] = {
    "number": [17],
    "float": [1.5e300],
    "list": [["hello"]],
    "two arguments": ["hello", "there"],
    "three arguments": [None, True, "hello"],
    "nested lists": [nested(100)],
    "nested objects": [[nested_objects(100)]],
    "huge list": [list(range(10_000))],
    "huge key": [[{"x" * 50_000: 1}]],
}

#: Wrong for the event alone.
WRONG: dict[str, list[list[Any]]] = {
    "find-match": [
        ["text"], [True], [{"interests": "tea"}], [{"interests": [1]}], [{"interests": {"a": 1}}],
        [{"interests": ["x" * 33]}], [{"interests": [""]}], [{"interests": ["tea", " \n"]}],
        [{"interests": ["tea"] * 11}],
    ],
    "next-match": [["text"], [False], [{"interests": None}], [{"interests": [["tea"]]}], [{"interests": ["\u00a0"]}],
        [{"interests": ["tea", "\u3164"]}], [{"interests": ["\u200b\u2800"]}]],
    "cancel-match": [["text"], [True], [{}], [{"interests": []}]],
    "leave-room": [["text"], [True], [{}], [0]],
    "block-partner": [["text"], [True], [{}], [0]],
    "report-partner": [
        [], [None], ["spam"], [{}], [{"reason": None}], [{"reason": "boredom"}], [{"reason": "SPAM"}], [{"reason": 1}],
        [{"reason": ["spam"]}], [{"details": "x"}], [{"reason": "spam", "details": 1}],
        [{"reason": "spam", "details": "x" * 1001}], [{"reason": "spam", "details": "😀" * 1001}],
    ],
    "send-message": [
        [], [None], [True], [{}], [{"content": None}], [{"content": 5}], [{"content": ["x"]}], [{"text": "hello"}],
        [{"content": "x", "clientId": 5}], [{"content": "x", "clientId": "y" * 65}], [{"content": "x", "replyTo": {}}],
        [{"content": "x", "replyTo": 1}], [{"content": "x", "replyTo": ["x"]}], [{"content": "x", "replyTo": "x"}],
        [{"content": {"content": "x"}}],
    ],
    "typing": [[], [None], ["true"], [1], [0], [{}], [{"isTyping": 1}], [{"isTyping": "yes"}], [{"isTyping": None}]],
}  # fmt: skip

BYTES = [[b"bytes"], [{"content": b"bytes"}], ["text", b"bytes"], [b""], [[[b"deep"]], b"two"]]

CASES = [(event, arguments) for event in EVENTS for arguments in ALWAYS_WRONG.values()]
CASES += [(event, arguments) for event, several in WRONG.items() for arguments in several]
CASES += [(event, arguments) for event in EVENTS for arguments in BYTES]
CASES += [(event, [{}]) for event in ("", "session", "__proto__", "x" * 10_000)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Ends with a look at its log: no errors."""
    with running(tmp_path_factory.mktemp("bad"), RECONNECT_GRACE_MS="200") as (server,):
        yield server


@pytest.fixture
def pair(server: Server, connect: Callable[..., Client], stock_client: str) -> Iterator[tuple[Client, Client]]:
    """Two people who chat; the second one must notice nothing during the test."""
    wait_until_empty(server)
    anna, bert = connect(server, stock_client), connect(server, stock_client)
    meet(anna, bert)
    before = [event for event in bert.events() if event != "online-count"]
    yield anna, bert
    say(anna, bert, "after all that")
    say(bert, anna, "after what?")
    assert texts(bert) == ["after all that"]
    assert [event for event in bert.events() if event != "online-count"] == [*before, "message"]


@pytest.fixture
def raw(server: Server) -> Iterator[RawClient]:
    """A raw client in a chat; its partner must notice nothing but its lost connection, and the room goes on."""
    wait_until_empty(server)
    anna, bert = RawClient(server), RawClient(server)
    anna.call("find-match")
    bert.call("find-match")
    bert.wait_event("message")
    heard = len(bert.frames)
    yield anna
    # the partner's chat goes on until the grace time is over, with nothing but that
    again = RawClient(server, auth={"token": anna.session["token"]})
    if again.session["state"] == "chatting":
        assert again.call("send-message", "after all that")["ok"] is True
        bert.wait_event("message")
    names = [json.loads(frame[2:])[0] for frame in bert.frames[heard:] if frame.startswith("42")]
    told = [name for name in names if name not in ("online-count",)]
    assert set(told) <= {"message", "partner-reconnecting", "partner-reconnected", "partner-disconnected"}
    for client in (anna, bert, again):
        client.drop()


def test_every_event_refuses_a_wrong_argument(pair: tuple[Client, Client]) -> None:
    anna, _ = pair
    for event, arguments in CASES:
        answer = anna.call(event, *arguments)
        about = f"{event[:20]} {str(arguments)[:60]}: {answer}"
        assert answer["ok"] is False, about
        assert answer["error"]["code"] == "invalid-payload", about
        assert len(json.dumps(answer)) < 500, about
    assert not {"error", "disconnect"} & set(anna.events())


def test_without_a_callback_the_refusal_is_an_error_event(pair: tuple[Client, Client]) -> None:
    anna, _ = pair
    for event, arguments in CASES:
        anna.emit(event, *arguments)
        error = anna.wait("error")
        assert error["code"] == "invalid-payload"
        assert event.startswith(error["event"]), (event, str(arguments)[:80], error)
    assert "disconnect" not in anna.events()


def test_unknown_fields_are_ignored(pair: tuple[Client, Client]) -> None:
    anna, _ = pair
    assert anna.call("find-match", {"more": nested(50)})["error"]["code"] == "already-in-room"
    assert anna.call("typing", {"isTyping": "no", "since": 5})["error"]["code"] == "invalid-payload"


@pytest.mark.parametrize("text", ["\\ud800", "half \\udc00 pair", "\\ud83d", "\\udc00\\ud800"])
def test_half_a_character_is_invalid_with_callback_and_without(raw: RawClient, text: str) -> None:
    """A browser sends it when it cuts a text in the middle of an emoji."""
    raw.send(f'427["send-message","{text}"]')
    assert json.loads(raw.wait_frame("43")[3:])[0]["error"]["code"] == "invalid-payload"
    raw.send(f'42["send-message","{text}"]')
    assert raw.wait_event("error")["code"] == "invalid-payload"


@pytest.mark.parametrize("depth", [1_000, 10_000, 40_000])
def test_deep_nesting_is_invalid_with_callback_and_without(raw: RawClient, depth: int) -> None:
    argument = "[" * depth + "]" * depth
    raw.send(f'427["send-message",{argument}]')
    assert json.loads(raw.wait_frame("43")[3:])[0]["error"]["code"] == "invalid-payload"
    raw.send(f'42["send-message",{argument}]')
    assert raw.wait_event("error")["code"] == "invalid-payload"


#: Socket.IO packets that no client makes.
BROKEN_PACKETS = [
    "42", "42[", "42]", "42{}", '42"text"', "42[]", "42[1]", "42[null]", '42[["send-message"]]', '42["send-message"',
    '42["send-message","x"]]', '42["send-message","x"],', "42nonsense", '42-1["send-message","x"]',
    "4212345678901234567890[]", '42["send-message",NaN]', '42["send-message",Infinity]', '42["send-message",\'x\']',
    "4", "47", "48[]", "49", "4x", "4\x00", "45", '45["send-message"]', '451-["send-message"', "45-", '4599-["x"]',
    '4511-["send-message"]', "46", "43" + "1" * 16, '42["send-message","' + "x" * 90_000, "42" + "9" * 50_000, "4 2[]",
]  # fmt: skip


@pytest.mark.parametrize("packet", BROKEN_PACKETS, ids=lambda packet: repr(packet)[:30])
def test_a_broken_packet_is_invalid_or_ends_the_connection(raw: RawClient, packet: str) -> None:
    raw.send(packet)
    raw.send('429999["find-match"]')
    # an answer to the next request, or the connection's end; before that an error for the packet itself
    while frame := raw.receive():
        if frame.startswith("439999"):
            assert any('"invalid-payload"' in f for f in raw.frames), f"silently taken; received: {raw.frames}"
            return


#: Engine.IO packets and binary frames that no client makes.
BROKEN_FRAMES = ["", "x", "7", "\x00", "999", "0{}", '0{"sid":"x"}', "é", b"", b"\x00\xff", b"4" * 1000]


@pytest.mark.parametrize("frame", BROKEN_FRAMES, ids=lambda frame: repr(frame)[:30])
def test_a_broken_frame_is_invalid_or_ends_the_connection(raw: RawClient, frame: str | bytes) -> None:
    raw.send(frame)
    raw.send('429999["find-match"]')
    while answer := raw.receive():
        if answer.startswith("439999"):
            assert any('"invalid-payload"' in f for f in raw.frames), f"silently taken; received: {raw.frames}"
            return


#: Bytes on the socket, behind a good handshake: wrong in RFC 6455's eyes.
BROKEN_BYTES = {
    "unmasked": b"\x81\x02hi",
    "no UTF-8": b"\x81\x83\x00\x00\x00\x004\xff\xfe",
    "no UTF-8 in an event": b"\x81\x9a\x00\x00\x00\x00" + b'42["send-message","\xc3\x28xyz"]'[:26],
    "reserved opcode": b"\x83\x80\x00\x00\x00\x00",
    "reserved bits": b"\xf1\x80\x00\x00\x00\x00",
    "long control frame": b"\x89\xfe\x01\x00\x00\x00\x00\x00" + b"x" * 256,
    "fragmented control frame": b"\x09\x80\x00\x00\x00\x00",
    "continuation of nothing": b"\x80\x80\x00\x00\x00\x00",
    "larger than allowed, by its header": b"\x81\xff\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00",
    "length with the highest bit": b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
    "half a frame, then nothing": b"\x81\xfe",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("sent", BROKEN_BYTES.values(), ids=BROKEN_BYTES)
def test_broken_bytes_end_the_connection(raw: RawClient, sent: bytes) -> None:
    raw.socket.sock.sendall(sent)
    if sent == BROKEN_BYTES["half a frame, then nothing"]:
        raw.socket.sock.shutdown(socket.SHUT_WR)
    raw.wait_end()


def test_a_message_beyond_the_bound_ends_the_connection(raw: RawClient) -> None:
    raw.send('42["send-message","' + "x" * 200_000 + '"]')
    raw.wait_end()


@pytest.mark.parametrize("packet", ['452-["typing",{"_placeholder":true,"num":0}]', "461-[]"])
def test_a_client_may_go_in_the_middle_of_a_binary_packet(server: Server, packet: str) -> None:
    wait_until_empty(server)
    anna, bert = RawClient(server), RawClient(server)
    anna.call("find-match")
    bert.call("find-match")
    anna.wait_event("matched")
    anna.send(packet)
    anna.drop()
    bert.wait_event("partner-disconnected")
    bert.drop()
    wait_until_empty(server)


def test_one_packet_may_not_announce_endless_attachments(raw: RawClient) -> None:
    raw.send('453-["send-message",{"_placeholder":true,"num":0}]')
    assert raw.wait_event("error")["code"] == "invalid-payload"
    for _ in range(3):
        raw.send(b"attachment")
    assert raw.call("find-match")["error"]["code"] == "already-in-room", "what follows is understood again"


@pytest.mark.parametrize("packet", ['42["find-match"]', "41", '431["x"]', '451-["find-match"]', "4", "nonsense"])
def test_nothing_but_connect_may_come_first(server: Server, packet: str) -> None:
    stranger = RawClient(server, connected=False)
    stranger.send(packet)
    stranger.wait_end()


def test_connect_to_another_namespace_is_refused(server: Server) -> None:
    stranger = RawClient(server, connected=False)
    stranger.send("40/admin,")
    assert stranger.wait_frame("44").startswith("44/admin,")
    stranger.send('42/admin,["find-match"]')
    stranger.drop()


@pytest.mark.parametrize("auth", ["{", "[1", '"x', "nonsense", "{}{}", '{"token":"\\ud800"}'])
def test_connect_with_broken_auth_is_refused_or_closed(server: Server, auth: str) -> None:
    stranger = RawClient(server, connected=False)
    stranger.send("40" + auth)
    while frame := stranger.receive():
        assert not frame.startswith("42"), "let in"
        if frame.startswith("44"):
            break
    stranger.drop()


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"4\xff", b"x" * 200_000, b"bAAA=A", b"b!!!", b"\x1e\x1e\x1e", b"4\x1e" * 50, b"0"]
)
def test_a_broken_polling_request_is_answered_and_does_no_harm(server: Server, body: bytes) -> None:
    url = f"{server.url}/socket.io/?EIO=4&transport=polling"
    sid = json.loads(requests.get(url, timeout=10).text[1:])["sid"]
    assert requests.post(f"{url}&sid={sid}", b"40", timeout=10).status_code == 200
    assert requests.post(f"{url}&sid={sid}", body, timeout=10).status_code in (200, 400, 413)
    assert requests.get(f"{url}&sid={sid}", timeout=10).status_code in (200, 400)
    assert server.get("/health").status_code == 200


@pytest.mark.parametrize(
    "query",
    ["", "EIO=3&transport=polling", "EIO=4&transport=carrier-pigeon", "EIO=4&transport=polling&sid=../../x"],
)
def test_a_broken_handshake_is_a_bad_request(server: Server, query: str) -> None:
    assert server.get(f"/socket.io/?{query}").status_code == 400


def test_memory_stays_level_under_bad_input(raw: RawClient, server: Server) -> None:
    (worker,) = server.worker_pids()

    def flood(rounds: int) -> None:
        for number in range(rounds):
            raw.send('42["send-message",{"content":["' + "x" * 500 + '"]}]')
            raw.send(f'42["unknown-{number}","{"y" * 500}"]')
            raw.send('42["send-message","' + "z" * 500)
            raw.send('451-["typing",{"_placeholder":true,"num":0}]')
            raw.send(b"attachment" * 50)
            raw.send('40/elsewhere,{"number":' + str(number) + "}")
            if number % 20 == 19:  # reads what it is answered
                assert raw.call("find-match")["error"]["code"] == "already-in-room"
                raw.frames.clear()

    flood(500)
    before = resident_kilobytes(worker)
    flood(2_000)
    # 12,000 packets of half a kilobyte: kept, they would be 6 MB
    assert resident_kilobytes(worker) - before < 2_000


def test_memory_stays_level_when_bad_clients_come_and_go(server: Server) -> None:
    (worker,) = server.worker_pids()

    def visits(count: int) -> None:
        for number in range(count):
            visitor = RawClient(server, connected=number % 2 == 0)
            visitor.send(BROKEN_PACKETS[number % len(BROKEN_PACKETS)])
            visitor.socket.sock.sendall(BROKEN_BYTES["reserved opcode"])
            visitor.drop()
        wait_until_empty(server)

    visits(200)
    before = resident_kilobytes(worker)
    visits(400)
    # a connection in use needs 18 kB
    assert resident_kilobytes(worker) - before < 400 * 12


def test_a_client_that_asks_without_end_only_harms_itself(server: Server) -> None:
    """Requests that wait for the store pile up behind each other: beyond a bound the client is cut off."""
    flooder, bystander = RawClient(server), RawClient(server)
    flooder.socket.sock.sendall(_masked('42["leave-room"]') * 5_000)
    for _ in range(20):
        assert bystander.call("leave-room")["error"]["code"] == "not-in-room"
    flooder.drop()
    bystander.drop()
    eventually(lambda: server.get("/health").status_code == 200)


def _masked(text: str) -> bytes:
    """A short text frame as a client sends it, with the mask 0."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode()
