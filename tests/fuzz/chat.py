"""Fuzz targets for the chat's own parsers, compared with the documents and python-socketio."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import msgspec
import socketio.packet

from animochat.apidocs.asyncapi import asyncapi
from animochat.chat.lobby import session_limits
from animochat.chat.tokens import Tokens
from animochat.matchmaking.interests import by_name
from animochat.moderation.words import word_filter
from animochat.protocol import offset, packets
from animochat.protocol.errors import EmptyMessage, InvalidPayload, MessageTooLong
from animochat.protocol.events import CLIENT_EVENTS
from animochat.protocol.payloads import (
    MAX_INTEREST_LENGTH,
    MAX_INTERESTS,
    MAX_QUOTE,
    Announcement,
    FindMatch,
    Quote,
    SendMessage,
    decode,
    encode,
    message_json,
    read_body,
    reply_body,
)
from animochat.settings import Settings
from tests.fuzz.wire import unpacked

# Socket.IO


def packet(data: bytes) -> None:
    """A packet is malformed, or python-socketio understands it too; encoded again, it stays the same."""
    try:
        text = unpacked(data)[1].decode()
    except UnicodeDecodeError:
        return
    try:
        found = packets.parse(text)
    except packets.Malformed:
        return
    if isinstance(found.data, int | float):
        return  # no client sends that, and it could be a part of the number before it
    assert found.attachments <= packets.MAX_ATTACHMENTS
    theirs = socketio.packet.Packet()
    try:
        attachments = theirs.decode(text)
    except RecursionError:  # its JSON decoder nests less deeply than ours
        return
    except ValueError as error:
        if str(error) == "Integer is too large":  # its limit is 100 digits; ours is 4300
            return
        raise
    assert (attachments, theirs.packet_type) == (found.attachments, int(found.type))
    assert (theirs.namespace or "/", theirs.data) == (found.namespace, found.data)
    assert theirs.id == (None if found.ack_id is None else int(found.ack_id))
    head = f"{found.attachments}-" if found.type in (packets.BINARY_EVENT, packets.BINARY_ACK) else ""
    head += "" if found.namespace == "/" else f"{found.namespace},"
    again = found.type + head + (found.ack_id or "") + encode(found.data).decode()
    assert packets.parse(again) == found


# Payloads

_SCHEMAS = asyncapi()["components"]


def _documented(name: str) -> jsonschema.Draft202012Validator:
    payload = _SCHEMAS["messages"][name]["payload"]
    return jsonschema.Draft202012Validator({**payload, "components": {"schemas": _SCHEMAS["schemas"]}})


_EVENTS = [(event, _documented(event.name)) for event in CLIENT_EVENTS]
_MESSAGE = _documented("message")
_LIMITS = session_limits(Settings())

with TemporaryDirectory() as _directory:
    _file = Path(_directory) / "words"
    _file.write_text("b[a4]d+\n\\bx\\b\n[éè]\n")
    _words = word_filter(Settings(word_filter_file=str(_file)))
    assert _words is not None


def arguments(data: bytes) -> None:
    """An event's arguments, as JSON, are accepted if and only if the documents allow them, and parsed correctly."""
    number, values = unpacked(data)
    try:
        args = decode(f"[{values.decode()}]")
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return
    event, documented = _EVENTS[number % len(_EVENTS)]
    allowed = len(args) < 2 and documented.is_valid(args[0] if args else None)
    try:
        given = event.parse(args, _LIMITS)
    except (EmptyMessage, MessageTooLong):
        return
    except InvalidPayload:
        assert not allowed or _has_improper_interest(args)
        return
    assert allowed
    if isinstance(given, FindMatch):
        assert len(given.interests) <= MAX_INTERESTS
        assert all(1 <= len(spelling) <= MAX_INTEREST_LENGTH for spelling in given.interests)
        assert set(by_name(given.interests).values()) <= set(given.interests)
    elif isinstance(given, SendMessage):
        _say(given.content)


def _has_improper_interest(args: list[Any]) -> bool:
    """Return whether an interest breaks the one rule that no schema has: length without surrounding white space."""
    spelled = args[0].get("interests", []) if args and isinstance(args[0], dict) else []
    return any(not 1 <= len(spelling.strip()) <= MAX_INTEREST_LENGTH for spelling in spelled)


def _say(content: str) -> None:
    """Receivers get the content that was sent."""
    body = reply_body("user", content, Quote("room-1", "other", content[:MAX_QUOTE]))
    assert read_body(body).content == content
    message = json.loads(message_json("room", 2, 3, body))
    _MESSAGE.validate(message)
    assert message["content"] == content
    assert message["replyTo"]["content"] == content[:MAX_QUOTE]
    packet = packets.event("announcement", Announcement(content), offset.IDLE)
    assert packets.parse(packet).data == ["announcement", {"text": content}, offset.IDLE]
    assert len(_words.apply(content)) == len(content)


# A client's credentials

TOKENS = Tokens("a secret of the fuzzer's own")
TOKEN = TOKENS.issue("person")
PID = TOKENS.issue_session("person", "session")


def credentials(data: bytes) -> None:
    """A token, a `pid` and an offset identify a person only if they were signed for that purpose."""
    try:
        text = unpacked(data)[1].decode()
    except UnicodeDecodeError:
        return
    assert TOKENS.verify(text) in (None, "person")
    assert TOKENS.verify_session(text) in (None, ("person", "session"))
    known = offset.parse(text)
    if known is not None and known.state == "chatting":
        written = offset.chatting(known.room_id, known.slot, known.received, known.partner_away)
        assert offset.parse(written) == known
