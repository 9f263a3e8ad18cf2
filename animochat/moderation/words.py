"""The word filter: what the operator doesn't want to be said, as a file of patterns (docs/moderation.md).

RE2 finds them, in time that grows with the message's length and no faster, whatever the pattern: none can hold a worker
up, as it could with Python's own `re`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from animochat.protocol.errors import InvalidPayload
from animochat.settings import Settings, SettingsError

#: Bytes that RE2 may use for all patterns together; some tens of thousands of words.
MAX_MEMORY = 32 * 1024 * 1024


class WordFilter:
    """Masks what matches, or refuses the message. Made by `word_filter`."""

    def __init__(self, pattern: Any, refuse: bool) -> None:
        self._pattern = pattern
        self._refuse = refuse

    def apply(self, content: str) -> str:
        """The content as it may be said. Raises InvalidPayload where the filter refuses."""
        if not self._refuse:
            return str(self._pattern.sub(lambda match: "*" * len(match.group()), content))
        if self._pattern.search(content):
            raise InvalidPayload("The message contains words that aren't allowed here")
        return content


def word_filter(settings: Settings) -> WordFilter | None:
    """The filter that the operator has switched on, or None. Reads the file. Raises SettingsError."""
    if settings.word_filter_file is None:
        return None
    patterns = _patterns(settings.word_filter_file)
    if not patterns:
        return None
    together = _compiled("|".join(f"(?:{pattern})" for pattern in patterns), "all patterns combined")
    return WordFilter(together, settings.word_filter_action == "refuse")


def _patterns(path: str) -> list[str]:
    """One a line; empty lines and those that begin with # are none. Each is checked by itself, to name its line."""
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError([f"WORD_FILTER_FILE: {path!r} can't be read: {why}"]) from None
    patterns: list[str] = []
    mistakes: list[str] = []
    for number, line in enumerate(lines, 1):
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        try:
            if _compiled(pattern, f"line {number}").search(""):
                mistakes.append(f"WORD_FILTER_FILE: line {number}: the pattern matches empty text")
        except SettingsError as error:
            mistakes += error.mistakes
        patterns.append(pattern)
    if mistakes:
        raise SettingsError(mistakes)
    return patterns


def _compiled(pattern: str, where: str) -> Any:
    import re2  # only where there is a filter: RE2 takes some megabytes

    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0]
        why = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        raise SettingsError([f"WORD_FILTER_FILE: {where}: {why}"]) from None
