"""The console script `animochat`: finds the command that is asked for and lets it have the rest of the line."""

from __future__ import annotations

import argparse
import importlib
import io
import sys

from animochat import __version__

#: What there is; each is a module of `animochat.cli`.
COMMANDS = {
    "serve": "start the server",
    "doctor": "check the configuration, the store and this machine, and say what to change",
    "bench": "simulate people, to see what a deployment carries",
    "announce": "say a line to everybody who is connected",
    "bans": "show, make and lift bans",
    "reports": "show open reports with what was said, and settle them",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status if it did not become gunicorn."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever the locale's encoding can't write
    commands = "\n".join(f"  {name:<10} {what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="animochat",
        description="Anonymous one-to-one chat server.",
        epilog=f"commands:\n{commands}\n\n`animochat <command> --help` tells more of each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"animochat {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="command", help="one of the commands below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="…", help="what the command takes")
    options = parser.parse_args(arguments)
    module = importlib.import_module(f"animochat.cli.{options.command}")
    status: int = module.main(options.arguments)
    return status
