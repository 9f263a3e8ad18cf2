"""`animochat reports`: list open reports with their messages; ban the reported person, or dismiss a report."""

from __future__ import annotations

import argparse

from animochat.cli.moderating import (
    add_ban,
    add_portion,
    checked,
    complain,
    milliseconds,
    moderate,
    print_json,
    shown,
    tell_banned,
    time_of,
)
from animochat.moderation.lobby_moderation import Report
from animochat.moderation.service import ModerationService
from animochat.protocol.payloads import REASONS
from animochat.web.admin import BanRequest


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 done, 1 not done, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="animochat reports",
        description="List open reports with their messages; ban the reported person, or dismiss a report.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="list open reports: threat and underage first, then the oldest")
    add_portion(listing)
    listing.add_argument("--resolved", action="store_true", help="show resolved reports, the latest first")
    listing.add_argument("--reason", choices=REASONS, default="", help="show reports of this reason only")
    ban = commands.add_parser("ban", help="ban the reported person and resolve all reports on them")
    ban.add_argument("report", help="the report's id, as `reports list` shows it")
    add_ban(ban)
    dismiss = commands.add_parser("dismiss", help="dismiss a report")
    dismiss.add_argument("report", help="the report's id")
    options = parser.parse_args(arguments)
    if options.command == "ban":
        fields = {name: getattr(options, name) for name in ("hours", "address", "device", "note", "reason")}
        asked = checked(parser, BanRequest, **fields)
        return moderate(lambda oversight: _ban(oversight, options.report, asked))
    if options.command == "dismiss":
        return moderate(lambda oversight: _dismiss(oversight, options.report))
    return moderate(lambda oversight: _list(oversight, options), options.lobby)


def _list(oversight: ModerationService, options: argparse.Namespace) -> int:
    state = "resolved" if options.resolved else "open"
    total, reports = oversight.reports(options.offset, options.count, options.lobby, options.reason, state)
    if options.json:
        print_json({"total" if options.resolved else "open": total, "reports": reports})
        return 0
    for report in reports:
        _print(report)
    print(f"{len(reports)} of {total} {state} reports")
    return 0


def _print(report: Report) -> None:
    banned = f", banned {time_of(report.banned_until)}" if report.banned else ""
    unknown = [kind for kind, known in (("device", report.has_device), ("address", report.has_address)) if not known]
    address = "".join(f", no {kind} known" for kind in unknown)
    print(f"{report.id}  {report.lobby}  {report.reason}  {time_of(report.filed_at)}")
    print(f"  against {report.reported} ({report.reports} open{banned}{address}), by {report.reporter}")
    if report.resolved_at:
        print(f"  {report.state} by {shown(report.resolved_by)}, {time_of(report.resolved_at)}")
    if report.details:
        print(f"  details: {shown(report.details)}")
    for said in report.evidence:
        print(f"  {time_of(said.timestamp)}  {said.sender}: {shown(said.content)}")
    print()


def _ban(oversight: ModerationService, report: str, asked: BanRequest) -> int:
    ms, note = milliseconds(asked.hours), asked.note.strip()
    done = oversight.ban_reported(report, ms, note, asked.reason, address=asked.address, device=asked.device)
    if done is None:
        return complain(f"no report has the id {shown(report)}")
    tell_banned(*done, asked)
    return 0


def _dismiss(oversight: ModerationService, report: str) -> int:
    if not oversight.dismiss(report):
        return complain(f"no open report has the id {shown(report)}")
    print("Dismissed.")
    return 0
