"""The latest messages, in this worker's memory: the log if messages may not be stored (`STORE_MESSAGES=0`).

A worker keeps the messages that its own people sent and those that came over its channel for them, also while they are
away. So a client that reconnects to the same worker gets the messages it missed; no other worker has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from animochat.rooms.log import LOG_LENGTH, LoggedMessage, LogPart, LogReply


class RememberedMessage(NamedTuple):
    """A message. `receiver` is a person, `timestamp` Unix ms."""

    receiver: str
    timestamp: int
    body: str


class MemoryLog:
    """The last `length` messages of each room that has someone on this worker. See `Log` for the methods."""

    shared = False

    def __init__(self, length: int = LOG_LENGTH) -> None:
        self._length = length
        #: by room, then by seq, in the order of arrival
        self._rooms: dict[str, dict[int, RememberedMessage]] = {}
        self._absent: set[str] = set()

    def keep(self, room_id: str, seq: int, receiver: str, timestamp: int, body: str) -> bool:
        room = self._rooms.setdefault(room_id, {})
        if seq in room:
            return False
        room[seq] = RememberedMessage(receiver, timestamp, body)
        if len(room) > self._length:
            del room[next(iter(room))]
        return True

    def after(self, room_id: str, seq: int) -> list[tuple[int, RememberedMessage]]:
        """Return the kept messages after that one, in their order."""
        return sorted(item for item in self._rooms.get(room_id, {}).items() if item[0] > seq)

    def has_all(self, room_id: str, after: int, last: int) -> bool:
        """Return whether every message of the room after `after` is kept, up to `last`."""
        room = self._rooms.get(room_id, {})
        return all(seq in room for seq in range(after + 1, last + 1))

    def read(self, reply: LogReply, room_id: str, person: str, slot: str, after: int, last: int | None) -> LogPart:
        messages = [message for message in self._remembered(room_id, person, slot) if message.seq > after]
        # A missing message may still come: its sender may send it again.
        complete = self.has_all(room_id, after, reply.partner_last)
        return LogPart(reply.partner_last if last is None else last, messages, complete)

    def _remembered(self, room_id: str, person: str, slot: str) -> list[LoggedMessage]:
        partners = "b" if slot == "a" else "a"
        return [
            LoggedMessage(seq, partners if message.receiver == person else slot, message.timestamp, message.body)
            for seq, message in self.after(room_id, 0)
        ]

    def message(self, room_id: str, person: str, slot: str, seq: int) -> LoggedMessage | None:
        return next((m for m in self._remembered(room_id, person, slot) if m.seq == seq), None)

    def evidence(self, messages: list[LoggedMessage]) -> list[LoggedMessage]:
        return []  # no message content may get into the store

    def forget(self, present: Callable[[], set[str]]) -> None:
        here = present()
        for room_id in self._absent - here:
            self._rooms.pop(room_id, None)
        self._absent = self._rooms.keys() - here
