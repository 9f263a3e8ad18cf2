"""The rooms of one lobby: each room's log, stored by group commit, and how a room ends.

    rooms.append(Entry(room, slot, partner, partner_worker, last_seq, version, client_id, body, done))

takes a message from anywhere, the hub included; `done(seq, timestamp, outcome)` is called once it is stored. All
messages that wait together are stored by one script call (appending.py). Where messages may not be stored
(`STORE_MESSAGES=0`), the same script numbers them and passes them on, and `MemoryLog` takes the log's place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from animochat.protocol.channel import Look, RelayedEvent, encode_event
from animochat.rooms.appending import APPEND_MESSAGES, AppendCall, Appender, ClusterAppender, Entry, ServerAppender
from animochat.rooms.life import CLOSE_ROOMS, ENDED_LIFE_MS, LOG_LIFE_MS, OPEN_ROOMS, TAKE_ENDED, LogLife
from animochat.rooms.log import Attached, Log, LoggedMessage, LogReply, RedisLog
from animochat.rooms.memory import MemoryLog
from animochat.rooms.outbox import Outbox
from animochat.store import keys
from animochat.store.node import Request
from animochat.store.pipeline import Pipeline
from animochat.store.scripts import load
from animochat.telemetry.metrics import METRICS

ATTACH = load("rooms/attach")
END_ROOMS = load("rooms/end_rooms")
LEAVE_ROOM = load("rooms/leave_room")
READ_LOG = load("rooms/read_log")

SCRIPTS = [APPEND_MESSAGES, ATTACH, CLOSE_ROOMS, END_ROOMS, LEAVE_ROOM, OPEN_ROOMS, READ_LOG, TAKE_ENDED]

#: Rooms that one script ends at most, or finds to be over: bounds its time to about 2 ms.
ENDING = 500


class Rooms:
    """The rooms of one lobby, for one worker. `stored` counts messages since it was last set to 0 (by the heartbeat).

    `storing`: False, and no message gets into the store. `ended_life_ms`: how long a log is kept after its room has
    ended. `life` begins and ends the logs; `log` is where messages are kept.
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
        self._worker = worker
        self._lobby = [keys.lobby(lobby)]
        now: Callable[[], int | str] = clock or (lambda: "")
        self.log: Log = RedisLog(pipeline) if storing else MemoryLog()
        self.life = LogLife(pipeline, self._lobby[0], now, ended_life_ms)
        self.stored = 0
        self._entries: list[Entry] = []
        self._outbox = Outbox(self._lobby[0])
        call = AppendCall(worker, self._lobby[0], self.log, now)
        self._appender: Callable[[], Appender] = pipeline.by_topology(
            single=ServerAppender(call, self.log, self._count),
            cluster=ClusterAppender(pipeline, call, self.log, self._outbox, self._count, self.repeat),
        )
        pipeline.add_collector(self._collect)

    @property
    def waiting(self) -> int:
        """Return how many messages wait for the next batch."""
        return len(self._entries)

    def append(self, entry: Entry) -> None:
        """Store a message with this turn's batch. Does not wait."""
        self._entries.append(entry)
        self._pipeline.wake()

    def _collect(self) -> list[Request]:
        entries, self._entries = self._entries, []
        return self.life.collect() + self._appender().collect(entries)

    def _count(self, new: int, total: int) -> None:
        self.stored += new
        METRICS.messages += new
        METRICS.batch_messages.observe(total)

    @property
    def log_may_be_ahead(self) -> bool:
        """Return whether a room's log may have messages that its lobby's workers were not sent."""
        return self._appender().log_may_be_ahead

    def settle(self, room_id: str) -> None:
        """Wait until what was appended to a room here is stored, and its publication on its way."""
        self._appender().settle(room_id)

    def repeat(self) -> None:
        """Publish the hints to look that no worker has received. Call it now and then; does not wait."""
        for command, published in self._outbox.unheard():
            self._pipeline.submit(command, published)

    # Messages, and who is there to receive them

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
        args = [slot, self._worker, after, LOG_LIFE_MS, known, version, said, int(self.log.shared)]
        last, *read, lost = self._pipeline.call(ATTACH, [keys.room(room_id)], args)
        if lost:
            self._outbox.tell_to_look(partner_worker, Look(person=partner, room_id=room_id))
            self.repeat()
        return self.log.read(LogReply(*read), room_id, person, slot, after, last)

    def history(self, room_id: str, person: str, slot: str, after: int) -> Attached:
        """Return the messages after `after` in a room that may be over. Waits for the store; raises Unavailable."""
        after = max(after, 0)
        read = self._pipeline.call(READ_LOG, [keys.room(room_id)], [slot, after])
        return self.log.read(LogReply(*read), room_id, person, slot, after, None)

    def evidence(self, room_id: str, person: str, slot: str) -> list[LoggedMessage]:
        """Return the messages that a report of the room may keep. Waits for the store; raises Unavailable."""
        return self.log.evidence(self.history(room_id, person, slot, 0).messages)

    def message(self, room_id: str, person: str, slot: str, seq: int) -> LoggedMessage | None:
        """Return one message; None where it is unknown (by now). Waits for the store; raises Unavailable."""
        return self.log.message(room_id, person, slot, seq)

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

    def publish_event(self, worker: str, event: RelayedEvent) -> None:
        """Pass it on to the partner's worker. Neither stored nor repeated; does not wait."""
        channel = keys.channel(self._lobby[0], worker)
        self._pipeline.submit(("PUBLISH", channel, encode_event(event)), lambda reply: None)
