"""The payloads of the wire protocol ("Client events", "Server events"), as types that validate and encode.

Field names are the wire's. Fields that a client sends beyond these are ignored: payload fields may be added.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from animochat.protocol.errors import EmptyMessage, InvalidPayload, MessageTooLong
from animochat.protocol.visible import is_blank

#: Longest `clientId`, in characters.
MAX_CLIENT_ID = 64

#: Interests that one search may name, and the longest, in characters without white space around it.
MAX_INTERESTS = 10
MAX_INTEREST_LENGTH = 32

#: Longest `token`, in characters; ours are shorter.
MAX_TOKEN = 200

#: Longest `details` of a report, in characters.
MAX_DETAILS = 1000

#: Characters of the original that a reply quotes.
MAX_QUOTE = 200


#: Units of numbers, as the documents show them.
Milliseconds = Annotated[int, Meta(description="Milliseconds")]
Time = Annotated[int, Meta(description="Unix time in milliseconds")]

#: A message as encoded JSON, as it is stored in the log.
StoredMessage = Annotated[msgspec.Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/Message"})]

#: Every code of animochat/protocol/errors.py.
ErrorCode = Literal[
    "already-in-room", "banned", "empty-message", "invalid-payload", "message-too-long", "not-in-room", "rate-limited",
    "replaced", "unavailable", "unknown-lobby",
]  # fmt: skip


#: Bytes of the messages in a session: the smallest bound on a frame that a stock client has is aiohttp's 4 MiB.
MAX_HISTORY = 3 * 1024 * 1024


class Auth(Struct):
    """`auth` in the handshake. Stock clients send `pid` and `offset` to recover a lost connection."""

    token: str | UnsetType = UNSET
    device: str | UnsetType = UNSET
    lobby: str | UnsetType = UNSET
    pid: str | UnsetType = UNSET
    offset: str | UnsetType = UNSET


class Limits(Struct):
    """The server's limits: lengths in characters, times in milliseconds.

    `reportAfterMs`: how long after its end a room may be named in `block-partner` and `report-partner`.
    `reportsIncludeMessages`: whether a report has the room's messages.
    """

    maxMessageLength: int
    maxClientIdLength: int
    maxInterests: int
    maxInterestLength: int
    interestWaitMs: Milliseconds
    skipCooldownMs: Milliseconds
    reconnectGraceMs: Milliseconds
    lostGraceMs: Milliseconds
    maxReportDetailsLength: int
    reportAfterMs: Milliseconds
    reportsIncludeMessages: bool


class Argument(Struct):
    """The argument of a client's event, with the checks that its type can't express."""

    def clean(self, limits: Limits) -> None:
        """Normalize the fields and check them. Raises ChatError."""


class FindMatch(Argument):
    """`find-match` and `next-match`."""

    interests: Annotated[list[str], Meta(max_length=MAX_INTERESTS)] = []

    def clean(self, limits: Limits) -> None:
        self.interests = [interest.strip() for interest in self.interests]
        if any(len(interest) > limits.maxInterestLength or is_blank(interest) for interest in self.interests):
            raise InvalidPayload(f"An interest needs 1 to {limits.maxInterestLength} visible characters")


class SendMessage(Argument):
    """`send-message`; a bare string is its `content`."""

    content: str
    clientId: Annotated[str, Meta(max_length=MAX_CLIENT_ID)] | None = None
    replyTo: str | None = None

    def clean(self, limits: Limits) -> None:
        self.content = self.content.strip()
        if len(self.content) > limits.maxMessageLength:
            raise MessageTooLong(f"Message is longer than {limits.maxMessageLength} characters")
        if is_blank(self.content):
            raise EmptyMessage


#: Reasons of a report.
Reason = Literal["harassment", "sexual", "spam", "underage", "threat", "other"]
REASONS: tuple[str, ...] = get_args(Reason)


class BlockPartner(Argument):
    """`block-partner`. `roomId`: a room that may have ended; without it the present one."""

    roomId: str | None = None

    def clean(self, limits: Limits) -> None:
        if self.roomId is None:
            raise InvalidPayload("Expected a `roomId`")


class ReportPartner(Argument):
    """`report-partner`. `roomId`: as in `block-partner`."""

    reason: Reason
    details: Annotated[str, Meta(max_length=MAX_DETAILS)] | None = None
    roomId: str | None = None

    def clean(self, limits: Limits) -> None:
        details = (self.details or "").strip()
        self.details = "" if is_blank(details) else details


class Typing(Argument):
    """`typing`; a bare boolean is its `isTyping`."""

    isTyping: bool


class Quote(Struct):
    """`message.replyTo`: the message being replied to; `content` has its first 200 characters."""

    id: str
    senderId: str
    content: str


class Message(Struct):
    """`message`."""

    id: str
    roomId: str
    seq: int
    senderId: str
    content: str
    timestamp: Time
    type: Literal["text", "system"]
    replyTo: Quote | UnsetType = UNSET


class Body(Struct):
    """The fields of an encoded message body that the server itself reads."""

    senderId: str
    content: str


class SessionRoom(Struct):
    """The room in `session`, with the messages that both people sent so far."""

    roomId: str
    userId: str
    partnerId: str
    interests: tuple[str, ...]
    messages: list[StoredMessage]


class LastRoom(Struct):
    """The person's last room that has ended, while its partner may still be blocked and reported."""

    roomId: str
    endedAt: Time


class Session(Struct):
    """`session`."""

    token: str
    device: str
    recovered: bool
    state: Annotated[str, Meta(extra_json_schema={"enum": ["idle", "waiting", "chatting"]})]
    lobby: str
    limits: Limits
    room: SessionRoom | UnsetType = UNSET
    lastRoom: LastRoom | UnsetType = UNSET


class Matched(Struct):
    """`matched`."""

    roomId: str
    partnerId: str
    userId: str
    interests: tuple[str, ...]


class Waiting(Struct):
    """`waiting`. `cooldownMs`: what remains of the skip cooldown."""

    cooldownMs: Milliseconds


class PartnerTyping(Struct):
    """`partner-typing`."""

    isTyping: bool


class PartnerReconnecting(Struct):
    """`partner-reconnecting`. `graceMs`: how long the server keeps the partner's place."""

    graceMs: Milliseconds


class PartnerDisconnected(Struct):
    """`partner-disconnected`. A partner who blocked or reported appears to have left."""

    reason: Annotated[str, Meta(extra_json_schema={"enum": ["left", "skipped", "disconnected"]})]


class Announcement(Struct):
    """`announcement`: a text from the operator to everyone."""

    text: str


class Refusal(Struct):
    """The reason for a refusal. `retryAfterMs` is present where waiting helps."""

    code: ErrorCode
    message: str
    retryAfterMs: Milliseconds | UnsetType = UNSET


class ErrorEvent(Struct):
    """`error`: a refusal, with the refused event if there was one. `banned` may have a reason, and where to appeal."""

    code: ErrorCode
    message: str
    event: str | UnsetType = UNSET
    retryAfterMs: Milliseconds | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET
    appealUrl: str | UnsetType = UNSET


Yes = Annotated[bool, Meta(extra_json_schema={"const": True})]
No = Annotated[bool, Meta(extra_json_schema={"const": False})]


class Done(Struct):
    """The acknowledgement of an event that succeeded."""

    ok: Yes


class Searching(Struct):
    """The acknowledgement of a search. `cooldownMs` is present while waiting."""

    ok: Yes
    state: Literal["waiting", "matched"]
    cooldownMs: Milliseconds | UnsetType = UNSET


class Stored(Struct):
    """The acknowledgement of `send-message`, once the message is stored."""

    ok: Yes
    id: str
    seq: int
    timestamp: Time


class Refused(Struct):
    """The acknowledgement of a refused event: nothing changed."""

    ok: No
    error: Refusal


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder().decode
decode_body = msgspec.json.Decoder(Body).decode


def message_body(sender_id: str, content: str) -> str:
    """Encode a message once, for the log and for the receiver."""
    return f'"senderId":"{sender_id}","content":{encode(content).decode()},"type":"text"'


def reply_body(sender_id: str, content: str, original: Quote) -> str:
    """Encode a reply, as `message_body` does, with its quote."""
    return f'{message_body(sender_id, content)},"replyTo":{encode(original).decode()}'


def read_body(body: str) -> Body:
    """Decode the result of `message_body` or `reply_body`."""
    return decode_body(f"{{{body}}}")


def message_json(room_id: str, seq: int, timestamp: int, body: str) -> str:
    """Build a `message` payload around a body from `message_body`."""
    return f'{{"id":"{room_id}-{seq}","roomId":"{room_id}","seq":{seq},"timestamp":{timestamp},{body}}}'


def latest(messages: list[bytes], most: int = MAX_HISTORY) -> list[bytes]:
    """Return the latest messages that fit into `most` bytes together."""
    first = len(messages)
    while first and len(messages[first - 1]) <= most:
        first -= 1
        most -= len(messages[first])
    return messages[first:]
