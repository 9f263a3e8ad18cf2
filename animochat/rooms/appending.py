"""Store messages in the rooms' logs and send them to the partners' workers: one strategy for each kind of store.

`ServerAppender`: on a single server one script call stores all messages of a turn of the loop and publishes them.
`ClusterAppender`: in a cluster one call for each slot stores them, and this worker publishes them (outbox.py), because
the workers' channels are on another node. `Rooms` has both; the pipeline chooses once it knows the store.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, NamedTuple, Protocol

from animochat.protocol.channel import Look, RelayedMessage
from animochat.protocol.errors import Unavailable
from animochat.rooms.life import LOG_LIFE_MS
from animochat.rooms.log import LOG_LENGTH, Log
from animochat.rooms.outbox import Outbox
from animochat.store import keys
from animochat.store.node import Command, Request
from animochat.store.pipeline import Pipeline, evalsha
from animochat.store.scripts import load

APPEND_MESSAGES = load("rooms/append_messages", confirmed=True)

#: Messages that one script call stores at most: bounds its time to about 2 ms.
BATCH = 400


class Outcome(Enum):
    """The result for one message: see rooms/scripts/append_messages.lua. LOST, STALE and ENDED: it was not stored.

    LATE is an AGAIN that this worker did not have yet, if messages may not be stored.
    """

    LOCAL = b"local"
    REMOTE = b"remote"
    AGAIN = b"again"
    LATE = b"late"
    LOST = b"lost"
    STALE = b"stale"
    ENDED = b"ended"


#: Outcomes by the script's word: much faster than the class's own look-up.
OUTCOMES = {outcome.value: outcome for outcome in Outcome}

#: For comparisons: faster than through the class.
LOCAL, REMOTE, AGAIN, LATE, ENDED = Outcome.LOCAL, Outcome.REMOTE, Outcome.AGAIN, Outcome.LATE, Outcome.ENDED


class Done(Protocol):
    """Callback for a stored message: seq, Unix ms, outcome. Seq 0: it was not stored; outcome None: no reply.

    `previous`: the seq of the sender's previous message, which the receiver may lack and must get first (in a
    cluster); 0 for none. Runs in the pipeline's greenlet and must not block.
    """

    def __call__(self, seq: int, timestamp: int, outcome: Outcome | None, previous: int = 0, /) -> None: ...


class NewMessage(NamedTuple):
    """A message to store: see rooms/scripts/append_messages.lua.

    `body` is a piece of JSON (`"senderId":…,"content":…`) that the receivers get unchanged.
    """

    room_id: str
    slot: str
    partner: str
    partner_worker: str
    last_seq: int
    version: int
    client_id: str
    body: str
    done: Done


class Appender(Protocol):
    """Stores messages. `log_may_be_ahead`: a room's log may contain messages that are not published yet.

    `logs_elsewhere`: a room's log may be on another node than its lobby, and away while the lobby is not.
    """

    logs_elsewhere: bool

    @property
    def log_may_be_ahead(self) -> bool: ...

    def collect(self, entries: list[NewMessage]) -> list[Request]:
        """Return the commands that store the messages and publish what is due."""

    def settle(self, room_id: str) -> None:
        """Wait until all messages appended to a room are stored, and their publication is on its way."""


class ServerAppender:
    """Appends on a single server. `stored` is called after each script call: new messages, all messages."""

    log_may_be_ahead = False
    logs_elsewhere = False

    def __init__(self, call: AppendCall, log: Log, stored: Callable[[int, int], None]) -> None:
        self._call = call
        self._log = log
        self._stored = stored

    def collect(self, entries: list[NewMessage]) -> list[Request]:
        batches = (entries[start : start + BATCH] for start in range(0, len(entries), BATCH))
        return [(self._call.command(batch, self._call.lobby), partial(self._answered, batch)) for batch in batches]

    def settle(self, room_id: str) -> None:
        pass  # the script has published before any later command runs

    def _answered(self, entries: list[NewMessage], reply: Any) -> None:
        if isinstance(reply, Unavailable):
            _refuse(entries)
            return
        results, keep, new = iter(reply), self._log.keep, 0
        for entry, seq, timestamp, word in zip(entries, results, results, results, strict=True):
            outcome = OUTCOMES[word]
            if seq and keep(entry.room_id, seq, entry.partner, timestamp, entry.body) and outcome is AGAIN:
                outcome = LATE
            new += outcome is LOCAL or outcome is REMOTE
            entry.done(seq, timestamp, outcome)
        self._stored(new, len(entries))


class ClusterAppender:
    """Appends in a cluster. `stored`: as above; `repeat` publishes the hints that no worker has received."""

    logs_elsewhere = True

    def __init__(
        self,
        pipeline: Pipeline,
        call: AppendCall,
        log: Log,
        outbox: Outbox,
        stored: Callable[[int, int], None],
        repeat: Callable[[], None],
    ) -> None:
        self._pipeline = pipeline
        self._call = call
        self._log = log
        self._outbox = outbox
        self._stored = stored
        self._repeat = repeat

    @property
    def log_may_be_ahead(self) -> bool:
        return self._log.shared

    def collect(self, entries: list[NewMessage]) -> list[Request]:
        commands = self._outbox.collect()
        for some in self._pipeline.by_slot(entries, lambda entry: keys.room(entry.room_id)):
            for start in range(0, len(some), BATCH):
                batch = some[start : start + BATCH]
                commands.append((self._call.command(batch, ""), partial(self._answered, batch)))
        return commands

    def settle(self, room_id: str) -> None:
        # Another node decides the room's end. It would do so first, and the last messages would be lost.
        with contextlib.suppress(Unavailable):
            self._pipeline.execute("EXISTS", keys.room(room_id))  # the reply comes after theirs

    def _answered(self, entries: list[NewMessage], reply: Any) -> None:
        if isinstance(reply, Unavailable):
            _refuse(entries)
            return
        results, new = iter(reply), 0
        for entry, seq, timestamp, words in zip(entries, results, results, results, strict=True):
            word, worker, previous = words.split(b" ")
            outcome = OUTCOMES[word]
            new += outcome is LOCAL or outcome is REMOTE
            self._finish(entry, seq, timestamp, outcome, worker.decode(), int(previous))
        self._stored(new, len(entries))

    def _finish(
        self, entry: NewMessage, seq: int, timestamp: int, outcome: Outcome, worker: str, previous: int
    ) -> None:
        kept = bool(seq) and self._log.keep(entry.room_id, seq, entry.partner, timestamp, entry.body)
        again = outcome is AGAIN
        if again and kept:
            outcome = LATE
        # The worker that stored a repeated message may not have published it. Without a log the whole message is sent.
        if worker and (outcome is REMOTE or (again and worker != self._call.worker and not self._log.shared)):
            message = RelayedMessage(
                receiver=entry.partner,
                room_id=entry.room_id,
                seq=seq,
                timestamp=timestamp,
                body=entry.body,
                previous=previous,
            )
            self._outbox.tell(worker, message, partial(_published, entry.done, seq, timestamp, outcome))
            self._pipeline.wake()
            return
        if again and self._log.shared:
            self._outbox.tell_to_look(worker, Look(person=entry.partner, room_id=entry.room_id))
            self._repeat()
        entry.done(seq, timestamp, outcome, previous)


class AppendCall:
    """Builds the calls of append_messages.lua for one worker. `lobby` is the lobby's tag."""

    def __init__(self, worker: str, lobby: str, log: Log, now: Callable[[], int | str]) -> None:
        self.worker = worker
        self.lobby = lobby
        self._storing = int(log.shared)
        self._now = now

    def command(self, entries: list[NewMessage], publish_to: str) -> Command:
        """Return the call that stores `entries`. `publish_to`: the lobby's tag, or "" if it can't publish."""
        args: list[Any] = [self.worker, LOG_LENGTH, LOG_LIFE_MS, self._storing, self._now(), publish_to]
        for entry in entries:
            args += entry[1:8]
        return evalsha(APPEND_MESSAGES, [keys.room(entry.room_id) for entry in entries], args)


def _refuse(entries: list[NewMessage]) -> None:
    for entry in entries:
        entry.done(0, 0, None)


def _published(done: Done, seq: int, timestamp: int, outcome: Outcome, success: bool) -> None:
    done(*(seq, timestamp, outcome) if success else (0, 0, None))
