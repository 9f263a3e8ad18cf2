"""Rooms that this worker saw end, in case the store comes back older."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds for which an end is remembered: longer than a store that comes back is behind.
KEPT_SECONDS = 900.0

#: Ends that are remembered at most, the latest: some 2 MB.
KEPT_ROOMS = 20_000


class EndedRooms:
    """The rooms whose end the connections of one lobby saw here lately. `clock`: monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Room -> when it ended, the oldest first.
        self._ended: dict[str, float] = {}

    def add(self, room_id: str) -> None:
        """Remember an end."""
        self._ended.pop(room_id, None)
        self._ended[room_id] = self._clock()
        while len(self._ended) > KEPT_ROOMS:
            del self._ended[next(iter(self._ended))]

    def __contains__(self, room_id: object) -> bool:
        return room_id in self._ended

    def latest(self) -> list[str]:
        """Return the remembered ends; forget the expired ones."""
        oldest = self._clock() - KEPT_SECONDS
        while self._ended and next(iter(self._ended.values())) < oldest:
            del self._ended[next(iter(self._ended))]
        return list(self._ended)
