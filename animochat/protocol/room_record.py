"""A room as the scripts report it to a worker (rooms/scripts/include/room_as_seen.lua)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, kw_only=True)
class RoomRecord:
    """A room as one of its members sees it. `slot`: "a" or "b". `partner` is a person, `partner_user_id` its name here.

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
