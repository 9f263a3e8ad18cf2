"""What is said: each room's log, stored by group commit, and how a room ends.

    log.append(Entry(room, slot, partner, partner_worker, last_seq, version, client_id, body, done))

hands a message in, from anywhere, the hub included; `done(seq, timestamp, outcome)` is called once it is stored.
All messages that wait together are stored by one script call. Where messages may not be stored (`STORE_MESSAGES=0`),
the same script numbers them and passes them on, and `Memory` takes the log's place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from animochat.protocol.channel import Delivery, Look, TypingSignal, encode_typing
from animochat.protocol.errors import Unavailable
from animochat.rooms.life import CLOSE_ROOMS, ENDED_LIFE_MS, LOG_LIFE_MS, OPEN_ROOMS, TAKE_ENDED, LogLife
from animochat.rooms.memory import Memory, RememberedMessage
from animochat.rooms.outbox import Outbox
from animochat.store import keys
from animochat.store.node import Command
from animochat.store.pipeline import Pipeline, evalsha
from animochat.store.scripts import load
from animochat.telemetry.metrics import METRICS

APPEND_MESSAGES = load("rooms/append_messages")
ATTACH = load("rooms/attach")
END_ROOMS = load("rooms/end_rooms")
LEAVE_ROOM = load("rooms/leave_room")
READ_LOG = load("rooms/read_log")

SCRIPTS = [APPEND_MESSAGES, ATTACH, CLOSE_ROOMS, END_ROOMS, LEAVE_ROOM, OPEN_ROOMS, READ_LOG, TAKE_ENDED]

#: Messages that a room's log keeps.
LOG_LENGTH = 200

#: Rooms that one script ends at most, or finds to be over: bounds its time to about 2 ms.
ENDING = 500

#: Messages that one script call stores at most: bounds its time to about 2 ms.
BATCH = 400


class Entry(NamedTuple):
    """A message to be stored: see rooms/scripts/append_messages.lua.

    `body` is a piece of JSON (`"senderId":…,"content":…`) that the message's receivers get as it is. `done` gets seq,
    timestamp (Unix ms) and outcome (b"local", b"remote" or b"again"; b"late" for one that is said again and was never
    heard of here, where nothing is stored); seq 0 where it was not stored: because of b"lost", b"stale" or b"ended", or
    because the store can't be reached (None). It runs in the pipeline's greenlet and must not block. In a cluster it
    gets a fourth value, the seq of the sender's message before this one (0 for none): the receiver may not have got
    that one yet.
    """

    room_id: str
    slot: str
    partner: str
    partner_worker: str
    last_seq: int
    version: int
    client_id: str
    body: str
    done: Callable[..., None]


@dataclass(frozen=True)
class LoggedMessage:
    """A message in the log. `slot` is its sender's."""

    seq: int
    slot: str
    timestamp: int
    body: str


class Attached(NamedTuple):
    """A room's last seq, and what was said. Not `complete`: there was more, and it isn't to be had here."""

    last_seq: int
    messages: list[LoggedMessage]
    complete: bool = True


class Rooms:
    """The rooms' logs, for one worker. `stored` counts messages since it was last set to 0 (by the heartbeat).

    `storing`: False, and nothing that is said gets into the store. `ended_life_ms`: how long a log is kept after its
    room has ended. `life` begins and ends the logs.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        worker: str,
        lobby: str = keys.MAIN_LOBBY,
        clock: Callable[[], int] | None = None,
        storing: bool = True,
        ended_life_ms: int = ENDED_LIFE_MS,
    ) -> None:
        self._pipeline = pipeline
        #: What was said, where it may not be stored; else None.
        self.memory = None if storing else Memory(LOG_LENGTH)
        self._worker = worker
        self._lobby = [keys.lobby(lobby)]
        self._now: Callable[[], int | str] = clock or (lambda: "")
        self._entries: list[Entry] = []
        self.life = LogLife(pipeline, self._lobby[0], self._now, ended_life_ms)
        self._outbox = Outbox(self._lobby[0])
        self.stored = 0
        pipeline.add_collector(self._collect)

    @property
    def waiting(self) -> int:
        """How many messages wait for the next batch."""
        return len(self._entries)

    def append(self, entry: Entry) -> None:
        """Store a message with this turn's batch. Does not wait."""
        self._entries.append(entry)
        self._pipeline.wake()

    def _collect(self) -> list[tuple[Command, Callable[[Any], None]]]:
        entries, self._entries = self._entries, []
        commands = self.life.collect()
        if self._pipeline.in_cluster:
            return commands + self._collect_for_cluster(entries)
        batches = [entries[start : start + BATCH] for start in range(0, len(entries), BATCH)]
        return commands + [self._command(batch, self._lobby[0]) for batch in batches]

    def _command(self, entries: list[Entry], lobby: str) -> tuple[Command, Callable[[Any], None]]:
        args: list[Any] = [self._worker, LOG_LENGTH, LOG_LIFE_MS, 0 if self.memory else 1, self._now(), lobby]
        for entry in entries:
            args += entry[1:8]

        def stored(reply: Any) -> None:
            if isinstance(reply, Unavailable):
                for entry in entries:
                    entry.done(0, 0, None)
                return
            results = iter(reply)
            before = self.stored
            for entry, seq, timestamp, outcome in zip(entries, results, results, results, strict=True):
                if self.memory is not None and seq:
                    new = self.memory.keep(entry.room_id, seq, RememberedMessage(entry.partner, timestamp, entry.body))
                    if new and outcome.startswith(b"again"):
                        outcome = outcome.replace(b"again", b"late", 1)
                if not lobby:
                    self._stored_in_cluster(entry, seq, timestamp, outcome)
                    continue
                self.stored += outcome in (b"local", b"remote")
                entry.done(seq, timestamp, outcome)
            METRICS.messages += self.stored - before
            METRICS.batch_messages.observe(len(entries))

        return evalsha(APPEND_MESSAGES, [keys.room(entry.room_id) for entry in entries], args), stored

    # In a cluster: a command for each slot, and publications by the worker that has stored

    def _collect_for_cluster(self, entries: list[Entry]) -> list[tuple[Command, Callable[[Any], None]]]:
        commands = self._outbox.collect()
        for some in self._pipeline.by_slot(entries, lambda entry: keys.room(entry.room_id)):
            commands += [self._command(some[start : start + BATCH], "") for start in range(0, len(some), BATCH)]
        return commands

    def _stored_in_cluster(self, entry: Entry, seq: int, timestamp: int, reply: bytes) -> None:
        outcome, worker, before = reply.decode().split(" ")
        self.stored += outcome in ("local", "remote")
        # whoever stored it may not have told anybody
        again = outcome in ("again", "late") and worker != self._worker
        if worker and (outcome == "remote" or (again and self.memory is not None)):  # without a log, all has to be said

            def told(success: bool) -> None:
                entry.done(*(seq, timestamp, outcome.encode()) if success else (0, 0, None))

            message = Delivery(
                receiver=entry.partner,
                room_id=entry.room_id,
                seq=seq,
                timestamp=timestamp,
                body=entry.body,
                previous=int(before),
            )
            self._outbox.tell(worker, message, told)
            self._pipeline.wake()
            return
        if outcome == "again" and self.memory is None:
            self._outbox.tell_to_look(worker, Look(person=entry.partner, room_id=entry.room_id))
            self.repeat()
        entry.done(seq, timestamp, outcome.encode(), int(before))

    @property
    def log_may_be_ahead(self) -> bool:
        """May a room's log know more than its lobby has been told?"""
        return self._pipeline.in_cluster and self.memory is None

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

    # What was said, and who is there to hear it

    def attach(
        self,
        room_id: str,
        person: str,
        slot: str,
        version: int,
        *,
        after: int = 0,
        known: int = 0,
        said: int = 0,
        partner: str = "",
        partner_worker: str = "",
    ) -> Attached:
        """Have the room's messages for that member sent here, and get what was said after `after`.

        `version`: that of the member's registration, unless there is a later one: words of an earlier one are refused
        from now on. `known`: the highest seq that this worker has seen; what comes next has a higher one, whatever the
        store lost. `said`: the seq of what the member said last, as far as this worker knows. Where the store has lost
        that, the `partner` (a person, at `partner_worker`) has to look into the log: only the partner knows whether it
        is missing. Waits for the store; raises Unavailable.
        """
        args = [slot, self._worker, after, LOG_LIFE_MS, known, version, said, 0 if self.memory else 1]
        last, *read, lost = self._pipeline.call(ATTACH, [keys.room(room_id)], args)
        if lost:
            self._outbox.tell_to_look(partner_worker, Look(person=partner, room_id=room_id))
            self.repeat()
        return self._read(room_id, person, slot, after, last, *read)

    def history(self, room_id: str, person: str, slot: str, after: int) -> Attached:
        """What was said after `after` in a room that may be over. Waits for the store; raises Unavailable."""
        after = max(after, 0)
        flat, theirs, lost = self._pipeline.call(READ_LOG, [keys.room(room_id)], [slot, after])
        last = theirs if self.memory is not None else int(flat[-4]) if flat else after
        return self._read(room_id, person, slot, after, last, flat, theirs, lost)

    def _read(
        self, room_id: str, person: str, slot: str, after: int, last: int, flat: list[bytes], theirs: int, lost: int
    ) -> Attached:
        """Return what a script has read, or this worker remembers. `theirs`, `lost`: as log_after.lua has them."""
        if self.memory is not None:
            messages = self.remembered(room_id, person, slot, after)
            return Attached(last, messages, self.memory.has_all(room_id, after, theirs))
        values = iter(flat)
        logged = [
            LoggedMessage(int(seq), slot.decode(), int(timestamp), body.decode())
            for seq, slot, timestamp, body in zip(values, values, values, values, strict=True)
        ]
        return Attached(last, logged, _reaches_back(logged, after) and lost <= after)

    def remembered(self, room_id: str, person: str, slot: str, after: int = 0) -> list[LoggedMessage]:
        """What this worker has in its memory of a room, for its member `person`; nothing where messages are stored."""
        if self.memory is None:
            return []
        partners = "b" if slot == "a" else "a"
        return [
            LoggedMessage(seq, partners if message.receiver == person else slot, message.timestamp, message.body)
            for seq, message in self.memory.after(room_id, after)
        ]

    def message(self, room_id: str, person: str, slot: str, seq: int) -> LoggedMessage | None:
        """One message; None where it isn't known (any more). Waits for the store; raises Unavailable."""
        if self.memory is not None:
            return next((said for said in self.remembered(room_id, person, slot, seq - 1) if said.seq == seq), None)
        entry_id = f"{seq}-0"
        entries = self._pipeline.execute("XRANGE", keys.room(room_id) + ":log", entry_id, entry_id)
        return _logged(entries[0]) if entries else None

    def is_stored(self, room_id: str, slot: str, client_id: str) -> bool:
        """Has this message of that member's its place in the room already? Waits for the store; raises Unavailable."""
        return bool(self._pipeline.execute("HEXISTS", keys.room(room_id) + ":meta", f"{slot}:{client_id}"))

    def leave(self, person: str, connection: str) -> tuple[str, int, str]:
        """End the person's room. Returns ("left", version, room), ("not-in-room", 0, "") or ("unknown", 0, "").

        Waits for the store; raises Unavailable.
        """
        state, *rest = self._pipeline.call(LEAVE_ROOM, self._lobby, [person, connection])
        return (state.decode(), rest[0], rest[1].decode()) if rest else (state.decode(), 0, "")

    def end_again(self, room_ids: Sequence[str]) -> int:
        """End rooms that were over before the store came back older, those of them that it has.

        Returns how many it had. Waits for the store; raises Unavailable.
        """
        portions = [room_ids[start : start + ENDING] for start in range(0, len(room_ids), ENDING)]
        return sum(self._pipeline.call(END_ROOMS, self._lobby, portion) for portion in portions)

    def publish_typing(self, worker: str, signal: TypingSignal) -> None:
        """Pass it on to the partner's worker. Neither stored nor repeated; does not wait."""
        channel = keys.channel(self._lobby[0], worker)
        self._pipeline.submit(("PUBLISH", channel, encode_typing(signal)), lambda reply: None)


def _reaches_back(logged: list[LoggedMessage], after: int) -> bool:
    """Is that all that was said after `after`? A log that is full has let go of what came before its first entry."""
    return len(logged) < LOG_LENGTH or logged[0].seq == after + 1


def _logged(entry: Any) -> LoggedMessage:
    """An entry of the log's stream."""
    entry_id, (_, slot, _, timestamp, _, body) = entry
    return LoggedMessage(int(entry_id.split(b"-")[0]), slot.decode(), int(timestamp), body.decode())
