"""`animochat announce`: send an announcement to everyone who is connected."""

from __future__ import annotations

import argparse

from animochat.cli.moderating import add_lobby, checked, moderate
from animochat.moderation.service import ModerationService
from animochat.web.admin import AnnouncementRequest


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 sent, 1 not sent, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="animochat announce",
        description="Send an announcement to everyone who is connected now. It is not stored.",
    )
    parser.add_argument("text", help="the text, up to 500 characters")
    add_lobby(parser, "send to this lobby only (default: to all)")
    options = parser.parse_args(arguments)
    text = checked(parser, AnnouncementRequest, text=options.text.strip()).text
    if not text:
        parser.error("the text is empty")

    def announce(oversight: ModerationService) -> int:
        oversight.announce(text, options.lobby)
        print("Sent.")
        return 0

    return moderate(announce, options.lobby)
