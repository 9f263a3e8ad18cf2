"""Read the settings of a process that an operator started, or print the mistakes in them."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from dotenv import load_dotenv

from animochat.moderation.alert_settings import check_alert_settings
from animochat.moderation.words import word_filter
from animochat.settings import Settings, SettingsError

#: Exit status for a bad configuration: argparse's for a bad command line.
EXIT_USAGE = 2


def read_settings() -> Settings:
    """Return the settings of this process, including `.env` in the current directory. Raises SettingsError."""
    _read_dot_env(Path.cwd() / ".env")
    settings = Settings.from_environ(os.environ)
    word_filter(settings)  # report mistakes in its file before anything starts
    check_alert_settings(settings)
    return settings


def _read_dot_env(path: Path) -> None:
    """Add the file's variables to the environment; existing ones win. Raises SettingsError."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError([f".env can't be read: {why}"]) from None
    if "\0" in text:
        raise SettingsError([".env can't be read: it is not UTF-8"])
    load_dotenv(stream=io.StringIO(text))


def settings_or_exit(status: int = EXIT_USAGE) -> Settings:
    """Do the same as `read_settings`; on mistakes print a line for each and exit."""
    try:
        return read_settings()
    except SettingsError as error:
        for mistake in error.mistakes:
            print(f"animochat: {mistake}", file=sys.stderr)
        sys.exit(status)
