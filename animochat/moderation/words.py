"""The word filter: a file of patterns that the operator doesn't allow in messages (docs/moderation.md).

RE2 matches them, in time that grows linearly with the message's length, whatever the pattern. With Python's own `re` a
pattern could block a worker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from animochat.protocol.errors import InvalidPayload
from animochat.settings import Settings, SettingsError

#: Bytes that RE2 may use for all patterns together: enough for some tens of thousands of words.
MAX_MEMORY = 32 * 1024 * 1024


class WordFilter:
    """Masks matches, or refuses the message. Made by `word_filter`."""

    def __init__(self, pattern: Any, refuse: bool) -> None:
        self._pattern = pattern
        self._refuse = refuse

    def apply(self, content: str) -> str:
        """Return the content, with matches masked. Raise InvalidPayload if the filter refuses it."""
        if not self._refuse:
            return str(self._pattern.sub(lambda match: "*" * len(match.group()), content))
        if self._pattern.search(content):
            raise InvalidPayload("The message contains words that aren't allowed here")
        return content


def word_filter(settings: Settings) -> WordFilter | None:
    """Return the filter that the settings ask for, or None. Read its file. Raise SettingsError if it is wrong."""
    if settings.word_filter_file is None:
        return None
    patterns = _patterns(settings.word_filter_file)
    if not patterns:
        return None
    together = _compiled("|".join(f"(?:{pattern})" for pattern in patterns), "all patterns combined")
    return WordFilter(together, settings.word_filter_action == "refuse")


def _patterns(path: str) -> list[str]:
    """Return one pattern per line, without empty lines and comments (#). Check each alone: errors name its line."""
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
    import re2  # only if there is a filter: RE2 takes some megabytes

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
