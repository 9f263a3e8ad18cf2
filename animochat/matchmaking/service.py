"""Who meets whom. The rules are in this folder's scripts; this is how Python calls them."""

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

#: Seconds between a worker's ticks, where there are few workers: bounds how late a rest ends.
TICK_INTERVAL = 0.25

#: Up to so many workers tick that often. More of them ask more seldom, and together do no more than these.
TICKING_WORKERS = 8

#: Seconds between a worker's ticks, however many there are: all others may just have died, and two people who may meet
#: are still never both left waiting for longer than 1 s.
LONGEST_TICK_INTERVAL = 0.75

#: Milliseconds for which nobody need look again once all that was due is done.
TICK_GAP_MS = 1000 * TICK_INTERVAL / TICKING_WORKERS


def tick_interval(workers: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds until a worker, one of so many, ticks again.

    By chance (`uniform`) a tenth more or less, so that they don't all do it at once.
    """
    seconds = TICK_INTERVAL * max(1.0, workers / TICKING_WORKERS)
    return min(LONGEST_TICK_INTERVAL, seconds) * uniform(0.9, 1.1)


@dataclass(frozen=True)
class Search:
    """What became of a request.

    `state`: "waiting", "matched", "cancelled", "in-room", or "unknown" where the store doesn't know the connection.
    `cooldown_ms` is the rest that is left; `version` orders this among all that happens to the person; `ended` is the
    room that the partner ended last, and the reason; `room_left` names the room that this request left. "" for none.
    `room` is the room that the person is in now: there with "matched" and "in-room".
    """

    state: str
    cooldown_ms: int = 0
    version: int = 0
    ended: tuple[str, str] = ("", "")
    room_left: str = ""
    room: RoomRecord | None = None


class Matchmaking:
    """The matching of one lobby. All methods wait for the store; all raise Unavailable.

    `history_ms`: how long two who met do not meet again. `cooldown_ms`: how long somebody rests after a skip.
    `interest_wait_ms`: how long somebody who named interests meets only people who share one. `clock` (Unix ms) takes
    the place of the store's clock, and `seed` that of randomness, for tests.
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
        """Look for a partner for somebody who is in no room, or let that person wait.

        `wanted`: the person's interests, as the person spells them. Who waits already goes on as it was.
        """
        args = [person, connection, self._seed(), self._history_ms, *self._interests(wanted), self._now()]
        return _search(self._pipeline.call(FIND_MATCH, self._lobby, args))

    def cancel_match(self, person: str, connection: str) -> Search:
        """Stop waiting."""
        return _search(self._pipeline.call(CANCEL_MATCH, self._lobby, [person, connection, self._now()]))

    def next_match(self, person: str, connection: str, wanted: Sequence[str] = ()) -> Search:
        """Leave the room, if there is one, which costs a rest, and look for another partner, as `find_match` does."""
        args = [person, connection, self._seed(), self._history_ms, self._cooldown_ms, *self._interests(wanted)]
        return _search(self._pipeline.call(NEXT_MATCH, self._lobby, [*args, self._now()]))

    def _interests(self, wanted: Sequence[str]) -> tuple[int, str, bytes]:
        """What find_match.lua and next_match.lua want to know of somebody's interests."""
        if not wanted:
            return self._interest_wait_ms, "", b""
        names = interests.by_name(wanted)
        return self._interest_wait_ms, " ".join(names), msgspec.json.encode(list(names.values()))

    def tick(self, gap_ms: float = 0) -> bool:
        """Do what is due; True where more is due than one script should do, so that it is to be called again.

        Does nothing where all of it was done, by whichever worker, less than `gap_ms` ago.
        """
        return bool(self._pipeline.call(TICK, self._lobby, [self._seed(), self._history_ms, gap_ms, self._now()]))


def _search(reply: list[Any]) -> Search:
    """Return what matchmaking/scripts/include/answer.lua says."""
    state = reply[0].decode()
    if len(reply) == 1:
        return Search(state)
    _, cooldown_ms, version, ended, room_left, *room = reply
    room_id, _, reason = ended.decode().partition(" ")
    return Search(state, cooldown_ms, version, (room_id, reason), room_left.decode(), read_room(room))
