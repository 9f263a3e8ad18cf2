"""What was said lately, in this worker's memory alone: the log of those who may not store it (`STORE_MESSAGES=0`).

A worker remembers what its own people said and what came over its channel for them, also while they are away. So who
comes back to the same worker gets what was said meanwhile; no other worker has it.
"""

from __future__ import annotations

from typing import NamedTuple


class RememberedMessage(NamedTuple):
    """A message. `receiver` is the person that it was said to, `timestamp` in Unix ms."""

    receiver: str
    timestamp: int
    body: str


class Memory:
    """The last `length` messages of each room."""

    def __init__(self, length: int) -> None:
        self._length = length
        #: by room, then by seq, in the order in which they came
        self._rooms: dict[str, dict[int, RememberedMessage]] = {}
        self._absent: set[str] = set()

    def keep(self, room_id: str, seq: int, message: RememberedMessage) -> bool:
        """Remember a message, once. Returns whether it is new here."""
        room = self._rooms.setdefault(room_id, {})
        if seq in room:
            return False
        room[seq] = message
        if len(room) > self._length:
            del room[next(iter(room))]
        return True

    def after(self, room_id: str, seq: int) -> list[tuple[int, RememberedMessage]]:
        """What is remembered of the messages behind that one, in their order."""
        return sorted(item for item in self._rooms.get(room_id, {}).items() if item[0] > seq)

    def has_all(self, room_id: str, after: int, last: int) -> bool:
        """Is every message of the room remembered that came after `after`, up to `last`?"""
        room = self._rooms.get(room_id, {})
        return all(seq in room for seq in range(after + 1, last + 1))

    def forget(self, present: set[str]) -> None:
        """Forget the rooms that are not among those `present`, and were not the last time either."""
        for room_id in self._absent - present:
            self._rooms.pop(room_id, None)
        self._absent = self._rooms.keys() - present
