"""Offsets: the client's state in a short string, which trails each event and which the client returns on reconnecting.

Socket.IO's clients keep the last event's trailing string and send it as `offset` when they resume a session. Ours
describes the client's state after that event. The client missed the difference between that and the store's state, so
no server has to keep the events that it sent.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: A matched room whose system message has not been sent yet.
NOTHING_SAID = -1

_OFFSET = re.compile(r"(i|w)|c\.([0-9a-f]{1,32})\.([ab])\.(-1|[0-9]{1,15})\.(p|a)", re.ASCII)


class Offset(NamedTuple):
    """`state`: "idle", "waiting" or "chatting". In a room: its id, the client's slot, the partner's last seq that
    the client got, and whether the client knows that the partner is away.
    """

    state: str
    room_id: str = ""
    slot: str = ""
    received: int = 0
    partner_away: bool = False


IDLE = "i"
WAITING = "w"


def chatting(room_id: str, slot: str, received: int, partner_away: bool = False) -> str:
    """Return the offset of someone in a room."""
    return f"c.{room_id}.{slot}.{received}.{'a' if partner_away else 'p'}"


def parse(text: object) -> Offset | None:
    """Return the decoded offset; None for a text that isn't an offset of ours."""
    match = _OFFSET.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    if match[1]:
        return Offset("idle" if match[1] == IDLE else "waiting")
    return Offset("chatting", match[2], match[3], int(match[4]), match[5] == "a")
