"""The console script `animochat`: runs a command with the rest of the command line."""

from __future__ import annotations

import argparse
import importlib
import io
import sys

from animochat import __version__

#: Every command; each is a module of `animochat.cli`.
COMMANDS = {
    "serve": "start the server",
    "doctor": "check the configuration, the store and this machine",
    "bench": "simulate people to measure what a deployment can serve",
    "announce": "send an announcement to everyone who is connected",
    "bans": "list, add and lift bans",
    "moderators": "add, list and revoke moderators; show what they did",
    "reports": "list open reports with their messages, and resolve them",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Return the exit status, unless the process became gunicorn."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for characters that the locale's encoding lacks
    commands = "\n".join(f"  {name:<10} {what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="animochat",
        description="Anonymous one-to-one chat server.",
        epilog=f"commands:\n{commands}\n\nSee `animochat <command> --help` for details.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"animochat {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="command", help="one of the commands below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="…", help="arguments of the command")
    options = parser.parse_args(arguments)
    module = importlib.import_module(f"animochat.cli.{options.command}")
    status: int = module.main(options.arguments)
    return status
