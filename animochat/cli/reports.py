"""`animochat reports`: open reports with their evidence; ban whom one is on, or dismiss it."""

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
    time_of,
)
from animochat.moderation.lobby_moderation import Report
from animochat.moderation.service import ModerationService
from animochat.web.admin import BanRequest


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 done, 1 not done, 2 a mistake in the line."""
    parser = argparse.ArgumentParser(
        prog="animochat reports", description="Open reports with what was said; ban whom one is on, or dismiss it."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add_portion(commands.add_parser("list", help="show open reports, the oldest first"))
    ban = commands.add_parser("ban", help="ban whom a report is on; settles all open reports on that person")
    ban.add_argument("report", help="its id, as `list` shows it")
    add_ban(ban)
    dismiss = commands.add_parser("dismiss", help="close a report")
    dismiss.add_argument("report", help="its id")
    options = parser.parse_args(arguments)
    if options.command == "ban":
        asked = checked(parser, BanRequest, hours=options.hours, address=options.address, note=options.note)
        return moderate(lambda oversight: _ban(oversight, options.report, asked))
    if options.command == "dismiss":
        return moderate(lambda oversight: _dismiss(oversight, options.report))
    return moderate(lambda oversight: _list(oversight, options), options.lobby)


def _list(oversight: ModerationService, options: argparse.Namespace) -> int:
    total, reports = oversight.reports(options.offset, options.count, options.lobby)
    if options.json:
        print_json({"open": total, "reports": reports})
        return 0
    for report in reports:
        _print(report)
    print(f"{len(reports)} of {total} open reports")
    return 0


def _print(report: Report) -> None:
    banned = f", banned {time_of(report.banned_until)}" if report.banned else ""
    address = "" if report.has_address else ", no address known"
    print(f"{report.id}  {report.lobby}  {report.reason}  {time_of(report.filed_at)}")
    print(f"  on {report.reported} ({report.reports} open{banned}{address}), by {report.reporter}")
    if report.details:
        print(f"  details: {shown(report.details)}")
    for said in report.evidence:
        print(f"  {time_of(said.timestamp)}  {said.sender}: {shown(said.content)}")
    print()


def _ban(oversight: ModerationService, report: str, asked: BanRequest) -> int:
    done = oversight.ban_reported(report, milliseconds(asked.hours), asked.address, asked.note.strip())
    if done is None:
        return complain(f"there is no report {shown(report)}")
    print(f"{done[0]} is banned{', and the address' if done[1] else ''}.")
    return 0


def _dismiss(oversight: ModerationService, report: str) -> int:
    if not oversight.dismiss(report):
        return complain(f"no report {shown(report)} is open")
    print("Dismissed.")
    return 0
