"""Fuzz targets for the layers below the chat, each compared with another implementation of the same format."""

from __future__ import annotations

import contextlib
import http.client
import io
import select
import socket
from _socket import socket as NativeSocket

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from animochat.server.backlog import Backlog
from animochat.server.engineio import packets
from animochat.server.http.headers import MAX_FIELDS, Headers
from animochat.server.http.reader import BadHead, RequestReader
from animochat.server.process.handover import owner_of
from animochat.server.throttle import ThrottleQueue
from animochat.server.timers import TimerWheel
from animochat.server.websocket.connection import Reason, WebSocket
from animochat.server.websocket.frames import FrameReader, Parser, websocket_frame

#: The maximal size that the server accepts.
MAX_SIZE = 100_000

_TIMERS = TimerWheel(1, 10)
_LANE = ThrottleQueue()
_BACKLOG = Backlog(_TIMERS, 0)


def unpacked(data: bytes, length: int = MAX_SIZE) -> tuple[int, bytes]:
    """Return an input's first byte without its highest bit, which has a meaning for the target, and the rest.

    With that bit set, the rest `head~piece~tail` repeats the piece up to `length` bytes in total. That reveals parsers
    whose cost grows faster than the length.
    """
    if not data:
        return 0, b""
    head, _, rest = data[1:].partition(b"~")
    piece, _, tail = rest.partition(b"~")
    if data[0] < 0x80 or not piece:
        return data[0] & 0x7F, data[1:]
    return data[0] & 0x7F, head + piece * ((length - len(head) - len(tail)) // len(piece)) + tail


# WebSocket frames


class _Listener:
    """Records everything that it receives."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.ends: list[Reason] = []

    def websocket_message(self, websocket: WebSocket, data: str | bytes) -> None:
        assert not self.ends, "a message behind the end"
        self.messages.append(data)

    def websocket_closed(self, websocket: WebSocket, reason: Reason) -> None:
        self.ends.append(reason)


class _Connection:
    """A WebSocket of the server's and its client's socket."""

    def __init__(self, frames: FrameReader) -> None:
        self.client, theirs = socket.socketpair()
        self.client.setblocking(False)
        theirs.setblocking(False)
        self.listener = _Listener()
        self.websocket = WebSocket(
            NativeSocket(fileno=theirs.detach()), frames, _TIMERS, _LANE, _BACKLOG, self.listener
        )

    def send(self, data: bytes) -> None:
        """Let the server read this at once."""
        with contextlib.suppress(OSError):  # it has hung up
            self.client.send(data)
        self._take_turns()

    def _take_turns(self) -> None:
        """Run the event loop's work until there is nothing to read, without the throttle queue's delays."""
        websocket = self.websocket
        while websocket.is_open:
            if websocket in _LANE:
                _LANE.remove(websocket)
                websocket.on_slot()
            elif select.select([websocket._sock], [], [], 0)[0]:
                websocket._readable()
            else:
                break

    def answered(self) -> list[Frame]:
        """Return the frames that the server has sent."""
        reader = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        with contextlib.suppress(BlockingIOError):
            while data := self.client.recv(65536):
                reader.receive_data(data)
        assert reader.parser_exc is None, "the server's own frames are broken"
        return [event for event in reader.events_received() if isinstance(event, Frame)]

    def end(self) -> None:
        self.client.close()
        self._take_turns()
        self.websocket.abort()


#: A second client's stream, in pieces that end within frames, and the messages that have to arrive from it.
_OTHER = b"".join(
    Frame(opcode, text, fin).serialize(mask=True)
    for opcode, text, fin in [(Opcode.TEXT, b"one", True), (Opcode.TEXT, b"t", False), (Opcode.CONT, b"wo", True)]
)
_OTHER_PIECES = [_OTHER[:5], _OTHER[5:14], _OTHER[14:17], _OTHER[17:]]


def _understood(stream: bytes, max_size: int) -> tuple[list[str | bytes], list[bytes], int | None]:
    """Return messages, pings and the close code that `websockets` alone parses from this client stream."""
    parser = Parser(Side.SERVER, state=State.OPEN, max_size=max_size)
    parser.receive_data(stream)
    messages: list[str | bytes] = []
    pings: list[bytes] = []
    unfinished, text, code = b"", False, None
    for frame in parser.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode is Opcode.PING:
            pings.append(bytes(frame.data))
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT) and code is None:
            text = text if frame.opcode is Opcode.CONT else frame.opcode is Opcode.TEXT
            unfinished += bytes(frame.data)
            if frame.fin:
                try:
                    messages.append(unfinished.decode() if text else unfinished)
                except UnicodeDecodeError:
                    code = CloseCode.INVALID_DATA
                unfinished = b""
    if code is None and parser.close_sent is not None:
        code = parser.close_sent.code
    return messages, pings, code


def frames(data: bytes) -> None:
    """Bytes on a WebSocket, in pieces: the result depends neither on the pieces nor on other users of the parser."""
    max_size = 5_000
    number, stream = unpacked(data, 20_000)
    step = 1 + 8 * number if len(stream) < 4096 else 4096
    reader = FrameReader(max_size)
    one, other = _Connection(reader), _Connection(reader)
    answered: list[Frame] = []
    pieces = iter(_OTHER_PIECES)
    for start in range(0, len(stream), step):
        one.send(stream[start : start + step])
        other.send(next(pieces, b"")) if start % (2 * step) == 0 else None
        answered += one.answered()
    for piece in pieces:
        other.send(piece)
    messages, pings, code = _understood(stream, max_size)
    assert one.listener.messages == messages
    closed = [frame.data[:2] for frame in answered if frame.opcode is Opcode.CLOSE]
    assert closed == ([] if code is None else [b"" if code == CloseCode.NO_STATUS_RCVD else code.to_bytes(2, "big")])
    pongs = [frame.data for frame in answered if frame.opcode is Opcode.PONG]
    assert pongs == pings or (code == CloseCode.INVALID_DATA and pongs == pings[: len(pongs)])
    assert other.listener.messages == ["one", "two"]
    assert other.websocket.is_open
    texts = [message for message in messages if isinstance(message, str)]
    assert _understood(b"".join(_masked(websocket_frame(text)) for text in texts), max_size)[0] == texts
    one.end()
    other.end()
    assert len(one.listener.ends) == len(other.listener.ends) == 1
    assert reader.connections == 0
    _LANE.stop()


def _masked(frame: bytes) -> bytes:
    """Return a server's frame as a client would send it, masked with zeros."""
    head = 2 + {126: 2, 127: 8}.get(frame[1], 0)
    return frame[:1] + bytes([frame[1] | 0x80]) + frame[2:head] + bytes(4) + frame[head:]


# HTTP


def heads(data: bytes) -> None:
    """A request's head, split in two, is refused as documented, or means the same to us as to `http.client`."""
    number, stream = unpacked(data, 30_000 + 10_000 * (data[:1] > b"\x80"))  # below the bound and above it
    whole = _head(stream, b"")
    cut = len(stream) * number // 0x7F
    assert _head(stream[:cut], stream[cut:]) == whole
    if not isinstance(whole, tuple):
        return
    line, fields = whole
    owner = owner_of(line)
    assert owner is None or f"{owner}-".encode() in line
    assert len(fields) <= MAX_FIELDS
    text = b"".join(name.encode() + b": " + value.encode("latin-1") + b"\r\n" for name, value in fields)
    theirs = http.client.parse_headers(io.BytesIO(text + b"\r\n"))
    assert theirs.items() == fields
    lengths = {value for name, value in fields if name.lower() == "content-length"}
    assert len(lengths) <= 1
    assert not (lengths and "Transfer-Encoding" in theirs)
    assert all(length.isascii() and length.isdigit() for length in lengths)


def _head(received: bytes, sent: bytes) -> str | tuple[bytes, list[tuple[str, str]]]:
    """Return the result of a request whose head arrives in two parts: `received`, then `sent`."""
    from gevent.socket import socketpair

    client, server = socketpair()
    with client, server:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        reader = RequestReader(server, received)
        try:
            if not reader.read_head(1.0):
                return "closed"
            line, forwarded = reader.request_line(), reader.forwarded_for()
            assert reader.readline().rstrip(b"\r\n") == line
            fields = Headers(reader).items()
            values = ",".join(value for name, value in fields if name.lower() == "x-forwarded-for")
            # The headers that requests are counted by, before they are parsed.
            early, late = ([part.strip(" \t") for part in listed.split(",")] for listed in (forwarded, values))
            assert early == late
            return line, fields
        except BadHead:
            return "too large"
        except ValueError:
            return "malformed"


# Engine.IO's long polling


def payloads(data: bytes) -> None:
    """A polling request's body is malformed, or its packets stay the same when encoded again."""
    _, body = unpacked(data)
    try:
        received = packets.decode_payload(body)
    except packets.MalformedPayload:
        return
    assert 1 <= len(received) <= packets.MAX_PACKETS_IN
    assert all(isinstance(packet, bytes) or packet for packet in received)
    assert packets.decode_payload(packets.encode_payload(received)) == received
