"""The one table of events. Dispatch, validation, documents, types for clients and tests read it.

docs/protocol.md has the rules.
"""

from __future__ import annotations

import functools
import typing
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from animochat.protocol.errors import InvalidPayload
from animochat.protocol.payloads import (
    Announcement,
    Argument,
    BlockPartner,
    Done,
    ErrorEvent,
    FindMatch,
    Limits,
    Matched,
    Message,
    PartnerDisconnected,
    PartnerReconnecting,
    PartnerTyping,
    ReportPartner,
    Searching,
    SendMessage,
    Session,
    Stored,
    Typing,
    Waiting,
)

#: A person's bucket, and the setting that fills it: RATE_MESSAGES, RATE_SEARCHES, RATE_TYPING. A new kind also needs
#: its setting, an entry in `ChatEvents._rates`, and one in `PersonBuckets` (chat/connections.py).
Rate = Literal["messages", "searches", "typing"]


@dataclass(frozen=True)
class ClientEvent:
    """An event that a client may send, handled by a method of ChatEvents.

    `argument`: None for none, an Argument, or a union of an Argument with None (it may be left out) or with a plain
    type (short for its first field). `answer`: the acknowledgement of success. `rate`: None for no limit.
    `waits`: the handler waits for the store, in a greenlet of the client's own; else it may run in the hub.
    """

    name: str
    argument: Any
    answer: Any
    summary: str
    rate: Rate | None = None
    waits: bool = True

    @functools.cached_property
    def handler(self) -> str:
        """The name of the method."""
        return "on_" + self.name.replace("-", "_")

    @functools.cached_property
    def _types(self) -> tuple[type, ...]:
        return typing.get_args(self.argument) or (self.argument or type(None),)

    @functools.cached_property
    def _kind(self) -> type[Argument] | None:
        return next((kind for kind in self._types if issubclass(kind, Argument)), None)

    @functools.cached_property
    def _short(self) -> type | None:
        return next((kind for kind in self._types if kind is not self._kind and kind is not type(None)), None)

    @functools.cached_property
    def _optional(self) -> bool:
        return type(None) in self._types

    def parse(self, args: list[Any], limits: Limits) -> Any:
        """Return the argument, checked: an Argument, or None for an event without one. Raises ChatError."""
        kind = self._kind
        if self._optional and (not args or args == [None]):
            return kind() if kind is not None else None
        if kind is None:
            raise InvalidPayload("Expected no argument")
        if len(args) != 1:
            raise InvalidPayload("Expected exactly one argument")
        (value,) = args
        if type(value) is self._short:
            argument = kind(value)
        else:
            try:
                argument = msgspec.convert(value, kind)
            except msgspec.ValidationError as exc:
                raise InvalidPayload(str(exc)) from None
        argument.clean(limits)
        return argument


@dataclass(frozen=True)
class ServerEvent:
    """An event that the server sends. `offset`: whether an offset trails it, for recovering the session."""

    name: str
    argument: Any
    summary: str
    offset: bool = True


CLIENT_EVENTS = [
    ClientEvent(
        "find-match",
        FindMatch | None,
        Searching,
        "Enter the waiting pool; `waiting` or `matched` follows.",
        rate="searches",
    ),
    ClientEvent("cancel-match", None, Done, "Leave the waiting pool; `match-cancelled` follows."),
    ClientEvent(
        "next-match",
        FindMatch | None,
        Searching,
        "Leave the room, start the skip cooldown, and enter the waiting pool again.",
        rate="searches",
    ),
    ClientEvent(
        "send-message", str | SendMessage, Stored, "Send a message to the partner.", rate="messages", waits=False
    ),
    ClientEvent(
        "typing",
        bool | Typing,
        Done,
        "Start or stop typing; the partner gets `partner-typing`.",
        rate="typing",
        waits=False,
    ),
    ClientEvent("leave-room", None, Done, "Leave the room without searching again."),
    ClientEvent(
        "block-partner",
        BlockPartner | None,
        Done,
        # 90 days: BLOCK_MS in moderation/lobby_moderation.py
        "Leave the room and don't meet this partner again for 90 days; also after the room has ended.",
    ),
    ClientEvent(
        "report-partner",
        ReportPartner,
        Done,
        "File a report with the room's messages, then as `block-partner`; also after the room has ended.",
        rate="messages",  # each makes the server read the log, even if it is refused
    ),
]

SERVER_EVENTS = [
    ServerEvent("session", Session, "The first event of every connection that wasn't recovered."),
    ServerEvent("waiting", Waiting, "This person is in the waiting pool."),
    ServerEvent("matched", Matched, "A partner was found."),
    ServerEvent("message", Message, "A message from the partner, or the room's first system message."),
    ServerEvent("partner-typing", PartnerTyping, "The partner starts or stops typing.", offset=False),
    ServerEvent(
        "partner-reconnecting", PartnerReconnecting, "The partner's connection was lost; the room waits for `graceMs`."
    ),
    ServerEvent("partner-reconnected", None, "The partner is back, in the same room."),
    ServerEvent("partner-disconnected", PartnerDisconnected, "The room has ended."),
    ServerEvent("match-cancelled", None, "This person has left the waiting pool."),
    ServerEvent("online-count", int, "The number of people online: after connecting, then on change.", offset=False),
    ServerEvent("announcement", Announcement, "A text from the operator to everyone."),
    ServerEvent("offset", None, "The offset alone, behind an event of an extension's that ends in a string."),
    ServerEvent("error", ErrorEvent, "An event without a callback was refused, or the server closes the connection."),
]
