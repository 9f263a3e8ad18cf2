"""Open and close the rooms' logs.

In a cluster a log is in its own slot, so the scripts that make and end rooms can't touch it: workers open and close it.
A worker that has a member of the room does so at once; an agenda in the lobby's slot has all other rooms that ended.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from animochat.store import keys
from animochat.store.gather import gather
from animochat.store.node import Command, Request
from animochat.store.pipeline import Pipeline, evalsha
from animochat.store.scripts import load

CLOSE_ROOMS = load("rooms/close_rooms")
OPEN_ROOMS = load("rooms/open_rooms")
TAKE_ENDED = load("rooms/take_ended")

#: Milliseconds that an unchanged log is kept, longer than any silence in an open room: a day, and the hour in which
#: append_messages.lua doesn't renew it.
LOG_LIFE_MS = 25 * 3600 * 1000

#: Milliseconds that a log is kept after its room's end, and for which a report is possible, unless set otherwise.
ENDED_LIFE_MS = 15 * 60 * 1000

#: Rooms that one script call opens or closes at most: bounds its time to about a millisecond.
PORTION = 100

#: Milliseconds after which another worker may close a log, if the worker that took it has not finished. Longer than a
#: worker waits for the store.
CLOSING_MS = 5000


class _Opening(NamedTuple):
    room_id: str
    slot: str
    version: int


class LogLife:
    """Opens and closes the logs of one lobby. `lobby`: its tag; `ended_life_ms`: how long ended rooms' logs last.

    `report_window_ms`: how long an ended room's members are kept.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        lobby: str,
        now: Callable[[], int | str],
        ended_life_ms: int,
        report_window_ms: int = ENDED_LIFE_MS,
    ) -> None:
        self._pipeline = pipeline
        self._lobby = lobby
        self._now = now
        self._ended_life_ms = ended_life_ms
        self._report_window_ms = report_window_ms
        self._openings: list[_Opening] = []
        #: Called with rooms that have ended, by one worker for each room.
        self.on_ended: Callable[[list[str]], None] = lambda room_ids: None

    def open(self, room_id: str, slot: str, version: int) -> None:
        """Let the log of a new room accept a member's messages.

        `version`: the person's at the match. Does not wait: the command goes out before any later message. If it
        fails, the first message is refused as lost, and the member is attached again.
        """
        self._openings.append(_Opening(room_id, slot, version))
        self._pipeline.wake()

    def collect(self) -> list[Request]:
        """Return the commands for the logs to open."""
        openings, self._openings = self._openings, []
        commands: list[Request] = []
        for some in self._pipeline.by_slot(openings, lambda opening: keys.room(opening.room_id)):
            for start in range(0, len(some), PORTION):
                portion = some[start : start + PORTION]
                args: list[Any] = [LOG_LIFE_MS]
                for opening in portion:
                    args += [opening.slot, opening.version]
                rooms = [keys.room(opening.room_id) for opening in portion]
                commands.append((evalsha(OPEN_ROOMS, rooms, args), lambda reply: None))
        return commands

    def close(self, room_id: str) -> None:
        """Close the log of a room that is over, so that it accepts no further messages.

        Waits for the store. Raises Unavailable; the agenda has the room then, and some worker closes it.
        """
        self._pipeline.execute(*self._closing([room_id]))

    def begin_to_close(self, room_id: str, closed: Callable[[], None]) -> None:
        """Do the same without waiting. Call `closed` after the reply, which follows all earlier writes to the room;
        also if the store can't be reached.
        """
        self._pipeline.submit(self._closing([room_id]), lambda reply: closed())

    def close_ended(self) -> None:
        """Close the logs of the agenda's rooms. Call this at intervals. Waits for the store; raises Unavailable."""
        while True:
            args = [PORTION, CLOSING_MS, self._report_window_ms, self._now()]
            reply = self._pipeline.call(TAKE_ENDED, [self._lobby], args)
            slots = self._pipeline.by_slot([name.decode() for name in reply], keys.room)
            answers = gather([partial(self._pipeline.execute, *self._closing(rooms)) for rooms in slots])
            closed = [room for rooms, answer in zip(slots, answers, strict=True) if answer == 1 for room in rooms]
            if closed:
                self._pipeline.execute("ZREM", self._lobby + ":ended", *closed)
                self.on_ended(closed)
            if len(reply) < PORTION:
                return

    def _closing(self, room_ids: list[str]) -> Command:
        return evalsha(CLOSE_ROOMS, [keys.room(room_id) for room_id in room_ids], [self._ended_life_ms])
