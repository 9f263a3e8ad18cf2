"""`animochat bans`: list, add and lift bans."""

from __future__ import annotations

import argparse

from animochat.cli.moderating import (
    add_ban,
    add_lobby,
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
from animochat.moderation.service import ModerationService
from animochat.web.admin import PersonBanRequest


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 done, 1 not done, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(prog="animochat bans", description="List, add and lift bans.")
    commands = parser.add_subparsers(dest="command", required=True)
    add_portion(commands.add_parser("list", help="list bans, those that end soonest first"))
    add = commands.add_parser("add", help="ban a person")
    add.add_argument("person", help="the person's id, as `reports list` and `bans list` show it")
    add_lobby(add, "the person's lobby (default: look it up)")
    add_ban(add)
    lift = commands.add_parser("lift", help="lift a ban; a person's with that of the address and device")
    lift.add_argument("ban", help="the ban's id, as `bans list` shows it")
    options = parser.parse_args(arguments)
    if options.command == "add":
        names = ("person", "hours", "address", "device", "note", "reason", "lobby")
        fields = {name: getattr(options, name) for name in names}
        asked = checked(parser, PersonBanRequest, **fields)
        return moderate(lambda oversight: _ban(oversight, asked), asked.lobby)
    if options.command == "lift":
        return moderate(lambda oversight: _lift(oversight, options.ban))
    return moderate(lambda oversight: _list(oversight, options), options.lobby)


def _list(oversight: ModerationService, options: argparse.Namespace) -> int:
    total, bans = oversight.bans(options.offset, options.count, options.lobby)
    if options.json:
        print_json({"total": total, "bans": bans})
        return 0
    for ban in bans:
        until = f"until {time_of(ban.until)}" if ban.until else time_of(None)
        report = f", report {ban.report}" if ban.report else ""
        since = f"by {ban.by}, since {time_of(ban.since)}{report}"
        print(f"{ban.id}  {ban.lobby}  {until}  {since}  {shown(ban.note)}".rstrip())
    print(f"{len(bans)} of {total} bans")
    return 0


def _ban(oversight: ModerationService, asked: PersonBanRequest) -> int:
    ms, note = milliseconds(asked.hours), asked.note.strip()
    along = {"address": asked.address, "device": asked.device}
    tell_banned(*oversight.ban(asked.person, ms, note, asked.lobby, asked.reason, **along), asked)
    return 0


def _lift(oversight: ModerationService, ban: str) -> int:
    if not oversight.lift(ban):
        return complain(f"no ban has the id {shown(ban)}")
    print("Lifted.")
    return 0
