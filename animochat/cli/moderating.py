"""Shared code of `announce`, `bans` and `reports`: they use the moderation service on the store, without a server."""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from animochat.cli.configuration import settings_or_exit
from animochat.moderation.announcements import Announcements
from animochat.moderation.lobby_moderation import HOUR_MS, SCRIPTS, LobbyModeration, Origin
from animochat.moderation.moderators import SHELL
from animochat.moderation.service import ModerationService
from animochat.protocol.errors import Unavailable
from animochat.protocol.payloads import REASONS
from animochat.settings import Settings
from animochat.store.embedded import running_stores
from animochat.store.pipeline import Pipeline
from animochat.web.admin import MAX_PORTION, PORTION, BanRequest

T = TypeVar("T")

#: Nothing was done: there is no such report or ban, or the store can't be reached.
EXIT_NOT_DONE = 1
EXIT_USAGE = 2


def moderate(action: Callable[[ModerationService], int], lobby: str | None = None) -> int:
    """Run `action` on the moderation service, in the name of the user of the shell, and return the exit status.

    `lobby` is the one that the action is about; it has to exist.
    """

    def on_store(pipeline: Pipeline, settings: Settings) -> int:
        lobbies = [
            LobbyModeration(pipeline, settings.reports_per_hour, settings.auto_suspend_reports, name)
            for name in settings.lobbies
        ]
        announcements = Announcements(pipeline, settings.message_queue_channel)
        return action(ModerationService(lobbies, announcements).acting_as(shell_user()))

    return with_store(on_store, lobby)


def shell_user() -> str:
    """Return the operating system's user, the author in the log for actions from a shell."""
    try:
        return SHELL + getpass.getuser()
    except (KeyError, OSError, ImportError):  # an id without a name, as containers have it
        return f"{SHELL}{os.getuid()}"


def with_store(action: Callable[[Pipeline, Settings], int], lobby: str | None = None) -> int:
    """Run `action` with the store and return the exit status.

    The store is the one at REDIS_URL or, without that, the embedded store of the server that runs in this folder.
    `lobby`: the lobby concerned; it has to exist.
    """
    settings = settings_or_exit()
    if lobby is not None and lobby not in settings.lobbies:
        return complain(f"unknown lobby {shown(lobby)}: LOBBIES is {', '.join(settings.lobbies)}", EXIT_USAGE)
    urls = running_stores(Path.cwd()) if settings.redis_url is None else [settings.redis_url]
    if len(urls) != 1:
        found = "several servers run" if urls else "no server runs"
        return complain(f"{found} in this folder with an embedded store: set REDIS_URL to its address")
    logging.basicConfig(format="animochat: %(message)s", level=logging.WARNING)
    pipeline = Pipeline(urls[0], SCRIPTS)
    pipeline.start()
    try:
        return action(pipeline, settings)
    except Unavailable:
        return complain("the store is unavailable, and probably nothing was changed: run `animochat doctor`")
    finally:
        pipeline.stop()


def complain(text: str, status: int = EXIT_NOT_DONE) -> int:
    """Print why nothing was done. Return the exit status."""
    print(f"animochat: {text}", file=sys.stderr)
    return status


def checked(parser: argparse.ArgumentParser, kind: type[T], **fields: Any) -> T:
    """Return the request, checked like one of the operator's API. Exit if it is refused."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        parser.error(str(error))


def add_portion(parser: argparse.ArgumentParser) -> None:
    """Add `--offset`, `--count`, `--lobby` and `--json` for a list."""
    parser.add_argument(
        "--offset", type=_between(0, 1_000_000_000), default=0, help="skip this many entries (default: 0)"
    )
    help_ = f"show at most this many (default: {PORTION}; up to {MAX_PORTION})"
    parser.add_argument("--count", type=_between(1, MAX_PORTION), default=PORTION, help=help_)
    add_lobby(parser, "show this lobby only (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON in the form of the operator's API")


def add_lobby(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--lobby`."""
    parser.add_argument("--lobby", metavar="NAME", help=what)


def add_ban(parser: argparse.ArgumentParser) -> None:
    """Add the options of a ban. One of `--hours` and `--for-good` is required: omitting both never bans permanently."""
    how_long = parser.add_mutually_exclusive_group(required=True)
    how_long.add_argument("--hours", type=float, help="ban for this many hours")
    how_long.add_argument("--for-good", action="store_true", help="ban permanently")
    parser.add_argument("--address", action="store_true", help="also ban the IP address (a whole campus may share one)")
    parser.add_argument("--no-device", dest="device", action="store_false", help="don't ban the person's browser too")
    parser.add_argument("--reason", choices=REASONS, default="", help="tell the banned person this reason")
    parser.add_argument("--note", default="", help="a note for other moderators")


def tell_banned(person: str, origin: Origin, asked: BanRequest) -> None:
    """Print who and what is banned, and for how long."""
    until = "permanently" if asked.hours is None else f"for {asked.hours:g} hours"
    too = [f"the {kind}" for kind in ("device", "address") if getattr(origin, kind)]
    print(f"{person} is banned {until}{', and so is ' + ' and '.join(too) if too else ''}.")
    for kind in ("device", "address"):
        if getattr(asked, kind) and not getattr(origin, kind):
            print(f"No {kind} of this person is known.")


def milliseconds(hours: float | None) -> int | None:
    """Convert hours to the service's milliseconds; None: permanently."""
    return None if hours is None else max(1, int(hours * HOUR_MS))


def shown(text: str) -> str:
    """Return a text in a form that is safe for a terminal: it can't move the cursor, hide, or imitate another line."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def time_of(ms: int | None) -> str:
    """Return Unix ms in a readable form; None: permanently."""
    if ms is None:
        return "permanently"
    return datetime.fromtimestamp(ms / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def print_json(value: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    return number
