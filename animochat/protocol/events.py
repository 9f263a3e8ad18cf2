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
        "next-match",
        FindMatch | None,
        Searching,
        "Leave the room, start the skip cooldown, and enter the waiting pool again.",
    ),
    ClientEvent("send-message", str | SendMessage, Stored, "Send a message to the partner."),
    ClientEvent("typing", bool | Typing, Done, "Start or stop typing; the partner gets `partner-typing`."),
    ClientEvent("leave-room", None, Done, "Leave the room without searching again."),
    ClientEvent("block-partner", None, Done, "Leave the room and don't meet this partner again for 90 days."),
    ClientEvent(
        "report-partner", ReportPartner, Done, "File a report with the room's messages, then as `block-partner`."
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
    ServerEvent("error", ErrorEvent, "An event without a callback was refused, or the server closes the connection."),
]
