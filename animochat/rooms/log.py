"""A room's messages, as one worker can read them.

`RedisLog`: the log in the store, which append_messages.lua writes. `MemoryLog` (memory.py) replaces it if messages may
not be stored (`STORE_MESSAGES=0`). `Rooms` chooses once; everything else asks a `Log`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from animochat.store import keys
from animochat.store.pipeline import Pipeline

#: Messages that a room's log keeps.
LOG_LENGTH = 200


@dataclass(frozen=True)
class LoggedMessage:
    """A message in the log. `slot` is its sender's."""

    seq: int
    slot: str
    timestamp: int
    body: str


class LogPart(NamedTuple):
    """A room's last seq, and its messages. `complete`: False if there were more that can't be read here.

    `gone`: the seq up to which missing messages can't come any more; 0 if none is missing.
    """

    last_seq: int
    messages: list[LoggedMessage]
    complete: bool = True
    gone: int = 0


class LogReply(NamedTuple):
    """The reply of include/log_after.lua.

    It has the entries as one flat list (seq, slot, time, body of each), the seq of the partner's last message (0 if not
    kept), and the highest seq of the partner's that the store has lost (0 if none).
    """

    entries: list[bytes]
    partner_last: int
    partner_lost: int


class Log(Protocol):
    """The place of messages. `person` and `slot` name the member who reads.

    `shared`: whether the messages are in the store, and every worker reads the same ones.
    """

    @property
    def shared(self) -> bool: ...

    def keep(self, room_id: str, seq: int, receiver: str, timestamp: int, body: str) -> bool:
        """Note a message that passes this worker. Return whether this worker must keep it and did not have it yet."""

    def read(self, reply: LogReply, room_id: str, person: str, slot: str, after: int, last: int | None) -> LogPart:
        """Return the messages after `after`. `last`: the room's last seq; None: take it from the reply."""

    def message(self, room_id: str, person: str, slot: str, seq: int) -> LoggedMessage | None:
        """Return one message, or None if it is unknown (by now). May wait for the store and raise Unavailable."""

    def evidence(self, messages: list[LoggedMessage]) -> list[LoggedMessage]:
        """Return those of the messages that a report may keep in the store."""

    def forget(self, present: Callable[[], set[str]]) -> None:
        """Forget rooms that had no member here for two calls. `present` returns the rooms that have one."""


class RedisLog:
    """The log in the store."""

    shared = True

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def keep(self, room_id: str, seq: int, receiver: str, timestamp: int, body: str) -> bool:
        return False  # the store has it

    def read(self, reply: LogReply, room_id: str, person: str, slot: str, after: int, last: int | None) -> LogPart:
        values = iter(reply.entries)
        logged = [
            LoggedMessage(int(seq), slot.decode(), int(timestamp), body.decode())
            for seq, slot, timestamp, body in zip(values, values, values, values, strict=True)
        ]
        if last is None:
            last = logged[-1].seq if logged else after
        complete = _reaches_back(logged, after) and reply.partner_lost <= after
        return LogPart(last, logged, complete, 0 if complete else last)

    def message(self, room_id: str, person: str, slot: str, seq: int) -> LoggedMessage | None:
        entry_id = f"{seq}-0"
        entries = self._pipeline.execute("XRANGE", keys.room(room_id) + ":log", entry_id, entry_id)
        return _logged(entries[0]) if entries else None

    def evidence(self, messages: list[LoggedMessage]) -> list[LoggedMessage]:
        return messages

    def forget(self, present: Callable[[], set[str]]) -> None:
        pass  # entries in the store expire


def _reaches_back(logged: list[LoggedMessage], after: int) -> bool:
    """Return whether these are all messages after `after`. A full log has lost the messages before its first entry."""
    return len(logged) < LOG_LENGTH or logged[0].seq == after + 1


def _logged(entry: Any) -> LoggedMessage:
    """Return an entry of the log's stream as a message."""
    entry_id, (_, slot, _, timestamp, _, body) = entry
    return LoggedMessage(int(entry_id.split(b"-")[0]), slot.decode(), int(timestamp), body.decode())
