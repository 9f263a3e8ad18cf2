"""A room as the scripts report it to a worker: one that goes on, one that has ended, one that someone leaves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import msgspec


@dataclass(frozen=True, kw_only=True)
class RoomRecord:
    """A room as one of its members sees it (rooms/scripts/include/room_as_seen.lua). `slot`: "a" or "b". `partner` is a
    person, `partner_user_id` its name here.

    `since`: when the two were matched (Unix ms). `grace_ms`: how long an absent partner will be waited for, or None.
    `interests`: those in common, as this member spells them.
    """

    room_id: str
    slot: str
    user_id: str
    partner_user_id: str
    partner: str
    partner_worker: str
    since: int
    grace_ms: int | None = None
    interests: tuple[str, ...] = ()


class PastRoom(NamedTuple):
    """A room that has ended and may still be named in a report or a block. `ended_at`: Unix ms."""

    room_id: str
    ended_at: int


class Departure(str, Enum):
    """The outcome of a request to leave a room, or to block or report the partner.

    PAST: the room had ended before. UNKNOWN: the store does not know the connection that asks.
    """

    LEFT = "left"
    PAST = "past"
    NOT_IN_ROOM = "not-in-room"
    UNKNOWN = "unknown"


class Parting(NamedTuple):
    """The answer to such a request. With LEFT it has the person's new version, and the room."""

    state: Departure
    version: int = 0
    room_id: str = ""


def read_parting(reply: list[Any]) -> Parting:
    """Return the reply of leave_room.lua, block_partner.lua or report_partner.lua."""
    state, *rest = reply
    return Parting(Departure(state.decode()), *((rest[0], rest[1].decode()) if rest else ()))


def read_room(fields: list[Any]) -> RoomRecord | None:
    """Return the room that a script's reply ends with; None where it ends without one."""
    if not fields:
        return None
    shared, *names, since, grace = fields
    room_id, slot, user_id, partner_user_id, partner, worker = (name.decode() for name in names)
    return RoomRecord(
        room_id=room_id,
        slot=slot,
        user_id=user_id,
        partner_user_id=partner_user_id,
        partner=partner,
        partner_worker=worker,
        since=since,
        grace_ms=grace if grace >= 0 else None,
        interests=read_interests(shared),
    )


def read_interests(spelled: bytes) -> tuple[str, ...]:
    """Return interests as the scripts keep them: a JSON list, or nothing."""
    return msgspec.json.decode(spelled, type=tuple[str, ...]) if spelled else ()
