"""What is said: each room's log, stored by group commit, and how a room ends.

    log.append(Entry(room, slot, partner, partner_worker, last_seq, client_id, body, done))

hands a message in, from anywhere, the hub included; `done(seq, timestamp, outcome)` is called once it is stored.
All messages that wait together are stored by one script call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from animochat.errors import Unavailable
from animochat.rooms.outbox import Outbox
from animochat.store import keys
from animochat.store.node import Command
from animochat.store.pipeline import Pipeline, evalsha
from animochat.store.scripts import load

APPEND_MESSAGES = load("rooms/append_messages")
ATTACH = load("rooms/attach")
LEAVE_ROOM = load("rooms/leave_room")

SCRIPTS = [APPEND_MESSAGES, ATTACH, LEAVE_ROOM]

#: Messages that a room's log keeps.
LOG_LENGTH = 200

#: Milliseconds that a log is kept when nothing is said, longer than any silence in a room that is still one: a day, and
#: the hour in which append_messages.lua doesn't renew it.
LOG_LIFE_MS = 25 * 3600 * 1000

#: Messages that one script call stores at most: bounds its time to about 2 ms.
BATCH = 400


class Entry(NamedTuple):
    """A message to be stored: see rooms/scripts/append_messages.lua.

    `body` is a piece of JSON (`"senderId":…,"content":…`) that the message's receivers get as it is. `done` gets seq,
    timestamp (Unix ms) and outcome (b"local", b"remote", b"again" or b"lost"), or (0, 0, None) where it could not be
    stored. It runs in the pipeline's greenlet and must not block. In a cluster it gets a fourth value, the seq of the
    sender's message before this one (0 for none): the receiver may not have got that one yet.
    """

    room_id: str
    slot: str
    partner: str
    partner_worker: str
    last_seq: int
    client_id: str
    body: str
    done: Callable[..., None]


@dataclass(frozen=True)
class Logged:
    """A message in the log. `slot` is its sender's."""

    seq: int
    slot: str
    timestamp: int
    body: str


class Rooms:
    """The rooms' logs, for one worker. `stored` counts messages since it was last set to 0 (by the heartbeat)."""

    def __init__(
        self, pipeline: Pipeline, worker: str, lobby: str = keys.MAIN_LOBBY, clock: Callable[[], int] | None = None
    ) -> None:
        self._pipeline = pipeline
        self._worker = worker
        self._lobby = [keys.lobby(lobby)]
        self._now: Callable[[], int | str] = clock or (lambda: "")
        self._entries: list[Entry] = []
        self._outbox = Outbox(self._lobby[0])
        self.stored = 0
        pipeline.add_collector(self._collect)

    def append(self, entry: Entry) -> None:
        """Store a message with this turn's batch. Does not wait."""
        self._entries.append(entry)
        self._pipeline.wake()

    def _collect(self) -> list[tuple[Command, Callable[[Any], None]]]:
        entries, self._entries = self._entries, []
        if self._pipeline.in_cluster:
            return self._collect_for_cluster(entries)
        return [
            self._command(entries[start : start + BATCH], self._lobby[0]) for start in range(0, len(entries), BATCH)
        ]

    def _command(self, entries: list[Entry], lobby: str) -> tuple[Command, Callable[[Any], None]]:
        args: list[Any] = [self._worker, LOG_LENGTH, LOG_LIFE_MS, self._now(), lobby]
        for entry in entries:
            args += entry[1:7]

        def stored(reply: Any) -> None:
            if isinstance(reply, Unavailable):
                for entry in entries:
                    entry.done(0, 0, None)
                return
            results = iter(reply)
            for entry, seq, timestamp, outcome in zip(entries, results, results, results, strict=True):
                if not lobby:
                    self._stored_in_cluster(entry, seq, timestamp, outcome)
                    continue
                self.stored += outcome in (b"local", b"remote")
                entry.done(seq, timestamp, outcome)

        return evalsha(APPEND_MESSAGES, [keys.room(entry.room_id) for entry in entries], args), stored

    # In a cluster: a command for each slot, and publications by the worker that has stored

    def _collect_for_cluster(self, entries: list[Entry]) -> list[tuple[Command, Callable[[Any], None]]]:
        by_slot: dict[int, list[Entry]] = {}
        for entry in entries:
            by_slot.setdefault(self._pipeline.slot(keys.room(entry.room_id)), []).append(entry)
        commands = self._outbox.collect()
        for together in by_slot.values():
            commands += [self._command(together[start : start + BATCH], "") for start in range(0, len(together), BATCH)]
        return commands

    def _stored_in_cluster(self, entry: Entry, seq: int, timestamp: int, reply: bytes) -> None:
        outcome, worker, before = reply.decode().split(" ")
        self.stored += outcome in ("local", "remote")
        if outcome == "remote" and worker:

            def told(success: bool) -> None:
                entry.done(*(seq, timestamp, b"remote") if success else (0, 0, None))

            line = f"{entry.partner} {entry.room_id} {seq} {timestamp} {before} {entry.body}"
            self._outbox.tell(worker, (entry.partner, entry.room_id), line, told)
            self._pipeline.wake()
            return
        if outcome == "again":  # whoever stored it may not have told anybody
            self._outbox.tell_to_look(worker, entry.partner, entry.room_id)
            self.repeat()
        entry.done(seq, timestamp, outcome.encode(), int(before))

    @property
    def in_cluster(self) -> bool:
        """May a room's log know more than its lobby has been told?"""
        return self._pipeline.in_cluster

    def settle(self, room_id: str) -> None:
        """Wait until what was said here in a room is stored, and its publication on its way.

        On a single server it is, before whatever is asked for later. In a cluster the room's end is decided at another
        node, which would be sooner: the last words would be lost.
        """
        if self._pipeline.in_cluster:
            with contextlib.suppress(Unavailable):
                self._pipeline.execute("EXISTS", keys.room(room_id))  # answered behind them

    def repeat(self) -> None:
        """Tell those once more whom nobody may have told. To be called now and then; does not wait."""
        for command, published in self._outbox.unheard():
            self._pipeline.submit(command, published)

    def attach(self, room_id: str, slot: str, after: int = 0, known: int = 0) -> tuple[int, list[Logged]]:
        """Have the room's messages for that member sent here. Returns the last seq, and what came after `after`.

        `known`: the highest seq that this worker has seen; what comes next has a higher one, whatever the store lost.
        Waits for the store; raises Unavailable.
        """
        last, flat = self._pipeline.call(ATTACH, [keys.room(room_id)], [slot, self._worker, after, LOG_LIFE_MS, known])
        values = iter(flat)
        return last, [
            Logged(int(seq), slot.decode(), int(timestamp), body.decode())
            for seq, slot, timestamp, body in zip(values, values, values, values, strict=True)
        ]

    def history(self, room_id: str, after: int) -> list[Logged]:
        """What was said after `after` in a room that may be over. Waits for the store; raises Unavailable."""
        entries = self._pipeline.execute("XRANGE", keys.room(room_id) + ":log", f"({max(after, 0)}-0", "+")
        return [
            Logged(int(entry_id.split(b"-")[0]), slot.decode(), int(timestamp), body.decode())
            for entry_id, (_, slot, _, timestamp, _, body) in entries
        ]

    def leave(self, person: str, connection: str) -> tuple[str, int, str]:
        """End the person's room. Returns ("left", version, room), ("not-in-room", 0, "") or ("unknown", 0, "").

        Waits for the store; raises Unavailable.
        """
        state, *rest = self._pipeline.call(LEAVE_ROOM, self._lobby, [person, connection])
        return (state.decode(), rest[0], rest[1].decode()) if rest else (state.decode(), 0, "")

    def close(self, room_id: str, grace_ms: int) -> None:
        """Let an ended room's log go, after the grace time. Does not wait."""
        for name in (":log", ":meta"):
            self._pipeline.submit(("PEXPIRE", keys.room(room_id) + name, grace_ms), lambda reply: None)

    def publish_typing(self, worker: str, person: str, room_id: str, is_typing: bool) -> None:
        """Tell the partner's worker. Not stored, not repeated; does not wait."""
        line = f"typing {person} {room_id} {'1' if is_typing else '0'}"
        self._pipeline.submit(("PUBLISH", keys.channel(self._lobby[0], worker), line), lambda reply: None)
