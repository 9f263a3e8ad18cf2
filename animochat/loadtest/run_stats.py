"""Measurements of a run, and whether the server kept its promises (docs/protocol.md, "Promises to clients")."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from animochat.loadtest.history import KINDS, Excuse, History, Stay

#: Kept times of one kind; beyond, every second one is dropped, so that a long run is covered from start to end.
MAX_TIMES = 200_000

#: Seconds after a room's end in which acknowledgements under way have arrived.
SETTLED = 5.0


class Durations:
    """Durations in milliseconds, measured with this machine's one clock."""

    def __init__(self) -> None:
        self._kept: list[float] = []
        self._step = 1
        self.count = 0

    def add(self, seconds: float) -> None:
        self.count += 1
        if self.count % self._step == 0:
            self._kept.append(seconds * 1000)
            if len(self._kept) > MAX_TIMES:
                self._kept = self._kept[::2]
                self._step *= 2

    def percentiles(self) -> dict[str, float]:
        """Return p50, p90, p99 and max in milliseconds; empty without any."""
        ordered = sorted(self._kept)
        if not ordered:
            return {}
        at = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        last = len(ordered) - 1
        return {name: round(ordered[min(last, int(share * len(ordered)))], 2) for name, share in at.items()}


class RunStats:
    """The statistics of one run. Simulated users report everything as it happens.

    Each room has a history, which is checked and forgotten once the room is over, so that a long run needs no more
    memory than a short one. A person's client keeps the same name.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        #: Broken promises, by kind; none is expected. And excused ones.
        self.mistakes: Counter[str] = Counter()
        self.excused: Counter[Excuse] = Counter()
        self.connecting, self.waiting = Durations(), Durations()
        self.acknowledging, self.delivering = Durations(), Durations()
        self._rooms: dict[str, History] = {}
        self._room_of: dict[str, str] = {}
        #: Rooms that are over, and since when: messages on their way may still arrive.
        self._over: deque[tuple[float, str]] = deque()

    def matched(self, client: str, match: dict[str, Any]) -> None:
        """Record the event `matched`."""
        self.counts["matched"] += 1
        before = self._stay(client)
        if before is not None:
            if not before.over:
                self.mistakes[KINDS["two rooms"]] += 1
            before.ended = True
        self._room_of[client] = match["roomId"]
        self._rooms.setdefault(match["roomId"], History()).event(client, "matched", match)

    def said(self, client: str, room: str, content: str) -> None:
        """Record that a message was sent."""
        self.counts["sent"] += 1
        if room in self._rooms:
            self._rooms[room].note(client, "sent", room=room, content=content)

    def stored(self, client: str, room: str, content: str, answer: dict[str, Any], seconds: float) -> None:
        """Record the acknowledgement of a message, `seconds` after it was sent."""
        self.counts["acknowledged"] += 1
        self.acknowledging.add(seconds)
        if room in self._rooms:
            self._rooms[room].note(client, "acknowledged", content=content, id=answer["id"], seq=answer["seq"])

    def got(self, client: str, message: dict[str, Any], seconds: float | None) -> None:
        """Record a message, `seconds` after it was sent (None: its text has no time of sending)."""
        self.counts["received"] += 1
        if seconds is not None:
            self.delivering.add(seconds)
        history = self._rooms.get(message["roomId"])
        if history is None:
            self.mistakes[KINDS["wrong room"]] += 1
        else:
            history.event(client, "message", message)

    def ended(self, client: str, reason: str, now: float) -> None:
        """Record the event `partner-disconnected`, at that time (monotonic, in seconds)."""
        room = self._room_of.get(client, "")
        if room in self._rooms:
            self._rooms[room].event(client, "partner-disconnected", {"reason": reason})
            self._over.append((now, room))
        else:
            self.mistakes[KINDS["no room"]] += 1

    def note(self, client: str, note: str, room: str, now: float) -> None:
        """Record that the client is "leaving" the room, has "left" it, or is "gone" forever."""
        if room in self._rooms:
            self._rooms[room].note(client, note, room=room)
            self._over.append((now, room))

    def settle(self, now: float) -> None:
        """Check and forget the rooms that were over for all members `SETTLED` seconds before `now`."""
        while self._over and self._over[0][0] <= now - SETTLED:
            room = self._over.popleft()[1]
            if room in self._rooms and all(stay.over or stay.gone for stay in self._rooms[room].stays):
                self._check(room)

    def finish(self) -> None:
        """Check all other rooms. No message is under way any more."""
        for room in list(self._rooms):
            self._check(room)

    def _check(self, room: str) -> None:
        history = self._rooms.pop(room)
        for violation in history.violations():
            kind = violation.partition(":")[0]
            self.mistakes[KINDS[kind]] += 1
        self.excused += history.excused
        for stay in history.stays:
            if self._room_of.get(stay.client) == room:
                del self._room_of[stay.client]

    def _stay(self, client: str) -> Stay | None:
        history = self._rooms.get(self._room_of.get(client, ""))
        return history.present.get(client) if history is not None else None
