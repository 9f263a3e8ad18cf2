"""Who is kept from whom. The rules are in this folder's scripts; this is how Python calls them."""

from __future__ import annotations

from collections.abc import Callable

from animochat.store import keys
from animochat.store.pipeline import Pipeline
from animochat.store.scripts import load

BLOCK_PARTNER = load("moderation/block_partner")

SCRIPTS = [BLOCK_PARTNER]

DAY_MS = 24 * 3600 * 1000

#: Milliseconds for which two people do not meet after one of them blocked or reported the other: for good, as far as an
#: anonymous person lasts.
BLOCK_MS = 90 * DAY_MS


class Moderation:
    """The scripts of this folder for one lobby. All methods wait for the store; all raise Unavailable.

    `clock` (Unix ms) takes the place of the store's clock, for tests.
    """

    def __init__(
        self, pipeline: Pipeline, lobby: str = keys.MAIN_LOBBY, clock: Callable[[], int] | None = None
    ) -> None:
        self._pipeline = pipeline
        self._lobby = [keys.lobby(lobby)]
        self._now: Callable[[], int | str] = clock or (lambda: "")

    def block_partner(self, person: str, connection: str) -> tuple[str, int, str]:
        """End the person's room, and keep its two people apart. Returns what `Rooms.leave` returns."""
        args = [person, connection, BLOCK_MS, self._now()]
        state, *rest = self._pipeline.call(BLOCK_PARTNER, self._lobby, args)
        return (state.decode(), rest[0], rest[1].decode()) if rest else (state.decode(), 0, "")
