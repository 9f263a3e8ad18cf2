"""Every event, with the type of its argument and what its acknowledgement gets. docs/protocol.md has the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from animochat.protocol.payloads import (
    Announcement,
    Done,
    ErrorEvent,
    FindMatch,
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


@dataclass(frozen=True)
class ClientEvent:
    """What a client may send. `argument`: None in it means that the event may have none. `answer`: when it was done."""

    name: str
    argument: Any
    answer: Any
    summary: str


@dataclass(frozen=True)
class ServerEvent:
    """What a client gets. `offset`: whether the offset trails it, by which a lost connection is taken up again."""

    name: str
    argument: Any
    summary: str
    offset: bool = True


CLIENT_EVENTS = [
    ClientEvent("find-match", FindMatch | None, Searching, "Enter the waiting pool; `waiting` or `matched` follows."),
    ClientEvent("cancel-match", None, Done, "Leave the waiting pool; `match-cancelled` follows."),
    ClientEvent(
        "next-match", FindMatch | None, Searching, "Leave the room, rest for the cooldown, and enter the pool again."
    ),
    ClientEvent("send-message", str | SendMessage, Stored, "Say something to the partner."),
    ClientEvent("typing", bool | Typing, Done, "Begin or end typing; the partner gets `partner-typing`."),
    ClientEvent("leave-room", None, Done, "Leave the room without searching again."),
    ClientEvent("block-partner", None, Done, "Leave the room, and do not meet this partner again for 90 days."),
    ClientEvent("report-partner", ReportPartner, Done, "File a report with what was said, then as `block-partner`."),
]

SERVER_EVENTS = [
    ServerEvent("session", Session, "The first event of every connection that was not recovered."),
    ServerEvent("waiting", Waiting, "In the pool."),
    ServerEvent("matched", Matched, "A partner was found."),
    ServerEvent("message", Message, "The partner said something, or the room's first line."),
    ServerEvent("partner-typing", PartnerTyping, "The partner begins or ends typing.", offset=False),
    ServerEvent("partner-reconnecting", PartnerReconnecting, "The partner's connection dropped without a goodbye."),
    ServerEvent("partner-reconnected", None, "It is back, in the same room."),
    ServerEvent("partner-disconnected", PartnerDisconnected, "The room is over."),
    ServerEvent("match-cancelled", None, "No longer in the pool."),
    ServerEvent("online-count", int, "How many people are here: after connecting, then on change.", offset=False),
    ServerEvent("announcement", Announcement, "The operator says a line to everybody."),
    ServerEvent("error", ErrorEvent, "Something without a callback was refused, or the connection is closed."),
]
