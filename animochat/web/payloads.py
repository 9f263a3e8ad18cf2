"""What the HTTP routes answer, as types: the documents are made of them (protocol, "HTTP")."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from animochat.moderation.lobby_moderation import Ban, Report


class Healthy(Struct):
    """`GET /health`, 200."""

    status: Literal["ok"]
    redis: Literal["ok"]
    version: str
    uptimeSeconds: int


class HttpError(Struct):
    """Why there is no answer: a word for programs, and a line for people."""

    code: str
    message: str


class Unhealthy(Struct):
    """`GET /health`, 503: nobody can join: the store does not answer within a second, or refuses it."""

    status: Literal["unavailable"]
    redis: Literal["unavailable"]
    error: HttpError


class Live(Struct):
    """`GET /health/live`, 200 as long as the process serves."""

    status: Literal["ok"]


class LobbyStats(Struct):
    """Numbers of one lobby."""

    onlineUsers: int
    waitingUsers: int
    activeRooms: int
    matchesTotal: int
    messagesTotal: int


class Stats(Struct):
    """`GET /stats`: numbers of the whole system, all workers and servers together, and by name those of each lobby.

    `missing`: lobbies whose part of the store gives no answer, in none of these numbers. Absent where all are there.
    """

    onlineUsers: int
    waitingUsers: int
    activeRooms: int
    workers: int
    matchesTotal: int
    messagesTotal: int
    lobbies: dict[str, LobbyStats]
    missing: list[str] | UnsetType = UNSET


class Failed(Struct):
    """Every other answer that is an error, whatever its status."""

    error: HttpError


class Reports(Struct):
    """Reports, the oldest first. `open`: how many there are in all."""

    open: int
    reports: list[Report]


class Bans(Struct):
    """Bans, those that end first at the beginning. `total`: how many there are in all."""

    total: int
    bans: list[Ban]


class Accepted(Struct):
    """It was done. Otherwise the answer is an error."""

    ok: bool


class Banned(Struct):
    """Who was banned, and whether an address was banned with the person."""

    ok: bool
    person: str
    addressBanned: bool
