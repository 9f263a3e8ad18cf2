"""Moderators with their own names and tokens, in addition to the owner, who has ADMIN_TOKEN.

The store has a digest of each token, which is 256 random bits and so needs no salt. Everything is in the first lobby's
slot. Each lobby's log has all actions with their authors (scripts/include/record.lua); nothing edits it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable

import msgspec

from animochat.store import keys
from animochat.store.pipeline import Pipeline
from animochat.store.scripts import load

ADD_MODERATOR = load("moderation/add_moderator")
REVOKE_MODERATOR = load("moderation/revoke_moderator")

#: Names in bans and in the log: of the owner, who uses ADMIN_TOKEN, and of automatic suspensions.
OWNER, REPORTS = "operator", "reports"

#: Prefix of the name of an operating system's user, who used the shell.
SHELL = "shell:"

#: Maximal number of moderators.
MAX_MODERATORS = 100

_NAME = re.compile(r"[A-Za-z0-9._-]{1,32}", re.ASCII)


class Moderator(msgspec.Struct):
    """A moderator. `since`: creation of the token, Unix ms."""

    name: str
    since: int


class Action(msgspec.Struct):
    """An entry of the log. `at`: Unix ms. `by`: "operator", a moderator's name, or "shell:" and a user's name.

    `what`: "ban", "dismiss", "lift", "announce", "add-moderator" or "revoke-moderator". `on`: its subjects (`report`,
    `person`, …).
    """

    id: str
    lobby: str
    at: int
    by: str
    what: str
    on: dict[str, str]


class NameRefused(Exception):
    """The text is the reason why a moderator can't have that name."""


def is_name(name: str) -> bool:
    """Return whether a moderator may have this name."""
    return _NAME.fullmatch(name) is not None and name.lower() not in (OWNER, REPORTS)


def digest_of(token: bytes) -> str:
    """Return the digest of a token for the store."""
    return hashlib.sha256(b"animochat.moderator:" + token).hexdigest()


class Moderators:
    """All methods wait for the store and raise Unavailable. Tests replace the store's clock with `clock` (Unix ms)."""

    def __init__(
        self, pipeline: Pipeline, lobby: str = keys.MAIN_LOBBY, clock: Callable[[], int] | None = None
    ) -> None:
        self._pipeline = pipeline
        self._tag = keys.lobby(lobby)
        self._now: Callable[[], int | str] = clock or (lambda: "")

    def add(self, name: str, by: str) -> str:
        """Add a moderator. Return the token, which nothing can show again. Raises NameRefused."""
        if not is_name(name):
            raise NameRefused("a name has up to 32 of the characters A-Z a-z 0-9 . _ -, and is not `operator`")
        token = secrets.token_urlsafe(32)
        args = [name, digest_of(token.encode()), by, MAX_MODERATORS, self._now()]
        outcome = self._pipeline.call(ADD_MODERATOR, [self._tag], args)
        if outcome == b"taken":
            raise NameRefused(f"there is a moderator {name}: revoke that one first")
        if outcome == b"full":
            raise NameRefused(f"there are {MAX_MODERATORS} moderators")
        return token

    def list(self) -> list[Moderator]:
        """Return all moderators, by name."""
        values = self._pipeline.execute("HVALS", f"{self._tag}:moderators")
        pairs = sorted(value.decode().split() for value in values)
        return [Moderator(name, int(since)) for name, since in pairs]

    def revoke(self, name: str, by: str) -> bool:
        """Revoke a moderator's token and end the moderator's sessions. Return False if there is none of that name."""
        return bool(self._pipeline.call(REVOKE_MODERATOR, [self._tag], [name, by, self._now()]))

    def name_of(self, digest: str) -> str | None:
        """Return the name of the moderator whose token has this digest, or None."""
        value = self._pipeline.execute("HGET", f"{self._tag}:moderators", digest)
        return None if value is None else value.decode().split()[0]
