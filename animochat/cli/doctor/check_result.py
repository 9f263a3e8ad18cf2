"""What the doctor finds: one line for each check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad it is; the worst one decides the exit status."""

    #: As it should be.
    OK = 0
    #: Could not be looked at. Nothing is known to be wrong.
    SKIPPED = 1
    #: It will run, but worse than it could, or lose something that an operator may want to keep.
    WARNING = 2
    #: It will not run, or not right.
    ERROR = 3


@dataclass(frozen=True)
class CheckResult:
    """`check` names what was looked at, `text` says how it is, and what to change where something is to be changed."""

    level: Level
    check: str
    text: str
