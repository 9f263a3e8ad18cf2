"""The answers of the HTTP routes as types, from which the documents are made (protocol, "HTTP")."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from animochat.moderation.lobby_moderation import Ban, Report
from animochat.moderation.moderators import Action


class Healthy(Struct):
    """`GET /health`, 200."""

    status: Literal["ok"]
    redis: Literal["ok"]
    version: str
    uptimeSeconds: int


class HttpError(Struct):
    """An error: `code` for programs, `message` for people."""

    code: str
    message: str


class Unhealthy(Struct):
    """`GET /health`, 503: no one can join, because the store refuses or doesn't answer within one second."""

    status: Literal["unavailable"]
    redis: Literal["unavailable"]
    error: HttpError


class Live(Struct):
    """`GET /health/live`, 200 as long as the process serves requests."""

    status: Literal["ok"]


class LobbyStats(Struct):
    """The numbers of one lobby, on all servers."""

    onlineUsers: int
    waitingUsers: int
    activeRooms: int
    matchesTotal: int
    messagesTotal: int


class Stats(Struct):
    """`GET /stats`: the numbers of all workers and servers, in total and for each lobby by name.

    `missing`: lobbies whose store doesn't answer; they are in none of these numbers. Absent if none is missing.
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
    """Any other error."""

    error: HttpError


class Reports(Struct):
    """Reports: threat and underage first, then the oldest. `open`: how many such are open."""

    open: int
    reports: list[Report]


class ResolvedReports(Struct):
    """Resolved reports, the latest first. `total`: the number of all such."""

    total: int
    reports: list[Report]


class Actions(Struct):
    """The moderators' actions, the latest first. `total`: the number of all entries in the list."""

    total: int
    actions: list[Action]


class Bans(Struct):
    """Bans, those that end soonest first. `total`: the number of all bans."""

    total: int
    bans: list[Ban]


class Accepted(Struct):
    """The request succeeded."""

    ok: bool


class Banned(Struct):
    """The banned person, and whether an address and a device were banned too."""

    ok: bool
    person: str
    addressBanned: bool
    deviceBanned: bool
