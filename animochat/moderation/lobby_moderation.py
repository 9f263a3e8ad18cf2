"""Moderation of one lobby. The rules are in this folder's scripts; this module calls them.

A ban's subject is `person:<person>`, `address:<keyed hash>` or `device:<device>`. The store never gets an address
itself.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from animochat.moderation.access import TRY_TOKEN
from animochat.moderation.alerts import SETTLE_ALERT, TAKE_ALERT
from animochat.moderation.moderators import ADD_MODERATOR, OWNER, REVOKE_MODERATOR, Action
from animochat.protocol.errors import RateLimited
from animochat.protocol.room_record import Parting, read_parting
from animochat.store import keys
from animochat.store.pipeline import Pipeline
from animochat.store.scripts import load

BLOCK_PARTNER = load("moderation/block_partner")
REPORT_PARTNER = load("moderation/report_partner")
LIST_REPORTS = load("moderation/list_reports")
ORDER_REPORTS = load("moderation/order_reports")
DISMISS_REPORT = load("moderation/dismiss_report")
BAN_PERSON = load("moderation/ban_person")
BAN_ELSEWHERE = load("moderation/ban_elsewhere")
BLOCK_DEVICES = load("moderation/block_devices")
LIST_BANS = load("moderation/list_bans")
LIFT_BAN = load("moderation/lift_ban")
LOG_ANNOUNCEMENT = load("moderation/log_announcement")
COUNT_REPORTS = load("moderation/count_reports")

#: All scripts of this folder.
SCRIPTS = [
    BLOCK_PARTNER,
    REPORT_PARTNER,
    LIST_REPORTS,
    ORDER_REPORTS,
    DISMISS_REPORT,
    BAN_PERSON,
    BAN_ELSEWHERE,
    BLOCK_DEVICES,
    LIST_BANS,
    LIFT_BAN,
    LOG_ANNOUNCEMENT,
    COUNT_REPORTS,
    TRY_TOKEN,
    TAKE_ALERT,
    SETTLE_ALERT,
    ADD_MODERATOR,
    REVOKE_MODERATOR,
]

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS

#: A room's id, as matchmaking/scripts/include/match.lua makes it.
ROOM_ID = re.compile("[0-9a-f]{16}")

#: Milliseconds for which two people do not meet after one of them blocked or reported the other: longer than an
#: anonymous person usually lasts.
BLOCK_MS = 90 * DAY_MS

#: Milliseconds for which a report and its evidence are kept: long enough for an operator who is away for a while.
REPORT_MS = 30 * DAY_MS

#: Bytes of evidence, the latest messages first: a usual log has 10,000. Reports must not fill the store.
MAX_EVIDENCE = 64 * 1024

#: Open reports of a lobby, and bytes of their details and evidence: weeks of an operator's work, and a small part of a
#: store's memory. Beyond either, the address with the most open reports loses its oldest one.
MAX_OPEN_REPORTS = 1000
MAX_OPEN_BYTES = 16 * 1024 * 1024

#: Milliseconds after its end for which a room may be named in a block or a report, unless set otherwise.
REPORT_WINDOW_MS = 15 * 60 * 1000

#: Actions of a lobby's log that are listed at most; the log has ten times as many.
MAX_LISTED = 10_000

#: Milliseconds of an automatic suspension.
SUSPENSION_MS = HOUR_MS


class Origin(NamedTuple):
    """A person's address and device, which can be banned along with the person: "" if unknown, or if not banned.

    `address`: a keyed hash. `device`: an id that a browser keeps.
    """

    address: str = ""
    device: str = ""

    def chosen(self, *, address: bool, device: bool) -> Origin:
        """Return the parts of it that the operator bans."""
        return Origin(self.address if address else "", self.device if device else "")


#: A person alone.
NOTHING = Origin()


class Said(msgspec.Struct):
    """One message of a report's evidence. `sender`: "reporter" or "reported"; `timestamp`: Unix ms."""

    sender: str
    timestamp: int
    content: str


class Report(msgspec.Struct, rename="camel", omit_defaults=True):
    """A report. `filed_at`: Unix ms. `state`: "open", "dismissed" or "banned". `reports`: open reports on this person.

    `has_address`, `has_device`: the reported person's address, or device, can be banned as well. `banned_until`: Unix
    ms, for one who is banned already (null: permanently, where `banned` is true). `resolved_at` (Unix ms) and
    `resolved_by`: absent while it is open.
    """

    id: str
    lobby: str
    filed_at: int
    state: str
    reason: str
    details: str
    reporter: str
    reported: str
    evidence: list[Said]
    has_address: bool
    has_device: bool
    reports: int
    banned: bool
    banned_until: int | None
    resolved_at: int | None = None
    resolved_by: str = ""


class Ban(msgspec.Struct, rename="camel", omit_defaults=True):
    """A ban. `id`: its subject. `person`: the banned one, or the one whose address or device it is. `lobby`: that
    person's. Times are Unix ms; `until` is null for a permanent ban.

    `by`: as in the log of actions, or "reports". `report`: the id of the report that led to the ban, or "". `reason`:
    what the banned are told, or absent.
    """

    id: str
    lobby: str
    person: str
    since: int
    until: int | None
    by: str
    note: str
    report: str
    reason: str = ""


class OpenReports(msgspec.Struct):
    """How many reports are open, by reason, and the age of the oldest in milliseconds (0 where none is)."""

    by_reason: dict[str, int]
    oldest_ms: int


class LobbyModeration:
    """The scripts of this folder for one lobby. All methods wait for the store; all raise Unavailable.

    `reports_per_hour`: how many reports a person may file; `reports_per_address`: all people of an address together; 0
    for any number. `auto_suspend_reports`: reports from this many different people within a day suspend a person for
    SUSPENSION_MS; 0 for never. `report_window_ms`: how long after its end a room may be named in a block or a report.
    Tests replace the store's clock with `clock` (Unix ms).
    """

    def __init__(
        self,
        pipeline: Pipeline,
        reports_per_hour: int,
        auto_suspend_reports: int,
        lobby: str = keys.MAIN_LOBBY,
        clock: Callable[[], int] | None = None,
        reports_per_address: int = 0,
        report_window_ms: int = REPORT_WINDOW_MS,
    ) -> None:
        self.lobby = lobby
        self._pipeline = pipeline
        self._reports_per_hour = reports_per_hour
        self._reports_per_address = reports_per_address
        self._auto_suspend_reports = auto_suspend_reports
        self._report_window_ms = report_window_ms
        self._by = OWNER
        #: Called after a block with this lobby and the two devices, for the other lobbies. Must not wait.
        self.on_block: Callable[[LobbyModeration, str, str], None] = lambda lobby, device, other: None
        self._lobby = [keys.lobby(lobby)]
        self._now: Callable[[], int | str] = clock or (lambda: "")

    def acting_as(self, by: str) -> LobbyModeration:
        """Return the same for a moderator, whose actions the log then has. Otherwise they are the owner's."""
        acting = copy.copy(self)
        acting._by = by
        return acting

    # For people who chat

    def past_slot(self, room_id: str, person: str) -> str | None:
        """Return the person's slot in a room that may still be reported after its end; None for any other room."""
        members = self._execute("HMGET", f":past:{room_id}", "a", "b") if ROOM_ID.fullmatch(room_id) else ()
        return next((slot for slot, name in zip("ab", members, strict=False) if name == person.encode()), None)

    def block_partner(self, person: str, connection: str, room_id: str = "") -> Parting:
        """Keep the two people of a room apart, and end it if it exists. `room_id`: "" for the person's present one."""
        args = [person, connection, room_id, BLOCK_MS, self._report_window_ms, self._now()]
        return self._parting(self._pipeline.call(BLOCK_PARTNER, self._lobby, args))

    def report_partner(
        self, room_id: str, reason: str, details: str, evidence: Sequence[Said], person: str, connection: str
    ) -> Parting:
        """Store a report with its evidence; then do as `block_partner`.

        If the person has already reported this room, no second report is stored.

        Raises RateLimited if the person, or the address, has filed too many within the hour.
        """
        args = [person, connection, room_id, reason, details, _encoded(evidence), BLOCK_MS, REPORT_MS]
        args += [self._reports_per_hour, self._reports_per_address, MAX_OPEN_REPORTS, MAX_OPEN_BYTES]
        args += [self._auto_suspend_reports, SUSPENSION_MS, self._report_window_ms, self._now()]
        reply = self._pipeline.call(REPORT_PARTNER, self._lobby, args)
        if reply[0] == b"limited":
            raise RateLimited("Too many reports", retry_after_ms=reply[1])
        return self._parting(reply)

    def _parting(self, reply: list[Any]) -> Parting:
        parting, devices = reply[:3], [device.decode() for device in reply[3:]]
        if all(devices) and len(set(devices)) == 2:
            self.on_block(self, devices[0], devices[1])
        return read_parting(parting)

    def block_devices(self, device: str, other: str) -> None:
        """Keep two devices apart in this lobby, after a block in another one."""
        self._pipeline.call(BLOCK_DEVICES, self._lobby, [device, other, BLOCK_MS, self._now()])

    # For the operator (service.py runs these for all lobbies)

    def reports(self, offset: int, count: int, reason: str = "", state: str = "open") -> tuple[int, list[Report]]:
        """Return how many reports there are, and `count` of them after the first `offset`.

        `state`: "open", threat and underage first, then the oldest; "resolved", the latest first. `reason`: only
        reports of this one.
        """
        args = [offset, count, REPORT_MS, state, reason, self._now()]
        total, *found = self._pipeline.call(LIST_REPORTS, self._lobby, args)
        return total, [_report(self.lobby, *report) for report in found]

    def report_order(self, reason: str = "", state: str = "open") -> list[tuple[str, float]]:
        """Return the ids of all such reports and their ranks, in the order of `reports`."""
        flat = iter(self._pipeline.call(ORDER_REPORTS, self._lobby, [state, reason]))
        return [(name.decode(), rank) for name, rank in zip(flat, flat, strict=True)]

    def open_reports(self) -> OpenReports:
        """Return how many are open, by reason, and how old the oldest is."""
        age, *counts = self._pipeline.call(COUNT_REPORTS, self._lobby, [REPORT_MS, self._now()])
        values = iter(counts)
        return OpenReports({name.decode(): count for name, count in zip(values, values, strict=True)}, age)

    def actions(self, count: int) -> tuple[int, list[Action]]:
        """Return how many actions are listed, MAX_LISTED at most, and the latest `count`, the latest first."""
        total = min(MAX_LISTED, self._execute("XLEN", ":actions"))
        entries = self._execute("XREVRANGE", ":actions", "+", "-", "COUNT", min(count, MAX_LISTED))
        return total, [_action(self.lobby, *entry) for entry in entries]

    def dismiss(self, report: str) -> bool:
        """Close a report. Return False if no such report is open."""
        return bool(self._pipeline.call(DISMISS_REPORT, self._lobby, [report, self._by, self._now()]))

    def subject(self, person: str, report: str = "") -> tuple[str, Origin] | None:
        """Return the person (or the one a report is on), and the known address and device.

        None if this lobby does not know the person, or the report.
        """
        reported: Sequence[bytes | None] = (None, None)
        if report:
            found, *reported = self._execute("HMGET", f":report:{report}", "reported", "address", "device")
            if found is None:
                return None
            person = found.decode()
        known, *latest = self._execute("HMGET", f":person:{person}", "v", "address", "device")
        if known is None and not report:
            # The person's record has expired: only reports know the person.
            last = self._execute("ZRANGE", f":reported:{person}", -1, -1)
            if not last:
                return None
            reported = self._execute("HMGET", f":report:{last[0].decode()}", "address", "device")
        address, device = ((first or second or b"").decode() for first, second in zip(reported, latest, strict=True))
        return person, Origin(address, device)

    def ban_reported(self, report: str, ms: int | None, origin: Origin, note: str, reason: str = "") -> str | None:
        """Ban the reported person as `ban` does. Return the person, or None if there is no such report."""
        return self._ban("", report, ms, origin, note, reason)

    def ban(self, person: str, ms: int | None, origin: Origin, note: str, reason: str = "") -> None:
        """Ban a person for `ms`, or permanently (None), and with it what `origin` has.

        Closes the connections concerned, and settles open reports on the person. `reason`: the banned are told, "" for
        none.
        """
        self._ban(person, "", ms, origin, note, reason)

    def _ban(self, person: str, report: str, ms: int | None, origin: Origin, note: str, reason: str) -> str | None:
        args = [person, report, "" if ms is None else ms, origin.address, origin.device, note, self._by, reason]
        banned = self._pipeline.call(BAN_PERSON, self._lobby, [*args, self._now()])
        return None if banned is None else str(banned.decode())

    def ban_elsewhere(
        self, origin: Origin, person: str, home: str, ms: int | None, note: str, report: str, reason: str = ""
    ) -> None:
        """Ban address and device of a person whose lobby, `home`, is another one."""
        args = [origin.address, origin.device, person, home, "" if ms is None else ms, note, report]
        self._pipeline.call(BAN_ELSEWHERE, self._lobby, [*args, self._by, reason, self._now()])

    def bans(self, offset: int, count: int) -> tuple[int, list[Ban]]:
        """Return how many bans hold, and `count` of them after the first `offset`; those that end first come first."""
        total, *found = self._pipeline.call(LIST_BANS, self._lobby, [offset, count, self._now()])
        return total, [_ban(self.lobby, *ban) for ban in found]

    def ban_order(self) -> list[tuple[str, float]]:
        """Return the ids of all bans and when they end, in the order of `bans`."""
        return self._order("bans")

    def banned_with(self, subject: str) -> Origin | None:
        """Return the address and the device banned along with a subject; None if there is no such ban."""
        address, device = self._execute("HMGET", f":ban:{subject}", "address", "device")
        return None if address is None else Origin(address.decode(), (device or b"").decode())

    def lift(self, subject: str, origin: Origin = NOTHING) -> bool:
        """Lift a ban and, with a person's ban, those of address and device banned along with it.

        Return False if there is none.

        `origin`: what was banned along with it in another lobby, which has the person's own ban.
        """
        args = [subject, origin.address, origin.device, self._by, self._now()]
        return bool(self._pipeline.call(LIFT_BAN, self._lobby, args))

    def log_announcement(self) -> None:
        """Write to the log that an announcement is made, without its text."""
        self._pipeline.call(LOG_ANNOUNCEMENT, self._lobby, [self._by, self._now()])

    def _order(self, index: str) -> list[tuple[str, float]]:
        flat = iter(self._execute("ZRANGE", f":{index}", 0, -1, "WITHSCORES"))
        return [(name.decode(), float(score)) for name, score in zip(flat, flat, strict=True)]

    def _execute(self, command: str, key: str, *args: Any) -> Any:
        return self._pipeline.execute(command, self._lobby[0] + key, *args)


def _encoded(evidence: Sequence[Said]) -> bytes:
    """Return the latest messages that fit, as JSON."""
    pieces: list[bytes] = []
    size = 2
    for said in reversed(evidence):
        piece = msgspec.json.encode(said)
        size += len(piece) + 1
        if size > MAX_EVIDENCE:
            break
        pieces.append(piece)
    return b"[" + b",".join(reversed(pieces)) + b"]"


def _fields(flat: list[bytes]) -> dict[str, str]:
    values = iter(flat)
    return {name.decode(): value.decode() for name, value in zip(values, values, strict=True)}


def _until(score: bytes) -> int | None:
    """Return a time, or None for a permanent ban."""
    return None if score == b"inf" else int(float(score))


def _report(lobby: str, report: bytes, reports: int, until: bytes, flat: list[bytes]) -> Report:
    fields = _fields(flat)
    return Report(
        report.decode(),
        lobby,
        int(fields["filed"]),
        fields["state"],
        fields["reason"],
        fields.get("details", ""),
        fields["reporter"],
        fields["reported"],
        msgspec.json.decode(fields.get("evidence", "[]"), type=list[Said]),
        bool(fields["address"]),
        bool(fields.get("device")),
        reports,
        until != b"",
        _until(until) if until else None,
        int(fields["resolved"]) if "resolved" in fields else None,
        fields.get("by", ""),
    )


def _action(lobby: str, entry: bytes, flat: list[bytes]) -> Action:
    fields = _fields(flat)
    at, by, what = int(fields.pop("at")), fields.pop("by"), fields.pop("what")
    return Action(entry.decode(), lobby, at, by, what, fields)


def _ban(lobby: str, subject: bytes, until: bytes, flat: list[bytes]) -> Ban:
    fields = _fields(flat)
    return Ban(
        subject.decode(),
        fields.get("lobby", lobby),
        fields["person"],
        int(fields["since"]),
        _until(until),
        fields["by"],
        fields["note"],
        fields["report"],
        fields.get("reason", ""),
    )
