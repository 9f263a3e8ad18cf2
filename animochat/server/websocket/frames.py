"""WebSocket frames (:rfc:`6455` section 5): a fast path for a chat's usual ones, and parsers for all others."""

from __future__ import annotations

import logging
import math

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled extension for this platform
    from websockets.utils import apply_mask

from animochat.server.library_internals import forget_message, remembers_nothing

log = logging.getLogger(__name__)
# At DEBUG, websockets would log each frame with its content.
log.setLevel(logging.INFO)

#: First byte of a final text frame (FIN, no reserved bit, opcode 1), and the heads of short unmasked ones.
_FINAL_TEXT = 0x81
_SHORT_HEADS = [bytes([_FINAL_TEXT, length]) for length in range(126)]


def websocket_frame(text: str) -> bytes:
    """Return one unmasked text frame, as a server sends it (:rfc:`6455` section 5.2)."""
    payload = text.encode("utf-8", "replace")
    length = len(payload)
    if length < 126:
        return _SHORT_HEADS[length] + payload
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def whole_message(data: bytes) -> str | None:
    """Return the text of one whole, final, masked text frame; None for any other `data`, or for 64 kB and more.

    Most reads of a chat are such a frame. The parser handles everything else, and everything wrong; it takes five times
    as long. Only the parser limits the length of a message: a read has at most RECV_SIZE + LONG_RECV_SIZE bytes
    (websocket/connection.py), 4.6 kB, which is far below that limit.
    """
    if len(data) < 6 or data[0] != _FINAL_TEXT:
        return None
    length, head = data[1] ^ 0x80, 2
    if length == 126:
        length, head = int.from_bytes(data[2:4], "big"), 4
        if length < 126:
            return None  # the standard demands the shortest form of a length
    elif length > 126:  # longer, or not masked
        return None
    payload = head + 4
    if len(data) != payload + length:
        return None
    try:
        return apply_mask(data[payload:], data[head:payload]).decode()
    except UnicodeDecodeError:
        return None


def missing(data: bytes) -> int:
    """Return how many bytes of the frame that `data` begins with are missing. `data` has 10 bytes at least."""
    length, head = data[1] & 0x7F, 6
    if length == 126:
        length, head = int.from_bytes(data[2:4], "big"), 8
    elif length == 127:
        length, head = int.from_bytes(data[2:10], "big"), 14
    return max(0, head + length - len(data))


class Parser(Protocol):
    """A parser that accepts a close frame between the fragments of a message too, as section 5.4 demands."""

    def recv_frame(self, frame: Frame) -> None:
        """Process an incoming frame."""
        if frame.opcode is Opcode.CLOSE:
            forget_message(self)
        super().recv_frame(frame)


class FrameReader:
    """Parsers for the connections of one worker.

    Almost every read contains whole frames, after which a parser has no state: one parser serves all connections. Only
    a connection in the middle of a frame, a message or a close handshake has its own. This makes an idle connection
    4 kB smaller.

    Args:
        max_size: largest message in bytes; a longer one is refused from its header on.
        rate: frames of any kind, and pieces of large ones, per second and connection; 0 = no limit.
    """

    #: A burst is as many frames as the rate allows in this many seconds.
    BURST_SECONDS = 10

    def __init__(self, max_size: int, rate: float = 0) -> None:
        self.max_size = max_size
        self.rate = rate
        self.burst = rate * self.BURST_SECONDS if rate else math.inf
        #: a connection that has fewer frames left than this is throttled
        self.throttle_below = self.burst * 7 / 8 if rate else 0
        #: open connections
        self.connections = 0
        self.shared = self._parser()

    def _parser(self) -> Protocol:
        return Parser(Side.SERVER, state=State.OPEN, max_size=self.max_size, logger=log)

    def taken(self) -> None:
        """Replace the shared parser, which now belongs to one connection."""
        self.shared = self._parser()

    @staticmethod
    def remembers_nothing(parser: Protocol) -> bool:
        """Return whether the parser is between two messages of an open connection."""
        return parser.state is State.OPEN and remembers_nothing(parser)
