"""RFC 6455 on the wire, after the Autobahn test suite's chapters."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from websockets.frames import Frame
from websockets.protocol import Protocol, Side
from websockets.utils import apply_mask

from animochat.server.websocket.connection import RECV_SIZE
from animochat.server.websocket.frames import FrameReader, websocket_frame, whole_message
from tests.helpers.servers import eventually
from tests.server.wire import BINARY, CLOSE, CONT, PING, PONG, TEXT, InThread, WebSocketClient


@pytest.fixture
def client(server: InThread) -> WebSocketClient:
    return server.websocket()


@pytest.mark.parametrize("size", [0, 1, 124, 125, 126, 127, 65_534, 65_535, 65_536, 99_999])
def test_messages_of_every_length_encoding_come_back(client: WebSocketClient, size: int) -> None:
    client.send(TEXT, b"4" + b"x" * size)
    assert client.message() == "4" + "x" * size


def test_text_beyond_latin_comes_back(client: WebSocketClient) -> None:
    client.send(TEXT, "4κόσμε 日本 🐘".encode())
    assert client.message() == "4κόσμε 日本 🐘"


def test_binary_messages_come_back(client: WebSocketClient) -> None:
    client.send(BINARY, bytes(range(256)))
    frame = client.frame()
    assert (frame.opcode, bytes(frame.data)) == (BINARY, bytes(range(256)))


def test_a_frame_may_arrive_byte_by_byte(client: WebSocketClient) -> None:
    for byte in Frame(TEXT, b"4" + b"slow" * 40).serialize(mask=True):
        client.connection.sendall(bytes([byte]))
    assert client.message() == "4" + "slow" * 40


def test_many_frames_may_arrive_at_once(client: WebSocketClient) -> None:
    client.connection.sendall(b"".join(Frame(TEXT, b"4n%d" % n).serialize(mask=True) for n in range(5000)))
    assert [client.message() for _ in range(5000)] == [f"4n{n}" for n in range(5000)]


def test_halves_of_frames_of_different_clients_do_not_mix(server: InThread) -> None:
    clients = [server.websocket() for _ in range(5)]
    frames = [Frame(TEXT, b"4" + bytes([65 + n]) * 300).serialize(mask=True) for n in range(5)]
    for start, end in [(0, 1), (1, 5), (5, 100), (100, 308), (308, None)]:
        for client, frame in zip(clients, frames, strict=True):
            client.connection.sendall(frame[start:end])
        server.call(lambda: None)
    for n, client in enumerate(clients):
        assert client.message() == "4" + chr(65 + n) * 300


class TestFragments:
    def test_make_one_message(self, client: WebSocketClient) -> None:
        client.send(TEXT, b"4one ", fin=False)
        client.send(CONT, b"two ", fin=False)
        client.send(CONT, b"", fin=False)
        client.send(CONT, b"three")
        assert client.message() == "4one two three"

    def test_may_divide_a_character(self, client: WebSocketClient) -> None:
        for byte in "4🐘".encode()[:-1]:
            client.send(TEXT if byte == ord("4") else CONT, bytes([byte]), fin=False)
        client.send(CONT, "🐘".encode()[-1:])
        assert client.message() == "4🐘"

    def test_may_have_control_frames_in_between(self, client: WebSocketClient) -> None:
        client.send(TEXT, b"4be", fin=False)
        client.send(PING, b"are you there?")
        client.send(PONG, b"unsolicited")
        client.send(CONT, b"fore")
        pong = client.frame()
        assert (pong.opcode, bytes(pong.data)) == (PONG, b"are you there?")
        assert client.message() == "4before"

    def test_may_come_in_pieces_with_other_clients_messages_in_between(self, server: InThread) -> None:
        one, other = server.websocket(), server.websocket()
        one.send(TEXT, b"4be", fin=False)
        other.send(TEXT, b"4other")
        assert other.message() == "4other"
        one.send(CONT, b"fore")
        assert one.message() == "4before"

    def test_of_binary_make_a_binary_message(self, client: WebSocketClient) -> None:
        client.send(BINARY, b"\xff", fin=False)
        client.send(CONT, b"\xfe")
        assert bytes(client.frame().data) == b"\xff\xfe"

    def test_leave_nothing_behind(self, server: InThread, client: WebSocketClient) -> None:
        """After a fragmented message the connection shares its parser with the others again."""
        client.send(TEXT, b"4be", fin=False)
        client.send(CONT, b"fore")
        assert client.message() == "4before"
        assert server.session(client.sid)._websocket._own is None


def bad_utf8(client: WebSocketClient) -> None:
    client.send(TEXT, b"4\xce\xba\xff")


def surrogate(client: WebSocketClient) -> None:
    client.send(TEXT, b"4\xed\xa0\x80")


def unfinished_character(client: WebSocketClient) -> None:
    client.send(TEXT, b"4\xce", fin=False)
    client.send(CONT, b"x")


def close_with_bad_reason(client: WebSocketClient) -> None:
    client.send(CLOSE, struct.pack("!H", 1000) + b"\xff\xfe")


def fragmented_ping(client: WebSocketClient) -> None:
    client.send_raw(0x09, b"")


def long_ping(client: WebSocketClient) -> None:
    client.send_raw(0x89, b"x" * 126)


def lonely_continuation(client: WebSocketClient) -> None:
    client.send(CONT, b"x")


def message_within_a_message(client: WebSocketClient) -> None:
    client.send(TEXT, b"4", fin=False)
    client.send(TEXT, b"4")


def unmasked(client: WebSocketClient) -> None:
    client.send_raw(0x81, b"4x", mask=False)


def one_byte_of_a_close_code(client: WebSocketClient) -> None:
    client.send(CLOSE, b"\x03")


def huge_length(client: WebSocketClient) -> None:
    client.send_raw(0x81, b"", length=2**62)


def length_with_its_highest_bit(client: WebSocketClient) -> None:
    client.send_raw(0x81, b"", length=2**63 + 5)


def too_large(client: WebSocketClient) -> None:
    client.send_raw(0x81, b"", length=100_001)


def too_large_in_fragments(client: WebSocketClient) -> None:
    client.send(TEXT, b"4" + b"x" * 60_000, fin=False)
    client.send(CONT, b"x" * 60_000)


PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1002, 1007, 1009


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (bad_utf8, INVALID_DATA),
        (surrogate, INVALID_DATA),
        (unfinished_character, INVALID_DATA),
        (close_with_bad_reason, INVALID_DATA),
        (fragmented_ping, PROTOCOL_ERROR),
        (long_ping, PROTOCOL_ERROR),
        (lonely_continuation, PROTOCOL_ERROR),
        (message_within_a_message, PROTOCOL_ERROR),
        (unmasked, PROTOCOL_ERROR),
        (one_byte_of_a_close_code, PROTOCOL_ERROR),
        (huge_length, TOO_BIG),
        (length_with_its_highest_bit, TOO_BIG),
        (too_large, TOO_BIG),
        (too_large_in_fragments, TOO_BIG),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_protocol_error_ends_only_its_connection(
    server: InThread, client: WebSocketClient, wrong: Callable[[WebSocketClient], None], code: int
) -> None:
    other = server.websocket()
    wrong(client)
    assert client.close_code() == code
    eventually(lambda: server.closed() == ["transport error"])
    other.send(TEXT, b"4unharmed")
    assert other.message() == "4unharmed"


@pytest.mark.parametrize("first", [0xC1, 0xA1, 0x91, 0x83, 0x87, 0x8B, 0x8F, 0xC9])
def test_reserved_bits_and_opcodes_are_refused(client: WebSocketClient, first: int) -> None:
    client.send_raw(first, b"4")
    assert client.close_code() == PROTOCOL_ERROR


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_reserved_close_codes_are_refused(client: WebSocketClient, code: int) -> None:
    client.send(CLOSE, struct.pack("!H", code))
    assert client.close_code() == PROTOCOL_ERROR


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 3000, 3999, 4000, 4999])
def test_a_close_is_answered_with_the_same_code(server: InThread, client: WebSocketClient, code: int) -> None:
    client.send(CLOSE, struct.pack("!H", code) + "tschüß".encode())
    assert client.close_code() == code
    eventually(lambda: server.closed() == ["close frame"])


def test_an_empty_close_is_answered_with_an_empty_one(client: WebSocketClient) -> None:
    client.send(CLOSE)
    assert client.close_code() == 1005


@pytest.mark.parametrize(("payload", "code"), [(b"", 1005), (struct.pack("!H", 1000), 1000), (b"\x0f\xa0why", 4000)])
def test_a_close_between_fragments_is_a_proper_close(
    server: InThread, client: WebSocketClient, payload: bytes, code: int
) -> None:
    """A control frame may come between the fragments of a message: closing within one is no error."""
    client.send(TEXT, b"4unfin", fin=False)
    client.send(CLOSE, payload)
    assert client.close_code() == code
    assert server.call(server.closed) == ["close frame"]
    assert not server.engine.limits.is_penalized("127.0.0.1")


def test_messages_before_a_close_are_delivered_and_later_ones_are_not(
    server: InThread, client: WebSocketClient
) -> None:
    frames = [Frame(TEXT, b"4before"), Frame(CLOSE, b""), Frame(TEXT, b"4behind")]
    client.connection.sendall(b"".join(frame.serialize(mask=True) for frame in frames))
    assert client.message() == "4before"
    assert client.close_code() == 1005


def test_the_fast_path_agrees_with_the_parser() -> None:
    def by_parser(data: bytes) -> str | None:
        parser = Protocol(Side.SERVER, max_size=100_000)
        parser.receive_data(data)
        events = parser.events_received()
        if len(events) != 1 or parser.data_to_send() or not FrameReader.remembers_nothing(parser):
            return None
        frame = events[0]
        assert isinstance(frame, Frame)
        try:
            return bytes(frame.data).decode() if frame.opcode is TEXT and len(frame.data) < 65_536 else None
        except UnicodeDecodeError:
            return None

    payloads = [b"", b"4", b"4" + "日".encode() * 41, b"x" * 125, b"\xff", b"\xed\xa0\x80"]
    payloads += [b"x" * 126, "日".encode() * 1000, b"x" * 500 + b"\xff", b"x" * 65_535]
    for payload in payloads:
        length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
        masked = b"\1\2\3\4" + apply_mask(payload, b"\1\2\3\4")
        for first in range(256):
            for data in (bytes([first, length[0] | 0x80]) + length[1:] + masked, bytes([first]) + length + payload):
                for variant in (data, data[:-1], data + b"\x81"):
                    if whole_message(variant) is not None or first == 0x81:
                        assert whole_message(variant) == by_parser(variant)


@pytest.mark.parametrize(
    "length", [b"\xfe\x00\x05", b"\xff" + (5).to_bytes(8, "big"), b"\xff" + (70_000).to_bytes(8, "big")]
)
def test_the_fast_path_leaves_other_encodings_of_a_length_to_the_parser(length: bytes) -> None:
    size = int.from_bytes(length[1:], "big")
    assert whole_message(b"\x81" + length + bytes(4) + b"x" * size) is None


def test_a_long_frame_may_come_in_any_two_pieces(server: InThread, client: WebSocketClient) -> None:
    text = "4" + "日" * 300
    frame = Frame(TEXT, text.encode()).serialize(mask=True)
    for size in (RECV_SIZE - 1, RECV_SIZE, RECV_SIZE + 1, len(frame) - 1):
        client.connection.sendall(frame[:size])
        server.call(lambda: None)
        client.connection.sendall(frame[size:])
        assert client.message() == text


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 100_000])
def test_our_frames_equal_the_library_s(size: int) -> None:
    assert websocket_frame("é" * (size // 2) + "x" * (size % 2)) == Frame(
        TEXT, ("é" * (size // 2) + "x" * (size % 2)).encode()
    ).serialize(mask=False)


def test_lone_surrogates_do_not_stop_a_message() -> None:
    assert websocket_frame("4\ud800x") == b"\x81\x034?x"


def test_no_extension_is_negotiated(server: InThread) -> None:
    client = server.websocket(headers="Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n")
    assert "extensions" not in client.head.lower()
