"""Access to the operator's page. The store counts wrong tokens and keeps sessions, for all workers together.

Everything is in the first lobby's slot, whichever lobby the operator works on.
"""

from __future__ import annotations

import secrets

from animochat.moderation.moderators import OWNER, Moderators
from animochat.store import keys
from animochat.store.pipeline import Pipeline
from animochat.store.scripts import load

TRY_TOKEN = load("moderation/try_token")

#: Wrong tokens that one address may show within ATTEMPTS_MS, counted from the first of them.
MAX_ATTEMPTS = 10
ATTEMPTS_MS = 15 * 60 * 1000


class OperatorAccess:
    """Count wrong tokens, and open, check and end sessions. All methods wait for the store and raise Unavailable."""

    def __init__(self, pipeline: Pipeline, lobby: str = keys.MAIN_LOBBY) -> None:
        self._pipeline = pipeline
        self._tag = keys.lobby(lobby)
        self.moderators = Moderators(pipeline, lobby)

    def try_token(self, address: str, right: bool) -> int:
        """Count a token from an address (a keyed hash), if the token is wrong.

        Return 0, or the milliseconds for which no token from this address is accepted, right or wrong.
        """
        return int(self._pipeline.call(TRY_TOKEN, [self._tag], [address, int(right), MAX_ATTEMPTS, ATTEMPTS_MS]))

    def open_session(self, ms: int, holder: str = OWNER) -> str:
        """Open a session that lasts `ms` milliseconds. Return its id.

        `holder`: OWNER, or the digest of a moderator's token; with the token the session ends.
        """
        session = secrets.token_urlsafe(16)
        self._pipeline.execute("SET", self._session(session), holder, "PX", ms)
        return session

    def holder(self, session: str) -> str | None:
        """Return the name of an open session's holder, OWNER or a moderator; None if it is not open."""
        holder = self._pipeline.execute("GET", self._session(session))
        if holder is None:
            return None
        # "1": a session that an earlier version has opened
        return OWNER if holder in (OWNER.encode(), b"1") else self.moderators.name_of(holder.decode())

    def end_session(self, session: str) -> None:
        self._pipeline.execute("DEL", self._session(session))

    def _session(self, session: str) -> str:
        return f"{self._tag}:operator:{session}"
