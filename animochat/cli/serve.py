"""`animochat serve`: gunicorn with the project's own configuration."""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
from pathlib import Path

import animochat
from animochat.cli.configuration import settings_or_exit


def main(arguments: list[str]) -> int:
    """Become gunicorn. Exit first if the configuration is wrong."""
    parser = argparse.ArgumentParser(
        prog="animochat serve",
        description="Start gunicorn with the project's configuration. Environment variables, or a file .env in the"
        " current directory, set everything else.",
    )
    parser.add_argument("--host", help="address to listen on (default: HOST, or all IPv4 addresses)")
    parser.add_argument("--port", help="port to listen on (default: PORT, or 3001)")
    parser.add_argument("--workers", help="worker processes (default: WEB_CONCURRENCY, or 1)")
    options = parser.parse_args(arguments)
    # Through the environment, so that they are checked in one place and the workers see the same values.
    if options.host is not None:
        os.environ["HOST"] = options.host
    if options.port is not None:
        os.environ["PORT"] = options.port
    if options.workers is not None:
        os.environ["WEB_CONCURRENCY"] = options.workers
    settings = settings_or_exit()
    # gunicorn reads this variable itself while it loads, and would fail on an empty value.
    os.environ["WEB_CONCURRENCY"] = str(settings.web_concurrency)
    command = [sys.executable, "-m", "gunicorn", "--config", "python:animochat.gunicorn_conf"]
    _make_package_found()
    # A new program in the same process: signals and the exit status are gunicorn's own, and its USR2 can restart it.
    # The worker calls the factory after patching the standard library, as with wsgi.py.
    os.execv(sys.executable, [*command, "animochat:create_app()"])


def _make_package_found() -> None:
    """Make sure that the new program finds this package if it is installed as a link to a folder of sources.

    gunicorn searches the current directory first, and would load any folder called `animochat` there.
    """
    sources = str(Path(animochat.__file__).parent.parent)
    if sources != sysconfig.get_path("purelib"):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [sources, os.environ.get("PYTHONPATH")]))
