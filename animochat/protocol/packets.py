"""Socket.IO packets (protocol v5), strictly: text in, fields out, and back. Knows no socket and no event.

A packet: type digit, `<attachments>-` for the binary types, `/namespace,` unless it is `/`, acknowledgement id, JSON.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from animochat.protocol.payloads import decode, encode

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = "0123456"

#: Most binary attachments that one packet may announce: the server refuses them, but has to skip them.
MAX_ATTACHMENTS = 10

#: Longest acknowledgement id, in digits: clients count from 0.
MAX_ACK_ID = 15

_HEAD = re.compile(r"(?:(\d{1,2})-)?(?:(/[^,]*),?)?(\d+)?", re.ASCII)


class Malformed(ValueError):
    """Not a packet that a client may send. `ack_id`: the id of the requested acknowledgement, where it can be read."""

    def __init__(self, why: str, ack_id: str | None = None) -> None:
        super().__init__(why)
        self.ack_id = ack_id


class Packet(NamedTuple):
    """`ack_id` is what the client counts its callbacks by, as text; `data` the decoded JSON, None without."""

    type: str
    namespace: str
    ack_id: str | None
    data: Any
    attachments: int = 0


def parse(text: str) -> Packet:
    """Return the decoded packet. Raises Malformed."""
    if text.startswith("2["):  # nearly every packet: an event in `/`, without an acknowledgement
        return Packet(EVENT, "/", None, _event_data(text[1:], None))
    kind = text[:1]
    if kind not in "012356" or not kind:
        raise Malformed("unknown packet type")
    head = _HEAD.match(text, 1)
    assert head is not None  # every part of it is optional
    attachments, namespace, ack_id = head.groups()
    if (attachments is None) != (kind not in (BINARY_EVENT, BINARY_ACK)):
        raise Malformed("attachments go with the binary types alone")
    count = int(attachments or 0)
    if count > MAX_ATTACHMENTS:
        raise Malformed("too many attachments")
    if ack_id is not None and len(ack_id) > MAX_ACK_ID:
        raise Malformed("too long an acknowledgement id")
    rest = text[head.end() :]
    if kind in (EVENT, BINARY_EVENT):
        data: Any = _event_data(rest, ack_id)
    else:
        data = _decode(rest, None) if rest else None
    return Packet(kind, (namespace or "/").partition("?")[0], ack_id, data, count)


def _decode(text: str, ack_id: str | None) -> Any:
    try:
        return decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise Malformed("malformed JSON", ack_id) from None


def _event_data(text: str, ack_id: str | None) -> list[Any]:
    data = _decode(text, ack_id)
    if type(data) is list and data and type(data[0]) is str:
        return data
    raise Malformed("an event is a list that begins with its name", ack_id)


def event(name: str, payload: Any = msgspec.UNSET, offset: str | None = None) -> str:
    """Build an EVENT packet with at most one argument, followed by the offset, where the event has one."""
    arguments = [name] if payload is msgspec.UNSET else [name, payload]
    if offset is not None:
        arguments.append(offset)
    return EVENT + encode(arguments).decode()


def acknowledgement(ack_id: str, payload: Any) -> str:
    """Build an ACK packet with one argument."""
    return ACK + ack_id + encode([payload]).decode()


def connected(session_id: str, pid: str | None) -> str:
    """Build the answer to CONNECT. With `pid` the client may resume the session."""
    return CONNECT + encode({"sid": session_id, "pid": pid} if pid else {"sid": session_id}).decode()


def refused(namespace: str, message: str, data: Any = None) -> str:
    """Build a CONNECT_ERROR packet. Stock clients pass `data` on as the error's `data`."""
    why = {"message": message} if data is None else {"message": message, "data": data}
    return CONNECT_ERROR + ("" if namespace == "/" else namespace + ",") + encode(why).decode()
