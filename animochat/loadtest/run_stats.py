"""What the crowd saw: counts and times, and whether the server kept its promises (docs/protocol.md, "may rely on")."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

#: Times that are kept of one kind; beyond, every second one goes, so that a long run has its whole course.
MAX_TIMES = 200_000

#: Seconds after a room's end in which answers that were under way have arrived.
SETTLED = 5.0


class Times:
    """Durations in milliseconds, as seen on this machine's one clock."""

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
        """p50, p90, p99 and max in milliseconds; empty without any."""
        ordered = sorted(self._kept)
        if not ordered:
            return {}
        at = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        last = len(ordered) - 1
        return {name: round(ordered[min(last, int(share * len(ordered)))], 2) for name, share in at.items()}


@dataclass
class Member:
    """Somebody in a room: the seqs of what it was answered for and of what it got, and whether it was left behind."""

    partner_id: str
    sent: set[int] = field(default_factory=set)
    received: set[int] = field(default_factory=set)
    last_seq: int = 0
    left_behind: bool = False


class RunStats:
    """One for a run. Everything is told to it as it happens."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        #: Promises that were broken, by kind; none is what is expected.
        self.mistakes: Counter[str] = Counter()
        self.connecting, self.waiting = Times(), Times()
        self.acknowledging, self.delivering = Times(), Times()
        self._rooms: dict[str, dict[str, Member]] = {}
        #: Rooms that are over, and since when: what is under way may still arrive.
        self._over: deque[tuple[float, str]] = deque()

    def matched(self, room_id: str, user_id: str, partner_id: str) -> None:
        """Somebody was told of a room."""
        self.counts["matched"] += 1
        room = self._rooms.setdefault(room_id, {})
        if user_id in room or user_id == partner_id:
            self.mistakes["a person is in a room twice"] += 1
        room[user_id] = Member(partner_id)
        if len(room) > 2:
            self.mistakes["a room has more than two people"] += 1
        elif len(room) == 2 and any(member.partner_id not in room for member in room.values()):
            self.mistakes["two people in a room name different partners"] += 1

    def stored(self, room_id: str, user_id: str, seq: int, seconds: float) -> None:
        """The acknowledgement of a message is there, after so long."""
        self.counts["acknowledged"] += 1
        self.acknowledging.add(seconds)
        member = self._rooms.get(room_id, {}).get(user_id)
        if member is not None:
            if seq in member.sent:
                self.mistakes["two messages have the same seq"] += 1
            member.sent.add(seq)

    def got(self, room_id: str, user_id: str, sender_id: str, seq: int, seconds: float | None) -> None:
        """A message arrives at `user_id`, who is in the room `room_id`, after so long (None: no message of ours)."""
        self.counts["received"] += 1
        if seconds is None:
            self.mistakes["a message that no one here sent"] += 1
        else:
            self.delivering.add(seconds)
        member = self._rooms.get(room_id, {}).get(user_id)
        if member is None:
            self.mistakes["a message from another room"] += 1
            return
        if sender_id != member.partner_id:
            self.mistakes["a message from someone other than the partner"] += 1
        if seq in member.received:
            self.mistakes["a message arrived twice"] += 1
        elif seq < member.last_seq:
            self.mistakes["messages arrived out of order"] += 1
        member.received.add(seq)
        member.last_seq = max(member.last_seq, seq)

    def left_behind(self, room_id: str, user_id: str, now: float) -> None:
        """`user_id` was told that the partner is gone. What the partner was answered for has to be here by then."""
        member = self._rooms.get(room_id, {}).get(user_id)
        if member is not None:
            member.left_behind = True
            self._over.append((now, room_id))

    def settle(self, now: float) -> None:
        """Look at the rooms that were over `SETTLED` seconds before `now`, and forget them."""
        while self._over and self._over[0][0] <= now - SETTLED:
            room = self._rooms.pop(self._over.popleft()[1], {})
            for member in room.values():
                partner = room.get(member.partner_id)
                if member.left_behind and partner is not None:
                    lost = len(partner.sent - member.received)
                    if lost:
                        self.mistakes["an acknowledged message was lost"] += lost
