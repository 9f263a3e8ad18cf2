"""The rooms of one lobby: each room's log, stored by group commit, and how a room ends.

    rooms.append(NewMessage(room, slot, partner, partner_worker, last_seq, version, client_id, body, done))

stores a message; it may be called from anywhere, the hub included. `done(seq, timestamp, outcome)` is called after
that. One script call stores all messages of a batch (appending.py). If messages may not be stored (`STORE_MESSAGES=0`),
the same script numbers and publishes them, and `MemoryLog` takes the log's place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from animochat.protocol.channel import Look, RelayedEvent, encode_event
from animochat.protocol.room_record import Parting, read_parting
from animochat.rooms.appending import APPEND_MESSAGES, AppendCall, Appender, ClusterAppender, NewMessage, ServerAppender
from animochat.rooms.life import CLOSE_ROOMS, ENDED_LIFE_MS, LOG_LIFE_MS, OPEN_ROOMS, TAKE_ENDED, LogLife
from animochat.rooms.log import Log, LoggedMessage, LogPart, LogReply, RedisLog
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

#: Rooms that one script ends at most: bounds its time to about 2 ms.
ENDING = 500


class Rooms:
    """The rooms of one lobby, for one worker. `stored` counts messages since the heartbeat last set it to 0.

    `storing`: if False, no message gets into the store. `ended_life_ms`: how long a log is kept after its room has
    ended, and `report_window_ms` who was in it. `life` opens and closes the logs; `log` keeps the messages.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        worker: str,
        lobby: str = keys.MAIN_LOBBY,
        clock: Callable[[], int] | None = None,
        storing: bool = True,
        ended_life_ms: int = ENDED_LIFE_MS,
        report_window_ms: int = ENDED_LIFE_MS,
    ) -> None:
        self._pipeline = pipeline
        self._worker = worker
        self._lobby = [keys.lobby(lobby)]
        self._now: Callable[[], int | str] = clock or (lambda: "")
        self.log: Log = RedisLog(pipeline) if storing else MemoryLog()
        self.life = LogLife(pipeline, self._lobby[0], self._now, ended_life_ms, report_window_ms)
        self.stored = 0
        self._entries: list[NewMessage] = []
        self._outbox = Outbox(self._lobby[0])
        call = AppendCall(worker, self._lobby[0], self.log, self._now)
        self._appender: Callable[[], Appender] = pipeline.by_topology(
            single=ServerAppender(call, self.log, self._count),
            cluster=ClusterAppender(pipeline, call, self.log, self._outbox, self._count, self.repeat),
        )
        pipeline.add_collector(self._collect)

    @property
    def waiting(self) -> int:
        """Return how many messages wait for the next batch."""
        return len(self._entries)

    def append(self, entry: NewMessage) -> None:
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
        """Return whether a room's log may contain messages that its lobby's workers have not received."""
        return self._appender().log_may_be_ahead

    @property
    def logs_elsewhere(self) -> bool:
        """Return whether a room's log may be on another node than its lobby, and away while the lobby is not."""
        return self._appender().logs_elsewhere

    def settle(self, room_id: str) -> None:
        """Wait until all messages appended to a room here are stored, and their publication is on its way."""
        self._appender().settle(room_id)

    def repeat(self) -> None:
        """Publish the hints to look that no worker has received. Call this at intervals; does not wait."""
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
    ) -> LogPart:
        """Have the room's messages for that member sent to this worker; return the messages after `after`.

        `version`: that of the member's registration. Unless a later one exists, messages of earlier ones are refused
        from now on. `known`: the highest seq that this worker has seen: later messages have higher ones, whatever the
        store lost. `said`: the seq of the member's last message, as far as this worker knows. If the store has lost
        that message, the `partner` (a person, at `partner_worker`) has to look into the log: only the partner knows
        whether it is missing. Waits for the store; raises Unavailable.
        """
        args = [slot, self._worker, after, LOG_LIFE_MS, known, version, said, int(self.log.shared)]
        last, *read, lost = self._pipeline.call(ATTACH, [keys.room(room_id)], args)
        if lost:
            self._outbox.tell_to_look(partner_worker, Look(person=partner, room_id=room_id))
            self.repeat()
        return self.log.read(LogReply(*read), room_id, person, slot, after, last)

    def history(self, room_id: str, person: str, slot: str, after: int) -> LogPart:
        """Return the messages after `after` in a room that may be over. Waits for the store; raises Unavailable."""
        after = max(after, 0)
        read = self._pipeline.call(READ_LOG, [keys.room(room_id)], [slot, after])
        return self.log.read(LogReply(*read), room_id, person, slot, after, None)

    def evidence(self, room_id: str, person: str, slot: str) -> list[LoggedMessage]:
        """Return the messages that a report of the room may keep. Waits for the store; raises Unavailable."""
        return self.log.evidence(self.history(room_id, person, slot, 0).messages)

    def message(self, room_id: str, person: str, slot: str, seq: int) -> LoggedMessage | None:
        """Return one message; None if it is unknown (by now). Waits for the store; raises Unavailable."""
        return self.log.message(room_id, person, slot, seq)

    def is_stored(self, room_id: str, slot: str, client_id: str) -> bool:
        """Return whether the room has this message of the member's. Waits for the store; raises Unavailable."""
        return bool(self._pipeline.execute("HEXISTS", keys.room(room_id) + ":meta", f"{slot}:{client_id}"))

    def leave(self, person: str, connection: str) -> Parting:
        """End the person's room. Waits for the store; raises Unavailable."""
        return read_parting(self._pipeline.call(LEAVE_ROOM, self._lobby, [person, connection, self._now()]))

    def end_again(self, room_ids: Sequence[str]) -> int:
        """End rooms again whose end the store has lost. Return how many of them the store had.

        Waits for the store; raises Unavailable.
        """
        portions = [room_ids[start : start + ENDING] for start in range(0, len(room_ids), ENDING)]
        return sum(self._pipeline.call(END_ROOMS, self._lobby, [self._now(), *portion]) for portion in portions)

    def publish_event(self, worker: str, event: RelayedEvent) -> None:
        """Send an event to the partner's worker. It is neither stored nor repeated; does not wait."""
        channel = keys.channel(self._lobby[0], worker)
        self._pipeline.submit(("PUBLISH", channel, encode_event(event)), lambda reply: None)
