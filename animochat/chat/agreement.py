"""Check that a worker's set-up fits those of the other workers on its store, and that the store fits its data.

A worker checks it while it serves, and logs each disagreement once until it is over.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from animochat import __version__
from animochat.chat.lobby import Lobby
from animochat.presence.identity import disagreements, identity, misfit
from animochat.protocol.errors import Unavailable
from animochat.settings import Settings
from animochat.store.gather import gather
from animochat.store.persistence import keeps_nothing
from animochat.store.pipeline import Pipeline

log = logging.getLogger(__name__)

#: Seconds between two looks: more than the lease of a worker that was killed, which seems to live until then.
COMPARE = 6.0

#: Seconds that the first look, before the worker begins, may take.
START_TIMEOUT = 1.0

#: Shows whether the store keeps data on disk. A user without permission for it loses only this check.
LOOK = ("INFO", "persistence")

#: Looks in a row that must show the disagreement before it is logged, where not two: its record may just be lost.
LOOKS = {"older": 3}


class Agreement:
    """One for each worker. `look` waits for the store, and raises Unavailable."""

    def __init__(self, settings: Settings, pipeline: Pipeline, lobbies: Sequence[Lobby]) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._lobbies = lobbies
        #: Kind of disagreement -> at how many looks in a row it was there.
        self._seen: dict[str, int] = {}
        self._looked_at_bans = False

    def misfit(self) -> str:
        """Return why this worker must not start beside the others on its store, "" if it may.

        Waits for the store, but not for long: where it does not answer, `look` logs a misfit later.
        """
        asked = [partial(lobby.presence.identify, "") for lobby in self._lobbies]
        answers = [answer for answer in gather(asked, START_TIMEOUT) if not isinstance(answer, Unavailable)]
        return misfit(__version__, [other for answer in answers for other in answer])

    def look(self, secret: str) -> None:
        """Compare this worker with the others. `secret`: the one that signs tokens."""
        mine = identity(secret, self._settings.store_messages, __version__)
        wrong: dict[str, str] = {}
        for outcome in gather([partial(lobby.presence.identify, mine) for lobby in self._lobbies]):
            if not isinstance(outcome, Unavailable):
                wrong.update(disagreements(mine, outcome))
        for kind, text in wrong.items():
            if self._seen.get(kind, 0) + 1 == LOOKS.get(kind, 2):
                log.error("Wrong set-up: %s", text)
        self._seen = {kind: self._seen.get(kind, 0) + 1 for kind in wrong}
        if self._settings.production and not self._looked_at_bans:
            self._look_at_bans()

    def _look_at_bans(self) -> None:
        bans = sum(lobby.moderation.bans(0, 1)[0] for lobby in self._lobbies)
        self._looked_at_bans = True  # a store that refuses the command is asked once
        if bans and keeps_nothing(self._pipeline.execute(*LOOK).decode()):
            text = "The store has kept nothing on its disk since it started: a restart of it ends all bans, %s now."
            log.warning(text + " Set appendonly yes there", bans)
