"""`animochat moderators`: add, list and revoke moderators; show what they did."""

from __future__ import annotations

import argparse

from animochat.cli.moderating import (
    add_portion,
    complain,
    moderate,
    print_json,
    shell_user,
    shown,
    time_of,
    with_store,
)
from animochat.moderation.moderators import Moderators, NameRefused
from animochat.moderation.service import ModerationService
from animochat.settings import Settings
from animochat.store.pipeline import Pipeline


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 done, 1 not done, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="animochat moderators",
        description="Add, list and revoke moderators, who log in at /admin with their own tokens; show the log.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="add a moderator and print the token, which is shown only once")
    add.add_argument("name", help="up to 32 of the characters A-Z a-z 0-9 . _ -")
    commands.add_parser("list", help="list moderators")
    revoke = commands.add_parser("revoke", help="revoke a moderator's token and end the moderator's sessions")
    revoke.add_argument("name")
    add_portion(commands.add_parser("log", help="show who did what, the latest first"))
    options = parser.parse_args(arguments)
    if options.command == "log":
        return moderate(lambda oversight: _log(oversight, options), options.lobby)

    def on_moderators(pipeline: Pipeline, settings: Settings) -> int:
        moderators = Moderators(pipeline, settings.lobbies[0])
        if options.command == "add":
            return _add(moderators, options.name)
        if options.command == "revoke":
            return _revoke(moderators, options.name)
        return _list(moderators)

    return with_store(on_moderators)


def _add(moderators: Moderators, name: str) -> int:
    try:
        token = moderators.add(name, shell_user())
    except NameRefused as refused:
        return complain(str(refused))
    print(token)
    return 0


def _list(moderators: Moderators) -> int:
    for moderator in moderators.list():
        print(f"{moderator.name}  since {time_of(moderator.since)}")
    return 0


def _revoke(moderators: Moderators, name: str) -> int:
    if not moderators.revoke(name, shell_user()):
        return complain(f"there is no moderator {shown(name)}")
    print("Revoked.")
    return 0


def _log(oversight: ModerationService, options: argparse.Namespace) -> int:
    total, actions = oversight.actions(options.offset, options.count, options.lobby)
    if options.json:
        print_json({"total": total, "actions": actions})
        return 0
    for action in actions:
        on = "  ".join(f"{name} {shown(value)}" for name, value in action.on.items() if value)
        print(f"{time_of(action.at)}  {action.lobby}  {shown(action.by)}  {action.what}  {on}".rstrip())
    print(f"{len(actions)} of {total} actions")
    return 0
