"""Engine.IO packets and long-polling payloads (Engine.IO protocol 4).

A packet has python-engineio's encoded form: a string that begins with the type, or bytes for a binary message.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = "0123456"

#: Separates the packets of a payload.
_SEPARATOR = "\x1e"

#: Packets in one response. python-engineio's client refuses a payload with more, and polls again at once anyway.
MAX_PACKETS_OUT = 16

#: Packets in one request. All that a person may send in ten seconds is much less.
MAX_PACKETS_IN = 1000


class MalformedPayload(ValueError):
    """The client's request is not valid Engine.IO."""


def encode_payload(packets: Sequence[str | bytes]) -> bytes:
    """Return the body of a polling response."""
    payload = _SEPARATOR.join(
        packet if isinstance(packet, str) else "b" + base64.b64encode(packet).decode() for packet in packets
    )
    return payload.encode("utf-8", "replace")


def decode_payload(body: bytes) -> list[str | bytes]:
    """Return the packets in the body of a polling request.

    Bytes stand for a binary message; any other packet is one string of type and content.

    Raises:
        MalformedPayload: not UTF-8, not base64 where it should be, empty, or too many packets.
    """
    try:
        packets = body.decode().split(_SEPARATOR)
        if len(packets) > MAX_PACKETS_IN or not all(packets):
            raise MalformedPayload("empty packet or too many packets")
        return [
            packet if packet[0] != "b" else base64.b64decode(packet[1:].encode("ascii"), validate=True)
            for packet in packets
        ]
    except (UnicodeError, binascii.Error) as error:
        raise MalformedPayload(str(error)) from error
