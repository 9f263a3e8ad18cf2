"""Matching. The rules are in this folder's scripts; this module calls them."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from animochat.matchmaking import interests
from animochat.protocol.room_record import RoomRecord, read_room
from animochat.store import keys
from animochat.store.pipeline import Pipeline
from animochat.store.scripts import load

FIND_MATCH = load("matchmaking/find_match")
CANCEL_MATCH = load("matchmaking/cancel_match")
NEXT_MATCH = load("matchmaking/next_match")
TICK = load("matchmaking/tick")

SCRIPTS = [FIND_MATCH, CANCEL_MATCH, NEXT_MATCH, TICK]

#: Seconds between two ticks of one worker, with up to TICKING_WORKERS workers. A cooldown then ends at most about
#: this much late.
TICK_INTERVAL = 0.25

#: Up to this many workers tick that often. More workers tick less often, so that together they do no more.
TICKING_WORKERS = 8

#: Longest interval between two ticks of a worker, in seconds: even if all other workers have just died, two people who
#: may meet do not both wait for longer than 1 s.
LONGEST_TICK_INTERVAL = 0.75

#: Milliseconds after a complete tick during which other ticks have nothing to do.
TICK_GAP_MS = 1000 * TICK_INTERVAL / TICKING_WORKERS


def tick_interval(workers: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """Return the seconds until the next tick of one of `workers` workers.

    `uniform` varies them at random by up to a tenth, so that the workers don't tick at the same time.
    """
    seconds = TICK_INTERVAL * max(1.0, workers / TICKING_WORKERS)
    return min(LONGEST_TICK_INTERVAL, seconds) * uniform(0.9, 1.1)


@dataclass(frozen=True)
class Search:
    """The result of a request.

    `state`: "waiting", "matched", "cancelled", "in-room", or "unknown" if the store doesn't know the connection.
    `cooldown_ms`: the cooldown that is left. `version` orders this among all changes of the person. `ended`: the room
    that the partner ended last, and the reason. `room_left`: the room that this request left. "" stands for none.
    `room`: the person's current room, with "matched" and "in-room".
    """

    state: str
    cooldown_ms: int = 0
    version: int = 0
    ended: tuple[str, str] = ("", "")
    room_left: str = ""
    room: RoomRecord | None = None


class Matchmaking:
    """The matching of one lobby. All methods wait for the store; all raise Unavailable.

    `history_ms`: how long two people who were matched do not meet again. `cooldown_ms`: the cooldown after a skip.
    `interest_wait_ms`: how long a person with interests meets only people who share one. Tests replace the store's
    clock with `clock` (Unix ms) and randomness with `seed`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        history_ms: int,
        cooldown_ms: int,
        interest_wait_ms: int,
        lobby: str = keys.MAIN_LOBBY,
        clock: Callable[[], int] | None = None,
        seed: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._pipeline = pipeline
        self._history_ms = history_ms
        self._cooldown_ms = cooldown_ms
        self._interest_wait_ms = interest_wait_ms
        self._lobby = [keys.lobby(lobby)]
        self._now: Callable[[], int | str] = clock or (lambda: "")
        self._seed = seed

    def find_match(self, person: str, connection: str, wanted: Sequence[str] = ()) -> Search:
        """Find a partner for a person who is in no room, or let the person wait.

        `wanted`: the person's interests, in the person's spelling. A search that runs already continues unchanged.
        """
        args = [person, connection, self._seed(), self._history_ms, *self._interests(wanted), self._now()]
        return _search(self._pipeline.call(FIND_MATCH, self._lobby, args))

    def cancel_match(self, person: str, connection: str) -> Search:
        """Stop waiting."""
        return _search(self._pipeline.call(CANCEL_MATCH, self._lobby, [person, connection, self._now()]))

    def next_match(self, person: str, connection: str, wanted: Sequence[str] = ()) -> Search:
        """Leave the room, if there is one, which starts a cooldown; then search as `find_match` does."""
        args = [person, connection, self._seed(), self._history_ms, self._cooldown_ms, *self._interests(wanted)]
        return _search(self._pipeline.call(NEXT_MATCH, self._lobby, [*args, self._now()]))

    def _interests(self, wanted: Sequence[str]) -> tuple[int, str, bytes]:
        """Return the arguments of find_match.lua and next_match.lua that are about interests."""
        if not wanted:
            return self._interest_wait_ms, "", b""
        names = interests.by_name(wanted)
        return self._interest_wait_ms, " ".join(names), msgspec.json.encode(list(names.values()))

    def tick(self, gap_ms: float = 0) -> bool:
        """Do what is due. Return True if more is due than one script should do: then call this again.

        Does nothing if any worker did everything less than `gap_ms` ago.
        """
        return bool(self._pipeline.call(TICK, self._lobby, [self._seed(), self._history_ms, gap_ms, self._now()]))


def _search(reply: list[Any]) -> Search:
    """Parse the reply of matchmaking/scripts/include/answer.lua."""
    state = reply[0].decode()
    if len(reply) == 1:
        return Search(state)
    _, cooldown_ms, version, ended, room_left, *room = reply
    room_id, _, reason = ended.decode().partition(" ")
    return Search(state, cooldown_ms, version, (room_id, reason), room_left.decode(), read_room(room))
