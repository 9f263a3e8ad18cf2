"""The console script: `animochat serve`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dotenv import load_dotenv

from animochat import __version__
from animochat.moderation.words import word_filter
from animochat.settings import Settings, SettingsError

#: Exit status for a bad configuration, as argparse has it for a bad command line.
EXIT_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status if it did not become gunicorn."""
    parser = argparse.ArgumentParser(prog="animochat", description="Anonymous one-to-one chat server.")
    parser.add_argument("--version", action="version", version=f"animochat {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve",
        help="start the server",
        description="Start gunicorn with the project's own configuration. Everything else is set by environment"
        " variables or a file .env in the current directory.",
    )
    serve.add_argument("--host", help="address to listen at (default: all of IPv4)")
    serve.add_argument("--port", help="port to listen at (default: PORT, or 3001)")
    serve.add_argument("--workers", help="worker processes (default: WEB_CONCURRENCY, or 1)")
    options = parser.parse_args(arguments)
    return _serve(options.host, options.port, options.workers)


def settings_or_exit(status: int = EXIT_USAGE) -> Settings:
    """The settings of this process, `.env` included; if they are wrong, prints a line for each mistake and exits."""
    # What the environment already has wins over the file.
    load_dotenv(Path.cwd() / ".env")
    try:
        settings = Settings.from_environ(os.environ)
        word_filter(settings)  # its file too is named before anything starts
        return settings
    except SettingsError as error:
        for mistake in error.mistakes:
            print(f"animochat: {mistake}", file=sys.stderr)
        sys.exit(status)


def _serve(host: str | None, port: str | None, workers: str | None) -> int:
    # By way of the environment, so that one place checks them and the workers see the same values.
    if port is not None:
        os.environ["PORT"] = port
    if workers is not None:
        os.environ["WEB_CONCURRENCY"] = workers
    settings = settings_or_exit()
    # gunicorn reads this one by itself while it loads, and would stumble over an empty value.
    os.environ["WEB_CONCURRENCY"] = str(settings.web_concurrency)
    command = [sys.executable, "-m", "gunicorn", "--config", "python:animochat.gunicorn_conf"]
    if host is not None:
        bracketed = f"[{host}]" if ":" in host else host
        command += ["--bind", f"{bracketed}:{settings.port}"]
    # A new program in this same process: signals and the exit status are gunicorn's own, and its USR2 can run it again.
    # The factory is called in the worker, which has patched the standard library by then, as wsgi.py does.
    os.execv(sys.executable, [*command, "animochat:create_app()"])
