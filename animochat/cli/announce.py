"""`animochat announce`: a line to everybody who is connected now."""

from __future__ import annotations

import argparse

from animochat.cli.moderating import add_lobby, checked, moderate
from animochat.moderation.service import ModerationService
from animochat.web.admin import AnnouncementRequest


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 said, 1 not said, 2 a mistake in the line."""
    parser = argparse.ArgumentParser(
        prog="animochat announce", description="Say a line to everybody who is connected now; nothing is kept of it."
    )
    parser.add_argument("text", help="up to 500 characters")
    add_lobby(parser, "to those in that lobby alone (default: in all)")
    options = parser.parse_args(arguments)
    text = checked(parser, AnnouncementRequest, text=options.text.strip()).text
    if not text:
        parser.error("the text is empty")

    def announce(oversight: ModerationService) -> int:
        oversight.announce(text, options.lobby)
        print("Said.")
        return 0

    return moderate(announce, options.lobby)
