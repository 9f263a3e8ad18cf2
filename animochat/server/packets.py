"""Engine.IO packets and long-polling payloads (Engine.IO protocol 4).

A packet is what python-engineio would make of it when encoded: a string whose first character is the type, or, for a
binary message, bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from urllib.parse import parse_qs

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = "0123456"

#: Between the packets of a payload.
_SEPARATOR = "\x1e"

# A line feed, as a JSONP form has it, or the two characters that JSON has for one, escaped once more.
_ESCAPED = re.compile(r"\\(\\?n)")

#: Packets in one response. python-engineio's client refuses a payload with more, and asks again at once anyway.
MAX_PACKETS_OUT = 16

#: Packets in one request. Ten seconds' worth of everything that a person may send is far below.
MAX_PACKETS_IN = 1000


class MalformedPayload(ValueError):
    """The client sent something that is not Engine.IO."""


def encode_payload(packets: Sequence[str | bytes], jsonp_index: int | None = None) -> bytes:
    """The body of a polling response."""
    payload = _SEPARATOR.join(
        packet if isinstance(packet, str) else "b" + base64.b64encode(packet).decode() for packet in packets
    )
    if jsonp_index is not None:
        # A JSON string is a JavaScript string (json escapes U+2028 too). Messages are other people's words: with
        # only its quotes escaped, as python-engineio does, a payload could break out of the string.
        payload = f"___eio[{jsonp_index}]({json.dumps(payload)});"
    return payload.encode("utf-8", "replace")


def decode_payload(body: bytes) -> list[str | bytes]:
    """The packets in the body of a polling request; bytes for a binary message, else type and content in one string.

    Raises:
        MalformedPayload: not UTF-8, not base64 where it should be, empty, or too many packets.
    """
    try:
        payload = body.decode()
        if payload.startswith("d="):  # a JSONP form
            form = parse_qs(payload, strict_parsing=True)["d"][0]
            payload = _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], form)
        packets = payload.split(_SEPARATOR)
        if len(packets) > MAX_PACKETS_IN or not all(packets):
            raise MalformedPayload("empty packet or too many packets")
        return [
            packet if packet[0] != "b" else base64.b64decode(packet[1:].encode("ascii"), validate=True)
            for packet in packets
        ]
    except (UnicodeError, binascii.Error, KeyError, IndexError, ValueError) as error:
        raise MalformedPayload(str(error)) from error
