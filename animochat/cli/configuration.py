"""The settings of a process that an operator started, or the lines that say what is wrong with them."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from dotenv import load_dotenv

from animochat.moderation.words import word_filter
from animochat.settings import Settings, SettingsError

#: Exit status for a bad configuration, as argparse has it for a bad command line.
EXIT_USAGE = 2


def read_settings() -> Settings:
    """The settings of this process, `.env` in the current directory included. Raises SettingsError."""
    _read_dot_env(Path.cwd() / ".env")
    settings = Settings.from_environ(os.environ)
    word_filter(settings)  # its file too is named before anything starts
    return settings


def _read_dot_env(path: Path) -> None:
    """Put what the file has into the environment; what is there already wins. Raises SettingsError."""
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
    """As `read_settings`; if something is wrong, prints a line for each mistake and exits."""
    try:
        return read_settings()
    except SettingsError as error:
        for mistake in error.mistakes:
            print(f"animochat: {mistake}", file=sys.stderr)
        sys.exit(status)
