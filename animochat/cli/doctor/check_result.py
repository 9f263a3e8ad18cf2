"""The doctor's results: one line for each check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """The severity; the worst one decides the exit status."""

    #: Everything is right.
    OK = 0
    #: The check was not possible. No fault is known.
    SKIPPED = 1
    #: The server will run, but worse than it could, or may lose data that an operator wants to keep.
    WARNING = 2
    #: The server will not run, or not correctly.
    ERROR = 3


@dataclass(frozen=True)
class CheckResult:
    """`check` names the check, `text` describes the state, and the change to make, if any."""

    level: Level
    check: str
    text: str
